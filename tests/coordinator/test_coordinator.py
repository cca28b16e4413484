"""What the coordinator does about workers that die, and about seeds that disappoint."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Self

import optuna
import pytest

from nas.arch import Input
from nas.coordinator.coordinator import MOST_DEATHS, Coordinator
from nas.coordinator.snapshot import Snapshot
from nas.data.known import KNOWN_DATASETS
from nas.space import load_space
from nas.storage.study_store import SearchStore
from nas.strategy.proposing import BudgetSampler, distributions_of
from nas.strategy.stopping import ParetoPruner
from nas.study.folder import StudyFolder, StudyImages
from nas.study.settings import StudySettings
from nas.train.epoch import Epoch
from nas.workers.interrupt import Interrupts
from nas.workers.local import Pool, Worker, WorkerDied
from nas.workers.messages import Event, Finished, JobKey, News, Orders

SETTINGS = StudySettings(2000, dataset="digits", space="tiny_digits", epochs=3, max_trials=3, num_seeds=1)
IMAGES = StudyImages(Input(1, 8, 8), tuple("0123456789"), 1_200, 360, 360)
DIED = "the worker process died (exit code -9)"


class Mortal(Worker):
    """Reports an epoch of each job in turn; dies at the second epoch of a job, as often as it is told to for it."""

    def __init__(self, deaths: dict[tuple[int, bool], int], trials_per_device: int | None) -> None:
        super().__init__(trials_per_device, joins_seeds=False)
        self.begun: list[tuple[int, bool]] = []
        self.beside: list[set[int]] = []  # the trials that were there when it died
        self._deaths = deaths
        self._epochs: Counter[JobKey] = Counter()

    @classmethod
    def ready(cls, workers: Sequence[Self], timeout: float) -> Sequence[Self]:
        return workers

    def close(self) -> None: ...

    def _send(self, orders: Orders) -> None:
        self.begun += [(job.key[0], job.confirms) for job in orders.start]

    def _receive(self) -> News:
        events = []
        for key, job in self.jobs.items():
            what = key[0], job.confirms
            self._epochs[key] += 1
            number = self._epochs[key]
            if number == 2 and self.begun.count(what) <= self._deaths.get(what, 0):
                self.beside.append({number for number, _ in self.jobs})
                raise WorkerDied(DIED)
            events.append(Event(key, Epoch(number, 0.0, self._accuracy(key, number), 1.0, 100)))
            if number == job.recipe.epochs:
                events.append(Event(key, Finished()))
        return News(tuple(events), self._first_capacity)

    def _accuracy(self, key: JobKey, epoch: int) -> float:
        return 10.0 * epoch

    def _restart(self) -> None:
        self._epochs.clear()


class Seeds(Mortal):
    """Two trainings at once; the seeds of a confirmation come to the given accuracies, in the order of their ends."""

    def __init__(self, accuracies: list[float]) -> None:
        super().__init__({}, trials_per_device=2)
        self._accuracies = accuracies
        self._places: dict[JobKey, int] = {}

    def _accuracy(self, key: JobKey, epoch: int) -> float:
        if key[1] is None:
            return super()._accuracy(key, epoch)
        return self._accuracies[self._places.setdefault(key, len(self._places))]


class Silent:
    def update(self, snapshot: Snapshot) -> None: ...

    def say(self, text: str) -> None: ...

    def end(self) -> None: ...


def _search(
    tmp_path: Path, deaths: dict[tuple[int, bool], int], trials_per_device: int | None = None
) -> tuple[SearchStore, Mortal]:
    space = load_space("tiny_digits", *KNOWN_DATASETS["digits"].images)
    sampler = BudgetSampler(space, SETTINGS.budget, 0)
    storage = optuna.storages.InMemoryStorage()
    store = SearchStore(StudyFolder(tmp_path, "a"), distributions_of(space), sampler, ParetoPruner(1), storage)
    worker = Mortal(deaths, trials_per_device)
    Coordinator(store, sampler, SETTINGS, IMAGES, Pool([worker]), [Silent()], Interrupts()).run()
    return store, worker


def test_a_training_whose_worker_died_is_begun_again(tmp_path: Path) -> None:
    store, worker = _search(tmp_path, {(1, False): MOST_DEATHS - 1})
    assert [r.fate for r in store.records()] == ["completed"] * 3
    assert worker.begun.count((1, False)) == MOST_DEATHS
    whole, again, _ = store.records()
    assert whole.validation_curve == again.validation_curve == (10.0, 20.0, 30.0)
    assert again.train_seconds == whole.train_seconds + MOST_DEATHS - 1  # an epoch of a second each life


def test_a_training_that_kills_its_workers_fails_in_the_end(tmp_path: Path) -> None:
    store, worker = _search(tmp_path, {(1, False): 99})
    assert [r.fate for r in store.records()] == ["completed", "failed", "completed"]
    assert store.record(1).reason == DIED
    assert worker.begun.count((1, False)) == MOST_DEATHS


def test_a_confirmation_whose_worker_died_is_begun_again(tmp_path: Path) -> None:
    deaths = {(number, True): 1 for number in range(3)}
    store, worker = _search(tmp_path, deaths)
    confirmed = [r for r in store.records() if r.confirmed]
    assert confirmed
    assert all(worker.begun.count((r.number, True)) == 2 and len(r.confirmations) == 1 for r in confirmed)


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
    settings = replace(SETTINGS, target=20.0, max_trials=1, num_seeds=3)
    space = load_space("tiny_digits", *KNOWN_DATASETS["digits"].images)
    sampler, storage = BudgetSampler(space, settings.budget, 0, has_target=True), optuna.storages.InMemoryStorage()
    store = SearchStore(StudyFolder(tmp_path, "a"), distributions_of(space), sampler, ParetoPruner(1), storage)
    Coordinator(store, sampler, settings, IMAGES, Pool([Seeds(accuracies)]), [Silent()], Interrupts()).run()
    (record,) = store.records()
    assert sorted(c.figure for c in record.confirmations) == sorted(accuracies[:trained])


def test_a_training_that_kills_its_workers_takes_no_others_with_it(tmp_path: Path) -> None:
    """All that share a device die with it, and nobody knows of which; so before the last attempt they are parted."""
    store, worker = _search(tmp_path, {(0, False): 99}, trials_per_device=3)
    assert [r.fate for r in store.records()] == ["failed", "completed", "completed"]
    assert worker.beside == [{0, 1, 2}, {0, 1, 2}, {0}]


def test_what_must_run_alone_waits_for_an_empty_worker(tmp_path: Path) -> None:
    """One whose worker died twice; the other worker goes on with trials that have room there."""
    space = load_space("tiny_digits", *KNOWN_DATASETS["digits"].images)
    storage = optuna.storages.InMemoryStorage()
    sampler = BudgetSampler(space, SETTINGS.budget, 0)
    store = SearchStore(StudyFolder(tmp_path, "a"), distributions_of(space), sampler, ParetoPruner(1), storage)
    workers = [Mortal({(0, False): 2}, 2), Mortal({(0, False): 2}, 2)]
    shared: list[set[JobKey]] = []

    class Watching(Silent):
        def update(self, snapshot: Snapshot) -> None:
            shared.extend(set(w.jobs) for w in workers if any(job.alone for job in w.jobs.values()))

    settings = replace(SETTINGS, max_trials=20)
    Coordinator(store, sampler, settings, IMAGES, Pool(workers), [Watching()], Interrupts()).run()
    assert [r.fate for r in store.records()] == ["completed"] * 20
    assert shared
    assert all(len(jobs) == 1 for jobs in shared)
