"""Where the trials of a study are kept: SQLite in its folder, PostgreSQL for a team, or Optuna's journal file.

A password is held apart from the address, which may therefore be printed, kept and reported: it goes to the database
driver alone.
"""

from __future__ import annotations

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
from nas.storage.journal_lock import JournalLock
from nas.storage.locks import BusyError, StorageError, locked
from nas.study.folder import StudyFolder

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
                lock = JournalLock(self.file)
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
            raise StudyError("PostgreSQL needs psycopg; install it with: pip install 'nas-budget[postgres]'") from None
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


def address_of(folder: StudyFolder) -> StorageAddress:
    """Return where the trials of a study are: what it was created with, by default SQLite in its folder.

    Raises:
        StudyError: the study's settings are damaged.
    """
    kept = folder.document().storage if folder.exists else None
    return StorageAddress.parse(kept) if kept else StorageAddress.of_file(folder.database_file)


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
