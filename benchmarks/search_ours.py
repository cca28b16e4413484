"""The search of `nas search` over a table of learning curves: the real coordinator, store, sampler and pruner."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest.mock import patch

import optuna
from curves import Table
from optuna.pruners import BasePruner

from nas.arch import Layer, digest_of
from nas.coordinator.coordinator import Coordinator
from nas.space import Candidate, Genes, Space, Value, candidate
from nas.storage.search_store import SearchStore
from nas.strategy.beliefs import goal_of
from nas.strategy.optuna_pruner import ParetoPruner
from nas.strategy.optuna_sampler import BudgetSampler, distributions_of
from nas.study.folder import StudyFolder, StudyImages
from nas.study.settings import StudySettings
from nas.workers.pool import WorkerPool
from nas.workers.simulated import Simulation


def run_ours(
    table: Table,
    seed: int,
    simulation: Simulation,
    target: float | None = None,
    pruner: Callable[[Space, int], BasePruner] | None = None,
) -> None:
    """Search until the simulated time is over."""
    s, space = table.settings, table.space
    settings = StudySettings(s.max_params, epochs=s.epochs, seed=seed, max_trials=1_000_000, target=target)
    classes = tuple(map(str, range(space.classes)))
    images = StudyImages(space.input, classes, s.train_images, s.validation_images, s.validation_images)
    sampler = BudgetSampler(space, settings.budget, seed, goal_of(settings), s.epochs)
    stopping = pruner(space, s.epochs) if pruner else ParetoPruner(space, s.epochs, history=sampler.history)
    with tempfile.TemporaryDirectory() as studies:
        folder, storage = StudyFolder(Path(studies), "replay"), optuna.storages.InMemoryStorage()
        store = SearchStore(folder, distributions_of(space), sampler, stopping, storage)
        pool = WorkerPool(simulation.workers)
        search = Coordinator(store, sampler, settings, images, pool, [], simulation.interrupts, simulation.clock)
        with each_network_once():
            search.run()


@contextmanager
def each_network_once() -> Iterator[None]:
    """Lay out no network twice: in so small a space the same ones come up again and again."""
    digests: dict[int, str] = {}
    found: dict[tuple[int, tuple[tuple[str, Value], ...]], Candidate | None] = {}

    def once(space: Space, genes: Genes) -> Candidate | None:
        key = id(space), tuple(sorted(genes.items()))
        if key not in found:
            found[key] = candidate(space, genes)
        return found[key]

    def digest_once(layers: list[Layer]) -> str:
        # `found` keeps the layers, so that no others can have their place in memory.
        if id(layers) not in digests:
            digests[id(layers)] = digest_of(layers)
        return digests[id(layers)]

    with ExitStack() as patches:
        patches.enter_context(patch("nas.space.assemble.digest_of", digest_once))
        for module in ("nas.space.assemble", "nas.space.draw", "nas.strategy.proposing", "nas.coordinator.trials"):
            patches.enter_context(patch(f"{module}.candidate", once))
        yield
