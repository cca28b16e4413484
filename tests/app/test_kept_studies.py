"""What is kept under studies/ still says the truth: every module is verified, on the real data where they are there."""

from __future__ import annotations

import ast
import csv
import json
from pathlib import Path
from typing import Any

import pytest

from nas.app.verify import verify_accuracy
from nas.arch import Input
from nas.export.python_module import load_python_module
from nas.model.python_source import module_source
from nas.space import candidate, load_space
from nas.verification.checks import verify_structure

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


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.parent.name)
def test_the_module_is_written_again_as_it_is(path: Path) -> None:
    """Its architecture comes from the genes of its trial; only the line of class names may be new."""
    exported, images = load_python_module(path), Input(1, 28, 28)
    space = load_space(str(path.parent / "space.toml"), images, 10)
    with (path.parent / "trials.csv").open() as file:
        row = next(row for row in csv.DictReader(file) if row["digest"] == exported.claims["digest"])
    found = candidate(space, {name: _read(row[name], type(plain)) for name, plain in space.plain_genes.items()})
    assert found is not None
    docstring = ast.get_docstring(ast.parse(path.read_text()))
    assert docstring is not None
    text = module_source(
        found.architecture,
        provenance=docstring.rpartition("\n\n")[0],
        claims=exported.claims,
        weights_name="net.pt",
        mean=exported.metadata.mean,
        std=exported.metadata.std,
        class_names=tuple(map(str, range(10))),
    )
    assert _without_classes(text) == _without_classes(path.read_text())


def _read(text: str, kind: type[Any]) -> Any:
    return text == "True" if kind is bool else kind(text)


def _without_classes(text: str) -> str:
    return "".join(line for line in text.splitlines(keepends=True) if not line.startswith("CLASSES = "))


@pytest.mark.mnist
@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.parent.name)
def test_accuracy_holds(path: Path, mnist_dir: Path) -> None:
    exported = load_python_module(path)
    assert exported.claims["dataset"] == "mnist"
    check = verify_accuracy(exported, path, mnist_dir, None, lambda what: None)
    assert check is not None
    assert check.holds, check
