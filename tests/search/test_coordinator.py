"""What the coordinator does about workers that die."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import optuna

from nas.search.coordinator import MOST_DEATHS, Coordinator, Snapshot
from nas.search.interrupt import Interrupts
from nas.search.pruner import ParetoPruner
from nas.search.sampler import BudgetSampler
from nas.search.settings import StudyFolder, StudySettings
from nas.search.store import SearchStore
from nas.search.workers import Event, Finished, Job
from nas.space import KNOWN_IMAGES, load_space
from nas.train.engine import Epoch

SETTINGS = StudySettings(2000, dataset="digits", space="tiny_digits", epochs=3, trials=3, seeds=1)
DIED = "the worker process died (exit code -9)"


class Mortal:
    """A worker that reports one epoch a life; the process dies as often as it is told to, for each training."""

    def __init__(self, deaths: dict[tuple[int, bool], int]) -> None:
        self.job: Job | None = None
        self.begun: list[tuple[int, bool]] = []
        self._deaths = deaths

    def submit(self, job: Job) -> None:
        self.job, self._epoch = job, 0
        self.begun.append((job.key[0], job.confirms))

    def reply(self, go_on: bool) -> None:
        assert go_on

    def close(self) -> None:
        self.job = None

    def idle(self) -> list[Mortal]:
        return [self] if self.job is None else []

    def events(self, timeout: float) -> Iterator[tuple[Mortal, Event]]:
        job = self.job
        assert job is not None
        self._epoch += 1
        if self._epoch == 2 and self.begun.count(self.begun[-1]) <= self._deaths.get(self.begun[-1], 0):
            self.job = None
            yield self, Event(job, Finished(DIED, "worker"))
        elif self._epoch <= job.recipe.epochs:
            yield self, Event(job, Epoch(self._epoch, 0.0, 10.0 * self._epoch, 1.0, 100))
        else:
            self.job = None
            yield self, Event(job, Finished())


class Silent:
    def update(self, snapshot: Snapshot) -> None: ...

    def say(self, text: str) -> None: ...


def _search(tmp_path: Path, deaths: dict[tuple[int, bool], int]) -> tuple[SearchStore, Mortal]:
    space = load_space("tiny_digits", *KNOWN_IMAGES["digits"])
    sampler = BudgetSampler(space, SETTINGS.budget, 0)
    storage = optuna.storages.InMemoryStorage()
    store = SearchStore(StudyFolder(tmp_path, "a"), space, sampler, ParetoPruner(1), storage)
    worker = Mortal(deaths)
    Coordinator(store, space, SETTINGS, worker, Silent(), 360, Interrupts()).run()  # type: ignore[arg-type]
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
