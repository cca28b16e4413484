"""Searches in the space `tiny_digits` whose trainings are simulated."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from optuna.storages import BaseStorage, InMemoryStorage
from watching import Watching

from nas.arch import Input
from nas.coordinator.coordinator import Coordinator
from nas.data.known import KNOWN_DATASETS
from nas.space import load_space
from nas.storage.study_store import SearchStore
from nas.strategy.proposing import BudgetSampler, distributions_of
from nas.strategy.stopping import ParetoPruner
from nas.study.folder import StudyFolder, StudyImages
from nas.study.settings import StudySettings
from nas.workers.pool import WorkerPool
from nas.workers.simulated import SimulatedTraining, Simulation

SPACE = load_space("tiny_digits", *KNOWN_DATASETS["digits"].images)
SETTINGS = StudySettings(2000, dataset="digits", space="tiny_digits", epochs=3, max_trials=3, num_seeds=1)
IMAGES = StudyImages(Input(1, 8, 8), tuple("0123456789"), 1_200, 360, 360)


def rising(*arguments: object) -> SimulatedTraining:
    """10 %, 20 % and 30 %."""
    return SimulatedTraining((10.0, 20.0, 30.0), images=100)


def run_search(
    tmp_path: Path,
    simulation: Simulation,
    settings: StudySettings = SETTINGS,
    storage: BaseStorage | None = None,
    watching: Watching | None = None,
    epochs: int = 1,
    task: Callable[[Coordinator], None] = Coordinator.run,
) -> SearchStore:
    """Run a search to its end, or resume the one in `storage`. No trial is stopped at a rung but where it has several
    `epochs`.
    """
    sampler = BudgetSampler(SPACE, settings.budget, settings.seed, has_target=settings.target is not None)
    folder, distributions = StudyFolder(tmp_path, "simulated"), distributions_of(SPACE)
    store = SearchStore(folder, distributions, sampler, ParetoPruner(epochs), storage or InMemoryStorage())
    pool, watchers = WorkerPool(simulation.workers), [watching or Watching()]
    coordinator = Coordinator(store, sampler, settings, IMAGES, pool, watchers, simulation.interrupts, simulation.clock)
    task(coordinator)
    return store
