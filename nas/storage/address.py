"""Where the trials of a study are kept: SQLite in its folder, PostgreSQL for a team, or Optuna's journal file.

A password is held apart from the address, which may therefore be printed, kept and reported: it goes to the database
driver alone.
"""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from optuna.storages import BaseStorage, JournalStorage, RDBStorage, get_storage
from optuna.storages.journal import JournalFileBackend
from sqlalchemy import URL, NullPool, make_url
from sqlalchemy.exc import ArgumentError

from nas.errors import InvalidError, NasError, StudyError, UsageError
from nas.storage.journal_lock import JournalLock, require_journal
from nas.storage.locks import BusyError, StorageError, locked
from nas.storage.read_only import may_write, readable_copy
from nas.study.folder import StudyFolder

Storage: TypeAlias = BaseStorage  # an opened one, for those who only pass it on

_DRIVERS = ("postgres", "postgresql", "postgresql+psycopg")
_HOST = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+")
_DATABASE = re.compile(r"[A-Za-z0-9_.-]+")
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
    file: Path | None = None  # that holds the trials, where it is one

    @classmethod
    def parse(cls, text: str) -> StorageAddress:
        """Return the address that `text` spells.

        Raises:
            UsageError: it is no address that is understood. The error shows nothing of it: it may hold a password.
        """
        if text.startswith("sqlite:"):
            raise UsageError("`storage`: SQLite in the study's folder is the default; leave it out")
        if text.startswith("journal://"):
            path = text.removeprefix("journal://")
            if not path or path.endswith("/") or "\0" in path:
                raise UsageError("`storage`: journal:// names no file; write journal:///FOLDER/FILE")
            file = Path(path).absolute()
            return cls(f"journal://{file}", file=file)
        url = _parse_postgres(text)
        shown = URL.create("postgresql", url.username, None, url.host, url.port, url.database, url.query)
        return cls(shown.render_as_string(), None if url.password is None else str(url.password))

    @classmethod
    def of_file(cls, path: Path) -> StorageAddress:
        """Return the address of the SQLite database at `path`."""
        return cls(URL.create("sqlite", database=str(path)).render_as_string(), file=path)

    def __str__(self) -> str:
        """Return what may be shown to anyone."""
        return str(self.file) if self._is_sqlite else self.url

    @property
    def _is_sqlite(self) -> bool:
        return self.url.startswith("sqlite:")

    @property
    def _journal(self) -> Path | None:
        return self.file if self.url.startswith("journal:") else None

    @property
    def inode(self) -> int | None:
        """The file's, while it is there: SQLite goes on writing to one that was removed, and all would be lost."""
        try:
            return self.file.stat().st_ino if self.file else None
        except OSError:
            return None

    def open(self, study: str) -> Storage:
        """Return the storage of `study`, made where there is none. No connection stays open between two uses.

        Of a database that may only be read it is a copy, as it is now.

        Raises:
            StorageError: it cannot be opened.
        """
        with self.errors(study):
            if journal := self._journal:
                require_journal(journal)
                return JournalStorage(JournalFileBackend(str(journal), JournalLock(journal)))  # type: ignore[arg-type]
            address = self
            if self._is_sqlite and self.file and not may_write(self.file):
                address = replace(self, file=readable_copy(self.file))
            options = address._engine_options() | {"poolclass": NullPool}
            return get_storage(RDBStorage(self._engine_url, options))

    @contextmanager
    def coordinating(self, study: str) -> Iterator[Storage]:
        """Yield the storage to the body, which alone coordinates `study`.

        Raises:
            StorageError: it cannot be opened, or another coordinator has the study.
        """
        storage = self.open(study)  # makes and checks the tables, by two connections at once
        if self._journal:
            with locked(Path(f"{self.file}.{study}.lock"), study):  # a copy of the folder has a lock of its own
                yield storage
            return
        connections = _Connections()
        options = self._engine_options() | {"pool_events": [(connections, "connect")]}
        if self._is_sqlite:
            options["pool_events"].append((_write_ahead, "connect"))
        else:
            # One connection that holds the lock as long as it lives: what is not locked cannot write.
            options |= {"pool_size": 1, "max_overflow": 0}
            options["pool_events"].append((partial(_take_advisory_lock, f"nas study {study}"), "connect"))
        try:
            with self.errors(study):
                storage = get_storage(RDBStorage(self._engine_url, options, skip_compatibility_check=True))
            yield storage
        finally:
            connections.close()

    @property
    def _engine_url(self) -> str:
        """What Optuna is given, which only chooses the driver for SQLite: `_engine_options` knows the file."""
        return "sqlite:///study.db" if self._is_sqlite else self.url.replace("postgresql:", "postgresql+psycopg:", 1)

    def _engine_options(self) -> dict[str, Any]:
        """Return SQLAlchemy's options for the engine.

        The path of a SQLite database is not part of the URL, as Optuna fills in braces there, and SQLAlchemy 2.0 reads
        a question mark as the path's end.
        """
        if self._is_sqlite:
            return {"creator": partial(sqlite3.connect, str(self.file), check_same_thread=False)}
        try:
            import psycopg  # noqa: F401
        except ImportError:
            raise StudyError("PostgreSQL needs psycopg; install it with: pip install 'nas-budget[postgres]'") from None
        secret = {"password": self.password} if self.password is not None else {}
        return {"connect_args": {**_ALIVE, **secret}}

    @contextmanager
    def errors(self, study: str) -> Iterator[None]:
        """Turn whatever goes wrong with the storage in the body into an error of ours.

        Everything is caught, since the file of a stranger may hold anything.

        Raises:
            StorageError: in one line, without the address's password.
            StudyError: the storage was read, and what it holds makes no sense.
        """
        try:
            yield
        except InvalidError as error:
            problem = f"{error.what}: {'; '.join(error.problems)}"
            raise StudyError(
                f"the storage of study {study!r} ({self}) is damaged: {problem}; restore it from a copy"
            ) from None
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
                text += "; give it by PGPASSWORD, in ~/.pgpass, or give `storage` again"
            raise StorageError(f"the storage of study {study!r} ({self}) failed: {text}") from None


class _Connections:
    """What an engine's driver has connected, to be closed together: Optuna's storages have no end of their own."""

    def __init__(self) -> None:
        self._made: list[Any] = []

    def __call__(self, connection: Any, _: object) -> None:
        """Take note of a new connection, as a listener of SQLAlchemy's."""
        self._made.append(connection)

    def close(self) -> None:
        """Close all of them."""
        for connection in self._made:
            connection.close()

    def __reduce__(self) -> tuple[type[_Connections], tuple[()]]:
        """Pickle as none: a storage's copy in another process connects anew."""
        return _Connections, ()


def address_of(folder: StudyFolder) -> StorageAddress:
    """Return where the trials of a study are: what it was created with, by default SQLite in its folder.

    Raises:
        StudyError: the study's settings are damaged.
    """
    kept = folder.document().storage if folder.exists else None
    return StorageAddress.parse(kept) if kept else StorageAddress.of_file(folder.database_file)


def _parse_postgres(text: str) -> URL:
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):  # the latter for a port that is no number
        url = None
    # Where a character is not escaped, part of the password may have become user, host or database, which are shown.
    is_clear = (
        url is not None
        and url.drivername in _DRIVERS
        and text.count("@") <= 1
        and (not url.host or _HOST.fullmatch(url.host))
        and _DATABASE.fullmatch(url.database or "")
        and not re.search(r"[#\s]", text)
    )
    if url is None or not is_clear:
        raise UsageError(
            f"`storage` is no address of the form {_FORMS}; in user and password write '@', '/', ':', '?' and '#' "
            f"as %40, %2F, %3A, %3F and %23"
        ) from None
    if not url.query.keys() <= _OPTIONS:
        known = ", ".join(sorted(_OPTIONS))
        raise UsageError(f"`storage`: of the connection's options only these may be given: {known}")
    return url


def _write_ahead(connection: Any, _: object) -> None:
    """Use SQLite's write-ahead log: a commit costs a fifth of the time, and readers never hold up the coordinator."""
    connection.execute("pragma journal_mode = wal")


def _take_advisory_lock(name: str, connection: Any, _: object) -> None:
    """Take PostgreSQL's lock of a session: given back when its connection ends, however that comes about."""
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
