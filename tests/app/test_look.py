"""Looking at a study reads neither its images nor its space."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from conftest import Nas


def _write_images(folder: Path, per_class: int) -> None:
    rng = np.random.default_rng(0)
    for part, count in (("train", per_class), ("test", 4)):
        for label in range(2):
            (folder / part / f"class{label}").mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 128, (8, 8)) + 100 * label
                Image.fromarray(pixels.astype(np.uint8)).save(folder / part / f"class{label}" / f"{number}.png")


def test_a_study_of_a_folder_is_looked_at_without_the_folder(nas: Nas) -> None:
    _write_images(nas.cwd / "images", 24)
    small = ("--max-params", 400, "--space", "tiny_digits", "--epochs", 1, "--trials", 2, "--seeds", 1)
    searched = nas("search", "--dataset", "images", *small, "--workers", 1, "--name", "own", "--json")
    assert searched.rc == 0, searched.err
    shutil.rmtree(nas.cwd / "images")
    (nas.cwd / "studies/own/run/space.toml").write_text("not a space")  # nor is that read
    assert nas("status", "own", "--json").json == searched.json
    shown = nas("status", "own").out
    assert "▇" in shown  # the network that answers is drawn
    assert nas("report", "own").rc == 0
    assert "<svg" in (nas.cwd / "studies/own/report.html").read_text()
    for name in ("net.py", "net.onnx", "net.h"):
        exported = nas("export", "own", "-o", name)
        assert exported.rc == 0, exported.err
    refused = nas("export", "own", "-o", "net.int8.pt")
    assert refused.rc == 1
    assert "there is no folder" in refused.err


def test_a_study_may_be_renamed(nas: Nas) -> None:
    small = ("--dataset", "digits", "--max-params", 400, "--space", "tiny_digits", "--epochs", 1, "--seeds", 1)
    before = nas("search", *small, "--trials", 2, "--workers", 1, "--name", "before", "--json")
    assert before.rc == 0, before.err
    (nas.cwd / "studies/before").rename(nas.cwd / "studies/after")
    assert nas("status", "after", "--json").json == before.json | {"study": "after"}
    resumed = nas("search", "--name", "after", "--trials", 3, "--workers", 1, "--json")
    assert resumed.rc == 0, resumed.err
    assert sum(resumed.json["trials"].values()) == 3
    assert nas("replay", "after").rc == 0
