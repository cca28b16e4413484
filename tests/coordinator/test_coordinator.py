"""What the coordinator does about workers that die, about too little memory, and about jobs that share a worker."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from optuna.storages import InMemoryStorage
from simulated_searches import SETTINGS, rising, run_search
from watching import Watching

from nas.coordinator.attempts import MOST_DEATHS
from nas.coordinator.coordinator import MOST_DEATHS_IN_A_ROW
from nas.coordinator.snapshot import Snapshot
from nas.errors import MachineError
from nas.workers.messages import Finished, Job, JobKey
from nas.workers.simulated import LookUp, SimulatedTraining, Simulation

DIED = "the worker process died (exit code -9)"
Kind = tuple[int, bool]  # the trial, and whether it is confirmed


def _die(deaths: dict[Kind, int]) -> LookUp:
    """Let the worker die after the first epoch of a job, as often as `deaths` says for it."""

    def train(job: Job, attempt: int) -> SimulatedTraining:
        if attempt < deaths.get((job.key[0], job.confirms), 0):
            return SimulatedTraining((10.0,), end=Finished(DIED, "worker"))
        return rising()

    return train


def _begun(simulation: Simulation) -> Counter[Kind]:
    return Counter((run.job.key[0], run.job.confirms) for run in simulation.runs)


def test_a_training_whose_worker_died_is_begun_again(tmp_path: Path) -> None:
    simulation = Simulation(_die({(1, False): MOST_DEATHS - 1}))
    store = run_search(tmp_path, simulation)
    assert [r.fate for r in store.records()] == ["completed"] * 3
    assert _begun(simulation)[1, False] == MOST_DEATHS
    whole, again, _ = store.records()
    assert whole.validation_curve == again.validation_curve == (10.0, 20.0, 30.0)
    assert again.train_seconds == whole.train_seconds + MOST_DEATHS - 1  # an epoch of a second each life


def test_a_training_that_kills_its_workers_fails_in_the_end(tmp_path: Path) -> None:
    simulation = Simulation(_die({(1, False): 99}))
    store = run_search(tmp_path, simulation)
    assert [r.fate for r in store.records()] == ["completed", "failed", "completed"]
    assert store.record(1).reason == DIED
    assert _begun(simulation)[1, False] == MOST_DEATHS


def test_a_confirmation_whose_worker_died_is_begun_again(tmp_path: Path) -> None:
    simulation = Simulation(_die({(number, True): 1 for number in range(3)}))
    store = run_search(tmp_path, simulation)
    confirmed = [r for r in store.records() if r.confirmed]
    assert confirmed
    assert all(_begun(simulation)[r.number, True] == 2 and len(r.confirmations) == 1 for r in confirmed)


def test_a_training_that_kills_its_workers_takes_no_others_with_it(tmp_path: Path) -> None:
    """All that share a device die with it, and nobody knows of which; so before the last attempt they are parted."""
    simulation = Simulation(_die({(0, False): 99}), trials_per_device=3)
    store = run_search(tmp_path, simulation)
    assert [r.fate for r in store.records()] == ["failed", "completed", "completed"]
    deaths = [run for run in simulation.ended if run.job.key == (0, None)]
    assert [{number for number, _ in run.beside} for run in deaths] == [{1, 2}, {1, 2}, set()]


def test_what_must_run_alone_waits_for_an_empty_worker(tmp_path: Path) -> None:
    """One whose worker died twice; the other worker goes on with trials that have room there."""
    simulation = Simulation(_die({(0, False): 2}), workers=2, trials_per_device=2)
    shared: list[set[JobKey]] = []

    def look(snapshot: Snapshot) -> None:
        shared.extend(set(w.jobs) for w in simulation.workers if any(job.alone for job in w.jobs.values()))

    store = run_search(tmp_path, simulation, replace(SETTINGS, max_trials=20), watching=Watching(look))
    assert [r.fate for r in store.records()] == ["completed"] * 20
    assert shared
    assert all(len(jobs) == 1 for jobs in shared)


@pytest.mark.parametrize("fits_alone", [True, False])
def test_what_runs_out_of_memory_is_trained_again_alone_and_fewer_share(fits_alone: bool, tmp_path: Path) -> None:
    def train(job: Job, attempt: int) -> SimulatedTraining:
        if job.key == (0, None) and not (fits_alone and job.alone):
            return SimulatedTraining((10.0,), end=Finished("too little memory", "memory"))
        return rising()

    simulation, watching = Simulation(train, trials_per_device=2), Watching()
    store = run_search(tmp_path, simulation, watching=watching)
    assert "trial 0 is trained again, alone: too little memory" in watching.said
    assert [run.job.alone for run in simulation.runs if run.job.key == (0, None)] == [False, True]
    assert [r.fate for r in store.records()] == ["completed" if fits_alone else "failed", "completed", "completed"]
    assert store.record(0).reason == ("" if fits_alone else "too little memory")
    assert all(not run.beside for run in simulation.ended[1:])


def test_a_job_that_fails_by_itself_is_not_trained_again(tmp_path: Path) -> None:
    def train(job: Job, attempt: int) -> SimulatedTraining:
        return SimulatedTraining((10.0,), end=Finished("the loss is nan")) if job.key == (1, None) else rising()

    simulation = Simulation(train)
    store = run_search(tmp_path, simulation)
    assert [(r.fate, r.reason) for r in store.records()] == [
        ("completed", ""),
        ("failed", "the loss is nan"),
        ("completed", ""),
    ]
    assert _begun(simulation)[1, False] == 1


def test_the_time_of_the_search_is_that_of_its_clock(tmp_path: Path) -> None:
    simulation, watching = Simulation(rising, workers=2), Watching()
    run_search(tmp_path, simulation, replace(SETTINGS, max_trials=None, max_seconds=7.0), watching=watching)
    assert max(run.next - run.seconds for run in simulation.runs if not run.job.confirms) < 7.0  # when it began
    assert watching.snapshots[-1].seconds == simulation.now


def test_a_search_ends_with_the_time_of_a_simulation(tmp_path: Path) -> None:
    simulation = Simulation(rising, workers=2, seconds=7.5)
    store = run_search(tmp_path, simulation, replace(SETTINGS, max_trials=100))
    assert simulation.now == 7.0
    assert Counter(r.fate for r in store.records()) == {"completed": 4, "interrupted": 2}
    assert [r.train_seconds for r in store.records()] == [3.0] * 4 + [1.0] * 2


@pytest.mark.parametrize("confirms", [False, True])
def test_a_fault_of_the_machine_ends_the_search_and_uses_up_no_trial(confirms: bool, tmp_path: Path) -> None:
    def train(job: Job, attempt: int) -> SimulatedTraining:
        is_hit = job.confirms == confirms and (confirms or job.key[0] == 1)
        return SimulatedTraining((10.0,), end=Finished("cannot read x.so", "machine")) if is_hit else rising()

    storage = InMemoryStorage()
    with pytest.raises(MachineError, match=r"cannot read x\.so; nothing was counted against"):
        run_search(tmp_path, Simulation(train), storage=storage)
    fates = [r.fate for r in run_search(tmp_path, Simulation(lambda *_: rising()), storage=storage).records()]
    assert fates == ["completed"] * 3


@pytest.mark.parametrize("breaks", [0, 1])
def test_a_machine_that_breaks_ends_the_search_before_all_trials_have_failed(breaks: int, tmp_path: Path) -> None:
    """From the start, and after a trial."""
    dies = SimulatedTraining((), end=Finished(DIED, "worker"))
    simulation = Simulation(lambda job, attempt: dies if job.key[0] >= breaks else rising())
    storage, settings = InMemoryStorage(), replace(SETTINGS, max_trials=20)
    with pytest.raises(
        MachineError, match=rf"died {MOST_DEATHS_IN_A_ROW} times and trained nothing in .*{re.escape(DIED)}"
    ):
        run_search(tmp_path, simulation, settings, storage=storage)
    assert len(simulation.runs) == breaks + MOST_DEATHS_IN_A_ROW
    store = run_search(tmp_path, Simulation(lambda *_: rising()), settings, storage=storage)
    failed = MOST_DEATHS_IN_A_ROW // MOST_DEATHS
    assert Counter(r.fate for r in store.records()) == {"completed": 20 - failed, "failed": failed}
