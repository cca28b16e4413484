"""Optuna's own tests of a storage, on those that a study is kept in."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from optuna.testing.pytest_storages import StorageTestCase

from nas.storage.address import Storage, StorageAddress


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with its tables, which take longer to make than most tests."""
    file = tmp_path_factory.mktemp("empty") / "empty.db"
    with StorageAddress.of_file(file).coordinating("a"):
        pass
    return file


class TestSqlite(StorageTestCase):
    @pytest.fixture
    def storage(self, empty: Path, tmp_path: Path) -> Iterator[Storage]:
        file = shutil.copy(empty, tmp_path / "what?%2F{} .db")
        with StorageAddress.of_file(file).coordinating("a") as storage:
            yield storage


class TestJournal(StorageTestCase):
    @pytest.fixture
    def storage(self, tmp_path: Path) -> Storage:
        return StorageAddress.parse(f"journal://{tmp_path}/what?%2F#{{}} .journal").open("a")
