"""`nas list`, `nas status` of the latest study, `nas compare` and `nas predict`."""

from __future__ import annotations

import os
import shutil
from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np
import pytest
from conftest import STUDY_TRIALS
from PIL import Image
from sklearn.datasets import load_digits

if TYPE_CHECKING:
    from conftest import Nas, Study


def test_the_version(nas: Nas) -> None:
    assert nas("--version").out == f"nas {version('nas-budget')}\n"


def test_no_study_yet(nas: Nas) -> None:
    listed, status = nas("list"), nas("status")
    assert (listed.rc, listed.out) == (0, "")
    assert "no study in studies yet" in listed.err
    assert status.rc == 1
    assert "no study in studies yet; make one with: nas search" in status.err


@pytest.fixture
def two(study_copy: Study) -> Nas:
    """Studies 'small' and 'other', a copy of it that has changed later, in other words the latest."""
    other = study_copy.path.with_name("other")
    shutil.copytree(study_copy.path, other)
    for run, seconds in ((study_copy.path / "run", 1000), (other / "run", 2000)):
        for file in run.iterdir():
            os.utime(file, (seconds, seconds))
    return study_copy.nas


def test_studies_are_listed_the_latest_last(two: Nas, study_copy: Study) -> None:
    rows = two("list", "--json").json
    assert [row["study"] for row in rows] == ["small", "other"]
    status = study_copy.search.json
    best = next(row for row in status["front"] if row["num_params"] == rows[0]["num_params"])
    assert rows[0] | {"study": ""} == rows[1] | {"study": ""}
    assert rows[0]["test_accuracy"] == best["test_accuracy"]
    assert (rows[0]["dataset"], rows[0]["max_params"], rows[0]["trials"]) == ("digits", 2000, STUDY_TRIALS)
    lines = two("list").out.splitlines()
    assert lines[0].split() == ["study", "data", "set", "budget", "target", "trials", "answer"]
    assert lines[2].startswith("other")
    sizes = f"{rows[1]['num_params']:,} parameters ({rows[1]['deployed_params']:,} deployed)"
    assert f"{sizes}, {rows[1]['test_accuracy']:.2f} % on the test set" in lines[2]


def test_status_without_a_name_is_that_of_the_latest(two: Nas) -> None:
    latest = two("status", "--json")
    assert latest.json["study"] == "other"
    assert "study 'other', the latest" in latest.err


def test_fronts_are_compared(two: Nas, study_copy: Study) -> None:
    rows = two("compare", "small", "other", "--json").json
    front = [row["num_params"] for row in study_copy.search.json["front"]]
    assert [row["num_params"] for row in rows if row["study"] == "small"] == front
    assert [row["num_params"] for row in rows] == sorted(front * 2)
    # Of two equal networks one stands on the common front.
    confirmed = {row["num_params"] for row in rows if row["test_accuracy"] is not None}
    common = [row["num_params"] for row in rows if row["is_on_common_front"]]
    assert common
    assert len(set(common)) == len(common)
    assert set(common) <= confirmed
    shown = two("compare", "small", "other", "-o", "both.html")
    assert len([line for line in shown.out.splitlines() if line.startswith("*")]) == len(common) + 1
    page = (two.cwd / "both.html").read_text()
    assert "other, confirmed on the test set" in page


def test_what_cannot_be_compared(two: Nas) -> None:
    assert "a comparison takes two at least" in two("compare", "small").err
    assert "no study 'gone'" in two("compare", "small", "gone").err
    wrong = two("compare", "small", "other", "-o", "both.png")
    assert (wrong.rc, "--output 'both.png' does not end in .html" in wrong.err) == (2, True)
    arguments = ("--dataset", "digits", "--space", "tiny_digits", "--max-params", 400, "--epochs", 1, "--seeds", 1)
    settings = two.cwd / "studies/other/run/settings.json"
    assert two("search", *arguments, "--trials", 1, "--workers", 1, "--name", "third").rc == 0
    data = '"data": "'
    before = settings.read_text()
    at = before.index(data) + len(data)
    settings.write_text(before[:at] + "0123456789abcdef" + before[at + 16 :])
    refused = two("compare", "small", "other")
    assert refused.rc == 1
    assert "not of the same images" in refused.err
    assert two("compare", "small", "third").rc == 0


def test_images_are_predicted(digits_study: Study) -> None:
    nas = digits_study.nas
    digits = load_digits()
    files = []
    for index in range(8):
        files.append(f"digit{index}.png")
        Image.fromarray((digits.images[index] * 255 / 16).astype(np.uint8)).save(nas.cwd / files[-1])
    predicted = nas("predict", "small", *files, "--json").json
    likeliest = [int(next(iter(one["probabilities"]))) for one in predicted]
    assert sum(a == b for a, b in zip(likeliest, digits.target[:8], strict=True)) >= 6
    for one in predicted:
        assert sum(one["probabilities"].values()) == pytest.approx(1)
    probability = 100 * next(iter(predicted[0]["probabilities"].values()))
    line = nas("predict", "small", files[0]).out
    assert line.startswith(f"digit0.png: {likeliest[0]} ({probability:.1f} %)")
    # Of another size and in color, it is read as a folder's images are.
    Image.open(nas.cwd / files[0]).convert("RGB").resize((32, 32), Image.Resampling.NEAREST).save(nas.cwd / "large.png")
    assert next(iter(nas("predict", "small", "large.png", "--json").json[0]["probabilities"])) == str(likeliest[0])


def test_what_is_no_image_is_not_predicted(digits_study: Study) -> None:
    nas = digits_study.nas
    (nas.cwd / "text.png").write_text("no picture")
    Image.fromarray(np.full((8, 8), 40_000, np.uint16)).save(nas.cwd / "deep.png")
    for name, text in (
        ("gone.png", "there is no file gone.png"),
        ("text.png", "cannot be read as an image"),
        ("deep.png", "more than 8 bits a pixel"),
    ):
        refused = nas("predict", "small", name)
        assert refused.rc == 1
        assert text in refused.err
