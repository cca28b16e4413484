"""The lock of Optuna's journal file."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


class JournalLock:
    """Keeps writers of a journal apart; given back by the system when its process ends, however that comes about.

    A writer that was killed may leave half a line, to which the next would append: whoever gets the lock cuts it off.
    """

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self._lock: int | None = None

    def acquire(self) -> bool:
        """Waits for the lock."""
        self._lock = os.open(f"{self._journal}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        _cut_torn_line(self._journal)
        return True

    def release(self) -> None:
        """Gives it back."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _cut_torn_line(journal: Path) -> None:
    """Removes what follows the last line's end."""
    with journal.open("r+b") as file:
        size = end = file.seek(0, os.SEEK_END)
        while end > 0:
            start = max(0, end - 65536)
            file.seek(start)
            newline = file.read(end - start).rfind(b"\n")
            if newline >= 0:
                end = start + newline + 1
                break
            end = start
        if end < size:
            file.truncate(end)
