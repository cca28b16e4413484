"""A study follows from its seed, its space and its log, however many workers trained it."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import torch
from typer.testing import CliRunner
from watching import Watching

from nas.app.search import Machine, Outcome, search
from nas.cli import app
from nas.coordinator.replay import replay
from nas.coordinator.retrain import retrain
from nas.coordinator.snapshot import Snapshot
from nas.data.arrays import save
from nas.data.images import LoadedImages
from nas.data.known import KNOWN_DATASETS
from nas.data.load import load_dataset
from nas.errors import DataError, StudyError
from nas.space import draw_network, load_space
from nas.storage.address import address_of
from nas.storage.study_store import Store
from nas.study.decision_log import Asked, Began, DecisionLog, Interrupted, Reported, read_log
from nas.study.folder import StudyFolder
from nas.study.settings import StudySettings
from nas.train.software import describe_software

SETTINGS = StudySettings(
    2000, dataset="digits", space="tiny_digits", epochs=3, max_trials=14, target=60.0, num_seeds=1, seed=3
)
ENQUEUED = 3


def _search(
    folder: StudyFolder, settings: StudySettings, workers: int = 1, do: Callable[[Snapshot], object] = lambda _: None
) -> Outcome:
    return search(folder, settings, Machine("cpu", workers), [Watching(do)])


def _weak() -> list[dict[str, Any]]:
    """Networks that are as large as may be and learn slowly, so that they are stopped early."""
    space = load_space("tiny_digits", *KNOWN_DATASETS["digits"].images)
    slow = {"recipe.learning_rate": 0.005, "recipe.augmentation": 0.6, "recipe.batch_size": 64}
    recipe = {name: slow[key] for name, key in space.keys.items() if key in slow}
    rng = random.Random(0)
    return [draw_network(space, SETTINGS.budget, rng, None, 2000).candidate.genes | recipe for _ in range(ENQUEUED)]


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> StudyFolder:
    """Two workers with a target, interrupted; gone on with by one, with networks enqueued before and meanwhile."""
    folder = StudyFolder(tmp_path_factory.mktemp("studies"), "searched")

    def interrupt(snapshot: Snapshot) -> None:
        if sum(r.fate in ("completed", "stopped") for r in snapshot.records) >= 7:
            os.kill(os.getpid(), signal.SIGINT)

    assert _search(folder, SETTINGS, 2, interrupt).interrupted
    study = optuna.load_study(study_name="searched", storage=address_of(folder).url)
    weak = _weak()
    study.enqueue_trial(weak.pop())

    def enqueue(snapshot: Snapshot) -> None:
        if weak:
            study.enqueue_trial(weak.pop())

    assert not _search(folder, SETTINGS, do=enqueue).interrupted
    return folder


@pytest.fixture
def folder(searched: StudyFolder, tmp_path: Path) -> StudyFolder:
    """A copy to tamper with."""
    shutil.copytree(searched.path, tmp_path / "searched")
    return StudyFolder(tmp_path, "searched")


def test_every_decision_is_derived_again(searched: StudyFolder) -> None:
    result = replay(searched)
    records = Store(searched).records()
    assert result.difference is None
    assert (result.draws, result.given, result.not_logged) == (len(records) - ENQUEUED, ENQUEUED, 0)
    first, second = read_log(searched.log_file)
    events = first.events + second.events
    assert len({e.below for e in events if isinstance(e, Asked)}) > 1
    assert any(e.stop for e in events if isinstance(e, Reported))
    # The signal may come when nothing is being trained; then the run has no such line.
    cut_off = set(first.events[-1].trials) if isinstance(first.events[-1], Interrupted) else set()
    assert {w.trial for w in second.began.waiting if w.curve is not None} == cut_off
    assert result.stopping_decisions == sum(e.epoch < 3 for e in events if isinstance(e, Reported))
    assert str(result) == (
        f"{result.draws} draws and {result.stopping_decisions} stopping decisions: all derived again; 3 enqueued "
        f"trials were taken as given"
    )


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (("asked", 4, {"below": 100}), r"trial 4: gene '.*' was .* and is .* \(the search ran on nas .*torch"),
        (("reported", 2, {"stop": True}), "trial 2: the decision after epoch 1 was stop and is go on"),
        (("reported", 1, {"accuracy": 12.5}), r"trial 1: its accuracy after epoch 1 was \d.* and is 12.5"),
        (("finished", 0, {"value": 99.0}), r"trial 0: its value was \d.* and is 99.0"),
        (("finished", 0, {"fate": "failed"}), "trial 0: its fate was completed and is failed"),
        (("finished", 0, {"value": None}), r"trial 0: its value was \d.* and is None"),
        (("asked", 2, {"trial": 7}), "trial 7: its number was 7 and is 2"),
        # Which of the two is met first depends on which worker was faster.
        (
            ("asked", 1, None),
            "trial 1: its place in the log was reported on and is not asked for, or at its end"
            "|trial 2: its number was 2 and is 1",
        ),
    ],
)
def test_a_tampered_log_is_found(
    change: tuple[str, int, dict[str, Any] | None], text: str, folder: StudyFolder
) -> None:
    kind, number, values = change
    lines = folder.log_file.read_text().splitlines()
    at = next(i for i, line in enumerate(lines) if f'"type":"{kind}","trial":{number},' in line)
    lines[at] = json.dumps(json.loads(lines[at]) | values) if values is not None else ""
    folder.log_file.write_text("\n".join(lines))
    with pytest.raises(AssertionError, match=text):
        _agrees(folder)


def _agrees(folder: StudyFolder) -> None:
    result = replay(folder)
    assert result.difference is None, str(result)


def test_a_tampered_gene_is_found(folder: StudyFolder) -> None:
    with closing(sqlite3.connect(folder.run / "study.db")) as database, database:
        (trial_id,) = database.execute("select trial_id from trials where number = 5").fetchone()
        width = "select param_name from trial_params where trial_id = ? and param_name like '%width%'"
        (name,) = database.execute(width, (trial_id,)).fetchone()
        database.execute(
            "update trial_params set param_value = case param_value when 2 then 3 else 2 end "
            "where trial_id = ? and param_name = ?",
            (trial_id, name),
        )
    with pytest.raises(AssertionError, match=rf"trial 5: gene '{name}' was [23] and is "):
        _agrees(folder)


def test_lines_that_a_killed_run_left_unwritten_are_missed_in_that_run_alone(folder: StudyFolder) -> None:
    whole = folder.log_file.read_bytes()
    second = whole.index(b'\n{"type":"began"', 1)
    for cut in range(0, second, second // 7):
        folder.log_file.write_bytes(whole[: second - cut] + whole[second:])
        _agrees(folder)
    assert replay(folder).not_logged > 0
    for end in (len(whole) - 1, len(whole) - 2, len(whole) - 30):
        folder.log_file.write_bytes(whole[:end])
        _agrees(folder)


def test_a_study_goes_on_after_a_line_that_was_cut(folder: StudyFolder) -> None:
    folder.log_file.write_bytes(folder.log_file.read_bytes()[:-20])
    _search(folder, replace(SETTINGS, max_trials=11))
    assert len(read_log(folder.log_file)) == 3
    _agrees(folder)


def test_a_log_that_is_damaged_or_missing_is_a_clear_error(folder: StudyFolder) -> None:
    lines = folder.log_file.read_text().splitlines()
    folder.log_file.write_text("\n".join([*lines[:9], lines[9][:20], *lines[10:]]))
    with pytest.raises(StudyError, match=r"log.jsonl is damaged in line 10; restore it"):
        replay(folder)
    folder.log_file.write_text("\n".join(lines).replace('"trials":0', '"trials":99', 1))
    with pytest.raises(
        StudyError, match=r"the log of study 'searched' knows 99 trials, and .*study.db holds \d+; rest"
    ):
        replay(folder)
    folder.log_file.unlink()
    with pytest.raises(
        StudyError, match=r"cannot read .*log.jsonl: No such file .*made before there were logs has none"
    ):
        replay(folder)


def test_a_full_disk_keeps_no_line_from_the_log(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.symlink_to("/dev/full")
    log = DecisionLog(path)
    log.add(Began(0, (), False, "x"))
    for number in range(3):
        log.add(Asked(number, None))
    path.unlink()
    log.add(Asked(3, 8))
    (run,) = read_log(path)
    assert run.events == [Asked(0, None), Asked(1, None), Asked(2, None), Asked(3, 8)]


def test_a_trial_of_a_worker_process_is_trained_again_in_this_one(searched: StudyFolder, folder: StudyFolder) -> None:
    again = retrain(searched, 0, load_dataset("digits"))
    assert again.is_same, str(again)
    assert str(again) == "trial 0: 3 epochs trained again, the same accuracies to the bit"
    with closing(sqlite3.connect(folder.run / "study.db")) as database, database:
        seed = "update trial_user_attributes set value_json = '1' where key = 'seed' and trial_id = ?"
        database.execute(seed, database.execute("select trial_id from trials where number = 0").fetchone())
    text = str(retrain(folder, 0, load_dataset("digits")))
    assert text.startswith("trial 0: the accuracies of 3 epochs differ by up to ")
    assert f"; then {describe_software()}; now {describe_software()}, on one thread of this CPU" in text


def test_the_command_says_what_it_found(searched: StudyFolder, folder: StudyFolder) -> None:
    def run(*arguments: str, of: StudyFolder = searched) -> tuple[int, str]:
        done = CliRunner().invoke(app, ["replay", "searched", "--studies", str(of.path.parent), *arguments])
        return done.exit_code, done.stdout

    code, text = run()
    assert code == 0
    assert "stopping decisions: all derived again" in text
    code, text = run("--trial", "0", "--json")
    assert (code, json.loads(text)["same"]) == (0, True)
    folder.log_file.write_text(folder.log_file.read_text().replace('"trial":0,"epoch":3', '"trial":0,"epoch":4'))
    code, text = run("--json", of=folder)
    found = json.loads(text)
    assert (code, found["same"], found["difference"]["trial"]) == (1, False, 0)


def test_a_clock_that_jumps_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An hour forward or two back each time that anybody looks at it; only the monotonic clock measures spans."""
    real, looks = time.time, []  # noqa: TID251

    def jumping() -> float:
        looks.append(1)
        return real() + 3600 * random.Random(len(looks)).randint(-2, 1)

    class Jumping(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime.fromtimestamp(jumping(), tz) + timedelta(0)

    monkeypatch.setattr(time, "time", jumping)
    monkeypatch.setattr("optuna.storages._in_memory.datetime", Jumping)
    monkeypatch.setattr("optuna.storages._rdb.storage.datetime", Jumping)
    seconds: list[float] = []
    began = time.monotonic()
    folder = StudyFolder(tmp_path, "jumping")
    settings = replace(SETTINGS, max_trials=3, max_seconds=1800.0, target=None)
    records = _search(folder, settings, do=lambda s: seconds.append(s.seconds)).records
    took = time.monotonic() - began
    assert len(looks) > 10
    assert sum(r.fate in ("completed", "stopped") for r in records) == 3
    assert seconds == sorted(seconds)
    assert 0 < seconds[-1] <= took
    spent = [r.train_seconds for r in records] + [c.train_seconds for r in records for c in r.confirmations]
    assert all(s > 0 for s in spent if s)
    assert sum(spent) <= took
    _agrees(folder)


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_images_that_disappear_are_missed_on_resume_alone(kind: str, tmp_path: Path) -> None:
    data = _images(tmp_path, kind)
    folder = StudyFolder(tmp_path, "vanishing")
    settings = replace(SETTINGS, dataset=str(data), max_trials=2, target=None)

    def remove(snapshot: Snapshot) -> None:
        if data.exists():
            data.rename(tmp_path / "elsewhere")

    records = _search(folder, settings, do=remove).records
    assert not data.exists()
    assert {r.fate for r in records} == {"completed"}
    assert any(r.confirmations for r in records)
    with pytest.raises(DataError, match=f"there is no {kind} {data}; check the path"):
        _search(folder, replace(settings, max_trials=3))
    _agrees(folder)
    (tmp_path / "elsewhere").rename(data)
    assert len(_search(folder, replace(settings, max_trials=3)).records) == 3
    _agrees(folder)


def _images(root: Path, kind: str) -> Path:
    """A part of the digits, as a file of arrays or as a folder of images."""
    digits = load_dataset("digits")
    train, test = (part.subset(torch.arange(200)) for part in (digits.train, digits.test))
    if kind == "file":
        save(root / "digits.npz", LoadedImages(train, test, digits.classes))
        return root / "digits.npz"
    from PIL import Image

    for name, part in (("train", train), ("test", test)):
        for number, (image, label) in enumerate(zip(part.images, part.labels, strict=True)):
            path = root / "digits" / name / str(int(label)) / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.asarray(image[0])).save(path)
    return root / "digits"
