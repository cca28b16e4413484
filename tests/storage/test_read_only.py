"""A study's database that may only be read, of a search that has ended or still runs."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from optuna.study import StudyDirection

from nas.storage import address as address_module
from nas.storage.address import StorageAddress
from nas.storage.read_only import may_write, readable_copy


def count(file: Path) -> int:
    with closing(sqlite3.connect(file)) as connection:
        return int(connection.execute("select count(*) from t").fetchone()[0])


def connect(file: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(file)
    connection.execute("pragma journal_mode = wal")
    return connection


@pytest.fixture
def database(tmp_path: Path) -> Path:
    file = tmp_path / "what?is#this%2F" / "study.db"
    file.parent.mkdir()
    with closing(connect(file)) as connection:
        connection.execute("create table t (x)")
        connection.execute("insert into t values (1)")
        connection.commit()
    return file


def test_a_copy_is_read_and_the_folder_is_left_as_it_is(database: Path) -> None:
    before = {path: path.read_bytes() for path in database.parent.iterdir()}
    assert count(readable_copy(database)) == 1
    assert {path: path.read_bytes() for path in before} == before


def test_a_running_search_is_seen_as_it_is_now(database: Path) -> None:
    with closing(connect(database)) as running:
        running.execute("insert into t values (2)")
        running.commit()  # in the write-ahead log alone
        assert count(readable_copy(database)) == 2
        first = readable_copy(database)
        assert readable_copy(database) == first  # nothing new: nothing is copied
        running.execute("insert into t values (3)")
        running.commit()
        assert count(readable_copy(database)) == 3
    assert not first.exists()


def test_what_a_killed_search_left_is_seen_too(database: Path, tmp_path: Path) -> None:
    killed = tmp_path / "killed"
    killed.mkdir()
    with closing(connect(database)) as running:
        running.execute("insert into t values (2)")
        running.commit()
        for name in ("study.db", "study.db-wal"):
            (killed / name).write_bytes((database.parent / name).read_bytes())
    assert count(readable_copy(killed / "study.db")) == 2


def test_what_is_not_there_yet_may_be_written(database: Path, tmp_path: Path) -> None:
    assert may_write(tmp_path / "new.db")
    assert may_write(database)


def test_an_address_opens_the_copy_where_it_may_not_write(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database.unlink()
    StorageAddress.of_file(database).open("study")  # makes the tables
    before = database.read_bytes()
    monkeypatch.setattr(address_module, "may_write", lambda _: False)
    storage = StorageAddress.of_file(database).open("study")
    storage.create_new_study([StudyDirection.MAXIMIZE], "another")  # lands in the copy
    assert database.read_bytes() == before
