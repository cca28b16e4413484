"""From a study in its storage to what is shown of it: the report's facts, the dashboard's figure and note."""

from __future__ import annotations

import html
import itertools
import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import optuna_dashboard
import pytest
from conftest import STUDY_TRIALS
from optuna.artifacts import get_all_artifact_meta
from PIL import Image
from watching import Watching

from nas.app.search import Machine, search
from nas.coordinator.coordinator import Snapshot
from nas.dashboard import content
from nas.dashboard.artifacts import SEEDS_SHOWN
from nas.dashboard.content import FIGURE, Refresher, refresh
from nas.dashboard.server import _ReadOnly
from nas.errors import StudyError
from nas.report.files import write_report
from nas.storage.locks import BusyError, locked
from nas.storage.study_store import Store
from nas.strategy import stopping
from nas.study.folder import StudyFolder
from nas.study.records import Confirmation

if TYPE_CHECKING:
    from conftest import Study


@pytest.fixture
def folder(study_copy: Study) -> StudyFolder:
    return StudyFolder(study_copy.nas.cwd / "studies", "small")


def note_of(folder: StudyFolder) -> str:
    return optuna_dashboard.get_note(Store(folder).study)


def add_confirmation(store: Store, number: int, seed: int) -> None:
    """As a search does, which alone may write."""
    confirmation = Confirmation(seed, (100.0,) * 3, 1.0, place=9)  # after those whose networks are kept
    store.study.set_user_attr(f"confirmation:{number}:{seed}", asdict(confirmation))


def figure_of(folder: StudyFolder) -> dict[str, object]:
    attributes = Store(folder).storage.get_study_system_attrs(1)
    prefix = f"dashboard:plot_data:{FIGURE}:"
    pieces = {int(key.removeprefix(prefix)): value for key, value in attributes.items() if key.startswith(prefix)}
    figure: dict[str, object] = json.loads("".join(pieces[i] for i in sorted(pieces)))
    return figure


def test_the_report_of_a_real_study(study_copy: Study) -> None:
    assert "wrote studies/small/report.html" in study_copy.nas("report", "small").out
    page = (study_copy.path / "report.html").read_text()
    assert study_copy.search.json["answer"] in html.unescape(page)
    assert "nas search --name small --max-params 2000 --dataset digits --space tiny_digits" in page
    assert "<svg" in page
    assert "On 359 test images" in page
    elsewhere = study_copy.nas("report", "small", "--studies", study_copy.path.parent, "-o", "out")
    assert elsewhere.rc == 0
    assert f"--studies {study_copy.path.parent}" in (study_copy.nas.cwd / "out" / "report.html").read_text()


def test_a_network_that_is_not_kept_is_not_drawn(folder: StudyFolder, tmp_path: Path) -> None:
    shutil.rmtree(folder.run / "networks")
    page, *_ = write_report(folder, Store(folder).records(), tmp_path / "out")
    assert "cannot be drawn" in page.read_text()


def test_the_figure_and_the_note_keep_up_with_the_study(folder: StudyFolder) -> None:
    optuna_dashboard.save_note(Store(folder).study, "")  # the search has left its own
    fresh = _ReadOnly(Refresher(lambda: Store(folder)), lambda environ, start_response: [b""])
    ask = {"PATH_INFO": "/api/studies/1"}
    fresh({"PATH_INFO": "/static/bundle.js"}, print)
    assert note_of(folder) == ""
    fresh(ask, print)
    first = note_of(folder)
    assert first.startswith("### What nas found\n\n**")
    assert len(figure_of(folder)["data"]) == 6  # type: ignore[arg-type]
    store = Store(folder)
    number = next(r.number for r in store.records() if r.fate == "completed" and not r.confirmations)
    for seed in range(2):
        add_confirmation(store, number, seed)
    fresh(ask, print)
    assert note_of(folder) == first  # not yet
    fresh._refresher.next_look = 0.0  # a moment later, however long the last look took
    fresh(ask, print)
    assert "100.00 ± 0.00" in note_of(folder) or "100.00 %" in note_of(folder)


def test_a_persons_note_is_left_alone(folder: StudyFolder) -> None:
    store = Store(folder)
    optuna_dashboard.save_note(store.study, "mine")
    refresh(store)
    assert note_of(folder) == "mine"
    assert figure_of(folder)["data"]


def test_a_storage_that_fails_does_not_end_the_dashboard(folder: StudyFolder) -> None:
    answers = _ReadOnly(Refresher(lambda: Store(folder)), lambda environ, start_response: [b"still here"])
    shutil.rmtree(folder.run)
    with pytest.raises(StudyError):
        Store(folder)
    assert list(answers({"PATH_INFO": "/api/studies"}, print)) == [b"still here"]


def artifacts_of(folder: StudyFolder) -> dict[str, Path]:
    """The files of the study's artifacts by name."""
    found = get_all_artifact_meta(Store(folder).study)
    files = {meta.filename: folder.run / "artifacts" / meta.artifact_id for meta in found}
    assert len(files) == len(found)
    return files


def test_a_search_leaves_figure_note_and_artifacts(study_copy: Study, folder: StudyFolder, tmp_path: Path) -> None:
    assert study_copy.search.json["answer"] in note_of(folder)
    assert len(figure_of(folder)["data"]) == 6  # type: ignore[arg-type]
    confirmed = [r for r in Store(folder).records() if r.confirmed]
    files, number = artifacts_of(folder), confirmed[0].number
    assert files.keys() == {f"trial_{r.number}{kind}" for r in confirmed for kind in (".png", ".py", ".pt")}
    with Image.open(files[f"trial_{number}.png"]) as drawing:
        assert drawing.format == "PNG"
    for name, file in files.items():
        shutil.copy(file, tmp_path / name)
    assert study_copy.nas("verify", tmp_path / f"trial_{number}.py").rc == 0


def test_an_added_seed_rewrites_the_artifacts(folder: StudyFolder) -> None:
    def contents() -> dict[str, bytes]:
        return {name: file.read_bytes() for name, file in artifacts_of(folder).items()}

    before, files = contents(), artifacts_of(folder)
    refresh(Store(folder))
    assert contents() == before
    store = Store(folder)
    number = next(r.number for r in store.records() if r.confirmed)
    add_confirmation(store, number, 7)
    refresh(Store(folder))
    assert artifacts_of(folder) == files
    after = contents()
    changed = {name for name in after if after[name] != before[name]}
    assert f"trial_{number}.py" in changed
    assert {Path(name).stem for name in changed} == {f"trial_{number}"}
    seeds = store.record(number).confirmed.num_seeds  # type: ignore[union-attr]
    assert f'"seeds": {seeds},'.encode() in after[f"trial_{number}.py"]


def test_artifacts_that_were_cut_off_are_written_again(folder: StudyFolder) -> None:
    store, files = Store(folder), artifacts_of(folder)
    module = next(file for name, file in files.items() if name.endswith(".py"))
    whole = module.read_bytes()
    module.write_bytes(whole[:10])
    store.study.set_user_attr(SEEDS_SHOWN, {})
    with locked(folder.run / "artifacts.lock", "small"), pytest.raises(BusyError):
        refresh(store)  # another process has begun to
    refresh(store)
    assert artifacts_of(folder) == files
    assert module.read_bytes() == whole


def test_a_figure_is_whole_at_any_moment(folder: StudyFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever reads between two writes gets the figure of before or of after."""
    storage = type(Store(folder).storage)
    write = storage.set_study_system_attr
    seen = []

    def watched(self: object, *arguments: object) -> None:
        write(self, *arguments)
        seen.append(len(figure_of(folder)["data"]))  # type: ignore[arg-type]

    monkeypatch.setattr(storage, "set_study_system_attr", watched)
    refresh(Store(folder))
    assert seen
    assert set(seen) == {6}


def test_a_search_keeps_the_figure_fresh_while_it_runs(folder: StudyFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "REFRESH_EVERY", 0.0)
    monkeypatch.setattr(content, "MOST_OF_TIME", 1.0)
    monkeypatch.setattr(stopping, "LEAST_COMPLETED", 1000)  # every trial is completed, and so seen in the figure
    shown = []

    def look(snapshot: Snapshot) -> None:
        """Before the refresh of this moment."""
        trials = next(t for t in figure_of(folder)["data"] if t.get("name") == "trials, validation")  # type: ignore
        completed = sum(r.fate == "completed" for r in snapshot.records)
        shown.append((len(trials["x"]), completed))

    search(folder, replace(folder.settings(), max_trials=STUDY_TRIALS + 2), Machine("cpu", 1), [Watching(look)])
    assert shown[-1][1] > shown[0][1]
    assert shown[-1][0] > shown[0][0]
    assert all(before <= completed for (_, completed), (before, _) in itertools.pairwise(shown))  # it may lag behind
