"""Where trials are kept: addresses without their secrets, one coordinator at a time, and what a crash leaves behind."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
import postgres
import pytest
import sqlalchemy
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial
from watching import Watching

from nas.app.search import Machine, Outcome, search
from nas.coordinator import coordinator
from nas.coordinator.coordinator import Snapshot
from nas.data.known import KNOWN_DATASETS
from nas.errors import StudyError, UsageError
from nas.space import load_space
from nas.storage.address import StorageAddress, at_once
from nas.storage.locks import BusyError, StorageError, locked
from nas.storage.study_store import SearchStore, Store
from nas.strategy.optuna_pruner import ParetoPruner
from nas.strategy.optuna_sampler import BudgetSampler, distributions_of
from nas.study.folder import StudyFolder
from nas.study.settings import StudySettings

if TYPE_CHECKING:
    from conftest import Nas

SETTINGS = StudySettings(2000, dataset="digits", space="tiny_digits", epochs=2, max_trials=4, num_seeds=1)
HERE = Machine(device="cpu", workers=1)
SECRET = "s3cr3t"


def _search(folder: StudyFolder, address: StorageAddress | None = None, watching: Watching | None = None) -> Outcome:
    return search(folder, SETTINGS, HERE, [watching or Watching()], address)


def _fates(outcome: Outcome) -> list[str]:
    return [record.fate for record in outcome.records]


# Addresses


@pytest.mark.parametrize(
    ("text", "shown", "password"),
    [
        ("postgresql://me:pa%40ss@db.example:5433/nas", "postgresql://me@db.example:5433/nas", "pa@ss"),
        ("postgres://me@[::1]/nas?sslmode=require", "postgresql://me@[::1]/nas?sslmode=require", None),
        ("postgresql+psycopg:///nas?host=%2Fvar%2Frun", "postgresql:///nas?host=%2Fvar%2Frun", None),
        ("journal:///data/trials.journal", "journal:///data/trials.journal", None),
    ],
)
def test_an_address_shows_everything_but_the_password(text: str, shown: str, password: str | None) -> None:
    address = StorageAddress.parse(text)
    assert (str(address), address.password) == (shown, password)
    assert address == StorageAddress.parse(shown)
    assert password is None or password not in repr(address)


@pytest.mark.parametrize(
    ("text", "refusal"),
    [
        (f"postgresql://me:{SECRET}@@host/nas", "--storage is no address of the form postgresql://USER:PASSWORD@HOST"),
        (f"postgresql://me:{SECRET}/x@host/nas", "in user and password write '@', '/', ':', '\\?' and '#' as %40"),
        (f"postgresql://me@host/nas?password={SECRET}", "of the connection's options only these may be given: appl"),
        (f"mysql://me:{SECRET}@host/nas", "--storage is no address of the form"),
        (f"postgresql://me:{SECRET}@host", "--storage is no address of the form"),
        ("journal://", "journal:// names no file"),
        ("sqlite:///x.db", "SQLite in the study's folder is the default; leave the option out"),
    ],
)
def test_what_is_no_address_is_refused_without_showing_it(text: str, refusal: str) -> None:
    with pytest.raises(UsageError, match=refusal) as refused:
        StorageAddress.parse(text)
    assert SECRET not in str(refused.value)


def test_a_study_finds_its_journal_again(tmp_path: Path) -> None:
    folder, address = StudyFolder(tmp_path, "a"), StorageAddress.parse(f"journal://{tmp_path}/trials.journal")
    first = _search(folder, address)
    assert not (folder.run / "study.db").exists()
    assert Store(folder).records() == first.records == _search(folder).records
    with pytest.raises(StudyError, match=r"study 'a' keeps its trials in journal://.*/trials.journal, not in journal:"):
        _search(folder, StorageAddress.parse("journal:///elsewhere"))


def test_two_folders_do_not_share_a_study_by_its_name(tmp_path: Path) -> None:
    address = StorageAddress.parse(f"journal://{tmp_path}/trials.journal")
    _search(StudyFolder(tmp_path / "mine", "a"), address)
    with pytest.raises(StudyError, match="holds another study 'a', made in another folder; copy that folder to"):
        _search(StudyFolder(tmp_path / "yours", "a"), address)


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
    assert time.monotonic() - began < 5


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


def test_a_full_disk_ends_the_search_and_not_its_trials(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path, "a")
    networks = folder.run / "networks"
    networks.mkdir(parents=True)
    (networks / "trial_1.partial").symlink_to("/dev/full")
    with pytest.raises(StudyError, match="trial 1 could not be kept: No space left on device; see to that, then res"):
        _search(folder)
    assert [record.fate for record in Store(folder).records()] == ["completed", "interrupted"]
    (networks / "trial_1.partial").unlink()
    assert sum(fate in ("completed", "stopped") for fate in _fates(_search(folder))) == 4


def test_an_answer_that_is_lost_on_its_way_changes_nothing_twice(tmp_path: Path) -> None:
    """The change was made, and the coordinator could not know: it makes every one again."""
    space = load_space("tiny_digits", *KNOWN_DATASETS["digits"].images)
    memory = optuna.storages.InMemoryStorage()
    sampler = BudgetSampler(space, SETTINGS.budget, 0)
    store = SearchStore(StudyFolder(tmp_path, "a"), distributions_of(space), sampler, ParetoPruner(space, 2), memory)
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


def _rows(storage: optuna.storages.RDBStorage) -> dict[str, list[Any]]:
    """What the tables of trials hold, but for the moments."""
    tables = sqlalchemy.MetaData()
    tables.reflect(storage.engine)
    with storage.engine.connect() as connection:
        return {
            name: sorted(
                repr({k: v for k, v in row._mapping.items() if not k.startswith("datetime")})
                for row in connection.execute(sqlalchemy.select(table))
            )
            for name, table in tables.tables.items()
            if name.startswith("trial")
        }


def test_trials_are_written_as_optuna_writes_them(tmp_path: Path) -> None:
    address, rival = StorageAddress.of_file(tmp_path / "ours.db"), f"sqlite:///{tmp_path / 'theirs.db'}"
    trials = [
        create_trial(
            state=TrialState.RUNNING,
            params={"a": "x", "b": 3, "c": 0.5, "d": True},
            distributions={
                "a": CategoricalDistribution(("w", "x")),
                "b": IntDistribution(1, 9, step=2),
                "c": FloatDistribution(0.1, 1.0, log=True),
                "d": CategoricalDistribution((False, True)),
            },
            user_attrs={"num_params": 9, "digest": "ü", "nothing": None, "reason": "a 'quote'"},
        ),
        create_trial(state=TrialState.RUNNING),
        create_trial(state=TrialState.COMPLETE, value=1.5, intermediate_values={1: 0.5}, system_attrs={"why": [1, 2]}),
        create_trial(state=TrialState.RUNNING, intermediate_values={1: 0.5}, user_attrs={"digest": "a"}),
    ]
    rows = []
    for storage in (address.open("a")._backend, optuna.storages.RDBStorage(rival)):  # type: ignore[attr-defined]
        study = storage.create_new_study([optuna.study.StudyDirection.MAXIMIZE], "a")
        ids = [storage.create_new_trial(study, trial) for trial in trials]
        for step, value in ((1, 0.5), (2, math.nan), (3, math.inf), (1, 0.25)):
            storage.set_trial_intermediate_value(ids[0], step, value)
        for key, attribute in (("fate", "failed"), ("digest", [1, None]), ("fate", "duplicate")):
            storage.set_trial_user_attr(ids[0], key, attribute)
        assert storage.set_trial_state_values(ids[0], TrialState.PRUNED, [math.inf])
        assert storage.set_trial_state_values(ids[1], TrialState.WAITING)
        assert storage.set_trial_state_values(ids[1], TrialState.RUNNING)
        assert not storage.set_trial_state_values(ids[1], TrialState.RUNNING)  # it is under way
        assert storage.set_trial_state_values(ids[1], TrialState.COMPLETE, [0.75])
        for trial in map(storage.get_trial, ids[:2]):
            assert trial.datetime_start is not None
            assert trial.datetime_complete is not None
            assert abs(trial.datetime_start - datetime.now()) < timedelta(minutes=1)
            assert abs(trial.datetime_complete - datetime.now()) < timedelta(minutes=1)
        with pytest.raises(optuna.exceptions.UpdateFinishedTrialError):
            storage.set_trial_state_values(ids[1], TrialState.FAIL)
        with pytest.raises(optuna.exceptions.UpdateFinishedTrialError):
            storage.set_trial_intermediate_value(ids[2], 2, 0.5)
        with pytest.raises(optuna.exceptions.UpdateFinishedTrialError):
            storage.set_trial_user_attr(ids[2], "fate", "failed")
        assert [storage.get_trial_id_from_study_id_trial_number(study, n) for n in range(4)] == ids
        with pytest.raises(KeyError):
            storage.get_trial_id_from_study_id_trial_number(study, 4)
        with pytest.raises(KeyError):
            storage.create_new_trial(study + 1, trials[0])
        rows.append(_rows(storage))
        storage.engine.dispose()
    assert rows[0] == rows[1]
    assert [len(rows[0][name]) for name in ("trial_params", "trial_intermediate_values")] == [4, 5]


def test_writes_at_once_are_kept_together_or_not_at_all(tmp_path: Path) -> None:
    storage = StorageAddress.of_file(tmp_path / "study.db").open("a")
    study = optuna.create_study(study_name="a", storage=storage)
    number = study.ask().number
    trial_id = storage.get_trial_id_from_study_id_trial_number(study._study_id, number)

    def end(state: TrialState, reason: object) -> None:
        with at_once(storage):
            storage.set_trial_user_attr(trial_id, "train_seconds", 1.5)
            storage.set_trial_user_attr(trial_id, "reason", reason)
            storage.set_trial_state_values(trial_id, state)

    with pytest.raises(TypeError):
        end(TrialState.FAIL, object())
    assert (study.trials[0].state, study.trials[0].user_attrs) == (TrialState.RUNNING, {})
    for state in (TrialState.WAITING, TrialState.RUNNING, TrialState.FAIL):
        end(state, state.name)
        assert study.trials[0].state == state
        assert study.trials[0].user_attrs == {"train_seconds": 1.5, "reason": state.name}


# PostgreSQL


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[postgres.Postgres]:
    if why := postgres.missing():
        pytest.skip(why)
    pytest.importorskip("psycopg")
    with postgres.server() as running:
        yield running


@pytest.fixture
def no_password(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("PGPASSWORD", raising=False)
    monkeypatch.setenv("PGPASSFILE", str(tmp_path / "pgpass"))


@pytest.mark.usefixtures("no_password")
def test_a_password_goes_to_the_database_and_nowhere_else(
    database: postgres.Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    folder, watching = StudyFolder(tmp_path, "secret"), Watching()
    outcome = _search(folder, StorageAddress.parse(database.address), watching)
    assert len(outcome.records) >= 4
    text = "\n".join([*watching.said, *capfd.readouterr()])
    kept = [path.read_bytes() for path in folder.path.rglob("*") if path.is_file()]
    for secret in (postgres.PASSWORD, postgres.PLAIN_PASSWORD):
        assert secret not in text
        assert not any(secret.encode() in content for content in kept)
    assert json.loads(folder.settings_file.read_text())["storage"] == database.open_address
    with pytest.raises(
        StorageError, match=r"no password supplied; give it by PGPASSWORD, in ~/.pgpass, or with --stor"
    ):
        Store(folder)
    monkeypatch.setenv("PGPASSWORD", "wrong")
    with pytest.raises(StorageError, match='password authentication failed for user "nas"; give it by PGPASSWORD'):
        Store(folder)
    monkeypatch.setenv("PGPASSWORD", postgres.PLAIN_PASSWORD)
    assert Store(folder).records() == outcome.records
    monkeypatch.delenv("PGPASSWORD")
    assert _search(folder, StorageAddress.parse(database.address)).records == outcome.records


def test_a_second_machine_is_refused(database: postgres.Postgres) -> None:
    """The lock of the folder does not reach there; the database's does, and dies with its connection."""
    address = StorageAddress.parse(database.address)
    with address.coordinating("a"):
        busy = pytest.raises(BusyError, match="this study is being worked on elsewhere, perhaps on another machine")
        with busy, address.coordinating("a"):
            pass
        with address.coordinating("b"):
            pass
        assert address.open("a")  # to look at it
    with address.coordinating("a"):
        pass


def test_a_database_that_goes_away_and_comes_back(database: postgres.Postgres, tmp_path: Path) -> None:
    folder, address = StudyFolder(tmp_path, "away"), StorageAddress.parse(database.address)
    cut: list[bool] = []

    def restart(snapshot: Snapshot) -> None:
        if len(snapshot.records) == 2 and not cut:
            cut.append(True)
            database.stop()
            threading.Timer(1.5, database.start).start()

    watching = Watching(restart)
    outcome = _search(folder, address, watching)
    assert cut
    assert sum("trying again for 10 minutes" in text for text in watching.said) == 1
    assert sum(fate in ("completed", "stopped") for fate in _fates(outcome)) == 4
    os.environ["PGPASSWORD"] = postgres.PLAIN_PASSWORD
    try:
        assert Store(folder).records() == outcome.records
    finally:
        del os.environ["PGPASSWORD"]
