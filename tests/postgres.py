"""A PostgreSQL server of the tests' own, on the loopback interface."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

PASSWORD = "s3cr3t%2Fwörd"  # as an address spells it; the database knows it unquoted
PLAIN_PASSWORD = "s3cr3t/wörd"


def missing() -> str:
    """Why there can be no server here; empty where there can."""
    if _program("initdb") is None:
        return "no PostgreSQL server is installed (Debian: apt-get install postgresql)"
    if os.geteuid() == 0 and _user() is None:
        return "PostgreSQL does not run as root, and this machine has neither a user postgres nor nobody"
    return ""


def _program(name: str) -> str | None:
    places = [*sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")), reverse=True)]
    return next((found for path in (*places, None) if (found := shutil.which(name, path=path))), None)


def _user() -> str | None:
    known = {user.pw_name for user in pwd.getpwall()}
    return next((name for name in ("postgres", "nobody") if name in known), None)


@dataclass
class Postgres:
    """One server with a database `nas`, started and stopped at will."""

    folder: Path  # short, and open to the user that the server runs as
    port: int = 0
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def address(self) -> str:
        """With the password."""
        return f"postgresql://nas:{PASSWORD}@127.0.0.1:{self.port}/nas"

    @property
    def open_address(self) -> str:
        """Without it."""
        return f"postgresql://nas@127.0.0.1:{self.port}/nas"

    def create(self) -> None:
        """Makes the database's files and starts the server."""
        self.folder.mkdir(parents=True, exist_ok=True)
        password_file = self.folder / "password"
        password_file.write_text(PLAIN_PASSWORD)
        if os.geteuid() == 0:
            for path in (self.folder, password_file):
                shutil.chown(path, _user())
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._run(
            "initdb", "-D", "data", "-U", "nas", "-A", "scram-sha-256", "--pwfile", "password", "-N", "-E", "UTF8"
        )
        self.start()
        self._sql("postgres", "create database nas")

    def start(self) -> None:
        """Starts the server and waits until it answers."""
        command = [_program("postgres"), "-D", "data", "-k", "", "-h", "127.0.0.1", "-p", str(self.port)]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=self.folder, user=self._as(), stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                self._sql("postgres", "select 1")
            except OSError:
                time.sleep(0.1)
            else:
                return
        raise TimeoutError((self.folder / "log").read_text())

    def stop(self) -> None:
        """Stops it at once, with every connection."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(30)
            self._process = None

    def query(self, sql: str) -> list[tuple[object, ...]]:
        """The rows of a question to the database `nas`."""
        return self._sql("nas", sql)

    def _sql(self, database: str, sql: str) -> list[tuple[object, ...]]:
        import psycopg

        try:
            with psycopg.connect(
                host="127.0.0.1", port=self.port, user="nas", password=PLAIN_PASSWORD, dbname=database, autocommit=True
            ) as connection:
                answer = connection.execute(sql)  # type: ignore[call-overload]
                return answer.fetchall() if answer.description else []
        except psycopg.OperationalError as error:
            raise OSError(str(error)) from None

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(_program(program)), *arguments], cwd=self.folder, user=self._as(), capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr

    @staticmethod
    def _as() -> str | None:
        return _user() if os.geteuid() == 0 else None


@contextmanager
def server() -> Iterator[Postgres]:
    """A server for the body."""
    folder = Path(tempfile.mkdtemp(prefix="nas-postgres-", dir="/tmp"))  # pytest's folders are closed to its user
    running = Postgres(folder)
    try:
        running.create()
        yield running
    finally:
        running.stop()
        shutil.rmtree(folder, ignore_errors=True)
