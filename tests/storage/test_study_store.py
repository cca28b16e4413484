"""One coordinator at a time, and what a crash, a lost answer or a full disk leaves behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
import pytest
from watching import Watching

from nas.app.search import Machine, Outcome, search
from nas.coordinator import coordinator
from nas.coordinator.coordinator import Snapshot
from nas.data.known import KNOWN_DATASETS
from nas.errors import StudyError
from nas.space import Candidate, candidate, load_space
from nas.storage.address import Storage, StorageAddress
from nas.storage.locks import BusyError, StorageError, locked
from nas.storage.search_store import SearchStore
from nas.storage.study_store import Store
from nas.strategy.optuna_pruner import ParetoPruner
from nas.strategy.optuna_sampler import BudgetSampler, distributions_of
from nas.study.folder import StudyFolder
from nas.study.settings import StudySettings

if TYPE_CHECKING:
    from conftest import Nas

SETTINGS = StudySettings(2000, dataset="digits", space="tiny_digits", epochs=2, max_trials=4, num_seeds=1)
HERE = Machine(device="cpu", workers=1)


def _search(folder: StudyFolder, address: StorageAddress | None = None, watching: Watching | None = None) -> Outcome:
    return search(folder, SETTINGS, HERE, [watching or Watching()], address)


def _fates(outcome: Outcome) -> list[str]:
    return [record.fate for record in outcome.records]


# One coordinator


def test_a_second_coordinator_is_refused(nas: Nas) -> None:
    command = ("search", "--dataset", "digits", "--space", "tiny_digits", "--max-params", 2000, "--name", "a")
    first = nas.start(*command, "--time", "10m", "--epochs", 100, "--workers", 1)
    lock = nas.cwd / "studies/a/run/lock"
    deadline = time.monotonic() + 60
    while not (lock.exists() and lock.read_text()):
        assert first.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    second = nas(*command)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    assert second.rc == 1
    assert f"study 'a' is being worked on by process {first.pid} on" in second.err
    assert "wait for that or stop it, or give this search another --name" in second.err
    with locked(lock, "a"):  # it died with its process
        pass


def test_a_lock_is_held_by_one(tmp_path: Path) -> None:
    busy = pytest.raises(BusyError, match="study 'a' is being worked on by process")
    with locked(tmp_path / "lock", "a"), busy, locked(tmp_path / "lock", "a"):
        pass
    with locked(tmp_path / "lock", "a"):
        pass


# What a crash leaves behind


def test_a_torn_line_of_a_journal_is_cut_before_the_next(tmp_path: Path) -> None:
    folder, journal = StudyFolder(tmp_path, "a"), tmp_path / "trials.journal"
    first = _search(folder, StorageAddress.parse(f"journal://{journal}"))
    with journal.open("ab") as file:
        file.write(b'{"op_code":8,"worker_id":"x","trial_id":0,"user_at')
    assert Store(folder).records() == first.records
    again = search(folder, replace(SETTINGS, max_trials=5), HERE, [Watching()])
    assert len(again.records) == len(first.records) + 1
    assert Store(folder).records() == again.records
    assert all(json.loads(line) for line in journal.read_text().splitlines())


def test_the_lock_of_a_killed_writer_holds_nobody_up(tmp_path: Path) -> None:
    journal = tmp_path / "trials.journal"
    script = (
        "import sys, time; from pathlib import Path; from nas.storage.journal_lock import JournalLock\n"
        "Path(sys.argv[1]).touch(); JournalLock(Path(sys.argv[1])).acquire(); print('locked', flush=True)\n"
        "time.sleep(60)"
    )
    writer = subprocess.Popen([sys.executable, "-c", script, str(journal)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    assert writer.stdout.readline() == "locked\n"
    writer.kill()
    writer.communicate()
    began = time.monotonic()
    study = optuna.create_study(study_name="a", storage=StorageAddress.parse(f"journal://{journal}").open("a"))
    study.set_user_attr("x", 1)
    assert time.monotonic() - began < 25  # an orphaned lock would be waited for, 30 s


def test_a_storage_that_disappears_ends_the_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite would go on writing to the file that nobody can open any more."""
    monkeypatch.setattr(coordinator, "STORAGE_PATIENCE", 0.5)
    folder = StudyFolder(tmp_path, "a")

    def remove(snapshot: Snapshot) -> None:
        for path in folder.run.glob("study.db*"):
            path.unlink()

    watching = Watching(remove)
    with pytest.raises(StorageError, match=r"study.db is gone, or another file than when this search began"):
        _search(folder, watching=watching)
    assert any("trying again for" in text for text in watching.said)
    (folder.run / "weights").mkdir(exist_ok=True)
    (folder.run / "weights/trial_0.pt").touch()
    with pytest.raises(StudyError, match=r"study.db holds no study 'a'; restore it, or remove .* to start anew"):
        _search(folder)


def test_a_storage_that_comes_back_is_written_to_again(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path, "a")
    away = folder.run / "away"
    moved: list[bool] = []

    def take(snapshot: Snapshot) -> None:
        if len(snapshot.records) == 2 and not moved:
            moved.append(True)
            database = folder.run / "study.db"
            database.rename(away)
            threading.Timer(1.5, lambda: away.rename(database)).start()

    watching = Watching(take)
    outcome = _search(folder, watching=watching)
    assert moved
    assert sum("trying again for 10 minutes" in text for text in watching.said) == 1
    assert sum(fate in ("completed", "stopped") for fate in _fates(outcome)) == 4
    assert Store(folder).records() == outcome.records


def test_a_signal_ends_a_search_that_waits_for_its_storage(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path, "a")
    database, away = folder.run / "study.db", folder.run / "away"

    class Impatient(Watching):
        def say(self, text: str) -> None:
            super().say(text)
            if "trying again" in text:
                os.kill(os.getpid(), signal.SIGTERM)

    def take(snapshot: Snapshot) -> None:
        if len(snapshot.records) == 2:
            database.rename(away)

    outcome = _search(folder, watching=Impatient(take))
    assert outcome.interrupted
    away.rename(database)
    before = Store(folder).records()
    assert [record.fate for record in before] == ["completed", "running"]
    again = _search(folder)
    assert not again.interrupted
    assert replace(again.records[0], confirmations=()) == before[0]
    assert sum(fate in ("completed", "stopped") for fate in _fates(again)) == 4
    assert Store(folder).records() == again.records


def test_a_full_disk_ends_the_search_and_not_its_trials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = StudyFolder(tmp_path, "a")
    write = Path.write_bytes

    def write_until_full(path: Path, data: bytes) -> int:
        return write(Path("/dev/full") if "trial_1." in path.name else path, data)

    monkeypatch.setattr(Path, "write_bytes", write_until_full)
    with pytest.raises(StudyError, match="trial 1 could not be kept: No space left on device; see to that, then res"):
        _search(folder)
    assert [record.fate for record in Store(folder).records()] == ["completed", "interrupted"]
    assert not list(folder.run.glob("networks/*trial_1*"))
    monkeypatch.undo()
    assert sum(fate in ("completed", "stopped") for fate in _fates(_search(folder))) == 4


def test_an_answer_that_is_lost_on_its_way_changes_nothing_twice(tmp_path: Path) -> None:
    """The change was made, and the coordinator could not know: it makes every one again."""
    store, sampler = _store(tmp_path)
    write = store._write

    def twice(change: Any) -> None:
        write(change)
        write(change)

    store._write = twice  # type: ignore[method-assign]
    for fate in ("completed", "stopped", "failed"):
        number, genes = store.ask()
        found = sampler.last_draw
        assert found is not None
        store.describe(number, found.candidate, 0)
        store.report(number, 1, 50.0)
        store.finish(number, fate, 1.0, 50.0 if fate == "completed" else None)  # type: ignore[arg-type]
        assert genes == found.candidate.genes
    assert [t.state.name for t in store.study.trials] == ["COMPLETE", "PRUNED", "FAIL"]
    assert [r.fate for r in store.records()] == ["completed", "stopped", "failed"]


def test_a_coordinator_that_is_killed_while_it_ends_a_trial_leaves_no_half_of_the_end(tmp_path: Path) -> None:
    """The trial waits as if it had not ended, and its next end is told by nothing of this one."""
    store, sampler = _store(tmp_path)
    number = _begin(store, sampler, epochs=2)
    write = store.storage.set_trial_state_values

    def die(*arguments: Any) -> bool:
        raise KeyboardInterrupt

    store.storage.set_trial_state_values = die  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        store.finish(number, "failed", 3.0, reason="out of luck")
    store.storage.set_trial_state_values = write  # type: ignore[method-assign]
    assert store.study.trials[number].user_attrs["fate"] == "failed"
    again, sampler = _store(tmp_path, store.storage)
    assert [(r.fate, r.reason, r.train_seconds) for r in again.records()] == [("interrupted", "", 3.0)]
    assert again.ask()[0] == number
    again.describe(number, _drawn(sampler, again, number), 0)
    again.report(number, 1, 60.0)
    again.finish(number, "completed", 1.0, 60.0)
    for store in (again, Store(again.folder, again.storage)):
        (record,) = store.records()
        assert (record.fate, record.reason, record.train_seconds) == ("completed", "", 4.0)
        assert record.validation_curve == (60.0,)


@pytest.mark.parametrize(
    "write",
    [lambda store: store.report(0, 2, 50.0), lambda store: store.finish(0, "completed", 1.0, 50.0)],
    ids=["report", "finish"],
)
def test_an_end_while_the_storage_cannot_be_written_loses_nothing(
    write: Callable[[SearchStore], object], tmp_path: Path
) -> None:
    store, sampler = _store(tmp_path)
    first, second = _begin(store, sampler, epochs=1), _begin(store, sampler, epochs=1)

    def fail(*arguments: Any) -> bool:
        raise OSError("No space left on device")

    kept = store.storage.set_trial_user_attr, store.storage.set_trial_intermediate_value
    store.storage.set_trial_user_attr = store.storage.set_trial_intermediate_value = fail  # type: ignore
    with pytest.raises(StorageError, match="No space left on device"):
        write(store)
    store.interrupt_all({first: 1.0, second: 1.0})
    store.storage.set_trial_user_attr, store.storage.set_trial_intermediate_value = kept  # type: ignore
    assert [t.state.name for t in store.study.trials] == ["RUNNING", "RUNNING"]
    again, _ = _store(tmp_path, store.storage)
    assert [again.ask()[0] for _ in range(3)] == [0, 1, 2]


def _store(tmp_path: Path, storage: Storage | None = None) -> tuple[SearchStore, BudgetSampler]:
    space = load_space("tiny_digits", *KNOWN_DATASETS["digits"].images)
    sampler = BudgetSampler(space, SETTINGS.budget, 0)
    storage = storage or optuna.storages.InMemoryStorage()
    return SearchStore(
        StudyFolder(tmp_path, "a"), distributions_of(space), sampler, ParetoPruner(space, 2), storage
    ), sampler


def _begin(store: SearchStore, sampler: BudgetSampler, epochs: int) -> int:
    number, _ = store.ask()
    store.describe(number, sampler.last_draw.candidate, 0)  # type: ignore[union-attr]
    for epoch in range(1, epochs + 1):
        store.report(number, epoch, 50.0)
    return number


def _drawn(sampler: BudgetSampler, store: SearchStore, number: int) -> Candidate:
    found = candidate(sampler.space, store.record(number).genes)
    assert found is not None
    return found
