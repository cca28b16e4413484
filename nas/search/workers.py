"""Workers: they get an architecture and a recipe, train, and report epochs. They hold no database connection.

One protocol, two kinds: in this process (one epoch a poll), and in processes of their own. After every epoch the
worker waits to be told to go on or to stop.
"""

from __future__ import annotations

import contextlib
import io
import signal
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import ModuleType
from typing import Literal, Protocol

import torch
import torch.multiprocessing

from nas.arch import Architecture, Recipe, lower
from nas.errors import NasError, TrainingError
from nas.model import build
from nas.search.interrupt import Interrupts
from nas.train.augment import AugmentationPolicy
from nas.train.data import ImageSet
from nas.train.engine import Epoch, PreparedData, prepare, train, use_one_thread


@dataclass(frozen=True, slots=True)
class Job:
    """One training. `key` is the coordinator's name for it."""

    key: tuple[int, int | None]  # trial number; the confirmation's seed, or None for the trial itself
    architecture: Architecture
    recipe: Recipe
    seed: int
    weights_file: Path  # where the trained weights go

    @property
    def confirms(self) -> bool:
        """Whether it trains on the whole training set and reads the test set."""
        return self.key[1] is not None


@dataclass(frozen=True, slots=True)
class Finished:
    """A job's last word: it ended of itself, or failed with a reason."""

    reason: str = ""  # empty when it ended well
    cause: Literal["training", "worker", "disk"] = "training"  # what failed; the last two are not the network's fault


@dataclass(frozen=True, slots=True)
class Event:
    """What a worker reports."""

    job: Job
    what: Epoch | Finished


@dataclass(frozen=True)
class Parts:
    """The images of a study: what a trial trains and validates on, and what a confirmation trains and tests on."""

    train: ImageSet
    validation: ImageSet
    whole_train: ImageSet
    test: ImageSet
    policy: AugmentationPolicy


class Worker(Protocol):
    """What the coordinator needs of a worker."""

    job: Job | None  # what it is busy with

    def submit(self, job: Job) -> None:
        """Starts `job`; the worker must be idle."""

    def reply(self, go_on: bool) -> None:
        """Answers an epoch; after a stop the worker is idle."""

    def close(self) -> None:
        """Stops at once, whatever it is doing."""


class Trainer:
    """Runs jobs on one device; the two parts that jobs need are prepared once each."""

    def __init__(self, parts: Parts, device: torch.device) -> None:
        self._parts = parts
        self._device = device
        self._prepared: dict[bool, PreparedData] = {}

    def run(self, job: Job) -> Iterator[Epoch]:
        """Trains and yields each epoch; weights are saved when the last one was yielded and asked past.

        Raises:
            TrainingError: the training cannot go on.
        """
        data = self._data(job.confirms)
        torch.manual_seed(job.seed)
        network = build(lower(job.architecture))
        yield from train(network, job.recipe, data, job.seed)
        state = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
        content = io.BytesIO()
        torch.save(state, content)  # not into the file, where it calls a full disk a RuntimeError without a reason
        partial = job.weights_file.with_suffix(".partial")
        partial.write_bytes(content.getvalue())
        partial.replace(job.weights_file)

    def _data(self, confirms: bool) -> PreparedData:
        if confirms not in self._prepared:
            p = self._parts
            pair = (p.whole_train, p.test) if confirms else (p.train, p.validation)
            self._prepared[confirms] = prepare(*pair, p.policy, self._device)
        return self._prepared[confirms]


def _failed(error: Exception) -> Finished:
    """Why a job failed, in one line: our own errors speak for themselves, others are named."""
    text = str(error)[:200].partition("\n")[0]
    if isinstance(error, OSError):
        file = f" ({error.filename})" if error.filename else ""
        return Finished(f"{error.strerror or text}{file}", "disk")
    return Finished(str(error) if isinstance(error, NasError) else f"{type(error).__name__}: {text}")


# What may end one job without ending the search: a training gone wrong, no memory, no disk.
_JOB_ERRORS = (TrainingError, RuntimeError, OSError, NasError)


class InProcessWorker:
    """Trains in this process, one epoch each time it is polled."""

    def __init__(self, trainer: Trainer) -> None:
        self.job: Job | None = None
        self._trainer = trainer
        self._epochs: Iterator[Epoch] = iter(())

    def submit(self, job: Job) -> None:
        """Starts `job`."""
        self.job, self._epochs = job, self._trainer.run(job)

    def poll(self, interrupts: Interrupts) -> Event:
        """Trains one epoch.

        Raises:
            KeyboardInterrupt: a signal cut the training short.
        """
        assert self.job is not None, "polled while idle"
        try:
            with interrupts.raising():
                epoch = next(self._epochs, None)
        except _JOB_ERRORS as error:
            return self._finish(_failed(error))
        return Event(self.job, epoch) if epoch is not None else self._finish(Finished())

    def _finish(self, end: Finished) -> Event:
        assert self.job is not None
        event = Event(self.job, end)
        self.job = None
        return event

    def reply(self, go_on: bool) -> None:
        """A stop drops the training."""
        if not go_on:
            self.job = None

    def close(self) -> None:
        """Drops the training."""
        self.job = None


class ProcessWorker:
    """Trains in a process of its own; a process that dies fails its job, and the next job gets a new process."""

    def __init__(self, parts: Parts, device: torch.device) -> None:
        self.job: Job | None = None
        self._arguments = (parts, device)
        self._start()

    def _start(self) -> None:
        context = torch.multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, *self._arguments), daemon=True)
        with _signals_ignored(), _main_module_hidden():
            self._process.start()
        theirs.close()

    def submit(self, job: Job) -> None:
        """Starts `job`."""
        self.job = job
        try:
            self.connection.send(job)
        except OSError:
            self._restart()
            self.connection.send(job)

    def receive(self) -> Event:
        """The event that is waiting on the connection."""
        assert self.job is not None
        job = self.job
        try:
            what = self.connection.recv()
        except (EOFError, OSError):
            self._process.join()
            what = Finished(f"the worker process died (exit code {self._process.exitcode})", "worker")
            self._restart()
        if isinstance(what, Finished):
            self.job = None
        return Event(job, what)

    def _restart(self) -> None:
        self.connection.close()
        self._start()

    def reply(self, go_on: bool) -> None:
        """Lets it train the next epoch, or frees it for another job."""
        if not go_on:
            self.job = None
        with contextlib.suppress(OSError):  # a process that just died is met by the next receive
            self.connection.send(go_on)

    def close(self) -> None:
        """Ends the process."""
        self.job = None
        self.connection.close()
        self._process.kill()  # it ignores SIGTERM
        self._process.join()


@contextlib.contextmanager
def _signals_ignored() -> Iterator[None]:
    """What is started in the body ignores SIGINT and SIGTERM from its first instruction on.

    Both may reach the whole process group, and the coordinator alone decides what they mean: a worker that died of one
    first would make its trial a failed one. Blocking them instead does not last: starting a process unblocks them.
    """
    ours = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
    before = {number: signal.signal(number, signal.SIG_IGN) for number in ours}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _main_module_hidden() -> Iterator[None]:
    """What is started in the body does not import the program that searches.

    It needs nothing of it, and a script that calls `nas.search` without asking whether it is `__main__` would search
    again in each worker.
    """
    program = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = program


def _serve(connection: Connection, parts: Parts, device: torch.device) -> None:
    use_one_thread(device)
    trainer = Trainer(parts, device)
    with contextlib.suppress(EOFError, OSError):  # the coordinator is gone: so are we
        while True:
            _serve_job(connection, trainer, connection.recv())


def _serve_job(connection: Connection, trainer: Trainer, job: Job) -> None:
    try:
        for epoch in trainer.run(job):
            connection.send(epoch)
            if not connection.recv():
                return
    except _JOB_ERRORS as error:
        connection.send(_failed(error))
    else:
        connection.send(Finished())


class Pool:
    """All workers of a search, behind one queue of events."""

    def __init__(self, parts: Parts, device: torch.device, workers: int, interrupts: Interrupts) -> None:
        """One worker trains in this process; several get a process each and share one copy of the images."""
        self._interrupts = interrupts
        self.workers: list[InProcessWorker] | list[ProcessWorker]
        if workers == 1:
            use_one_thread(device)
            self.workers = [InProcessWorker(Trainer(parts, device))]
            return
        for images in (parts.train, parts.validation, parts.whole_train, parts.test):
            images.images.share_memory_()  # type: ignore[no-untyped-call]
            images.labels.share_memory_()  # type: ignore[no-untyped-call]
        self.workers = [ProcessWorker(parts, device) for _ in range(workers)]

    def idle(self) -> list[Worker]:
        """The workers without a job."""
        return [worker for worker in self.workers if worker.job is None]

    def busy(self) -> list[Worker]:
        """The workers with a job."""
        return [worker for worker in self.workers if worker.job is not None]

    def events(self, timeout: float) -> Iterator[tuple[Worker, Event]]:
        """What workers report within `timeout` seconds; each epoch must be answered by the worker's `reply`."""
        processes = {}
        for worker in self.workers:
            if worker.job is None:
                continue
            if isinstance(worker, InProcessWorker):
                yield worker, worker.poll(self._interrupts)
            else:
                processes[worker.connection] = worker
        if not processes:
            return
        for connection in wait(list(processes), timeout):
            worker = processes[connection]  # type: ignore[index]
            yield worker, worker.receive()

    def close(self) -> None:
        """Stops every worker at once."""
        for worker in self.workers:
            worker.close()
