"""From a study in its storage to what is shown of it: the report's facts, the dashboard's figure and note."""

from __future__ import annotations

import html
import json
import shlex
import shutil
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

import optuna_dashboard
import pytest

from nas.errors import StudyError
from nas.results.records import Confirmation
from nas.search import Store, StudyFolder, StudySettings
from nas.search.dashboard import FIGURE, REFRESH_EVERY, _Fresh, refresh
from nas.search.reporting import KNOWN_PARTS, architectures, search_command, write_report
from nas.space import KNOWN_IMAGES
from nas.train.data import VALIDATION_FRACTION, load_dataset, split

if TYPE_CHECKING:
    from conftest import Study


@pytest.fixture
def folder(study_copy: Study) -> StudyFolder:
    return StudyFolder(study_copy.nas.cwd / "studies", "small")


def note_of(folder: StudyFolder) -> str:
    return optuna_dashboard.get_note(Store(folder).study)


def figure_of(folder: StudyFolder) -> dict[str, object]:
    attributes = Store(folder).study._storage.get_study_system_attrs(1)
    prefix = f"dashboard:plot_data:{FIGURE}:"
    pieces = {int(key.removeprefix(prefix)): value for key, value in attributes.items() if key.startswith(prefix)}
    figure: dict[str, object] = json.loads("".join(pieces[i] for i in sorted(pieces)))
    return figure


@pytest.mark.parametrize(
    ("settings", "command"),
    [
        (StudySettings(8000), "nas search --name s --max-params 8000"),
        (
            StudySettings(8000, dataset="my pictures", colour=True, target=99.4, time=90.0, seed=3),
            "nas search --name s --max-params 8000 --dataset 'my pictures' --colour --seed 3 --target 99.4 --time 90",
        ),
        (StudySettings(8000, max_macs=9, colour=False), "nas search --name s --max-params 8000 --max-macs 9 --grey"),
    ],
)
def test_the_command_that_runs_it_again(settings: StudySettings, command: str) -> None:
    assert search_command("s", settings) == command


def test_every_setting_has_its_option(study_copy: Study) -> None:
    shown = study_copy.nas("search", "--help", env={"COLUMNS": "300", "NO_COLOR": "1"}).out
    options = {f"--{f.name.replace('_', '-')}" for f in fields(StudySettings)}
    assert {option for option in options if option not in shown} == set()
    assert "--grey" in shown
    assert shlex.split(search_command("a b", StudySettings(1)))[3] == "a b"


def test_the_known_parts_are_those_of_the_data() -> None:
    assert KNOWN_PARTS.keys() == KNOWN_IMAGES.keys()
    dataset = load_dataset("digits", None)
    assert KNOWN_PARTS["digits"] == (len(dataset.train), len(dataset.test))
    _, validation = split(dataset.train.labels, VALIDATION_FRACTION, 0)
    assert len(validation) == round(len(dataset.train) * VALIDATION_FRACTION)


def test_the_networks_are_made_again_and_a_wrong_digest_is_left_out(folder: StudyFolder) -> None:
    records = Store(folder).records()
    assert architectures(folder, records, KNOWN_IMAGES["digits"]).keys() == {r.number for r in records}
    assert architectures(folder, records, KNOWN_IMAGES["mnist"]) == {}  # other networks, by their digests
    assert architectures(folder, records, None) == {}


def test_the_report_of_a_real_study(study_copy: Study) -> None:
    assert "wrote studies/small/report.html" in study_copy.nas("report", "small").out
    page = (study_copy.path / "report.html").read_text()
    assert study_copy.search.json["answer"] in html.unescape(page)
    assert "nas search --name small --max-params 2000 --dataset digits --space tiny_digits" in page
    assert "<svg" in page  # its networks were made again from their genes
    assert "On 359 test images" in page


def test_a_study_of_a_folder_that_is_gone_is_reported_without_drawings(folder: StudyFolder, tmp_path: Path) -> None:
    document = json.loads(folder.settings_file.read_text())
    document["settings"]["dataset"] = str(tmp_path / "gone")
    folder.settings_file.write_text(json.dumps(document))
    page, *_ = write_report(folder, tmp_path / "out", {})
    assert "cannot be drawn" in page.read_text()


def test_the_figure_and_the_note_keep_up_with_the_study(folder: StudyFolder) -> None:
    fresh = _Fresh(folder, lambda environ, start_response: [b""])
    ask = {"PATH_INFO": "/api/studies/1"}
    fresh({"PATH_INFO": "/static/bundle.js"}, print)
    assert note_of(folder) == ""
    fresh(ask, print)
    first = note_of(folder)
    assert first.startswith("### What nas found\n\n**")
    assert len(figure_of(folder)["data"]) == 6  # type: ignore[arg-type]
    store = Store(folder)
    number = next(r.number for r in store.records() if r.fate == "completed")
    for seed in range(2):
        store.add_confirmation(number, Confirmation(seed, (100.0,) * 3, 1.0))
    fresh(ask, print)
    assert note_of(folder) == first  # not yet
    fresh._looked -= REFRESH_EVERY
    fresh(ask, print)
    assert "100.00 ± 0.00" in note_of(folder) or "100.00 %" in note_of(folder)


def test_a_persons_note_is_left_alone(folder: StudyFolder) -> None:
    store = Store(folder)
    optuna_dashboard.save_note(store.study, "mine")
    refresh(store)
    assert note_of(folder) == "mine"
    assert figure_of(folder)["data"]


def test_a_storage_that_fails_does_not_end_the_dashboard(folder: StudyFolder) -> None:
    answers = _Fresh(folder, lambda environ, start_response: [b"still here"])
    shutil.rmtree(folder.run)
    with pytest.raises(StudyError):
        Store(folder)
    assert list(answers({"PATH_INFO": "/api/studies"}, print)) == [b"still here"]
