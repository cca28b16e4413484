"""Several trainings on one device in one process, advanced in turn by one thread.

A small network leaves most of a GPU idle. Each training queues a turn of steps on its own stream and waits for nothing,
so the device computes steps of all of them at once. How many share it follows from the memory that they take.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from nas.errors import NasError, OutOfMemoryError
from nas.train.engine import Training
from nas.train.epoch import Epoch

MOST_TRAININGS = 16  # on one device: one thread queues the work of all of them
MEMORY_SHARE = 0.85  # of what is available; the next training may be larger than those seen so far


@dataclass(frozen=True)
class Report:
    """The result of a training's turn: an Epoch for each of its seeds, or the error that ended it."""

    training: Training
    what: tuple[Epoch, ...] | NasError | RuntimeError


def count_fitting(bytes_each: int, bytes_available: int) -> int:
    """Return how many trainings of `bytes_each` may share `bytes_available`: one at least, since it may fit."""
    return min(max(int(bytes_available * MEMORY_SHARE) // max(bytes_each, 1), 1), MOST_TRAININGS)


class SharedDevice:
    """A device and the trainings that share it. Each seed of a batch counts as one training."""

    def __init__(self, device: torch.device, trials_per_device: int | None = None) -> None:
        """`trials_per_device` sets how many may share it; by default measured memory decides (on the CPU: one)."""
        self._device = device
        self._trainings: list[Training] = []
        self._by_memory = trials_per_device is None
        self._most = trials_per_device or MOST_TRAININGS
        self.bytes_each = 0  # device memory of one training, the most seen; 0 before the first epoch and on the CPU
        self._bytes_before = torch.cuda.memory_reserved(device) if device.type == "cuda" else 0

    def add(self, training: Training) -> None:
        """Add a training; it runs from the next call of `advance` on."""
        self._trainings.append(training)

    def drop(self, training: Training) -> None:
        """Stop a training for good and free its memory."""
        self._trainings.remove(training)
        training.close()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()  # what was cached for its stream is of no use to other streams
            torch.cuda.reset_peak_memory_stats(self._device)

    def advance(self) -> list[Report]:
        """Advance each training by one turn, and drop those that are done or met an error.

        Returns:
            A report for each training whose epoch has ended or that met an error.

        Raises:
            RuntimeError: the device can compute nothing more in this process, whatever is asked of it.
        """
        reports = []
        for training in tuple(self._trainings):
            try:
                epochs = training.advance()
            except (NasError, RuntimeError) as error:
                if _breaks_device(error):
                    raise
                if isinstance(error, OutOfMemoryError):
                    self.admit_fewer(self.num_seeds)
                # Its traceback would keep the training, and so the memory, alive.
                reports.append(Report(training, error.with_traceback(None)))
            else:
                if epochs is None:
                    continue
                reports.append(Report(training, epochs))
                self._measure()
            if training.is_done or isinstance(reports[-1].what, Exception):
                self.drop(training)
        return reports

    @property
    def num_seeds(self) -> int:
        """The number of trainings, each seed of a batch counted."""
        return sum(training.num_seeds for training in self._trainings)

    @property
    def capacity(self) -> int:
        """The number of trainings that may share the device.

        One, until the first epoch has shown how much memory it takes. On the CPU one, unless set by hand: there a
        training fills a core, and further cores are for further processes.
        """
        if not self._by_memory:
            return self._most
        if self._device.type == "cpu" or not self.bytes_each:
            return 1
        free, _ = torch.cuda.mem_get_info(self._device)
        ours = torch.cuda.memory_reserved(self._device) - self._bytes_before
        return min(count_fitting(self.bytes_each, free + ours), self._most)

    def admit_fewer(self, tried: int) -> None:
        """Admit fewer than the number that ran out of memory from now on; one alone says nothing about several."""
        if tried > 1:
            self._most = min(self._most, tried - 1)

    def _measure(self) -> None:
        if self._device.type == "cuda":
            most = torch.cuda.max_memory_reserved(self._device) - self._bytes_before
            self.bytes_each = max(self.bytes_each, most // self.num_seeds)


def _breaks_device(error: Exception) -> bool:
    """Return whether it is an error of CUDA itself, after which every further call of the process fails."""
    return not isinstance(error, NasError) and "CUDA error" in str(error)
