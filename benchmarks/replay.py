"""Searches over a table of learning curves, on a simulated clock: an epoch costs the seconds that the table recorded.

Ours is the real coordinator, store, sampler and pruner; the rivals are the scripts that a person would write with
plain Optuna. All of them use the same workers. Proposing a network costs no simulated time, nor does one that a method
refuses to train (over budget, or known already to a method that looks).
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import optuna
from curves import Curve, Table, table_recipe
from optuna.pruners import BasePruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState
from search_ours import run_ours

from nas.arch import digest_of, lower, recipe_digest
from nas.space import Space, candidate
from nas.strategy.optuna_sampler import suggest_genes
from nas.study.records import last_epochs_mean
from nas.train.epoch import Epoch
from nas.workers.messages import Job
from nas.workers.pool import WorkerPool
from nas.workers.simulated import SimulatedRun, SimulatedTraining, Simulation


@dataclass(frozen=True)
class Trained:
    """A training that a search began, as it stood when it ended."""

    ended: float  # simulated seconds since the search began
    num_params: int
    accuracy: float  # percent: what the search sees, or would have seen at the end of one that it stopped
    seconds: float  # spent on it
    seconds_to_end: float  # what it would have cost to its end
    completed: bool


def curve_of(table: Table, job: Job) -> Curve:
    """Return the learning curve of `job`."""
    return table.curves[digest_of(lower(job.architecture)), recipe_digest(job.recipe)]


def simulate(table: Table, workers: int, seconds: float) -> Simulation:
    """Return workers that read the curves of `table` for so many simulated seconds."""

    def look_up(job: Job, attempt: int) -> SimulatedTraining:
        if job.confirms:
            # A search that confirms has found nothing new to try; what it reads then is the test set, not this table.
            simulation.interrupts.requested = True
            return SimulatedTraining(())
        curve = curve_of(table, job)
        return SimulatedTraining(curve.accuracy, curve.seconds)

    simulation = Simulation(look_up, workers, seconds=seconds)
    return simulation


@dataclass(frozen=True)
class Ours:
    """The search of `nas search`, whole or with another pruner."""

    pruner: Callable[[Space, int], BasePruner] | None = None

    def run(self, table: Table, seed: int, simulation: Simulation) -> None:
        """Search until the simulated time is over."""
        run_ours(table, seed, simulation, pruner=self.pruner)


@dataclass(frozen=True)
class PlainOptuna:
    """What a person writes without this project: ask, count, prune what is over budget, train, report, tell."""

    sampler: Callable[[int], BaseSampler]
    pruner: Callable[[], BasePruner] = NopPruner
    two_objectives: bool = False  # parameters and accuracy, over budget a violated constraint
    knows_duplicates: bool = False

    def run(self, table: Table, seed: int, simulation: Simulation) -> None:
        """Search until the simulated time is over."""
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        directions = {"directions": ["minimize", "maximize"]} if self.two_objectives else {"direction": "maximize"}
        study = optuna.create_study(sampler=self.sampler(seed), pruner=self.pruner(), **directions)
        running: dict[int, tuple[optuna.Trial, int, list[float]]] = {}
        known: set[tuple[str, str]] = set()
        pool = WorkerPool(simulation.workers)
        while not simulation.interrupts.requested:
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
            trial = study.ask()
            network = candidate(table.space, suggest_genes(trial, table.space))
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


METHODS: dict[str, Ours | PlainOptuna] = {
    "ours": Ours(),
    "ours, no pruning": Ours(pruner=lambda space, epochs: NopPruner()),
    "ours, halving": Ours(pruner=lambda space, epochs: Halving(epochs)),
    "random": PlainOptuna(lambda seed: RandomSampler(seed), knows_duplicates=True),
    "plain TPE + MedianPruner": PlainOptuna(lambda seed: TPESampler(seed=seed), MedianPruner),
    "plain GP": PlainOptuna(lambda seed: GPSampler(seed=seed), two_objectives=True, knows_duplicates=True),
    "plain NSGA-II": PlainOptuna(lambda seed: NSGAIISampler(seed=seed), two_objectives=True),
}


def replay(method: Ours | PlainOptuna, table: Table, seed: int, seconds: float, workers: int = 2) -> list[Trained]:
    """Return what `method` trains within `seconds` of simulated time, in the order in which trainings ended."""
    simulation = simulate(table, workers, seconds)
    method.run(table, seed, simulation)
    return [_trained(curve_of(table, run.job), run) for run in simulation.ended]


def _trained(curve: Curve, run: SimulatedRun) -> Trained:
    final, whole = last_epochs_mean(curve.accuracy), sum(curve.seconds)
    return Trained(run.ended, curve.num_params, final, run.seconds, whole, run.is_complete)


def typical_seconds(table: Table, trainings: int, workers: int) -> float:
    """Return what `trainings` random trainings to the end take, shared by `workers`."""
    mean = sum(sum(curve.seconds) for curve in table.curves.values()) / len(table.curves)
    return trainings * mean / workers
