"""Workers of this machine: one process a device, or this process where a single CPU worker is enough."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from types import ModuleType
from typing import Self

import torch
import torch.multiprocessing

from nas.data.split import Parts
from nas.errors import first_line
from nas.train.device import use_one_thread
from nas.workers.device_trainer import Trainer
from nas.workers.in_process import InProcessWorker
from nas.workers.interrupt import Interrupts, signals_to_handle
from nas.workers.messages import News, Orders
from nas.workers.own_training import FunctionTrainer, TrainFunction
from nas.workers.shared_images import ImagesInFile, share
from nas.workers.worker import Worker, WorkerDied


class ProcessWorker(Worker):
    """Trains in a process of its own, which goes on without waiting for answers."""

    def __init__(
        self,
        parts: Parts | ImagesInFile,
        device: torch.device,
        trials_per_device: int | None,
        function: TrainFunction | None = None,
    ) -> None:
        super().__init__(trials_per_device)
        self._arguments = (parts, device, trials_per_device, function)
        self._start()

    @classmethod
    def ready(cls, workers: Sequence[Self], timeout: float) -> Sequence[Self]:
        """Return those whose pipe holds news or was closed."""
        by_connection = {worker._connection: worker for worker in workers}
        return [by_connection[c] for c in wait(list(by_connection), timeout) if isinstance(c, Connection)]

    def close(self) -> None:
        """End the process."""
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
    """Have a process that is started in the body ignore what ends a search from its first instruction on.

    Such a signal may reach the whole process group, and the coordinator alone decides what it means: if a worker died
    of one first, its trial would fail. Blocking signals does not last, since starting a process unblocks them.
    """
    before = {number: signal.signal(number, signal.SIG_IGN) for number in signals_to_handle()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _main_module_hidden() -> Iterator[None]:
    """Have a process that is started in the body not import the program that searches.

    A worker needs nothing of that program. A script that calls `nas.search` without asking whether it is `__main__`
    would search again in each worker.
    """
    program = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = program


def _trainer(
    parts: Parts, device: torch.device, trials_per_device: int | None, function: TrainFunction | None
) -> Trainer | FunctionTrainer:
    return Trainer(parts, device, trials_per_device) if function is None else FunctionTrainer(function, parts, device)


def _serve(
    connection: Connection,
    parts: Parts | ImagesInFile,
    device: torch.device,
    trials_per_device: int | None,
    function: TrainFunction | None = None,
) -> None:
    """Train what `connection` orders, until the coordinator is gone or the device can compute nothing more."""
    use_one_thread(device)
    parts = parts.open() if isinstance(parts, ImagesInFile) else parts
    trainer: Trainer | FunctionTrainer | None = None
    with contextlib.suppress(EOFError, OSError):  # the coordinator is gone
        while True:
            orders = connection.recv() if trainer is None or trainer.is_idle or connection.poll() else Orders()
            try:
                trainer = trainer or _trainer(parts, device, trials_per_device, function)
                news = trainer.exchange(orders)
            except (RuntimeError, MemoryError) as error:
                connection.send(WorkerDied(f"{device} gave up: {first_line(error)}"))
                return
            if news.events:
                connection.send(news)


@contextlib.contextmanager
def local_workers(
    parts: Parts,
    devices: Sequence[torch.device],
    trials_per_device: int | None,
    interrupts: Interrupts,
    say: Callable[[str], None] = lambda _: None,
    function: TrainFunction | None = None,
) -> Iterator[Sequence[Worker]]:
    """Yield a worker for each of `devices`, which may name one several times; `function` trains, if there is one.

    A single CPU worker trains in this process, and so does a function on a single device. All others get a process
    each. They share one copy of the images. A GPU then goes on computing while the coordinator decides, and gets a new
    process after an error that ends one.
    """
    if len(devices) == 1 and (function is not None or devices[0].type == "cpu"):
        if function is None:  # one of a person's own may use all cores
            use_one_thread(devices[0])
        trainer = _trainer(parts, devices[0], trials_per_device, function)
        yield [InProcessWorker(trainer, trials_per_device, interrupts)]
        return
    shared, workers = share(parts, say), list[Worker]()
    try:
        for device in devices:
            workers.append(ProcessWorker(shared, device, trials_per_device, function))
        yield workers
    finally:
        for worker in workers:
            worker.close()
        if isinstance(shared, ImagesInFile):
            shared.close()
