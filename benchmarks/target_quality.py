"""How small a network does a search confirm, at equal training time? Replays searches that are told a target.

    python benchmarks/target_quality.py --table digits --target 97.6 --seeds 30

A confirmation is three more trainings, costed and read from tables too. Where the folder has tables `NAME_seed1` to
`NAME_seed3`, they hold these trainings, really trained with other seeds. What they lack is the curve of the first
training, moved by a normal error of the binomial standard error of its accuracy; so are all confirmations of a table
without them. The smallest network there is, is the smallest whose mean over these three meets the target.

Rivals are what a person would write with Optuna: minimise the parameters subject to validation accuracy >= target, or
both as objectives, and confirm with three seeds whatever meets the target in validation and is smaller than what was
confirmed. Proposing takes no simulated time; the real seconds are printed beside it.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import random
import statistics
import sys
import time
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from curves import TABLES, Curve, Key, Table, read_table, table_recipe
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler
from replay import curve_of, typical_seconds
from search_quality import RESULTS, mean_with_interval

from nas.arch import digest_of, lower, recipe_digest
from nas.space import candidate
from nas.strategy.optuna_sampler import suggest_genes
from nas.study.records import last_epochs_mean, standard_error
from nas.train.epoch import Epoch
from nas.workers.messages import Job
from nas.workers.pool import WorkerPool
from nas.workers.simulated import SimulatedTraining, Simulation

SEEDS = 3  # of a confirmation
MILESTONES = (0.1, 0.25, 0.5, 1.0)  # of the time
TOLERANCE = 0.1  # as good as the smallest is what has at most so much more parameters


@dataclass(frozen=True)
class Question:
    """A table, its confirmations and a target."""

    table: Table
    seeds: tuple[dict[Key, Curve], ...]  # of the tables of confirmations; none where they are modelled
    target: float  # percent

    def confirmation(self, key: Key, place: int) -> Curve:
        """Return the training of seed `place`, from 0, of the confirmation of a network."""
        if place < len(self.seeds) and key in self.seeds[place]:
            return self.seeds[place][key]
        curve = self.table.curves[key]
        deviation = standard_error(last_epochs_mean(curve.accuracy), self.table.settings.validation_images)
        error = random.Random(f"{key}:{place}").gauss(0, deviation)
        return replace(curve, accuracy=tuple(min(max(a + error, 0.0), 100.0) for a in curve.accuracy))

    def figure(self, key: Key) -> float:
        """Return what the confirmation of a network comes to, percent."""
        return statistics.fmean(last_epochs_mean(self.confirmation(key, p).accuracy) for p in range(SEEDS))

    @property
    def smallest(self) -> int:
        """Return the parameters of the smallest network whose confirmation meets the target."""
        return min(curve.num_params for key, curve in self.table.curves.items() if self.figure(key) >= self.target)


def read_question(name: str, folder: Path, target: float) -> Question:
    """Return a table with the tables of its confirmations, as far as there are any."""
    places = [f"{name}_seed{place}" for place in range(1, SEEDS + 1)]
    seeds = tuple(read_table(place, folder).curves for place in places if (folder / f"{place}.csv").exists())
    return Question(read_table(name, folder), seeds, target)


def simulate(question: Question, workers: int, seconds: float) -> Simulation:
    """Return workers that read trials and confirmations from the tables for so many simulated seconds."""
    places: dict[Key, list[int]] = defaultdict(list)  # seeds of each network's confirmation, as they began

    def look_up(job: Job, attempt: int) -> SimulatedTraining:
        curve = curve_of(question.table, job)
        if job.confirms:
            key = digest_of(lower(job.architecture)), recipe_digest(job.recipe)
            if job.seed not in places[key]:
                places[key].append(job.seed)
            curve = question.confirmation(key, places[key].index(job.seed))
        return SimulatedTraining(curve.accuracy, curve.seconds)

    return Simulation(look_up, workers, seconds=seconds)


@dataclass(frozen=True)
class PlainOptuna:
    """What a person writes: ask, train, tell; confirm what meets the target and is smaller than what was confirmed."""

    sampler: Callable[[int], BaseSampler]
    two_objectives: bool = False

    def run(self, question: Question, seed: int, simulation: Simulation) -> None:
        """Search until the simulated time is over."""
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        directions = {"directions": ["minimize", "maximize"]} if self.two_objectives else {"direction": "minimize"}
        study = optuna.create_study(sampler=self.sampler(seed), **directions)
        pool, run = WorkerPool(simulation.workers), _PlainRun(question, study, self.two_objectives)
        while not simulation.interrupts.requested:
            for worker in pool.workers:
                if worker.room and (job := run.next_job()):
                    worker.submit(job)
            for _, event in pool.events(0.0):
                if isinstance(event.what, Epoch):
                    run.curves[event.key].append(event.what.accuracy)
                else:
                    run.end(event.key)


@dataclass
class _PlainRun:
    question: Question
    study: optuna.Study
    two_objectives: bool
    curves: dict[tuple[int, int | None], list[float]] = field(default_factory=lambda: defaultdict(list))
    trials: dict[int, tuple[optuna.Trial, Job, int]] = field(default_factory=dict)
    queue: deque[Job] = field(default_factory=deque)
    figures: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    known: dict[Key, float] = field(default_factory=dict)  # accuracy of what was trained
    best: float = math.inf

    def next_job(self) -> Job | None:
        if self.queue:
            return self.queue.popleft()
        table = self.question.table
        for _ in range(10_000):
            trial = self.study.ask()
            network = candidate(table.space, suggest_genes(trial, table.space))
            assert network is not None
            num_params, key = network.costs.num_params, table.key(network)
            trial.set_constraint("budget", float(num_params - table.settings.max_params))
            if num_params > table.settings.max_params:
                self.tell(trial, num_params, 0.0)
            elif key in self.known:  # trained before: its result is told again at no cost
                self.tell(trial, num_params, self.known[key])
            else:
                recipe = table_recipe(table.space, network.genes, table.settings.epochs)
                job = Job((trial.number, None), network.architecture, recipe, 0)
                self.trials[trial.number] = trial, job, num_params
                return job
        return None

    def tell(self, trial: optuna.Trial, num_params: int, accuracy: float) -> None:
        if self.two_objectives:
            self.study.tell(trial, [num_params, accuracy])
        else:
            trial.set_constraint("target", self.question.target - accuracy)
            self.study.tell(trial, float(num_params))

    def end(self, key: tuple[int, int | None]) -> None:
        number, seed = key
        trial, job, num_params = self.trials[number]
        figure = last_epochs_mean(tuple(self.curves[key]))
        if seed is not None:
            self.figures[number].append(figure)
            if len(self.figures[number]) == SEEDS and statistics.fmean(self.figures[number]) >= self.question.target:
                self.best = min(self.best, num_params)
            return
        self.known[digest_of(lower(job.architecture)), recipe_digest(job.recipe)] = figure
        self.tell(trial, num_params, figure)
        if figure >= self.question.target and num_params < self.best:
            self.queue += [replace(job, key=(number, place), seed=place) for place in range(1, SEEDS + 1)]


class Ours:
    """The search of `nas search`."""

    def run(self, question: Question, seed: int, simulation: Simulation) -> None:
        """Search until the simulated time is over."""
        from search_ours import run_ours

        run_ours(question.table, seed, simulation, question.target)


METHODS: dict[str, Ours | PlainOptuna] = {
    "ours": Ours(),
    "random": PlainOptuna(lambda seed: RandomSampler(seed)),
    "TPE, size subject to target": PlainOptuna(lambda seed: TPESampler(seed=seed)),
    "GP, size subject to target": PlainOptuna(lambda seed: GPSampler(seed=seed)),
    "GP, two objectives": PlainOptuna(lambda seed: GPSampler(seed=seed), two_objectives=True),
}


@dataclass(frozen=True)
class Result:
    """What a search confirmed, and what it cost."""

    met: list[tuple[float, int]]  # share of the time, parameters, of every confirmation that met the target
    trials: int
    stopped: int
    seeds: int  # trainings of confirmations
    confirming: float  # share of all epochs
    real_seconds: float


def replay(method: str, seed: int, question: Question, seconds: float, workers: int) -> Result:
    """Return what a method comes to within `seconds` of simulated time."""
    simulation = simulate(question, workers, seconds)
    started = time.perf_counter()
    METHODS[method].run(question, seed, simulation)
    real = time.perf_counter() - started
    seeds: dict[int, list[tuple[float, float, int]]] = defaultdict(list)
    for run in simulation.ended:
        if run.job.confirms and run.is_complete:
            curve = curve_of(question.table, run.job)
            seeds[run.job.key[0]].append((run.ended, last_epochs_mean(run.training.accuracies), curve.num_params))
    met = [
        (ends[SEEDS - 1][0] / seconds, ends[0][2])
        for ends in seeds.values()
        if len(ends) >= SEEDS and statistics.fmean(figure for _, figure, _ in ends[:SEEDS]) >= question.target
    ]
    trials = [run for run in simulation.runs if not run.job.confirms]
    epochs = sum(run.epochs for run in simulation.runs)
    confirming = sum(run.epochs for run in simulation.runs if run.job.confirms)
    return Result(
        sorted(met),
        len(trials),
        sum(run.epochs < question.table.settings.epochs for run in trials),
        sum(len(ends) for ends in seeds.values()),
        confirming / epochs,
        real,
    )


def summary(results: Sequence[Result], smallest: int, budget: int) -> dict[str, Any]:
    """Return figures over seeds; where nothing is met yet, the budget counts as met, and never is the whole time."""

    def ratio(result: Result, moment: float) -> float:
        return min((size for when, size in result.met if when <= moment), default=budget) / smallest

    def first(result: Result, most: float) -> float:
        return min((when for when, size in result.met if size <= most), default=1.0)

    return {
        "ratio": {str(m): mean_with_interval([ratio(r, m) for r in results]) for m in MILESTONES},
        "first_met": mean_with_interval([first(r, math.inf) for r in results]),
        "near_smallest": mean_with_interval([first(r, (1 + TOLERANCE) * smallest) for r in results]),
        "near_smallest_reached": statistics.fmean(first(r, (1 + TOLERANCE) * smallest) < 1 for r in results),
        "confirming": mean_with_interval([r.confirming for r in results]),
        "trials": statistics.fmean(r.trials for r in results),
        "stopped": statistics.fmean(r.stopped for r in results),
        "seeds_trained": statistics.fmean(r.seeds for r in results),
        "real_seconds": round(statistics.median(r.real_seconds for r in results), 2),
    }


def readable(document: dict[str, Any]) -> str:
    """Return the document as a table."""
    lines = [
        f"{document['table']}, target {document['target']:g} %, smallest {document['smallest']:,}; "
        f"{document['seeds']} seeds, {document['workers']} workers, the time of {document['trainings']} trainings",
        f"{'':<30}{'at 10 %':>18}{'25 %':>18}{'50 %':>18}{'100 %':>18}{'first met %':>18}{'near smallest %':>18}"
        f"{'confirming':>11}{'trials':>8}{'stopped':>8}{'seeds':>7}{'s/run':>8}",
    ]

    def shown(value: dict[str, Any], scale: float = 1.0, digits: int = 2) -> str:
        low, high = value["interval"]
        return f"{scale * value['mean']:.{digits}f} ({scale * low:.{digits}f}-{scale * high:.{digits}f})"

    for name, m in document["methods"].items():
        ratios = "".join(f"{shown(value):>18}" for value in m["ratio"].values())
        lines.append(
            f"{name:<30}{ratios}{shown(m['first_met'], 100, 1):>18}{shown(m['near_smallest'], 100, 0):>18}"
            f"{100 * m['confirming']['mean']:10.0f}%{m['trials']:8.0f}{m['stopped']:8.0f}{m['seeds_trained']:7.0f}"
            f"{m['real_seconds']:8.1f}"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", default="digits")
    parser.add_argument("--folder", type=Path, default=TABLES, help="where the tables lie")
    parser.add_argument("--target", type=float, required=True, help="percent")
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--trainings", type=int, default=100, help="that the simulated time would suffice for")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--json", action="store_true", help="print one JSON document to standard output")
    parser.add_argument("--write", action="store_true", help="keep the result under results/")
    options = parser.parse_args()
    question = read_question(options.table, options.folder, options.target)
    seconds = typical_seconds(question.table, options.trainings, options.workers)
    smallest, budget = question.smallest, question.table.settings.max_params
    methods = {}
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    with ProcessPoolExecutor(options.jobs, get_context("spawn")) as executor:
        for name in options.methods:
            run = partial(replay, name, question=question, seconds=seconds, workers=options.workers)
            methods[name] = summary(list((executor.map if options.jobs > 1 else map)(run, seeds)), smallest, budget)
    document = {
        "date": date.today().isoformat(),
        "hardware": platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "versions": {"python": platform.python_version(), "optuna": optuna.__version__, "numpy": np.__version__},
        "table": options.table,
        "settings": asdict(question.table.settings),
        "confirmations": [len(table) for table in question.seeds] or "modelled",
        "target": options.target,
        "smallest": smallest,
        "seeds": options.seeds,
        "trainings": options.trainings,
        "workers": options.workers,
        "methods": methods,
    }
    if options.write:
        path = RESULTS / f"target_quality_{options.table}_{options.target:g}.json"
        path.write_text(json.dumps(document, indent=2) + "\n")
        print(f"written: {path}", file=sys.stderr)
    print(json.dumps(document, indent=2) if options.json else readable(document))


if __name__ == "__main__":
    main()
