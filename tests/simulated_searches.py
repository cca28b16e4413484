"""Searches in the space `tiny_digits` whose trainings are simulated."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from optuna.storages import BaseStorage, InMemoryStorage
from watching import Watching

from nas.arch import Input
from nas.coordinator.coordinator import Coordinator
from nas.coordinator.snapshot import Watcher
from nas.data.known import KNOWN_DATASETS
from nas.space import load_space
from nas.storage.search_store import SearchStore
from nas.strategy.beliefs import goal_of
from nas.strategy.optuna_pruner import ParetoPruner
from nas.strategy.optuna_sampler import BudgetSampler, distributions_of
from nas.study.decision_log import DecisionLog
from nas.study.folder import Fingerprints, StudyDocument, StudyFolder, StudyImages
from nas.study.settings import StudySettings
from nas.workers.pool import WorkerPool
from nas.workers.simulated import SimulatedTraining, Simulation

SPACE = load_space("tiny_digits", *KNOWN_DATASETS["digits"].images)
SETTINGS = StudySettings(2000, dataset="digits", space="tiny_digits", epochs=3, max_trials=3, num_seeds=1)
IMAGES = StudyImages(Input(1, 8, 8), tuple("0123456789"), 1_200, 360, 360)


def rising(*arguments: object) -> SimulatedTraining:
    """10 %, 20 % and 30 %."""
    return SimulatedTraining((10.0, 20.0, 30.0), images=100)


def open_search(
    path: Path,
    simulation: Simulation,
    settings: StudySettings,
    storage: BaseStorage,
    watcher: Watcher,
    epochs: int,
    seconds_before: float = 0.0,
) -> Coordinator:
    """Return the search that begins the study in `storage`, or resumes it; its trainings have `epochs`."""
    sampler = BudgetSampler(SPACE, settings.budget, settings.seed, goal_of(settings), epochs)
    folder, distributions = StudyFolder(path, "simulated"), distributions_of(SPACE)
    folder.create(StudyDocument(settings, Fingerprints("", ""), images=IMAGES), SPACE.source.read_text("utf-8"))
    pruner, note = ParetoPruner(SPACE, epochs, history=sampler.history), DecisionLog(folder.log_file).add
    store = SearchStore(folder, distributions, sampler, pruner, storage, note, settings.target, settings.num_seeds)
    pool, interrupts, clock = WorkerPool(simulation.workers), simulation.interrupts, simulation.clock
    return Coordinator(store, sampler, settings, IMAGES, pool, [watcher], interrupts, clock, seconds_before)


def run_search(
    path: Path,
    simulation: Simulation,
    settings: StudySettings = SETTINGS,
    storage: BaseStorage | None = None,
    watching: Watcher | None = None,
    task: Callable[[Coordinator], None] = Coordinator.run,
) -> SearchStore:
    """Run a search to its end. It stops no trial early: to the pruner, trainings have one epoch."""
    search = open_search(path, simulation, settings, storage or InMemoryStorage(), watching or Watching(), epochs=1)
    task(search)
    return search.store
