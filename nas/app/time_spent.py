"""The seconds that all runs of a search have taken, kept in its folder, so that a limit of time holds for all."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable
from pathlib import Path

from nas.coordinator.snapshot import Snapshot
from nas.host import written_whole

KEEP_EVERY = 1.0  # seconds: the most that a run which is killed leaves uncounted, trainings' steps aside


class TimeSpent:
    """A watcher that counts the seconds of this run and adds them to those before."""

    def __init__(self, file: Path, began: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Count from `began`, by `clock`; `file` has the seconds of the runs before.

        A file that cannot be read counts as none: it limits the time of a search, and is not worth its end.
        """
        self._file, self._clock = file, clock
        self._began = began
        self.before = _read(file)
        self._next = clock()

    @property
    def seconds(self) -> float:
        """The seconds of all runs until now."""
        return self.before + self._clock() - self._began

    def update(self, snapshot: Snapshot) -> None:
        """Keep the seconds, unless that was done a moment ago."""
        if self._clock() >= self._next:
            self._keep()

    def say(self, text: str) -> None:
        """Show no lines."""

    def end(self) -> None:
        """Keep the seconds."""
        self._keep()

    def _keep(self) -> None:
        self._next = self._clock() + KEEP_EVERY
        with contextlib.suppress(OSError), written_whole(self._file) as file:  # a full disk: with a later call
            file.write_text(f"{self.seconds:.1f}\n", encoding="ascii")


def _read(file: Path) -> float:
    try:
        with file.open(encoding="ascii") as text:
            seconds = float(text.read(100))
    except (OSError, ValueError):
        return 0.0
    return seconds if math.isfinite(seconds) and seconds > 0 else 0.0
