"""Workers, as the coordinator sees them: each is a device's trainer, in this process or in one of its own.

The bookkeeping is the same for all; a kind of worker says only how orders travel there and news back.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection, wait
from types import ModuleType
from typing import Self

import torch
import torch.multiprocessing

from nas.data.split import Parts
from nas.train.engine import use_one_thread
from nas.workers.device_trainer import Trainer, joins_seeds_on
from nas.workers.interrupt import Interrupts
from nas.workers.messages import Event, Finished, Job, JobKey, News, Orders


class WorkerDied(Exception):  # noqa: N818  (it says what happened; the coordinator goes on)
    """The trainer is gone with all its trainings; the text says how."""


class Worker(ABC):
    """The trainings of one device."""

    def __init__(self, trials_per_device: int | None, joins_seeds: bool) -> None:
        self.jobs: dict[JobKey, Job] = {}  # what it is busy with
        self.joins_seeds = joins_seeds  # whether the seeds of a confirmation are better submitted all at once
        self._capacity = self._first_capacity = trials_per_device or 1
        self._orders = Orders()

    @property
    def has_started(self) -> bool:
        """Whether it can take jobs already; of all workers, one can."""
        return True

    @property
    def room(self) -> int:
        """How many more jobs it takes now."""
        if any(job.alone for job in self.jobs.values()):
            return 0
        return max(self._capacity - len(self.jobs), 0)

    def submit(self, *jobs: Job) -> None:
        """Begins `jobs` at the next `flush`."""
        self.jobs |= {job.key: job for job in jobs}
        self._orders = self._orders.then(Orders(start=jobs))

    def stop(self, key: JobKey) -> None:
        """Drops a job at the next `flush`, if it has not ended; nothing more is heard of it."""
        if self.jobs.pop(key, None):
            self._orders = self._orders.then(Orders(stop=(key,)))

    def flush(self) -> None:
        """Sends what was ordered."""
        if self._orders != Orders():
            self._send(self._orders)
            self._orders = Orders()

    def collect(self) -> list[Event]:
        """The news that are there. If the trainer has died, all its jobs have failed, and a new one is in its place.

        Raises:
            KeyboardInterrupt: a signal cut a training in this process short.
        """
        try:
            news = self._receive()
        except WorkerDied as died:
            lost = [Event(key, Finished(str(died), "worker")) for key in self.jobs]
            self.jobs, self._orders, self._capacity = {}, Orders(), self._first_capacity
            self._restart()
            return lost
        self._capacity = news.capacity
        events = [event for event in news.events if event.key in self.jobs]
        for event in events:
            if isinstance(event.what, Finished):
                del self.jobs[event.key]
        return events

    @classmethod
    @abstractmethod
    def ready(cls, workers: Sequence[Self], timeout: float) -> Sequence[Self]:
        """Which of these busy workers have news, or have died; waits for the first at most `timeout` seconds."""

    @abstractmethod
    def close(self) -> None:
        """Stops at once, whatever it is doing."""

    @abstractmethod
    def _send(self, orders: Orders) -> None:
        """Sends without waiting. If the trainer is dead, the next `_receive` says so."""

    @abstractmethod
    def _receive(self) -> News:
        """The next news of a worker that is ready.

        Raises:
            WorkerDied: there will be none.
        """

    @abstractmethod
    def _restart(self) -> None:
        """Puts a new trainer in the place of one that died."""


class InProcessWorker(Worker):
    """Trains in this process, while it is asked for news."""

    def __init__(self, trainer: Trainer, trials_per_device: int | None, interrupts: Interrupts) -> None:
        super().__init__(trials_per_device, joins_seeds=False)
        self._trainer = trainer
        self._interrupts = interrupts
        self._sent = Orders()

    @classmethod
    def ready(cls, workers: Sequence[Self], timeout: float) -> Sequence[Self]:
        """All: each trains when it is asked."""
        return workers

    def close(self) -> None:
        """Nothing runs unless it is asked for news."""

    def _send(self, orders: Orders) -> None:
        self._sent = self._sent.then(orders)

    def _receive(self) -> News:
        orders, self._sent = self._sent, Orders()
        with self._interrupts.raising():
            return self._trainer.exchange(orders)

    def _restart(self) -> None:
        raise AssertionError("this process would be gone too")


class ProcessWorker(Worker):
    """Trains in a process of its own, which does not wait for answers."""

    def __init__(self, parts: Parts, device: torch.device, trials_per_device: int | None) -> None:
        super().__init__(trials_per_device, joins_seeds_on(device))
        self._arguments = (parts, device, trials_per_device)
        self._start()

    @classmethod
    def ready(cls, workers: Sequence[Self], timeout: float) -> Sequence[Self]:
        """Those with something in the pipe, or at its end."""
        by_connection = {worker._connection: worker for worker in workers}
        return [by_connection[c] for c in wait(list(by_connection), timeout) if isinstance(c, Connection)]

    def close(self) -> None:
        """Ends the process."""
        self._connection.close()
        self._process.kill()  # it ignores SIGTERM
        self._process.join()

    def _start(self) -> None:
        context = torch.multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, *self._arguments), daemon=True)
        with _signals_ignored(), _main_module_hidden():
            self._process.start()
        theirs.close()

    def _send(self, orders: Orders) -> None:
        with contextlib.suppress(OSError):
            self._connection.send(orders)

    def _receive(self) -> News:
        try:
            news = self._connection.recv()
        except (EOFError, OSError):
            self._process.join()
            raise WorkerDied(f"the worker process died (exit code {self._process.exitcode})") from None
        if isinstance(news, WorkerDied):
            raise news
        assert isinstance(news, News)
        return news

    def _restart(self) -> None:
        self.close()
        self._start()


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


def _serve(connection: Connection, parts: Parts, device: torch.device, trials_per_device: int | None) -> None:
    use_one_thread(device)
    trainer = Trainer(parts, device, trials_per_device)
    with contextlib.suppress(EOFError, OSError):  # the coordinator is gone: so are we
        while True:
            orders = connection.recv() if trainer.is_idle or connection.poll() else Orders()
            try:
                news = trainer.exchange(orders)
            except RuntimeError as error:
                connection.send(WorkerDied(f"{device} gave up: {str(error)[:200].partition(chr(10))[0]}"))
                return
            if news.events:
                connection.send(news)


def local_workers(
    parts: Parts, devices: Sequence[torch.device], trials_per_device: int | None, interrupts: Interrupts
) -> list[Worker]:
    """A worker for each of `devices`, which may name one several times.

    One that trains on the CPU does so in this process. Others get a process each: several share one copy of the images;
    and a GPU computes on while the coordinator thinks, and has a fresh process after an error that ends one.
    """
    if [device.type for device in devices] == ["cpu"]:
        use_one_thread(devices[0])
        return [InProcessWorker(Trainer(parts, devices[0], trials_per_device), trials_per_device, interrupts)]
    for images in (parts.train, parts.validation, parts.whole_train, parts.test):
        images.images.share_memory_()  # type: ignore[no-untyped-call]
        images.labels.share_memory_()  # type: ignore[no-untyped-call]
    return [ProcessWorker(parts, device, trials_per_device) for device in devices]


class Pool:
    """All workers of a search, behind one queue of events."""

    def __init__(self, workers: Sequence[Worker]) -> None:
        """The workers are of one kind."""
        self.workers = workers

    def events(self, timeout: float) -> Iterator[tuple[Worker, Event]]:
        """What workers report within `timeout` seconds."""
        for worker in self.workers:
            worker.flush()
        busy = [worker for worker in self.workers if worker.jobs]
        if busy:
            for worker in type(busy[0]).ready(busy, timeout):
                for event in worker.collect():
                    yield worker, event

    def close(self) -> None:
        """Stops every worker at once."""
        for worker in self.workers:
            worker.close()
