"""One coordinator a study: a lock on a file of its folder, and the errors of a storage."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from nas.errors import StudyError
from nas.host import machine_name

try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None  # type: ignore[assignment]

HAS_LOCKS = fcntl is not None
NO_LOCKS = (
    "this system lacks the locks on files that nas knows (it is made for Linux): nothing keeps a second search off "
    "this study, so run one at a time"
)


class StorageError(StudyError):
    """The storage cannot be read or written; it may be back later."""


class BusyError(StorageError):
    """Another coordinator holds the study."""


def lock(file: IO[Any] | int, wait: bool) -> None:
    """Lock an open file, until it is closed; do nothing where the system has no such locks.

    Raises:
        BlockingIOError: another process has it, and `wait` is false.
        OSError: the disk has no locks.
    """
    if HAS_LOCKS:
        fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextmanager
def locked(path: Path, name: str) -> Iterator[None]:
    """Let the body alone work on study `name`; the lock on the file `path` ends with its process, also by kill -9.

    Raises:
        BusyError: another process has it.
        StudyError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+", encoding="utf-8", errors="replace")
    except OSError as error:
        raise StudyError(f"cannot write {path.parent}: {error.strerror}; give another `studies` folder") from None
    with file:
        try:
            lock(file, wait=False)
        except BlockingIOError:
            file.seek(0)
            who = file.read(100).strip() or "another process"
            raise BusyError(
                f"study {name!r} is being worked on by {who}; wait for that or stop it, or give this search another "
                f"`name`"
            ) from None
        except OSError as error:
            raise StudyError(
                f"cannot lock {path}: {error.strerror}; set `studies` to keep studies on a disk that can"
            ) from None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {machine_name()}\n")
        file.flush()
        yield
