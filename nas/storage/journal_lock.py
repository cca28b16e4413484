"""The lock of Optuna's journal file, and the guard that no other file is taken for one."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import BinaryIO

from nas.storage.locks import HAS_LOCKS, StorageError, lock

_LONGEST_LINE = 1 << 20  # bytes of a journal's first line, which creates a study
_BEGINNING = b'{"op_code":'  # of every line that Optuna writes


class JournalLock:
    """Keeps writers of a journal apart; given back by the system when its process ends, however that comes about.

    A writer that was killed may leave half a line, to which the next would append: whoever gets the lock cuts it off.
    """

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self._lock: int | None = None

    def acquire(self) -> bool:
        """Wait for the lock.

        Raises:
            StorageError: the file is no journal. Nothing of it was changed.
        """
        self._lock = os.open(f"{self._journal}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            lock(self._lock, wait=True)
            with self._journal.open("r+b") as file:
                _require_beginning(file, self._journal)
                _cut_torn_line(file)
        except BaseException:
            self.release()
            raise
        return True

    def release(self) -> None:
        """Give it back."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def require_journal(path: Path) -> None:
    """Refuse a file that Optuna's journal did not write; one that is empty or not there will become a journal.

    Raises:
        StorageError: the file holds something else, or this system cannot keep writers apart.
    """
    if not HAS_LOCKS:
        raise StorageError("a journal needs locks on files, which this system has not; leave `storage` out")
    if path.exists():
        if not path.is_file():
            raise _refusal(path)
        with path.open("rb") as file:
            _require_beginning(file, path)


def _require_beginning(file: BinaryIO, path: Path) -> None:
    line = file.readline(_LONGEST_LINE)
    if not line.endswith(b"\n"):
        if line and not line.startswith(_BEGINNING):  # else it is empty, or its first line is torn
            raise _refusal(path)
        return
    try:
        entry = json.loads(line)
    except ValueError:
        entry = None
    if not (isinstance(entry, dict) and type(entry.get("op_code")) is int and "worker_id" in entry):
        raise _refusal(path)


def _refusal(path: Path) -> StorageError:
    return StorageError(f"{path} is no journal of Optuna's, and is left as it is; name another file in `storage`")


def _cut_torn_line(file: BinaryIO) -> None:
    """Remove what follows the last line's end."""
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
