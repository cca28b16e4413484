"""`nas search` and `nas confirm`: everything is checked before the first second of training, then the study is run."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from nas.app.mistakes import mistakes_of
from nas.app.old_studies import upgrade
from nas.app.study_data import dataset_to_search, images_of, study_dataset
from nas.app.time_spent import TimeSpent
from nas.arch import Input
from nas.callbacks.callback import Callback
from nas.callbacks.watcher import CallbackWatcher, require_callbacks
from nas.coordinator.background import BackgroundWatcher
from nas.coordinator.coordinator import Coordinator
from nas.coordinator.snapshot import Watcher
from nas.coordinator.warm_start import warm_start
from nas.dashboard.content import DashboardWatcher
from nas.data.images import Dataset
from nas.data.known import KNOWN_DATASETS
from nas.data.overview import Overview, overview_of
from nas.data.split import Parts, parts_of
from nas.errors import NasError, StudyError, UsageError
from nas.host import available_cores
from nas.kernels.cpu import kernel_status, load_kernels
from nas.space import Space, load_space, require_reachable
from nas.storage.address import Storage, StorageAddress, address_of
from nas.storage.locks import HAS_LOCKS, NO_LOCKS, StorageError, locked
from nas.storage.search_store import SearchStore
from nas.strategy.beliefs import goal_of
from nas.strategy.fitted_sampler import require_sampler, sampler_of
from nas.strategy.optuna_pruner import ParetoPruner
from nas.strategy.optuna_sampler import distributions_of
from nas.study.answer import best_record
from nas.study.decision_log import DecisionLog
from nas.study.folder import Fingerprints, StudyDocument, StudyFolder
from nas.study.landmarks import references
from nas.study.networks import kept_file
from nas.study.recipe import study_epochs, trial_recipe
from nas.study.records import TrialRecord
from nas.study.settings import StudySettings
from nas.train.device import find_device
from nas.train.software import describe_software
from nas.workers.interrupt import Interrupts
from nas.workers.own_training import TrainFunction, require_own_training
from nas.workers.pool import WorkerPool
from nas.workers.process import local_workers
from nas.workers.ray_actors import check_cluster, cluster_workers
from nas.workers.worker import Worker

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
    cluster: str | None = None  # a Ray cluster: HOST:PORT or 'auto'; None: this machine alone
    train: TrainFunction | None = None  # a person's own, called in place of our training

    def check(self, train: str | None) -> None:
        """Find what is wrong before any data are read.

        Args:
            train: the name of the function that trains the study, if it is one given in Python.

        Raises:
            DeviceError: there is no such device.
            UsageError: the cluster cannot be asked for in this way, or the function cannot be called as is asked.
        """
        require_own_training(train, self.train, is_shared=(self.workers or 1) > 1)
        if self.train is not None and (self.cluster is not None or (self.trials_per_device or 1) > 1):
            raise UsageError(
                "a `train` function of your own trains one network at a time on this machine; leave `cluster` and "
                "`trials_per_device` out"
            )
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
    watchers: Sequence[Watcher],
    storage: StorageAddress | None = None,
    began: float | None = None,
    sampler: object = None,
    callbacks: Sequence[Callback] = (),
) -> Outcome:
    """Run a new study, or resume the one of that name, until it ends or is interrupted (Ctrl-C, SIGTERM).

    Its trials are kept in `storage`: by default where it was created, and for a new one in a file of its folder.
    The time that `max_seconds` bounds is counted from `began` on, by the monotonic clock; by default from now on.
    `sampler` is a sampler of Optuna, where the settings say that one is given. `callbacks` are told what happens.

    Raises:
        NasError: something is wrong with the request, the data or the machine; nothing was trained.
    """
    began = time.monotonic() if began is None else began
    folder.require_resumable()
    machine.check(settings.train)
    require_sampler(settings.sampler, sampler)
    require_callbacks(callbacks)
    if folder.exists and storage and storage != address_of(folder):
        raise StudyError(
            f"study {folder.name!r} keeps its trials in {address_of(folder)}, not in {storage}; leave the storage out, "
            f"or give this search another `name`"
        )
    if known := KNOWN_DATASETS.get(settings.dataset):
        # Judged before any data is read, so that an impossible budget is refused at once.
        space, _ = _open_space(folder, settings, *known.images)
        require_reachable(space, settings.budget)
    dataset = dataset_to_search(folder, settings, machine.data_dir)
    settings = replace(settings, dataset=dataset.name)  # where they are found is where they are looked for again
    space, space_text = _open_space(folder, settings, Input(*dataset.image_shape), dataset.num_classes)
    require_reachable(space, settings.budget)
    _require_above_chance(settings, dataset)
    fingerprints = Fingerprints(space.digest, dataset.fingerprint)
    folder.compare(settings, fingerprints)  # first: of other images than the study's, that is what to say
    parts = parts_of(dataset, settings.seed)
    document = StudyDocument(
        settings, fingerprints, storage=storage.url if storage else None, images=images_of(dataset, parts)
    )
    start = warm_start(settings, space, folder.path.parent) if settings.warm_start and not folder.exists else None
    with locked(folder.lock_file, folder.name):
        if folder.exists:
            upgrade(folder, dataset)
        address = storage or address_of(folder)
        with address.coordinating(folder.stored_name) as opened:
            say, lines = _say_to(watchers), [] if folder.exists else _opening_lines(parts, space, settings)
            for line in (*lines, *(start.lines() if start else [])):
                say(line)
            if start:
                # Before the folder: a study that exists has them, and needs no look at where they are from.
                with address.errors(folder.name):
                    start.enqueue(opened, folder.stored_name)
            folder.create(document, space_text)
            spent = TimeSpent(folder.time_file, began)
            task, all_watchers = Coordinator.run, [*watchers, spent]
            return _coordinate(
                folder, document, space, parts, machine, all_watchers, task, opened, spent, sampler, callbacks
            )


def confirm(
    folder: StudyFolder, settings: StudySettings, number: int, machine: Machine, watchers: Sequence[Watcher]
) -> Outcome:
    """Confirm trial `number` of an existing study, whatever its validation accuracy.

    Raises:
        NasError: something is wrong with the request, the data or the machine; nothing was trained.
    """
    folder.require_resumable()
    machine.check(settings.train)
    dataset = study_dataset(folder, machine.data_dir)
    space = load_space(str(folder.space_file), Input(*dataset.image_shape), dataset.num_classes)
    parts, before = parts_of(dataset, settings.seed), folder.document()
    document = StudyDocument(settings, before.fingerprints, images=images_of(dataset, parts))
    with locked(folder.lock_file, folder.name), address_of(folder).coordinating(folder.stored_name) as opened:
        upgrade(folder, dataset)
        return _coordinate(folder, document, space, parts, machine, watchers, lambda c: c.confirm(number), opened)


def devices_of_workers(device: torch.device, workers: int | None) -> list[torch.device]:
    """Return the device of each worker. `cuda` without an index is all GPUs of this machine.

    By default one worker a core on the CPU, where a second thread gains less than a second trial; and one a GPU, which
    packs trials on it. More workers than GPUs share them, worker by worker.
    """
    devices = [device]
    if device.type == "cuda" and device.index is None:
        devices = [torch.device("cuda", index) for index in range(torch.cuda.device_count())]
    count = workers or (len(devices) if device.type == "cuda" else available_cores())
    return list(itertools.islice(itertools.cycle(devices), count))


def _require_above_chance(settings: StudySettings, dataset: Dataset) -> None:
    """Refuse a target that a network which has learnt nothing meets.

    Raises:
        UsageError: it is at most the share of the most frequent class.
    """
    if settings.target is None:
        return
    labels = dataset.train.labels
    chance = 100 * float(labels.bincount().max()) / len(labels)
    if settings.target <= chance:
        raise UsageError(
            f"`target` {settings.target:g} %: to answer {settings.dataset!r} with its most frequent class is right in "
            f"{chance:.1f} % already; give a higher one"
        )


def _opening_lines(parts: Parts, space: Space, settings: StudySettings) -> list[str]:
    """Return what to say of the images before a new search begins."""
    overview = overview_of(parts)
    has_weights = trial_recipe(space, settings, space.plain_genes).class_weights != "none"
    advice = "" if has_weights or settings.class_weights or settings.train else overview.advice
    target = _target_to_begin_with(overview, settings) if settings.target is None else ""
    return [*overview.lines(), *(line for line in (advice, target) if line)]


def _target_to_begin_with(overview: Overview, settings: StudySettings) -> str:
    """Return what a person who has given no target may ask for, and how little that is known by; empty for nothing."""
    published = [
        r.best_test_accuracy for r in references(settings.dataset) if settings.budget.size(r) <= settings.max_params
    ]
    if published:
        known = f"published networks within the budget claim up to {max(published):.2f} %, at their best epoch"
    elif overview.modest_target is not None:
        known = (
            f"{overview.modest_target:g} % halves the errors made without a network, a modest beginning and no promise"
        )
    else:
        return ""
    return (
        f"no target is given, and the most accurate network will answer; --target, also on resume, asks for the "
        f"smallest that is good enough: {known}"
    )


def _open_space(folder: StudyFolder, settings: StudySettings, images: Input, classes: int) -> tuple[Space, str]:
    """Return the space and its text.

    A study that exists has a copy of its own, with which it goes on where nobody asks for another space, or where the
    file that is asked for is gone; `StudyFolder.compare` tells whether the content is the same.
    """
    if folder.exists and folder.settings().space == settings.space:
        frozen = folder.space_file
        own = load_space(str(frozen), images, classes), frozen.read_text("utf-8")
        try:
            now = load_space(settings.space, images, classes)
        except (NasError, OSError):
            return own
        return (now, now.source.read_text("utf-8")) if settings.space.endswith(".toml") else own
    space = load_space(settings.space, images, classes)
    return space, space.source.read_text("utf-8")


def _coordinate(
    folder: StudyFolder,
    document: StudyDocument,
    space: Space,
    parts: Parts,
    machine: Machine,
    watchers: Sequence[Watcher],
    task: Callable[[Coordinator], None],
    storage: Storage,
    spent: TimeSpent | None = None,
    given: object = None,
    callbacks: Sequence[Callback] = (),
) -> Outcome:
    settings, images = document.settings, document.images
    assert images is not None
    epochs, note = study_epochs(space, settings), DecisionLog(folder.log_file).add
    sampler = sampler_of(settings.sampler, space, settings.budget, settings.seed, goal_of(settings), epochs, given)
    pruner = ParetoPruner(space, epochs, history=sampler.history)
    about = settings.target, settings.num_seeds, describe_software()
    store = SearchStore(folder, distributions_of(space), sampler, pruner, storage, note, *about)
    told = [CallbackWatcher(callbacks, folder.name, settings, store.records, _say_to(watchers))] if callbacks else []
    watchers = [*watchers, *told, BackgroundWatcher(DashboardWatcher(store))]
    interrupts = Interrupts()
    with interrupts.active():
        try:
            if not HAS_LOCKS:
                for watcher in watchers:
                    watcher.say(NO_LOCKS)
            with _workers(machine, parts, interrupts, watchers) as workers:
                seconds_before = spent.seconds if spent else 0.0
                pool = WorkerPool(workers)
                search = Coordinator(
                    store, sampler, settings, images, pool, watchers, interrupts, seconds_before=seconds_before
                )
                task(search)
        except KeyboardInterrupt:
            pass  # while it waited for workers; the signal is remembered in `interrupts`
        except StorageError:
            if not interrupts.requested:
                raise
            # The signal came while the search waited for its storage: a resume trains again what is not written there.
        finally:
            for watcher in watchers:
                watcher.end()
    records = store.records()
    if not interrupts.requested:
        _keep_mistakes(folder, settings, records, parts)
    return Outcome(records, interrupts.requested)


def _keep_mistakes(folder: StudyFolder, settings: StudySettings, records: list[TrialRecord], parts: Parts) -> None:
    """Keep where the network that answers the study errs, for reports, which read no images."""
    best = best_record(records, settings)
    if best is not None and kept_file(folder, best).is_file():
        with contextlib.suppress(NasError):  # whoever takes a damaged network hears of it there; here nothing is lost
            mistakes_of(folder, best, parts=parts)


def _say_to(watchers: Sequence[Watcher]) -> Callable[[str], None]:
    """Return what shows a line by each of `watchers`."""

    def say(text: str) -> None:
        for watcher in watchers:
            watcher.say(text)

    return say


@contextmanager
def _workers(
    machine: Machine, parts: Parts, interrupts: Interrupts, watchers: Sequence[Watcher]
) -> Iterator[Sequence[Worker]]:
    """Yield what trains; closed after the body."""
    say = _say_to(watchers)
    if machine.cluster is not None:
        where = (machine.cluster, machine.device, machine.workers, machine.trials_per_device)
        with cluster_workers(*where, parts, interrupts, say) as on_cluster:
            yield on_cluster
        return
    workers = machine.workers or (1 if machine.train else None)
    devices = devices_of_workers(find_device(machine.device), workers)
    if machine.train is None and devices[0].type == "cpu" and load_kernels() is None:
        say(f"the CPU kernels are {kernel_status()}; torch trains without them, slower")
    if machine.train is None and devices[0].type == "cuda" and len(devices) > len(set(devices)):
        say(
            f"{len(devices)} workers share {len(set(devices))} GPU(s) and take turns there; a single worker trains "
            f"several networks at once on its GPU, which is faster"
        )
    if machine.train is not None:
        say("a function of your own trains: accuracies are what it reports; that of the last epoch is measured again")
    with local_workers(parts, devices, machine.trials_per_device, interrupts, say, machine.train) as local:
        yield local
