"""SIGTERM while a search waits for a storage that cannot be written, at any of its writes: nothing is lost or torn."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState
from simulated_searches import run_search
from watching import Watching

from nas.storage.locks import StorageError
from nas.workers.messages import Finished, Job
from nas.workers.simulated import SimulatedTraining, Simulation

WRITES = (
    "create_new_trial",
    "set_trial_user_attr",
    "set_trial_state_values",
    "set_trial_intermediate_value",
    "set_study_user_attr",
)


class FullDisk(InMemoryStorage):
    """Refuses every write from the one with the number `full_at` on, as long as it is full."""

    def __init__(self, full_at: int, when_full: Callable[[], None], is_done: bool) -> None:
        super().__init__()
        self.writes, self.full_at, self.when_full, self.is_done = 0, full_at, when_full, is_done

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        return self.write(found) if name in WRITES else found

    def write(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def written(*arguments: Any, **named: Any) -> Any:
            self.writes += 1
            if self.writes <= self.full_at:
                return method(*arguments, **named)
            if self.writes == self.full_at + 1 and self.is_done:
                method(*arguments, **named)  # it is written, and the answer to it is lost
            self.when_full()
            raise OSError(28, "No space left on device")

        return written


def training(job: Job, attempt: int) -> SimulatedTraining:
    if job.key[0] == 1 and not job.confirms:
        return SimulatedTraining((10.0,), end=Finished("the loss is not finite"))
    return SimulatedTraining((10.0, 20.0, 30.0))


@pytest.mark.parametrize(("is_done", "workers"), [(False, 1), (True, 2)])
def test_sigterm_while_a_full_disk_is_waited_for(is_done: bool, workers: int, tmp_path: Path) -> None:
    whole = run_search(tmp_path / "whole", Simulation(training, workers)).records()
    for full_at in range(3, 200):
        simulation = Simulation(training, workers)

        def terminate(simulation: Simulation = simulation) -> None:
            simulation.interrupts.requested = True

        storage = FullDisk(full_at, terminate, is_done)
        with contextlib.suppress(StorageError):
            run_search(tmp_path / str(full_at), simulation, storage=storage)
        was_full, storage.full_at = storage.writes > full_at, 10**9
        resumed = run_search(
            tmp_path / str(full_at), Simulation(training, workers), storage=storage, watching=Watching()
        )
        states = [trial.state for trial in resumed.study.get_trials(deepcopy=False)]
        assert TrialState.RUNNING not in states
        assert [(r.number, r.fate, r.genes, r.validation_curve) for r in resumed.records()] == [
            (r.number, r.fate, r.genes, r.validation_curve) for r in whole
        ]
        if not was_full:
            break
    assert not was_full, "more writes than were tried"
    assert full_at > 10
