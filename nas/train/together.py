"""Several trainings on one device in one process, advanced in turn by one thread.

A small network leaves most of a GPU idle. Each training queues a turn of steps on its own stream and waits for nothing,
so the device runs steps of all of them at once. How many share it is decided by the memory that they are seen to take.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from nas.errors import NasError
from nas.train.engine import Epoch, Training

MOST_TRAININGS = 16  # on one device: one thread queues the work of all of them
MEMORY_SHARE = 0.85  # of what is there; the next training may be larger than those seen so far


@dataclass(frozen=True)
class Report:
    """What a training gave in its turn: an Epoch for each of its seeds, or the error that ended it."""

    training: Training
    what: tuple[Epoch, ...] | NasError


def how_many_fit(bytes_each: int, bytes_available: int) -> int:
    """Trainings of `bytes_each` that may share `bytes_available`; one may always try."""
    return min(max(int(bytes_available * MEMORY_SHARE) // max(bytes_each, 1), 1), MOST_TRAININGS)


class Together:
    """The trainings that share a device."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._trainings: list[Training] = []
        self.bytes_each = 0  # device memory of one training, the most seen; 0 before the first epoch and on the CPU
        self._bytes_before = torch.cuda.memory_reserved(device) if device.type == "cuda" else 0

    def add(self, training: Training) -> None:
        """Lets it take turns from the next round on."""
        self._trainings.append(training)

    def drop(self, training: Training) -> None:
        """Stops it for good."""
        self._trainings.remove(training)
        training.close()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()  # what was cached for its stream is of no use to other streams
            torch.cuda.reset_peak_memory_stats(self._device)

    def advance(self) -> list[Report]:
        """One turn of each training. Those that are done, or met an error, take no further turns."""
        reports = []
        for training in tuple(self._trainings):
            try:
                epochs = training.advance()
            except NasError as error:
                # Its traceback would keep the training, and so the memory, alive.
                reports.append(Report(training, error.with_traceback(None)))
            else:
                if epochs is None:
                    continue
                reports.append(Report(training, epochs))
                self._measure()
            if training.is_done or isinstance(reports[-1].what, NasError):
                self.drop(training)
        return reports

    @property
    def room(self) -> int:
        """How many more trainings may be added now.

        One, until its first epoch has shown what memory it takes. On the CPU never more than one: there a training
        fills a core, and further cores are for further processes.
        """
        return max(self._capacity() - len(self._trainings), 0)

    def _capacity(self) -> int:
        if self._device.type == "cpu" or not self.bytes_each:
            return 1
        free, _ = torch.cuda.mem_get_info(self._device)
        ours = torch.cuda.memory_reserved(self._device) - self._bytes_before
        return how_many_fit(self.bytes_each, free + ours)

    def _measure(self) -> None:
        if self._device.type == "cuda":
            most = torch.cuda.max_memory_reserved(self._device) - self._bytes_before
            self.bytes_each = max(self.bytes_each, most // len(self._trainings))
