"""One coordinator a study: a lock on a file of its folder, and the errors of a storage."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nas.errors import StudyError


class StorageError(StudyError):
    """The storage cannot be read or written; it may be back later."""


class BusyError(StorageError):
    """Another coordinator holds the study."""


@contextmanager
def locked(path: Path, name: str) -> Iterator[None]:
    """Let the body alone work on study `name`; the lock on the file `path` ends with its process, also by kill -9.

    Raises:
        BusyError: another process has it.
        StudyError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+")
    except OSError as error:
        raise StudyError(f"cannot write {path.parent}: {error.strerror}; give another `studies` folder") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
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
        file.write(f"process {os.getpid()} on {os.uname().nodename}\n")
        file.flush()
        yield
