"""What is kept under studies/ opens and still says the truth: every module is verified, on real data where they lie."""

from __future__ import annotations

import ast
import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

import nas
from nas.app.verify import verify_accuracy
from nas.arch import Input, Recipe
from nas.cli import app
from nas.coordinator.warm_start import warm_start
from nas.errors import NasError, StudyError
from nas.export.python_module import load_python_module
from nas.model.python_source import module_source
from nas.space import candidate, load_space
from nas.study.folder import StudyFolder, find_study
from nas.study.kept import kept_records
from nas.study.resolve_settings import default_name
from nas.verification.checks import verify_structure

STUDIES = Path(__file__).parents[2] / "studies"
MODULES = sorted(STUDIES.glob("*/net.py"))


def test_there_are_some() -> None:
    assert MODULES


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)))


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with no study and no images: what comes with nas is found from anywhere."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NAS_DATA_DIR", str(tmp_path / "none"))
    return tmp_path


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.parent.name)
def test_it_opens_with_the_figures_that_were_kept(elsewhere: Path, path: Path) -> None:
    name = path.parent.name
    shown, kept = json.loads(run("status", name, "--json").stdout), json.loads((path.parent / "front.json").read_text())
    same = ("answer", "target_confirmed", "trials", "train_seconds", "warm_start", "references", "test_readings")
    assert [_known(row) for row in shown["front"]] == [_known(row) for row in kept["front"]]
    if "deployed_params" not in kept["references"][0]:  # it was not said then
        for reference in shown["references"]:
            reference.pop("deployed_params")
    assert {key: shown[key] for key in same} == {key: kept[key] for key in same}
    assert shown["candidates"] is None  # that is not kept
    assert run("report", name, "-o", "out").exit_code == 0
    assert "Which classes it confuses is not kept" not in Path("out/report.html").read_text()
    for row, before in zip(_rows(Path("out/trials.csv")), _rows(path.parent / "trials.csv"), strict=True):
        assert row == {"deployed_params": ""} | before


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        rows = list(csv.DictReader(file))
    return [row | ({"test_spread": ""} if row["seeds"] == "1" else {}) for row in rows]  # one seed has none


def _known(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if value is not None}


def test_none_is_in_the_way_of_the_main_command() -> None:
    """`nas search --max-params 8000 --target 99.4` in a clone begins a study beside these."""
    assert not (STUDIES / default_name("mnist", "general", 8000)).exists()


def test_what_takes_no_training_works(elsewhere: Path) -> None:
    assert "3,243 parameters reach 99.50 % ± 0.09" in run("status", "mnist-3300-b").output
    assert "dashboard" not in run("status", "mnist-3300-b").output
    listed = json.loads(run("list", "--studies", STUDIES, "--json").stdout)
    assert {row["study"] for row in listed} == {path.parent.name for path in MODULES}
    compared = json.loads(run("compare", "mnist-3300-b", "mnist-1400", "--json").stdout)
    assert [(row["study"], row["trial"]) for row in compared if row["is_on_common_front"]] == [
        ("mnist-1400", 1),
        ("mnist-3300-b", 1),
    ]
    assert run("export", "mnist-3300-b", "-o", "net.py").exit_code == 0
    exported, kept = load_python_module(Path("net.py")), load_python_module(STUDIES / "mnist-3300-b/net.py")
    assert kept.claims.items() <= exported.claims.items()
    study = nas.open_study("mnist-3300-b")
    assert study.confusion().to_numpy().trace() == 9961  # the network's figure, of 10,000 images


def test_it_begins_another_search(elsewhere: Path) -> None:
    settings = find_study(Path("studies"), "mnist-3300-b").settings()
    space = load_space("separable", Input(1, 28, 28), 10)
    start = warm_start(replace(settings, warm_start=("mnist-3300-b",)), space, Path("studies"))
    # Those that reached 99.4 first.
    assert list(start.networks) == [f"trial {number} of mnist-3300-b" for number in (2, 1, 0)]
    assert not start.left_out


@pytest.mark.parametrize(
    "command",
    ["dashboard", "confirm", "replay", f"search --studies {STUDIES} --name"],
    ids=lambda command: command.split()[0],
)
def test_what_takes_its_trainings_says_what_to_do_instead(elsewhere: Path, command: str) -> None:
    refused = run(*command.split(), "mnist-3300-b")
    assert refused.exit_code == 1
    assert "only the results are kept" in str(refused.exception)
    assert "nas search --warm-start mnist-3300-b" in str(refused.exception)


def test_curves_are_not_kept(elsewhere: Path) -> None:
    with pytest.raises(StudyError, match="only the results are kept"):
        nas.open_study("mnist-3300-b").curves()
    with pytest.raises(StudyError, match=r"trial 0 .* has no network in .*; export another trial"):
        nas.open_study("mnist-3300-b").export("net.py", 0)


@pytest.mark.parametrize(
    ("name", "before", "after", "problem"),
    [
        ("trials.csv", "completed", "finished", r"trials.csv is damaged: fate: .*restore it"),
        ("trials.csv", "99.4956", "nan", r"trials.csv is damaged: .*restore it"),
        ("front.json", '"front"', '"back"', r"front.json is damaged: .*restore it"),
        ("study.json", "{", "", r"study.json is damaged: .*restore it"),
        ("space.toml", "[", "", r"space.toml"),
    ],
)
def test_a_damaged_file_is_named(elsewhere: Path, name: str, before: str, after: str, problem: str) -> None:
    shutil.copytree(STUDIES / "mnist-3300-b", "studies/damaged")
    file = Path("studies/damaged", name)
    file.write_text(file.read_text().replace(before, after, 1))
    with pytest.raises(NasError, match=problem):
        nas.open_study("damaged").front()


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
    """Its architecture comes from the genes of its trial; only the class names and what is exported from are new."""
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
        recipe=Recipe(),
    )
    written, kept = (
        code.partition("\n\n\n# The same network as data")[0] for code in (text, path.read_text().rstrip())
    )
    assert _without_classes(written) == _without_classes(kept)


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


def test_a_kept_study_of_deployed_parameters_needs_them(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path, "kept")
    shutil.copytree(STUDIES / "mnist-1400", folder.path)
    document, trials = folder.kept_file.read_text(), folder.path / "trials.csv"
    folder.kept_file.write_text(document.replace('"settings": {', '"settings": {"count": "deployed",', 1))
    with pytest.raises(StudyError, match=r"damaged: deployed_params: missing, and the study goes by it; restore it$"):
        kept_records(folder)
    head, *rows = trials.read_text().splitlines()
    trials.write_text("\n".join([f"{head},deployed_params", *(f"{row},{n}" for n, row in enumerate(rows, 1))]))
    assert [record.size for record in kept_records(folder)] == [*range(1, len(rows) + 1)]
