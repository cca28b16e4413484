"""What the coordinator itself costs: its share of one core, with thousands of trials recorded and many workers.

    python benchmarks/coordinator_cost.py --json

The coordinator, store, sampler, pruner and storage are the real ones. The workers are simulated: each reports an epoch
a second by a clock of its own, so that the run need not wait for them, and the share is processor seconds over
simulated seconds. The recorded trials are distinct networks of the space with made-up learning curves.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import random
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.trial import TrialState, create_trial

from nas.arch import lower
from nas.coordinator.coordinator import Coordinator
from nas.coordinator.snapshot import Snapshot
from nas.costs import costs_of
from nas.data.known import KNOWN_DATASETS
from nas.errors import NasError
from nas.host import versions
from nas.space import Candidate, Space, draw_network, load_space
from nas.storage.address import StorageAddress, address_of
from nas.storage.search_store import SearchStore
from nas.strategy.optuna_pruner import ParetoPruner
from nas.strategy.optuna_sampler import BudgetSampler, distributions_of
from nas.strategy.stopping import rungs_of
from nas.study.folder import StudyFolder, StudyImages
from nas.study.settings import StudySettings
from nas.workers.messages import Job
from nas.workers.pool import WorkerPool
from nas.workers.simulated import SimulatedTraining, Simulation

WARM_UP = 20.0  # simulated seconds before the measurement
NAME = "cost"


def curve(num_params: int, rng: random.Random, epochs: int) -> list[float]:
    """Percent after each epoch: larger networks end higher, with some luck."""
    end = 99.6 - 60 / math.sqrt(num_params) + rng.gauss(0, 0.3)
    return [min(100.0, max(0.0, end - 40 * math.exp(-0.6 * e) + rng.gauss(0, 0.1))) for e in range(1, epochs + 1)]


def recorded(space: Space, settings: StudySettings, count: int, epochs: int) -> Iterator[optuna.trial.FrozenTrial]:
    """Finished trials, all of different networks; half of them stopped at a rung."""
    rng = random.Random(0)
    distributions = distributions_of(space)
    seen: set[str] = set()
    while len(seen) < count:
        found: Candidate = draw_network(space, settings.budget, rng, None, rng.randint(1_000, 8_000)).candidate
        if found.digest in seen:
            continue
        seen.add(found.digest)
        stopped = rng.random() < 0.5
        accuracies = curve(found.costs.num_params, rng, epochs)[: rng.choice(rungs_of(epochs)) if stopped else None]
        costs = found.costs
        yield create_trial(
            state=TrialState.PRUNED if stopped else TrialState.COMPLETE,
            value=accuracies[-1],
            params=found.genes,
            distributions=distributions,
            intermediate_values=dict(enumerate(accuracies, 1)),
            user_attrs={
                "num_params": costs.num_params,
                "num_macs": costs.num_macs,
                "peak_activation_bytes": costs.peak_activation_bytes,
                "digest": found.digest,
                "seed": 0,
                "fate": "stopped" if stopped else "completed",
                "train_seconds": float(len(accuracies)),
            },
        )


class Meter:
    """Adds up processor seconds by part, from the end of the warm-up on."""

    def __init__(self) -> None:
        self.began: tuple[float, dict[str, float]] | None = None
        self.by_part: dict[str, float] = defaultdict(float)
        self.calls: dict[str, int] = defaultdict(int)

    def advance(self, now: float) -> None:
        """Begins to count once the simulated clock has passed the warm-up."""
        if now >= WARM_UP and self.began is None:
            self.began = time.process_time(), dict(self.by_part)
            self.calls.clear()

    def timed(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """`call`, whose processor seconds are added up under `name`."""

        def timed(*arguments: Any, **options: Any) -> Any:
            began = time.process_time()
            try:
                return call(*arguments, **options)
            finally:
                self.by_part[name] += time.process_time() - began
                self.calls[name] += 1

        return timed


class Silent:
    def update(self, snapshot: Snapshot) -> None:
        """Shows nothing."""

    def say(self, text: str) -> None:
        """Says nothing."""

    def end(self) -> None:
        """Leaves nothing behind."""


def measure(storage: BaseStorage, folder: StudyFolder, options: argparse.Namespace) -> dict[str, Any]:
    """The share of a core, in all and by part."""
    space = load_space("separable", *KNOWN_DATASETS["mnist"].images)
    settings = StudySettings(8000, epochs=options.epochs, max_trials=1_000_000)
    study = optuna.create_study(study_name=NAME, storage=storage, direction="maximize", load_if_exists=True)
    there = len(study.get_trials(deepcopy=False))
    if there < options.trials:
        study.add_trials(list(recorded(space, settings, options.trials, options.epochs))[there:])
    meter, rng = Meter(), random.Random(1)

    def look_up(job: Job, attempt: int) -> SimulatedTraining:
        """An epoch a second, after a first one that keeps the workers out of step."""
        accuracies = curve(costs_of(lower(job.architecture)).num_params, rng, job.recipe.epochs)
        return SimulatedTraining(tuple(accuracies), (rng.random(), *[1.0] * (len(accuracies) - 1)), images=50_000)

    end = WARM_UP + options.seconds
    simulation = Simulation(look_up, options.workers, seconds=end, on_advance=meter.advance)
    sampler, pruner = BudgetSampler(space, settings.budget, 0), ParetoPruner(space, options.epochs)
    began = time.process_time()
    store = SearchStore(folder, distributions_of(space), sampler, pruner, storage)
    opening = time.process_time() - began
    sampler.sample_relative = meter.timed("sampler", sampler.sample_relative)  # type: ignore[method-assign]
    pruner.prune = meter.timed("pruner", pruner.prune)  # type: ignore[method-assign]
    store._write = meter.timed("storage of trials", store._write)  # type: ignore[method-assign]
    write_epoch = meter.timed("storage of epochs", store.storage.set_trial_intermediate_value)
    store.storage.set_trial_intermediate_value = write_epoch  # type: ignore[method-assign]
    shape, classes = KNOWN_DATASETS["mnist"].images
    images = StudyImages(shape, tuple(map(str, range(classes))), 50_000, 10_000, 10_000)
    pool, watchers = WorkerPool(simulation.workers), [Silent()]
    coordinator = Coordinator(store, sampler, settings, images, pool, watchers, simulation.interrupts, simulation.clock)
    coordinator.run()
    assert meter.began is not None
    spent = time.process_time() - meter.began[0]
    parts = {name: seconds - meter.began[1].get(name, 0.0) for name, seconds in meter.by_part.items()}
    parts["storage of trials"] -= parts["storage of epochs"]  # what is left: their beginning and end
    parts["coordinator"] = spent - sum(parts.values())
    of_epochs = parts["coordinator"] + parts["pruner"] + parts["storage of epochs"]
    return {
        "percent_of_a_core": round(100 * spent / options.seconds, 2),
        "percent_by_part": {name: round(100 * seconds / options.seconds, 2) for name, seconds in sorted(parts.items())},
        "percent_of_epoch_events": round(100 * of_epochs / options.seconds, 2),  # without trials begun and ended
        "trials_recorded": options.trials,
        "trials_begun_a_second": round(meter.calls["sampler"] / options.seconds, 2),
        "epochs_a_second": round(meter.calls["pruner"] / options.seconds, 2),
        "seconds_to_open": round(opening, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--trials", type=int, default=1_000, help="recorded before")
    parser.add_argument("--workers", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=15, help="of a training, one a second")
    parser.add_argument("--seconds", type=float, default=60.0, help="simulated")
    parser.add_argument("--storage", help="as of `nas search`; default: SQLite in a scratch folder")
    parser.add_argument("--studies", type=Path, help="keep the scratch folder here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = StudyFolder(options.studies or Path(scratch), NAME)
        folder.run.mkdir(parents=True, exist_ok=True)
        address = StorageAddress.parse(options.storage) if options.storage else address_of(folder)
        with address.coordinating(NAME) as storage:
            share = measure(storage, folder, options)
        result = {
            "share": share,
            "storage": address.url.partition(":")[0],
            "workers": options.workers,
            "epochs_of_a_training": options.epochs,
            "simulated_seconds": options.seconds,
            "date": date.today().isoformat(),
            "machine": f"{platform.machine()}, {os.cpu_count()} cores, shared",
            "versions": {
                "python": platform.python_version(),
                **versions("optuna", "sqlalchemy"),
            },
        }
    if options.json:
        print(json.dumps(result, indent=2))
        return
    for name, value in result["share"].items():
        print(f"{name}: {value}")


if __name__ == "__main__":
    try:
        main()
    except NasError as error:
        sys.exit(f"error: {error}")
