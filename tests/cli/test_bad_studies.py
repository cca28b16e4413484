"""Studies, trials and modules that are not there, or not what they were."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from optuna.trial import TrialState

if TYPE_CHECKING:
    from conftest import Finished, Nas, Study

DIGITS = ("--dataset", "digits", "--space", "tiny_digits", "--max-params", "2000")


def assert_refused(ended: Finished, rc: int, text: str) -> None:
    assert ended.rc == rc, ended.err
    assert ended.out == ""
    assert re.search(text, ended.err), ended.err


# Studies


@pytest.mark.parametrize("command", ["export -o net.py", "status", "report", "confirm", "dashboard"])
def test_a_study_that_does_not_exist_is_met_with_those_that_do(command: str, digits_study: Study) -> None:
    ended = digits_study.nas(*command.split(), "smal")
    text = "no study 'smal'; studies in studies: small; make one with: nas search --name smal"
    assert_refused(ended, 1, text)
    assert not (digits_study.path.parent / "smal").exists()


def test_without_any_study_that_is_said(nas: Nas) -> None:
    assert_refused(
        nas("status", "small", "--json"), 1, "no study 'small'; there is none in studies yet; make one with:"
    )


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        (["--space", "separable"], "the space 'separable' is not the one that it was made with"),
        (["--dataset", "./images"], "the images of './images' are not those that it was made with"),
        (["--max-params", "1999", "--seed", "1"], "max_params was 2000 and is 1999; seed was 0 and is 1"),
    ],
)
def test_a_study_does_not_change_what_it_is(changed: list[str], text: str, study_copy: Study, images: Path) -> None:
    shutil.copytree(images, study_copy.nas.cwd / "images")
    text = text.replace(
        "./images", str((study_copy.nas.cwd / "images").resolve())
    )  # a folder is known by its whole path
    settings = (study_copy.path / "run/settings.json").read_text()
    ended = study_copy.nas("search", "--name", "small", *changed)
    text = f"study 'small' exists with other settings: {text}; resume it with its own, or give this search another --n"
    assert_refused(ended, 1, re.escape(text))
    assert (study_copy.path / "run/settings.json").read_text() == settings


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of twenty gray images of 8x8 pixels in ten classes, as digits has."""
    from PIL import Image

    root = tmp_path_factory.mktemp("images")
    for label in "0123456789":
        (root / label).mkdir()
        for number in range(2):
            Image.new("L", (8, 8), 100 * number).save(root / label / f"{number}.png")
    return root


def test_spoilt_settings_are_named(study_copy: Study) -> None:
    (study_copy.path / "run/settings.json").write_text('{"settings": ')
    assert_refused(study_copy.nas("status", "small"), 1, r"settings\.json")


def test_a_spoilt_storage_is_named(study_copy: Study) -> None:
    (study_copy.path / "run/study.db").write_bytes(b"no database" * 1000)
    assert_refused(study_copy.nas("status", "small"), 1, r"the storage of study 'small' \(.*study\.db\) failed: ")


def test_a_lost_storage_is_said(study_copy: Study) -> None:
    (study_copy.path / "run/study.db").unlink()
    assert_refused(
        study_copy.nas("status", "small"), 1, "study.db holds no study 'small'; restore it, or remove .* to start anew"
    )


# Trials


def test_a_study_without_a_completed_trial_has_nothing_to_export(nas: Nas) -> None:
    searched = nas("search", *DIGITS, "--time", "0s", "--name", "empty", "--json")
    assert searched.rc == 0
    assert searched.json["trials"] == {}
    assert searched.json["front"] == []
    assert searched.json["answer"] == "No trial within 2,000 parameters has completed yet."
    for command in (["export", "empty", "-o", "net.py"], ["confirm", "empty"]):
        ended = nas(*command)
        assert_refused(ended, 1, "study 'empty' has no completed trial yet; go on with: nas search --name empty")
    assert not (nas.cwd / "net.py").exists()
    assert "The test set was not read." in searched.json["test_set"]
    assert nas("report", "empty").rc == 0


@pytest.mark.parametrize("command", [["export", "small", "-o", "net.py"], ["confirm", "small"]])
def test_a_trial_that_does_not_exist(command: list[str], digits_study: Study) -> None:
    ended = digits_study.nas(*command, "--trial", 77)
    assert_refused(ended, 1, r"study 'small' has no trial 77; its trials are 0 to \d+")


def test_a_stopped_trial_has_no_weights_to_export(study_copy: Study) -> None:
    stopped = study_copy.add_trial("stopped", TrialState.PRUNED, epochs=1)
    ended = study_copy.nas("export", "small", "--trial", stopped, "-o", "net.py")
    text = (
        rf"trial {stopped} \(stopped\) has no network in .*; train it again with: nas confirm small --trial {stopped}"
    )
    assert_refused(ended, 1, text)


@pytest.mark.parametrize("fate", ["interrupted", "duplicate"])
def test_a_trial_that_was_never_trained_is_not_confirmed(fate: str, study_copy: Study) -> None:
    """It has no validation accuracy, which every table of the study would want to show from then on."""
    number = study_copy.add_trial(fate, TrialState.FAIL, epochs=0)
    ended = study_copy.nas("confirm", "small", "--trial", number, "--seeds", 1, "--workers", 1)
    assert_refused(ended, 1, rf"trial {number} \({fate}\) was never trained")
    assert study_copy.nas("status", "small").rc == 0


# Places


@pytest.mark.parametrize(
    ("place", "text"),
    [
        (
            "net.txt",
            r"error: net\.txt: the name says the format and must end in one of \.py \(a Python module.*\), \.onnx",
        ),
        ("a_file/net.py", r"cannot write a_file/net\.py: .*; choose another \S*output"),
    ],
)
def test_an_export_that_cannot_be_written(place: str, text: str, study_copy: Study) -> None:
    (study_copy.nas.cwd / "a_file").write_text("in the way")
    assert_refused(study_copy.nas("export", "small", "-o", place), 1, text)


def test_a_report_that_cannot_be_written(study_copy: Study) -> None:
    (study_copy.nas.cwd / "a_file").write_text("in the way")
    ended = study_copy.nas("report", "small", "-o", "a_file/report")
    assert_refused(ended, 1, "cannot write a_file/report: .*; choose another [`-]+output")


# Modules


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, r"^error: net\.py is not there; give the path of a file that `nas export` wrote"),
        ("x = 1\n", r"net\.py does not define CLAIMS, a dict; give a module that `nas export` wrote"),
    ],
)
def test_a_module_that_is_none(content: str | None, text: str, nas: Nas) -> None:
    if content is not None:
        (nas.cwd / "net.py").write_text(content)
    assert_refused(nas("verify", "net.py"), 1, text)
