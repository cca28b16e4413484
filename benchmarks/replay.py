"""Searches over a table of learning curves, on a simulated clock: an epoch costs the seconds that the table recorded.

Ours is the real coordinator, store, sampler and pruner; the rivals are the scripts that a person would write with
plain Optuna. All of them use the same workers. Proposing a network costs no simulated time, nor does one that a method
refuses to train (over budget, or known already to a method that looks).
"""

from __future__ import annotations

import bisect
import random
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from unittest.mock import patch

import optuna
from curves import Curve, Table, table_recipe
from optuna.distributions import BaseDistribution
from optuna.pruners import BasePruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from nas.arch import digest_of, lower, recipe_digest
from nas.coordinator.coordinator import Coordinator
from nas.coordinator.snapshot import Snapshot
from nas.space import Genes, candidate, random_genes
from nas.storage.study_store import SearchStore
from nas.strategy.optuna_pruner import ParetoPruner
from nas.strategy.optuna_sampler import BudgetSampler, distributions_of
from nas.study.folder import StudyFolder
from nas.study.records import last_epochs_mean
from nas.study.settings import StudySettings
from nas.train.engine import Epoch
from nas.workers.interrupt import Interrupts
from nas.workers.local import Pool, Worker
from nas.workers.messages import Event, Finished, Job, News, Orders

NOWHERE = Path("unused")


@dataclass(frozen=True)
class Trained:
    """A training that a search began, as it stood when it ended."""

    ended: float  # simulated seconds since the search began
    num_params: int
    accuracy: float  # percent: what the search sees, or would have seen at the end of one that it stopped
    seconds: float  # spent on it
    seconds_to_end: float  # what it would have cost to its end
    completed: bool


class ReplayWorker(Worker):
    """Reads a curve where a worker would train; an epoch is known to all before the next one begins."""

    def __init__(self, pool: ReplayPool) -> None:
        super().__init__(trials_per_device=1, joins_seeds=False)
        self.next = 0.0  # when the next epoch ends
        self._pool = pool
        self._curve = Curve(0, (), ())
        self._epochs = 0  # reported so far

    @classmethod
    def ready(cls, workers: Sequence[Self], timeout: float) -> Sequence[Self]:
        """The one whose epoch ends next; none when the search ends."""
        worker = min(workers, key=lambda w: w.next)
        (job,) = worker.jobs.values()
        return [] if worker._pool.is_over(worker.next, job) else [worker]

    def close(self) -> None:
        """Nothing runs."""

    def _send(self, orders: Orders) -> None:
        for _ in orders.stop:
            self._end(completed=False)
        for job in orders.start:
            self._epochs, self._curve = 0, self._pool.curve(job)
            self.next = self._pool.now + self._curve.seconds[0]

    def _receive(self) -> News:
        self._pool.now = self.next
        (key,) = self.jobs
        if self._epochs == len(self._curve.accuracy):
            self._end(completed=True)
            return News((Event(key, Finished()),), capacity=1)
        epoch = Epoch(self._epochs + 1, 0.0, self._curve.accuracy[self._epochs], self._curve.seconds[self._epochs], 0)
        self._epochs += 1
        # The end is told by itself, at the same moment: a search may stop a training at its last epoch.
        self.next += self._curve.seconds[self._epochs] if self._epochs < len(self._curve.seconds) else 0.0
        return News((Event(key, epoch),), capacity=1)

    def _end(self, completed: bool) -> None:
        curve = self._curve
        spent, whole, final = sum(curve.seconds[: self._epochs]), sum(curve.seconds), last_epochs_mean(curve.accuracy)
        self._pool.trained.append(Trained(self._pool.now, curve.num_params, final, spent, whole, completed))

    def _restart(self) -> None:
        raise AssertionError("it does not die")


class ReplayPool(Pool):
    """The workers and their clock; ends the search when its time is over."""

    def __init__(self, table: Table, workers: int, seconds: float) -> None:
        self.now = 0.0
        self.trained: list[Trained] = []
        self.interrupts = Interrupts()  # raised when the time is over
        self._table = table
        self._seconds = seconds
        super().__init__([ReplayWorker(self) for _ in range(workers)])

    def curve(self, job: Job) -> Curve:
        """The learning curve that training `job` would have."""
        return self._table.curves[digest_of(lower(job.architecture)), recipe_digest(job.recipe)]

    def is_over(self, next_epoch: float, job: Job) -> bool:
        """Whether the search ends before the next epoch, of `job`, does."""
        # A search that confirms has found nothing new to try; what it reads then is the test set, not this table.
        self.interrupts.requested = next_epoch > self._seconds or job.confirms
        return self.interrupts.requested


class _Silent:
    def update(self, snapshot: Snapshot) -> None:
        """Shows nothing."""

    def say(self, text: str) -> None:
        """Says nothing."""


@dataclass(frozen=True)
class Ours:
    """The search of `nas search`, whole or with parts replaced."""

    sampler: Callable[..., BudgetSampler] = BudgetSampler
    pruner: Callable[[int], BasePruner] = ParetoPruner

    def run(self, table: Table, seed: int, pool: ReplayPool) -> None:
        """Searches until the pool's time is over."""
        settings = StudySettings(
            max_params=table.settings.max_params, epochs=table.settings.epochs, seed=seed, max_trials=1_000_000
        )
        sampler = self.sampler(table.space, settings.budget, seed)
        with tempfile.TemporaryDirectory() as studies:
            folder = StudyFolder(Path(studies), "replay")
            storage = optuna.storages.InMemoryStorage()
            store = SearchStore(folder, table.space, sampler, self.pruner(settings.epochs), storage)
            coordinator = Coordinator(
                store,
                table.space,
                settings,
                pool,  # type: ignore[arg-type]
                _Silent(),
                table.settings.validation_images,
                table.settings.validation_images,  # nothing is confirmed here
                pool.interrupts,
                lambda: pool.now,
            )
            coordinator.run()


@dataclass(frozen=True)
class PlainOptuna:
    """What a person writes without this project: ask, count, prune what is over budget, train, report, tell."""

    sampler: Callable[[int], BaseSampler]
    pruner: Callable[[], BasePruner] = NopPruner
    two_objectives: bool = False  # parameters and accuracy, over budget a violated constraint
    knows_duplicates: bool = False

    def run(self, table: Table, seed: int, pool: ReplayPool) -> None:
        """Searches until the pool's time is over."""
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        directions = {"directions": ["minimize", "maximize"]} if self.two_objectives else {"direction": "maximize"}
        study = optuna.create_study(sampler=self.sampler(seed), pruner=self.pruner(), **directions)
        running: dict[int, tuple[optuna.Trial, int, list[float]]] = {}
        known: set[tuple[str, str]] = set()
        while not pool.interrupts.requested:
            for worker in pool.workers:
                if worker.room:
                    trial, job, num_params = self._ask(table, study, known)
                    running[job.key[0]] = trial, num_params, []
                    worker.submit(job)
            for worker, event in pool.events(0.0):
                trial, num_params, accuracies = running[event.key[0]]
                if isinstance(event.what, Epoch):
                    accuracies.append(event.what.accuracy)
                    if not self.two_objectives and self._stops(trial, event.what):
                        worker.stop(event.key)
                        study.tell(trial, state=TrialState.PRUNED)
                else:
                    value = last_epochs_mean(tuple(accuracies))
                    study.tell(trial, [num_params, value] if self.two_objectives else value)

    @staticmethod
    def _stops(trial: optuna.Trial, epoch: Epoch) -> bool:
        trial.report(epoch.accuracy, epoch.number)
        return trial.should_prune()

    def _ask(self, table: Table, study: optuna.Study, known: set[tuple[str, str]]) -> tuple[optuna.Trial, Job, int]:
        while True:
            trial = study.ask(distributions_of(table.space))
            network = candidate(table.space, trial.params)
            assert network is not None
            num_params, key = network.costs.num_params, table.key(network)
            excess = num_params - table.settings.max_params
            if self.two_objectives:
                trial.set_constraint("num_params", float(excess))
            if excess > 0:
                if self.two_objectives:
                    study.tell(trial, [num_params, 0.0])
                else:
                    study.tell(trial, state=TrialState.PRUNED)
                continue
            if self.knows_duplicates and key in known:
                study.tell(trial, state=TrialState.FAIL)
                continue
            known.add(key)
            recipe = table_recipe(table.space, network.genes, table.settings.epochs)
            return trial, Job((trial.number, None), network.architecture, recipe, 0), num_params


class WholeBudget(BudgetSampler):
    """Every draw aims at the whole budget."""

    def ceiling(self, rng: random.Random) -> int | None:
        return self.budget.max_params


class Unguided(BudgetSampler):
    """Every draw is random, spread over all sizes."""

    def proposals(
        self, study: optuna.Study, trial: FrozenTrial, rng: random.Random, screened: int
    ) -> Callable[[], Genes] | None:
        return None


class Unfilled(BudgetSampler):
    """What scaling a network to a size leaves over is not given to single widths."""

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        with patch("nas.space.draw.FILL", False):
            return super().sample_relative(study, trial, search_space)


class Repeating(BudgetSampler):
    """Networks that were tried before are drawn again; the coordinator passes them over."""

    def tried(self, study: optuna.Study) -> set[tuple[Any, ...]]:
        return set()


class Halving(BasePruner):
    """Stops the worse half at four rungs, better meaning a lower non-dominated rank, and predicts nothing.

    Schmucker et al. 2021, Multi-objective Asynchronous Successive Halving, section 3.2, in the stopping form of Li et
    al. 2020. The best epoch so far counts.
    """

    def __init__(self, epochs: int, least_peers: int = 4) -> None:
        """Nothing is stopped at a rung until `least_peers` others have come there."""
        self.rungs = sorted({rung for part in (0.2, 0.4, 0.6, 0.8) if 1 <= (rung := round(part * epochs)) < epochs})
        self.least_peers = least_peers

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        rung = trial.last_step
        if rung not in self.rungs:
            return False
        came = [t for t in study.get_trials(deepcopy=False) if rung in t.intermediate_values]
        peers = [self._point(peer, rung) for peer in came if peer.number != trial.number]
        found = ranks([self._point(trial, rung), *peers])
        return len(peers) >= self.least_peers and sum(rank < found[0] for rank in found) >= len(found) / 2

    @staticmethod
    def _point(trial: FrozenTrial, rung: int) -> tuple[float, float]:
        best = max(accuracy for epoch, accuracy in trial.intermediate_values.items() if epoch <= rung)
        return float(trial.user_attrs["num_params"]), best


def ranks(points: Sequence[tuple[float, float]]) -> list[int]:
    """The non-dominated rank, from 0, of each (size, accuracy) point (Deb et al. 2002, NSGA-II, section III.A).

    Two objectives need one pass by size (Jensen 2003, section III): a point belongs to the first front whose best
    accuracy so far is below its own. Later fronts have lower ones, so that it is found by bisection.
    """
    result = [0] * len(points)
    losses: list[float] = []  # the best accuracy so far of each front, negative, ascending
    previous = -1
    for index in sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1])):
        if previous >= 0 and points[index] == points[previous]:
            result[index] = result[previous]
        else:
            rank = bisect.bisect_right(losses, -points[index][1])
            losses[rank : rank + 1] = [-points[index][1]]
            result[index] = rank
        previous = index
    return result


class Unscreened(BudgetSampler):
    """The first mutation is proposed."""

    def proposals(
        self, study: optuna.Study, trial: FrozenTrial, rng: random.Random, screened: int
    ) -> Callable[[], Genes] | None:
        return super().proposals(study, trial, rng, 1)


class Modelled(BudgetSampler):
    """TPE proposes where a network of the front would be mutated."""

    def proposals(
        self, study: optuna.Study, trial: FrozenTrial, rng: random.Random, screened: int
    ) -> Callable[[], Genes] | None:
        if super().proposals(study, trial, rng, screened) is None:
            return None
        genes = distributions_of(self.space)
        model = TPESampler(multivariate=True, seed=rng.randrange(2**32))
        return lambda: {**random_genes(self.space, rng), **model.sample_relative(study, trial, genes)}


METHODS: dict[str, Ours | PlainOptuna] = {
    "ours": Ours(),
    "ours, no pruning": Ours(pruner=lambda epochs: NopPruner()),
    "ours, halving": Ours(pruner=Halving),
    "ours, whole budget": Ours(sampler=WholeBudget),
    "ours, random proposals": Ours(sampler=Unguided),
    "ours, mutations not screened": Ours(sampler=Unscreened),
    "ours, TPE proposals": Ours(sampler=Modelled),
    "ours, budget not filled": Ours(sampler=Unfilled),
    "ours, repeating": Ours(sampler=Repeating),
    "random": PlainOptuna(lambda seed: RandomSampler(seed), knows_duplicates=True),
    "plain TPE + MedianPruner": PlainOptuna(lambda seed: TPESampler(seed=seed), MedianPruner),
    "plain NSGA-II": PlainOptuna(lambda seed: NSGAIISampler(seed=seed), two_objectives=True),
}


def replay(method: Ours | PlainOptuna, table: Table, seed: int, seconds: float, workers: int = 2) -> list[Trained]:
    """What `method` trains within `seconds` of simulated time, in the order in which trainings ended."""
    pool = ReplayPool(table, workers, seconds)
    method.run(table, seed, pool)
    return pool.trained


def typical_seconds(table: Table, trainings: int, workers: int) -> float:
    """What `trainings` random trainings to the end take."""
    mean = sum(sum(curve.seconds) for curve in table.curves.values()) / len(table.curves)
    return trainings * mean / workers
