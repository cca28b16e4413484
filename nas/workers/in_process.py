"""A worker that trains in this process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from nas.workers.device_trainer import Trainer
from nas.workers.interrupt import Interrupts
from nas.workers.messages import News, Orders
from nas.workers.own_training import FunctionTrainer
from nas.workers.worker import Worker


class InProcessWorker(Worker):
    """Trains in this process, while it is asked for news."""

    def __init__(
        self, trainer: Trainer | FunctionTrainer, trials_per_device: int | None, interrupts: Interrupts
    ) -> None:
        super().__init__(trials_per_device)
        self._trainer = trainer
        self._interrupts = interrupts
        self._unread = Orders()

    @classmethod
    def ready(cls, workers: Sequence[Self], timeout: float) -> Sequence[Self]:
        """Return all: each trains when it is asked for news."""
        return workers

    def close(self) -> None:
        """Stop a person's function where it waits; nothing else runs unless it is asked for news."""
        if isinstance(self._trainer, FunctionTrainer):
            self._trainer.close()

    def _send(self, orders: Orders) -> None:
        self._unread = self._unread.then(orders)

    def _receive(self) -> News:
        orders, self._unread = self._unread, Orders()
        with self._interrupts.raising():
            return self._trainer.exchange(orders)

    def _restart(self) -> None:
        raise AssertionError("this process would be gone too")
