"""What is kept under studies/ still says the truth: every module is verified, on the real data where they are there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nas.app.export import verify_accuracy
from nas.export.python_module import load_python_module
from nas.export.verify import verify_structure

STUDIES = Path(__file__).parents[2] / "studies"
MODULES = sorted(STUDIES.glob("*/net.py"))


def test_there_are_some() -> None:
    assert MODULES


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.parent.name)
def test_structure_holds_and_the_front_names_it(path: Path) -> None:
    exported = load_python_module(path)
    checks = verify_structure(exported)
    assert checks
    assert all(check.holds for check in checks), checks
    front = json.loads((path.parent / "front.json").read_text())
    (row,) = [row for row in front["front"] if row["digest"] == exported.claims["digest"]]
    assert row["num_params"] == exported.claims["num_params"]
    assert row["test_accuracy"] == exported.claims["test_accuracy"]


@pytest.mark.mnist
@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.parent.name)
def test_accuracy_holds(path: Path, mnist_dir: Path) -> None:
    exported = load_python_module(path)
    assert exported.claims["dataset"] == "mnist"
    check = verify_accuracy(exported, path, mnist_dir)
    assert check is not None
    assert check.holds, check
