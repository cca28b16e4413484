"""Damaged settings of a study, study files and logs of decisions."""

from __future__ import annotations

import json
from pathlib import Path

from fuzzing import fuzz, mutated

from nas.arch import Input
from nas.decode import encode
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

    def read(_: bytes) -> None:
        format_search_command("study", folder.document().settings)

    whole = json.dumps(encode(DOCUMENT), indent=2).encode()
    old = json.dumps({"settings": {"max_params": 9, "trials": 3}, "fingerprints": {"space": "a", "data": "b"}}).encode()
    fuzz(read, mutated([whole, old]), 150, folder.settings_file)


def test_study_files(tmp_path: Path) -> None:
    file = tmp_path / "study.toml"
    fuzz(lambda _: read_settings(file), mutated(FILES), 150, file)


def test_logs(tmp_path: Path) -> None:
    file = tmp_path / "log.jsonl"
    log = DecisionLog(file)
    for _ in range(2):
        log.add(Began(2, (Waiting(1, (50.0, 60.0)), Waiting(0, None)), True, "versions"))
        for event in (Asked(2, 900), Reported(2, 1, 50.0, False), Ended(2, "completed", 51.0), Confirmed(2, 77)):
            log.add(event)
        log.add(Interrupted((3, 4)))
    fuzz(lambda _: read_log(file), mutated([file.read_bytes()]), 150, file)
