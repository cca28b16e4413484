"""Confirmations: which seeds are trained, of which network, and when no more of them are."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from optuna.storages import InMemoryStorage
from simulated_searches import SETTINGS, SPACE, rising, run_search
from watching import Watching

from nas.arch import lower
from nas.costs import costs_of
from nas.space import least_network, most_network
from nas.strategy.optuna_sampler import BudgetSampler
from nas.study.answer import smallest_met
from nas.workers.messages import Finished, Job
from nas.workers.simulated import SimulatedTraining, Simulation


def test_more_seeds_go_to_the_smallest_that_may_meet_the_target(tmp_path: Path) -> None:
    """All would meet it with one seed. Of three, the smallest disappoints within its second; the next meets it."""
    settings, storage = replace(SETTINGS, target=20.0, max_trials=4, seed=3), InMemoryStorage()
    disappoint = set[int]()

    def train(job: Job, attempt: int) -> SimulatedTraining:
        accuracy = 0.0 if costs_of(lower(job.architecture)).num_params in disappoint else 20.0
        return SimulatedTraining((accuracy,) * 3)

    smallest, following, *_ = sorted(
        run_search(tmp_path, Simulation(train), settings, storage).records(), key=lambda r: r.num_params
    )
    assert len(smallest.confirmations) == 1
    disappoint.add(smallest.num_params)
    settings = replace(settings, num_seeds=3)
    store = run_search(tmp_path, Simulation(train), settings, storage)
    assert [len(store.record(r.number).confirmations) for r in (smallest, following)] == [1, 3]
    answer = smallest_met(store.records(), settings)
    assert answer is not None
    assert answer.number == following.number


def test_a_seed_that_fails_takes_none_from_the_others(tmp_path: Path) -> None:
    """Of two networks that were met with one seed, the smaller one fails when it gets more of them."""
    settings, storage, failing = replace(SETTINGS, target=20.0, max_trials=2), InMemoryStorage(), set[int]()

    def train(job: Job, attempt: int) -> SimulatedTraining:
        if job.confirms and job.key[0] in failing:
            return SimulatedTraining((20.0,), end=Finished("the loss is nan"))
        return SimulatedTraining((20.0,) * 3)

    store = run_search(tmp_path, Simulation(train), settings, storage)
    confirmed = sorted((r for r in store.records() if r.confirmations), key=lambda r: r.num_params)
    fails, other = (record.number for record in confirmed)
    failing.add(fails)
    watching = Watching()
    store = run_search(tmp_path, Simulation(train), replace(settings, num_seeds=3), storage, watching)
    assert [len(store.record(number).confirmations) for number in (fails, other)] == [1, 3]
    assert watching.said.count(f"confirmation of trial {fails} failed: the loss is nan") == 1


@pytest.mark.parametrize(
    ("accuracies", "trained"),
    [
        ([14.0, 14.0, 20.0], 2),  # the third would have to come to 32
        ([14.0, 26.0, 20.0], 3),  # the second makes good what the first did
        ([19.0, 20.0, 21.0], 3),
    ],
)
def test_seeds_are_trained_while_they_may_meet_the_target(
    tmp_path: Path, accuracies: list[float], trained: int
) -> None:
    """Two at once, so that the second goes on when the first has disappointed."""
    left = iter(accuracies)

    def train(job: Job, attempt: int) -> SimulatedTraining:
        return SimulatedTraining((next(left),) * 3) if job.confirms else rising()

    simulation = Simulation(train, trials_per_device=2)
    settings = replace(SETTINGS, target=20.0, max_trials=1, num_seeds=3)
    (record,) = run_search(tmp_path, simulation, settings).records()
    assert sorted(c.figure for c in record.confirmations) == sorted(accuracies[:trained])


def test_after_a_resume_several_networks_get_their_seeds(tmp_path: Path) -> None:
    settings, storage = replace(SETTINGS, target=20.0, max_trials=4, seed=3), InMemoryStorage()
    store = run_search(tmp_path, Simulation(_meet), settings, storage)
    confirmed = [r.number for r in store.records() if r.confirmations]
    assert len(confirmed) == 3
    settings = replace(settings, num_seeds=4)
    store = run_search(tmp_path, Simulation(_meet, workers=2), settings, storage)
    assert sorted(len(store.record(number).confirmations) for number in confirmed) == [
        1,
        2,
        4,
    ]  # of the larger ones, what began before the smallest had met it


def _meet(job: Job, attempt: int) -> SimulatedTraining:
    return SimulatedTraining((22.0,) * 3)


def test_a_first_answer_comes_before_further_trials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However much the next trial promises. Once there is an answer, the one that promises more comes first."""
    monkeypatch.setattr(BudgetSampler, "next_worth", lambda *_: math.inf)
    simulation = Simulation(lambda job, attempt: SimulatedTraining((25.0,) * 3))
    run_search(tmp_path, simulation, replace(SETTINGS, target=20.0, max_trials=4))
    assert [run.job.confirms for run in simulation.runs[:5]] == [False, True, False, False, False]


def test_who_asks_for_a_confirmation_gets_all_seeds(tmp_path: Path) -> None:
    """However they come out: the search itself gives up while the first one is trained."""
    settings, storage = replace(SETTINGS, target=20.0, max_trials=1, num_seeds=3), InMemoryStorage()

    def train(job: Job, attempt: int) -> SimulatedTraining:
        return SimulatedTraining((0.0 if job.confirms else 20.0,) * 3)

    (record,) = run_search(tmp_path, Simulation(train), settings, storage).records()
    assert len(record.confirmations) == 0
    store = run_search(tmp_path, Simulation(train), settings, storage, task=lambda c: c.confirm(0))
    assert len(store.record(0).confirmations) == 3


def test_the_front_is_confirmed_where_the_last_trial_ends_at_once(tmp_path: Path) -> None:
    """A network over the budget that somebody has enqueued is refused, and nothing is left to train."""
    storage = InMemoryStorage()
    study = optuna.create_study(study_name="simulated", storage=storage, direction="maximize")
    for network in (least_network(SPACE), most_network(SPACE)):
        study.enqueue_trial(network.genes)
    store = run_search(tmp_path, Simulation(rising), replace(SETTINGS, max_trials=2), storage)
    assert [(r.fate, len(r.confirmations)) for r in store.records()] == [("completed", 1), ("failed", 0)]
