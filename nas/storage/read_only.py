"""A SQLite database that may only be read: of another person, on a read-only disk, in a folder under backup.

SQLite writes beside a database even to read it, once it has a write-ahead log. So a copy is read instead.
"""

from __future__ import annotations

import atexit
import os
import shutil
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

_copies: dict[Path, tuple[object, Path]] = {}  # with the state of what was copied, and the folder of the copy


def may_write(file: Path) -> bool:
    """Return whether this user may write a database and beside it; true where there is none yet."""
    return not file.exists() or (os.access(file, os.W_OK) and os.access(file.parent, os.W_OK))


def readable_copy(file: Path) -> Path:
    """Return a copy of the database as it is now, in a folder that ends with this process.

    Raises:
        OSError: it cannot be read, or there is no room for the copy.
        sqlite3.Error: it is no database.
    """
    state = [(path.stat().st_mtime_ns, path.stat().st_size) for path in (file, _log(file)) if path.exists()]
    if (kept := _copies.get(file)) is None or kept[0] != state:
        folder = Path(tempfile.mkdtemp(prefix="nas-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        _copy(file, folder / file.name)
        _copies[file] = state, folder
        if kept:
            shutil.rmtree(kept[1], ignore_errors=True)
    return _copies[file][1] / file.name


def _copy(file: Path, copy: Path) -> None:
    try:
        # While a search runs, its files let others read.
        reading = sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)
        with closing(reading) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)
    except sqlite3.OperationalError:
        shutil.copyfile(file, copy)
        if _log(file).exists():
            shutil.copyfile(_log(file), _log(copy))


def _log(file: Path) -> Path:
    return Path(f"{file}-wal")
