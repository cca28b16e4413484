"""`--time` bounds a search with its confirmations, over all its runs; on a simulated clock."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from optuna.storages import InMemoryStorage
from simulated_searches import SETTINGS, open_search, rising, run_search
from watching import Watching

from nas.app.time_spent import TimeSpent
from nas.coordinator.snapshot import Snapshot
from nas.study.folder import StudyFolder
from nas.study.settings import StudySettings
from nas.workers.messages import Job
from nas.workers.simulated import SimulatedTraining, Simulation

# Trials take 3 s; the seeds of a confirmation, on more images, 3.9 s.
TIMED = replace(SETTINGS, max_trials=None, num_seeds=2)


def training(job: Job, attempt: int) -> SimulatedTraining:
    if job.confirms:
        return SimulatedTraining((10.0, 20.0, 30.0), seconds=1.3)
    return SimulatedTraining((10.0, 20.0, 30.0 + job.key[0]), seconds=1.0)


@pytest.mark.parametrize("seconds", [10.0, 47.0])
@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("target", [None, 20.0, 99.0])
def test_nothing_goes_on_after_the_time(tmp_path: Path, seconds: float, workers: int, target: float | None) -> None:
    simulation, watching = Simulation(training, workers), Watching()
    settings = replace(TIMED, max_seconds=seconds, target=target)
    store = run_search(tmp_path, simulation, settings, watching=watching)
    assert simulation.now <= seconds
    stopped = {
        run.job.key[0]
        for run in simulation.runs
        if f"confirmation of trial {run.job.key[0]} stopped: it would not meet the target" in watching.said
    }
    cut_off = [
        r.job.key for r in simulation.runs if not (r.is_complete or (r.job.confirms and r.job.key[0] in stopped))
    ]
    assert not cut_off, "a training was begun that could not end in time"
    assert any(run.job.confirms for run in simulation.runs) == (target != 99.0)
    assert all(record.fate in ("completed", "duplicate") for record in store.records())


def test_what_is_kept_for_confirmations_is_said_first(tmp_path: Path) -> None:
    watching = Watching()
    run_search(tmp_path, Simulation(training), replace(TIMED, max_seconds=90.0), watching=watching)
    assert watching.said[0] == "of 1m30s, 30s are kept for confirmations"
    again = Watching()
    open_search(
        tmp_path,
        Simulation(training),
        replace(TIMED, max_seconds=90.0),
        InMemoryStorage(),
        again,
        1,
        seconds_before=70.0,
    ).run()
    assert again.said[0] == "of 1m30s, 30s are kept for confirmations; 20s are left"


def test_a_training_that_runs_when_the_time_is_over_waits_for_more(tmp_path: Path) -> None:
    """Nobody can know how long the first one takes."""
    simulation, watching = Simulation(lambda job, attempt: rising(), 2), Watching()
    store = run_search(tmp_path, simulation, replace(TIMED, max_seconds=2.0), watching=watching)
    assert simulation.now == 2.0
    assert {record.fate for record in store.records()} == {"interrupted"}
    assert watching.said[-1] == "the time of 2s is used up; a longer `max_seconds` goes on from here"


def resume(path: Path, settings: StudySettings, storage: InMemoryStorage, seconds_before: float) -> Simulation:
    simulation = Simulation(training)
    search = open_search(path, simulation, settings, storage, Watching(), epochs=1, seconds_before=seconds_before)
    search.run()
    return simulation


def test_a_resume_goes_on_with_what_is_left(tmp_path: Path) -> None:
    storage, settings = InMemoryStorage(), replace(TIMED, max_seconds=60.0)
    first = Simulation(training, seconds=20.0)
    run_search(tmp_path, first, settings, storage)
    second = resume(tmp_path, settings, storage, first.now)
    assert second.runs
    assert first.now + second.now <= 60.0
    third = resume(tmp_path, settings, storage, 60.0)
    assert not third.runs


def test_confirmations_that_are_owed_come_before_new_trials(tmp_path: Path) -> None:
    storage = InMemoryStorage()
    short = resume(tmp_path, replace(TIMED, max_seconds=18.0), storage, 0.0)
    assert sum(run.job.confirms for run in short.runs) == 1  # of two seeds
    longer = resume(tmp_path, replace(TIMED, max_seconds=60.0), storage, short.now)
    confirms = [run.job.confirms for run in longer.runs]
    assert confirms[0]
    assert False in confirms


def test_time_spent_is_kept_in_the_folder(tmp_path: Path) -> None:
    file, now = StudyFolder(tmp_path, "study").time_file, 100.0
    file.parent.mkdir(parents=True)
    snapshot = Snapshot([], [], TIMED, 0.0, 0, 0, 0)
    spent = TimeSpent(file, 90.0, lambda: now)
    assert spent.seconds == 10.0
    spent.update(snapshot)
    now = 100.5
    spent.update(snapshot)  # too soon to write again
    assert TimeSpent(file, now, lambda: now).before == 10.0
    spent.end()
    assert TimeSpent(file, now, lambda: now).before == 10.5
    now = 200.0
    assert TimeSpent(file, 195.0, lambda: now).seconds == 15.5


@pytest.mark.parametrize("content", [b"", b"nan", b"-5", b"inf", b"soon", b"\xff\xfe", b"1" * 1000])
def test_a_damaged_file_of_time_counts_as_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "seconds").write_bytes(content)
    assert TimeSpent(tmp_path / "seconds", 0.0, lambda: 0.0).before in (0.0, float("1" * 100))
