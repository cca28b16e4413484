"""All workers of a search, behind one queue of events."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from nas.workers.messages import JobEvent
from nas.workers.worker import Worker


class WorkerPool:
    """The workers of a search, all of one kind."""

    def __init__(self, workers: Sequence[Worker]) -> None:
        self.workers = workers

    def events(self, timeout: float) -> Iterator[tuple[Worker, JobEvent]]:
        """Send what was ordered, and yield what workers report within `timeout` seconds."""
        for worker in self.workers:
            worker.flush()
        busy = [worker for worker in self.workers if worker.jobs]
        if busy:
            for worker in type(busy[0]).ready(busy, timeout):
                for event in worker.collect():
                    yield worker, event

    def close(self) -> None:
        """Stop every worker at once."""
        for worker in self.workers:
            worker.close()
