"""Workers of this machine: one process a device, or this process where a single CPU worker is enough."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection, wait
from types import ModuleType
from typing import Any, Self

import torch
import torch.multiprocessing

from nas.data.images import ImageSet
from nas.data.split import IMAGE_SETS, Parts, tensors_of
from nas.host import shared_memory
from nas.train.device import use_one_thread
from nas.workers.device_trainer import Trainer
from nas.workers.in_process import InProcessWorker
from nas.workers.interrupt import Interrupts
from nas.workers.messages import News, Orders
from nas.workers.worker import Worker, WorkerDied

# Of what is free: a process that writes to more than there is gets no error, it is ended.
SHARE_OF_SHARED_MEMORY = 0.8


class PartsByValue:
    """The images of a study for a process of its own, copied to it: torch itself would send them by shared memory."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts

    def __getstate__(self) -> dict[str, Any]:
        """Return all that is to be sent, without tensors."""
        sets = {name: [tensor.numpy() for tensor in tensors_of(getattr(self.parts, name))] for name in IMAGE_SETS}
        return {"sets": sets, "policy": self.parts.policy, "class_names": self.parts.class_names}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Make tensors of what was sent."""
        sets = {name: ImageSet(*map(torch.from_numpy, arrays)) for name, arrays in state["sets"].items()}
        self.parts = Parts(**sets, policy=state["policy"], class_names=state["class_names"])


class ProcessWorker(Worker):
    """Trains in a process of its own, which goes on without waiting for answers."""

    def __init__(self, parts: Parts | PartsByValue, device: torch.device, trials_per_device: int | None) -> None:
        super().__init__(trials_per_device, joins_seeds=False)
        self._arguments = (parts, device, trials_per_device)
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
    """Have a process that is started in the body ignore SIGINT and SIGTERM from its first instruction on.

    Both may reach the whole process group, and the coordinator alone decides what they mean: if a worker died of one
    first, its trial would fail. Blocking the signals does not last, since starting a process unblocks them.
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


def _serve(
    connection: Connection, parts: Parts | PartsByValue, device: torch.device, trials_per_device: int | None
) -> None:
    """Train what `connection` orders, until the coordinator is gone or the device can compute nothing more."""
    use_one_thread(device)
    parts = parts.parts if isinstance(parts, PartsByValue) else parts
    trainer: Trainer | None = None
    with contextlib.suppress(EOFError, OSError):  # the coordinator is gone
        while True:
            orders = connection.recv() if trainer is None or trainer.is_idle or connection.poll() else Orders()
            try:
                trainer = trainer or Trainer(parts, device, trials_per_device)
                news = trainer.exchange(orders)
            except RuntimeError as error:
                connection.send(WorkerDied(f"{device} gave up: {str(error)[:200].partition(chr(10))[0]}"))
                return
            if news.events:
                connection.send(news)


def local_workers(
    parts: Parts, devices: Sequence[torch.device], trials_per_device: int | None, interrupts: Interrupts
) -> list[Worker]:
    """Return a worker for each of `devices`, which may name one several times.

    A single CPU worker trains in this process. All others get a process each. They share one copy of the images, or
    have one each where shared memory has no room for it, as in a container. A GPU then goes on computing while the
    coordinator decides, and gets a new process after an error that ends one.
    """
    if [device.type for device in devices] == ["cpu"]:
        use_one_thread(devices[0])
        return [InProcessWorker(Trainer(parts, devices[0], trials_per_device), trials_per_device, interrupts)]
    tensors = [tensor for field in IMAGE_SETS for tensor in tensors_of(getattr(parts, field))]
    memory, needed = shared_memory(), sum(tensor.nbytes for tensor in tensors)
    has_room = memory is None or needed <= memory.free * SHARE_OF_SHARED_MEMORY
    if has_room:
        for tensor in tensors:
            tensor.share_memory_()  # type: ignore[no-untyped-call]
    return [ProcessWorker(parts if has_room else PartsByValue(parts), d, trials_per_device) for d in devices]
