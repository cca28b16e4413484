"""A worker as the coordinator sees it: it takes jobs, reports their epochs, and is restarted where it dies.

All kinds of worker share this bookkeeping. A kind says only how orders reach its trainer, and how news come back.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Self

from nas.train.epoch import Epoch
from nas.workers.messages import Finished, Job, JobEvent, JobKey, News, Orders


class WorkerDied(Exception):  # noqa: N818  (it says what happened; the coordinator goes on)
    """The trainer is gone with all its trainings. The text says how."""


class Worker(ABC):
    """The trainings of one device."""

    def __init__(self, trials_per_device: int | None) -> None:
        """Start with room for `trials_per_device` jobs, one by default, until the trainer reports another capacity."""
        self.jobs: dict[JobKey, Job] = {}  # submitted and not ended
        self._capacity = self._first_capacity = trials_per_device or 1
        self._orders = Orders()
        self.note = ""  # what people should know of its device
        self.deaths = 0  # of trainers, since the last epoch

    @property
    def has_started(self) -> bool:
        """Whether it can take jobs already. At least one worker of a search can."""
        return True

    @property
    def room(self) -> int:
        """How many more jobs it takes now."""
        if any(job.alone for job in self.jobs.values()):
            return 0
        return max(self._capacity - len(self.jobs), 0)

    def submit(self, job: Job) -> None:
        """Begin `job` at the next `flush`."""
        self.jobs[job.key] = job
        self._orders = self._orders.then(Orders(start=(job,)))

    def stop(self, key: JobKey) -> None:
        """Drop a job at the next `flush`. No event of it is returned any more."""
        if self.jobs.pop(key, None):
            self._orders = self._orders.then(Orders(stop=(key,)))

    def flush(self) -> None:
        """Send the orders that were given since the last call."""
        if self._orders != Orders():
            self._send(self._orders)
            self._orders = Orders()

    def collect(self) -> list[JobEvent]:
        """Return the events received since the last call.

        If the trainer died, they are a failure for each of its jobs, and the trainer is restarted.

        Raises:
            KeyboardInterrupt: a signal cut a training in this process short.
        """
        try:
            news = self._receive()
        except WorkerDied as died:
            lost = [JobEvent(key, Finished(str(died), "worker")) for key in self.jobs]
            self.jobs, self._orders, self._capacity = {}, Orders(), self._first_capacity
            self.deaths += 1
            self._restart()
            return lost
        self._capacity = news.capacity
        self.note = news.note
        events = [event for event in news.events if event.key in self.jobs]
        for event in events:
            self.deaths = 0 if isinstance(event.what, Epoch) else self.deaths
            if isinstance(event.what, Finished):
                del self.jobs[event.key]
        return events

    @classmethod
    @abstractmethod
    def ready(cls, workers: Sequence[Self], timeout: float) -> Sequence[Self]:
        """Return which of these busy workers have news or have died; wait up to `timeout` seconds for the first."""

    @abstractmethod
    def close(self) -> None:
        """Stop at once, whatever it is doing."""

    @abstractmethod
    def _send(self, orders: Orders) -> None:
        """Send `orders` without waiting. If the trainer is dead, the next `_receive` says so."""

    @abstractmethod
    def _receive(self) -> News:
        """Return the next news of a worker that is ready.

        Raises:
            WorkerDied: there will be none.
        """

    @abstractmethod
    def _restart(self) -> None:
        """Put a new trainer in the place of one that died."""
