"""Confirmations: which seeds are trained, of which network, and when no more of them are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from optuna.storages import InMemoryStorage
from simulated_searches import SETTINGS, run_search

from nas.arch import costs_of, lower
from nas.study.answer import smallest_met
from nas.workers.messages import Job
from nas.workers.simulated import SimulatedTraining, Simulation


def test_seeds_that_a_network_is_not_owed_take_none_from_the_others(tmp_path: Path) -> None:
    """Three met the target with one seed. Of three seeds, those of the largest disappoint."""
    settings, storage, disappoint = replace(SETTINGS, target=20.0), InMemoryStorage(), set[int]()

    def train(job: Job, attempt: int) -> SimulatedTraining:
        accuracy = 0.0 if costs_of(lower(job.architecture)).num_params in disappoint else 20.0
        return SimulatedTraining((accuracy,) * 3)

    store = run_search(tmp_path, Simulation(train), settings, storage)
    confirmed = sorted((r for r in store.records() if r.confirmations), key=lambda r: r.num_params)
    assert len(confirmed) == 3
    disappoint.add(confirmed[-1].num_params)
    settings = replace(settings, num_seeds=3)
    store = run_search(tmp_path, Simulation(train), settings, storage)
    assert [len(store.record(r.number).confirmations) for r in confirmed] == [3, 3, 2]
    answer = smallest_met(store.records(), settings)
    assert answer is not None
    assert answer.number == confirmed[0].number
