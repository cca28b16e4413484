"""A search from its settings to its end: everything is checked before the first second of training."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from optuna.storages import BaseStorage

from nas.arch import Input
from nas.coordinator.coordinator import Coordinator
from nas.coordinator.snapshot import Watcher
from nas.coordinator.warm_start import warm_start
from nas.dashboard.content import RefreshingWatcher
from nas.data.images import VALIDATION_FRACTION, Dataset, load_dataset, split
from nas.data.known import KNOWN_IMAGES
from nas.errors import StudyError, UsageError
from nas.space import Space, load_space, recipe_of, require_reachable
from nas.storage.address import StorageAddress, locked
from nas.storage.study_store import SearchStore
from nas.strategy.proposing import BudgetSampler
from nas.strategy.stopping import ParetoPruner
from nas.study.decision_log import DecisionLog
from nas.study.records import TrialRecord
from nas.study.settings import StudyFolder, StudySettings
from nas.train.engine import find_device
from nas.workers.interrupt import Interrupts
from nas.workers.local import Pool, Worker, local_workers
from nas.workers.messages import Parts
from nas.workers.ray_actors import check_cluster, cluster_workers

MOST_TRIALS_PER_DEVICE = 32  # one thread queues the steps of all of them


@dataclass(frozen=True)
class Outcome:
    """What a run of a search left behind."""

    records: list[TrialRecord]
    interrupted: bool


@dataclass(frozen=True)
class Machine:
    """Where and with how many workers to train."""

    device: str = "auto"
    workers: int | None = None  # None: one a core on the CPU, one a GPU on GPUs
    data_dir: Path | None = None
    trials_per_device: int | None = None  # each worker's trainings at once; None: by memory on a GPU, one on the CPU
    cluster: str | None = None  # a Ray cluster: HOST:PORT, 'auto', or 'local' to start one; None: this machine alone

    def check(self) -> None:
        """Finds what is wrong before any data are read.

        Raises:
            DeviceError: there is no such device.
            UsageError: the cluster cannot be asked for in this way.
        """
        if self.cluster is None:
            find_device(self.device)
        else:
            check_cluster(self.cluster, self.device)

    def __post_init__(self) -> None:
        """Raises UsageError where a number cannot be."""
        for name, most in (("workers", 256), ("trials_per_device", MOST_TRIALS_PER_DEVICE)):
            value = getattr(self, name)
            if value is not None and not 1 <= value <= most:
                raise UsageError(f"{name} = {value}: give a number from 1 to {most}, or leave it out")


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
    machine.check()
    if settings.dataset in KNOWN_IMAGES:
        # Judged before any data is read, so that an impossible budget is refused at once.
        space, _ = _open_space(folder, settings, *KNOWN_IMAGES[settings.dataset])
        require_reachable(space, settings.budget)
    dataset = load_dataset(settings.dataset, machine.data_dir, settings.image_size, settings.color)
    space, space_text = _open_space(folder, settings, Input(*dataset.image_shape), dataset.num_classes)
    require_reachable(space, settings.budget)
    fingerprints = {"space": space.digest, "data": dataset.fingerprint}
    known = warm_start(settings, space, folder.path.parent) if settings.warm_start and not folder.exists else None
    with locked(folder.lock_file, folder.name):
        folder.compare(settings, fingerprints, storage)
        address = storage or folder.storage()
        with address.coordinating(folder.name) as opened:
            if known:
                for line in known.lines():
                    watcher.say(line)
                # Before the folder: a study that exists has them, and needs no look at where they are from.
                with address.errors(folder.name):
                    known.enqueue(opened, folder.name)
            folder.create(settings, space_text, fingerprints, storage)
            return _coordinate(folder, settings, space, dataset, machine, watcher, Coordinator.run, opened)


def confirm(folder: StudyFolder, settings: StudySettings, number: int, machine: Machine, watcher: Watcher) -> Outcome:
    """Confirms trial `number` of an existing study, whatever its validation accuracy.

    Raises:
        NasError: something is wrong with the request, the data or the machine; nothing was trained.
    """
    machine.check()
    dataset = study_dataset(folder, machine.data_dir)
    space = frozen_space(folder, dataset)
    with locked(folder.lock_file, folder.name), folder.storage().coordinating(folder.name) as opened:
        return _coordinate(folder, settings, space, dataset, machine, watcher, lambda c: c.confirm(number), opened)


def _coordinate(
    folder: StudyFolder,
    settings: StudySettings,
    space: Space,
    dataset: Dataset,
    machine: Machine,
    watcher: Watcher,
    task: Callable[[Coordinator], None],
    storage: BaseStorage,
) -> Outcome:
    epochs = settings.epochs or recipe_of(space, space.plain_genes).epochs
    sampler = BudgetSampler(space, settings.budget, settings.seed, has_target=settings.target is not None)
    store = SearchStore(folder, space, sampler, ParetoPruner(epochs), storage, DecisionLog(folder.log_file).add)
    parts = parts_of(dataset, settings.seed)
    showing = RefreshingWatcher(watcher, store, machine.data_dir)
    interrupts = Interrupts()
    with interrupts.active():
        try:
            with _workers(machine, parts, interrupts, watcher) as workers:
                pool = Pool(workers)
                counts = len(parts.validation), len(parts.test)
                task(Coordinator(store, space, settings, pool, showing, *counts, interrupts))
        except KeyboardInterrupt:
            pass  # while it waited for workers; the signal is remembered in `interrupts`
        finally:
            showing.finish()
    return Outcome(store.records(), interrupts.requested)


@contextmanager
def _workers(machine: Machine, parts: Parts, interrupts: Interrupts, watcher: Watcher) -> Iterator[Sequence[Worker]]:
    """What trains; closed after the body."""
    if machine.cluster is not None:
        where = (machine.cluster, machine.device, machine.workers, machine.trials_per_device)
        with cluster_workers(*where, parts, interrupts, watcher.say) as workers:
            yield workers
        return
    devices = devices_of_workers(find_device(machine.device), machine.workers)
    local = local_workers(parts, devices, machine.trials_per_device, interrupts)
    try:
        yield local
    finally:
        for worker in local:
            worker.close()


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
    dataset = load_dataset(s.dataset, data_dir, s.image_size, s.color)
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


def devices_of_workers(device: torch.device, workers: int | None) -> list[torch.device]:
    """The device of each worker. `cuda` without an index is all GPUs of this machine.

    By default one worker a core on the CPU, where a second thread gains less than a second trial; and one a GPU, which
    packs trials on it. More workers than GPUs share them, worker by worker.
    """
    devices = [device]
    if device.type == "cuda" and device.index is None:
        devices = [torch.device("cuda", index) for index in range(torch.cuda.device_count())]
    count = workers or (len(devices) if device.type == "cuda" else len(os.sched_getaffinity(0)))
    return list(itertools.islice(itertools.cycle(devices), count))
