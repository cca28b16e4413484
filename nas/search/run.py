"""A search from its settings to its end: everything is checked before the first second of training."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from optuna.storages import BaseStorage

from nas.arch import Input
from nas.errors import StudyError
from nas.results.records import TrialRecord
from nas.search.coordinator import Coordinator, Watcher
from nas.search.dashboard_content import RefreshingWatcher
from nas.search.interrupt import Interrupts
from nas.search.pruner import ParetoPruner
from nas.search.sampler import BudgetSampler
from nas.search.settings import StudyFolder, StudySettings
from nas.search.storage import StorageAddress, locked
from nas.search.store import SearchStore
from nas.search.workers import Parts, Pool
from nas.space import KNOWN_IMAGES, Space, load_space, recipe_of, require_reachable
from nas.train.data import VALIDATION_FRACTION, Dataset, load_dataset, split
from nas.train.engine import find_device

# Processes that share one GPU take turns on it, so that one computes while another prepares its next step.
WORKERS_PER_GPU = 2


@dataclass(frozen=True)
class Outcome:
    """What a run of a search left behind."""

    records: list[TrialRecord]
    interrupted: bool


@dataclass(frozen=True)
class Machine:
    """Where and with how many workers to train."""

    device: str = "auto"
    workers: int | None = None  # None: one a core on the CPU, WORKERS_PER_GPU on a GPU
    data_dir: Path | None = None


def search(
    folder: StudyFolder,
    settings: StudySettings,
    machine: Machine,
    watcher: Watcher,
    storage: StorageAddress | None = None,
) -> Outcome:
    """Runs a new study, or resumes the one of that name, until it ends or is interrupted (Ctrl-C, SIGTERM).

    Its trials are kept in `storage`: by default where it was created, and for a new one in a file of its folder.

    Raises:
        NasError: something is wrong with the request, the data or the machine; nothing was trained.
    """
    device = find_device(machine.device)
    if settings.dataset in KNOWN_IMAGES:
        # Judged before any data is read, so that an impossible budget is refused at once.
        space, _ = _open_space(folder, settings, *KNOWN_IMAGES[settings.dataset])
        require_reachable(space, settings.budget)
    dataset = load_dataset(settings.dataset, machine.data_dir, settings.image_size, settings.colour)
    space, space_text = _open_space(folder, settings, Input(*dataset.image_shape), dataset.num_classes)
    require_reachable(space, settings.budget)
    fingerprints = {"space": space.digest, "data": dataset.fingerprint}
    with locked(folder.lock_file, folder.name):
        folder.compare(settings, fingerprints, storage)
        with (storage or folder.storage()).coordinating(folder.name) as opened:
            folder.create(settings, space_text, fingerprints, storage)
            return _coordinate(folder, settings, space, dataset, device, machine, watcher, Coordinator.run, opened)


def confirm(folder: StudyFolder, settings: StudySettings, number: int, machine: Machine, watcher: Watcher) -> Outcome:
    """Confirms trial `number` of an existing study, whatever its validation accuracy.

    Raises:
        NasError: something is wrong with the request, the data or the machine; nothing was trained.
    """
    device = find_device(machine.device)
    dataset = study_dataset(folder, machine.data_dir)
    space = frozen_space(folder, dataset)
    with locked(folder.lock_file, folder.name), folder.storage().coordinating(folder.name) as opened:
        return _coordinate(
            folder, settings, space, dataset, device, machine, watcher, lambda c: c.confirm(number), opened
        )


def _coordinate(
    folder: StudyFolder,
    settings: StudySettings,
    space: Space,
    dataset: Dataset,
    device: torch.device,
    machine: Machine,
    watcher: Watcher,
    task: Callable[[Coordinator], None],
    storage: BaseStorage,
) -> Outcome:
    epochs = settings.epochs or recipe_of(space, space.plain_genes).epochs
    sampler = BudgetSampler(space, settings.budget, settings.seed, has_target=settings.target is not None)
    store = SearchStore(folder, space, sampler, ParetoPruner(epochs), storage)
    parts = parts_of(dataset, settings.seed)
    showing = RefreshingWatcher(watcher, store, machine.data_dir)
    interrupts = Interrupts()
    with interrupts.active():
        pool = Pool(parts, device, machine.workers or default_workers(device), interrupts)
        try:
            task(Coordinator(store, space, settings, pool, showing, len(parts.validation), interrupts))
        finally:
            pool.close()
            showing.finish()
    return Outcome(store.records(), interrupts.requested)


def _open_space(folder: StudyFolder, settings: StudySettings, images: Input, classes: int) -> tuple[Space, str]:
    """The space and its text: the frozen copy where the study resumes with the same space, else the one named."""
    if folder.exists and folder.settings().space == settings.space:
        path = folder.space_file
        return load_space(str(path), images, classes), path.read_text()
    space = load_space(settings.space, images, classes)
    return space, space.source.read_text()


def frozen_space(folder: StudyFolder, dataset: Dataset) -> Space:
    """The space of an existing study."""
    return load_space(str(folder.space_file), Input(*dataset.image_shape), dataset.num_classes)


def study_dataset(folder: StudyFolder, data_dir: Path | None) -> Dataset:
    """The data of an existing study, refused where they have changed.

    Raises:
        StudyError: the data are not those of the study.
    """
    s = folder.settings()
    dataset = load_dataset(s.dataset, data_dir, s.image_size, s.colour)
    if dataset.fingerprint != folder.fingerprints()["data"]:
        raise StudyError(f"the data of {s.dataset!r} are not those that study {folder.name!r} was made with")
    return dataset


def parts_of(dataset: Dataset, seed: int) -> Parts:
    """The one split of the training part by the study's seed, and the test part that takes no part in it."""
    training, validation = split(dataset.train.labels, VALIDATION_FRACTION, seed)
    return Parts(
        train=dataset.train.subset(training),
        validation=dataset.train.subset(validation),
        whole_train=dataset.train,
        test=dataset.test,
        policy=dataset.policy,
    )


def default_workers(device: torch.device) -> int:
    """One worker a core on the CPU, where a second thread gains less than a second trial; a few on a GPU."""
    return WORKERS_PER_GPU if device.type == "cuda" else len(os.sched_getaffinity(0))
