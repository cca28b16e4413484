"""Damaged settings of a study, study files and logs of decisions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from mutations import mutations, only_nas_errors

from nas.arch import Input
from nas.decode import encode
from nas.errors import NasError
from nas.study.command import format_search_command
from nas.study.decision_log import (
    Asked,
    Began,
    Confirmed,
    DecisionLog,
    Ended,
    Interrupted,
    Reported,
    Waiting,
    read_log,
)
from nas.study.folder import Fingerprints, StudyDocument, StudyFolder, StudyImages
from nas.study.settings import StudySettings, read_settings

SETTINGS = StudySettings(
    8000, 10**6, dataset="my images", image_size=28, color=True, target=97.5, warm_start=("a", "b")
)
DOCUMENT = StudyDocument(
    SETTINGS, Fingerprints("0" * 16, "1" * 16), "f" * 32, None, StudyImages(Input(1, 8, 8), ("a", "b"), 9, 3, 4), "name"
)
FILES = (
    b'max_params = 8000\ntarget = 99.4\ndataset = "digits"\nspace = "tiny_digits"\nmax_seconds = 90.0\n',
    b'max_params = 1\nwarm_start = ["a", "b.toml"]\ncolor = true\nnum_seeds = 3\nseed = 1\n',
)


def test_settings(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path, "study")
    folder.run.mkdir(parents=True)

    def read(content: bytes) -> None:
        folder.settings_file.write_bytes(content)
        format_search_command("study", folder.document().settings)

    whole = json.dumps(encode(DOCUMENT), indent=2).encode()
    old = json.dumps({"settings": {"max_params": 9, "trials": 3}, "fingerprints": {"space": "a", "data": "b"}}).encode()
    only_nas_errors(mutations([whole, old]), read)


def test_study_files(tmp_path: Path) -> None:
    def read(content: bytes) -> None:
        (tmp_path / "study.toml").write_bytes(content)
        read_settings(tmp_path / "study.toml")

    only_nas_errors(mutations(FILES), read)


def test_logs(tmp_path: Path) -> None:
    log = DecisionLog(tmp_path / "log.jsonl")
    for _ in range(2):
        log.add(Began(2, (Waiting(1, (50.0, 60.0)), Waiting(0, None)), True, "versions"))
        for event in (Asked(2, 900), Reported(2, 1, 50.0, False), Ended(2, "completed", 51.0), Confirmed(2, 77)):
            log.add(event)
        log.add(Interrupted((3, 4)))
    whole = (tmp_path / "log.jsonl").read_bytes()

    def read(content: bytes) -> None:
        (tmp_path / "log.jsonl").write_bytes(content)
        read_log(tmp_path / "log.jsonl")

    only_nas_errors(mutations([whole]), read)


def test_a_refusal_is_ours(tmp_path: Path) -> None:
    """What `only_nas_errors` looks for is found."""

    def read(content: bytes) -> None:
        if content.startswith(b"max_params = 8000"):
            raise NasError("refused")
        raise KeyError("a stranger's")

    with pytest.raises(AssertionError, match=r"input .* of seed") as caught:
        only_nas_errors(mutations(FILES), read)
    assert isinstance(caught.value.__cause__, KeyError)
