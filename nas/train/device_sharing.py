"""Several trainings on one device in one process, advanced in turn by one thread.

A small network leaves most of a GPU idle. Each training queues a turn of steps on its own stream and waits for nothing,
so the device computes steps of all of them at once. How many share it follows from the memory that they take.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from nas.errors import NasError, OutOfMemoryError
from nas.train.device import device_of
from nas.train.device_interface import Device
from nas.train.engine import POLL_SECONDS, Training
from nas.train.epoch import Epoch

MOST_TRAININGS = 16  # on one device: one thread queues the work of all of them
MOST_KEPT = 2  # times what the trainings need, of memory that trainings that are gone have left
MEMORY_SHARE = 0.85  # of what is available; the next training may be larger than those seen so far


@dataclass(frozen=True)
class Report:
    """The result of a training's turn: the epoch that has ended, or the error that ended it."""

    training: Training
    what: Epoch | NasError | RuntimeError | OSError


def count_fitting(bytes_each: int, bytes_available: int) -> int:
    """Return how many trainings of `bytes_each` may share `bytes_available`: one at least, since it may fit."""
    return min(max(int(bytes_available * MEMORY_SHARE) // max(bytes_each, 1), 1), MOST_TRAININGS)


class SharedDevice:
    """A device and the trainings that share it."""

    def __init__(self, device: torch.device | Device, trials_per_device: int | None = None) -> None:
        """`trials_per_device` sets how many may share it; by default measured memory decides (on the CPU: one)."""
        self._device = device_of(device)
        self._trainings: dict[Training, bool] = {}  # each with whether it goes first
        self._by_memory = trials_per_device is None
        self._most = trials_per_device or MOST_TRAININGS
        self.bytes_each = 0  # device memory of one training, the most seen; 0 before the first epoch and on the CPU
        memory = self._device.memory()
        self._bytes_before = memory.reserved if memory else 0
        self._device.reset_peak()
        self._most_at_once = 0  # trainings, since the peak was last reset
        self._keeps_old_memory = False  # whether the device may hold memory of trainings that are gone

    def add(self, training: Training, goes_first: bool = False) -> None:
        """Add a training; it runs from the next call of `advance` on.

        While any that `goes_first` is there, the others wait: a few trainings use most of a GPU, and each of many takes
        many times as long as one of a few.
        """
        self._trainings[training] = goes_first
        self._most_at_once = max(self._most_at_once, self.num_trainings)

    def drop(self, training: Training) -> None:
        """Stop a training for good and free its memory."""
        del self._trainings[training]
        training.close()
        self._keeps_old_memory = True
        memory = self._device.memory()
        # Emptying the cache waits for all that is queued, so it is not done each time.
        if memory and memory.reserved - self._bytes_before > MOST_KEPT * self.bytes_each * (self.num_trainings + 1):
            self._free_cache()

    def _free_cache(self) -> None:
        self._device.empty_cache()
        self._device.reset_peak()
        self._most_at_once = self.num_trainings
        self._keeps_old_memory = False

    def advance(self) -> list[Report]:
        """Advance each training whose turn it is, and drop those that are done or met an error.

        Returns:
            A report for each training whose epoch has ended or that met an error.

        Raises:
            RuntimeError: the device can compute nothing more in this process, whatever is asked of it.
        """
        reports: list[Report] = []
        first = [training for training, goes_first in self._trainings.items() if goes_first]
        advancing = first or list(self._trainings)
        for training in advancing:
            try:
                epoch = training.advance()
            except (NasError, RuntimeError, OSError) as error:
                if isinstance(error, RuntimeError) and not self._device.still_works():
                    raise
                if isinstance(error, OutOfMemoryError):
                    self.admit_fewer(self.num_trainings)
                # Its traceback would keep the training, and so the memory, alive.
                reports.append(Report(training, error.with_traceback(None)))
            else:
                if epoch is None:
                    continue
                reports.append(Report(training, epoch))
                self._measure()
            if training.is_done or isinstance(reports[-1].what, Exception):
                self.drop(training)
                if isinstance(reports[-1].what, OutOfMemoryError):
                    self._free_cache()
        if advancing and all(training.is_waiting for training in advancing):
            time.sleep(POLL_SECONDS)
        return reports

    @property
    def num_trainings(self) -> int:
        """The number of trainings that share it now."""
        return len(self._trainings)

    @property
    def capacity(self) -> int:
        """The number of trainings that may share the device.

        One, until the first epoch has shown how much memory it takes. On the CPU one, unless set by hand: there a
        training fills a core, and further cores are for further processes.
        """
        if not self._by_memory:
            return self._most
        memory = self._device.memory()
        if memory is None or not self.bytes_each:
            return 1
        ours = memory.reserved - self._bytes_before
        return min(count_fitting(self.bytes_each, memory.free + ours), self._most)

    def admit_fewer(self, tried: int) -> None:
        """Admit fewer than the number that ran out of memory from now on; one alone says nothing about several."""
        if tried > 1:
            self._most = min(self._most, tried - 1)

    def _measure(self) -> None:
        memory = self._device.memory()
        if memory and not self._keeps_old_memory:
            self.bytes_each = max(self.bytes_each, (memory.peak - self._bytes_before) // self._most_at_once)
