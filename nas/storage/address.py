"""Where the trials of a study are kept: SQLite in its folder, PostgreSQL for a team, or Optuna's journal file.

A password is held apart from the address, which may therefore be printed, kept and reported: it goes to the database
driver alone.
"""

from __future__ import annotations

import fcntl
import os
import re
import time
import weakref
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend

from nas.errors import NasError, StudyError, UsageError
from nas.storage.database import Database

_POSTGRES = re.compile(
    r"postgres(?:ql)?(?:\+psycopg)?://(?:(?P<user>[^:@/?#\s]+)(?::(?P<password>[^:@/?#\s]*))?@)?"
    r"(?P<place>(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])?(?::[0-9]{1,5})?/[A-Za-z0-9_.-]+)(?:\?(?P<options>[^#\s]*))?"
)
# Of libpq's connection options, those that hold no secret.
_OPTIONS = {"application_name", "connect_timeout", "host", "passfile", "port", "service", "target_session_attrs"} | {
    f"ssl{what}" for what in ("cert", "key", "mode", "rootcert")
}
_FORMS = "postgresql://USER:PASSWORD@HOST:PORT/DATABASE or journal:///FOLDER/FILE"
# A database that is cut off is noticed within half a minute on both sides, so that writes do not hang, and the lock of
# a machine that lost its power is given back. Seconds, and milliseconds for the last.
_ALIVE = {"connect_timeout": 10, "keepalives_idle": 10, "keepalives_interval": 5, "tcp_user_timeout": 30_000}
_SERVER_ALIVE = "set tcp_keepalives_idle = 10; set tcp_keepalives_interval = 5; set tcp_keepalives_count = 3"
LOCK_SECONDS = 3.0  # how long the lock of a coordinator that was just killed may take to be given back


class StorageError(StudyError):
    """The storage cannot be read or written; it may be back later."""


class BusyError(StorageError):
    """Another coordinator holds the study."""


@dataclass(frozen=True)
class StorageAddress:
    """Where a study's trials are; a password compares and shows as nothing."""

    url: str  # never with a password
    password: str | None = field(default=None, repr=False, compare=False)

    @classmethod
    def parse(cls, text: str) -> StorageAddress:
        """What `--storage` was given.

        Raises:
            UsageError: it is no address that is understood. The text shows nothing of it: it may hold a password.
        """
        if text.startswith("sqlite:"):
            raise UsageError("--storage: SQLite in the study's folder is the default; leave the option out")
        if text.startswith("journal://"):
            path = text.removeprefix("journal://")
            if not path or path.endswith("/") or "\0" in path:
                raise UsageError("--storage: journal:// names no file; write journal:///FOLDER/FILE")
            return cls(f"journal://{Path(path).absolute()}")
        match = _POSTGRES.fullmatch(text)
        if match is None:
            raise UsageError(
                f"--storage is no address of the form {_FORMS}; in user and password write '@', '/', ':', '?' and '#' "
                f"as %40, %2F, %3A, %3F and %23"
            )
        options = parse_qsl(match["options"] or "", keep_blank_values=True)
        if not {key for key, _ in options} <= _OPTIONS:
            known = ", ".join(sorted(_OPTIONS))
            raise UsageError(f"--storage: of the connection's options only these may be given: {known}")
        user = f"{match['user']}@" if match["user"] else ""
        query = f"?{urlencode(options)}" if options else ""
        password = unquote(match["password"]) if match["password"] else None
        return cls(f"postgresql://{user}{match['place']}{query}", password)

    @classmethod
    def of_file(cls, path: Path) -> StorageAddress:
        """The SQLite database at `path`."""
        return cls(f"sqlite:///{path}")

    def __str__(self) -> str:
        """What may be shown to anyone."""
        return self.url.removeprefix("sqlite:///")

    @property
    def file(self) -> Path | None:
        """The file that holds the trials, where it is one."""
        kind, _, path = self.url.partition("://")
        return None if kind == "postgresql" else Path(path.removeprefix("/") if kind == "sqlite" else path)

    @property
    def inode(self) -> int | None:
        """The file's, while it is there: SQLite goes on writing to one that was removed, and all would be lost."""
        try:
            return self.file.stat().st_ino if self.file else None
        except OSError:
            return None

    def open(self, study: str) -> BaseStorage:
        """The storage of `study`, made where there is none. Its connections end with it.

        Raises:
            StorageError: it cannot be opened.
        """
        with self.errors(study):
            if self.url.startswith("journal:"):
                assert self.file is not None
                lock = _JournalLock(self.file)
                return JournalStorage(JournalFileBackend(str(self.file), lock))  # type: ignore[arg-type]
            return _with_end(Database(self._engine_url, self._engine_options("")))

    @contextmanager
    def coordinating(self, study: str) -> Iterator[BaseStorage]:
        """The storage for the body, which alone coordinates `study`.

        Raises:
            StorageError: it cannot be opened, or another coordinator has the study.
        """
        storage = self.open(study)  # makes and checks the tables, by two connections at once
        if self.url.startswith("journal:"):
            with locked(Path(f"{self.file}.{study}.lock"), study):  # a copy of the folder has a lock of its own
                yield storage
            return
        with self.errors(study):
            options = self._engine_options(study)
            database = Database(self._engine_url, options, skip_compatibility_check=True)
        try:
            yield optuna.storages.get_storage(database)
        finally:
            database.engine.dispose()

    @property
    def _engine_url(self) -> str:
        return self.url.replace("postgresql:", "postgresql+psycopg:", 1)

    def _engine_options(self, coordinator_of: str) -> dict[str, Any]:
        if self.url.startswith("sqlite:"):
            return {"pool_events": [(_write_ahead, "connect")]} if coordinator_of else {}
        try:
            import psycopg  # noqa: F401
        except ImportError:
            raise StudyError("PostgreSQL needs psycopg; install it with: pip install 'nas[postgres]'") from None
        secret = {"password": self.password} if self.password is not None else {}
        options: dict[str, Any] = {"connect_args": {**_ALIVE, **secret}}
        if coordinator_of:
            # One connection that holds the lock as long as it lives: what is not locked cannot write.
            lock = partial(_take_advisory_lock, f"nas study {coordinator_of}")
            options |= {"pool_size": 1, "max_overflow": 0, "pool_events": [(lock, "connect")]}
        return options

    @contextmanager
    def errors(self, study: str) -> Iterator[None]:
        """Whatever goes wrong with the storage in the body becomes a StorageError.

        Everything is caught, since the file of a stranger may hold anything.

        Raises:
            StorageError: in one line, without the address's password.
        """
        try:
            yield
        except NasError:
            raise
        except Exception as error:
            cause: BaseException = error
            while cause.__cause__ is not None:
                cause = cause.__cause__
            lines = str(cause).splitlines()
            text = lines[0][:300] if lines and not isinstance(cause, KeyError) else type(cause).__name__
            if self.password:
                text = text.replace(self.password, "***")
            if "password" in text:
                text += "; give it by PGPASSWORD, in ~/.pgpass, or with --storage again"
            raise StorageError(f"the storage of study {study!r} ({self}) failed: {text}") from None


def at_once(storage: BaseStorage) -> AbstractContextManager[None]:
    """What the body writes to trials is one transaction, where `storage` is a database: it costs less."""
    database = getattr(storage, "_backend", None)  # Optuna's cache lies over it
    return database.at_once() if isinstance(database, Database) else nullcontext()


def _with_end(database: RDBStorage) -> BaseStorage:
    storage = optuna.storages.get_storage(database)
    weakref.finalize(storage, database.engine.dispose)
    return storage


def _write_ahead(connection: Any, _: object) -> None:
    """SQLite's write-ahead log: a commit costs a fifth of the time, and readers never hold up the coordinator."""
    connection.execute("pragma journal_mode = wal")


def _take_advisory_lock(name: str, connection: Any, _: object) -> None:
    """PostgreSQL's lock of a session: given back when its connection ends, however that comes about."""
    deadline = time.monotonic() + LOCK_SECONDS
    connection.execute(_SERVER_ALIVE)
    while not connection.execute("select pg_try_advisory_lock(hashtextextended(%s, 0))", (name,)).fetchone()[0]:
        if time.monotonic() > deadline:
            connection.close()
            raise BusyError(
                "this study is being worked on elsewhere, perhaps on another machine; wait for that, or stop it"
            )
        time.sleep(0.1)
    connection.commit()


class _JournalLock:
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


@contextmanager
def locked(path: Path, name: str) -> Iterator[None]:
    """The body alone works on study `name`; the lock on the file `path` ends with its process, also by kill -9.

    Raises:
        BusyError: another process has it.
        StudyError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+")
    except OSError as error:
        raise StudyError(
            f"cannot write {path.parent}: {error.strerror}; use --studies to keep studies elsewhere"
        ) from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            who = file.read(100).strip() or "another process"
            raise BusyError(
                f"study {name!r} is being worked on by {who}; wait for that or stop it, or give this search another "
                f"--name"
            ) from None
        except OSError as error:
            raise StudyError(
                f"cannot lock {path}: {error.strerror}; use --studies to keep studies on a disk that can"
            ) from None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {os.uname().nodename}\n")
        file.flush()
        yield
