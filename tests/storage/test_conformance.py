"""Optuna's own tests of a storage, on those that a study is kept in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from optuna.testing.pytest_storages import StorageTestCase

from nas.storage.address import Storage, StorageAddress


class TestSqlite(StorageTestCase):
    @pytest.fixture
    def storage(self, tmp_path: Path) -> Iterator[Storage]:
        with StorageAddress.of_file(tmp_path / "what?%2F{} .db").coordinating("a") as storage:
            yield storage


class TestJournal(StorageTestCase):
    @pytest.fixture
    def storage(self, tmp_path: Path) -> Storage:
        return StorageAddress.parse(f"journal://{tmp_path}/what?%2F#{{}} .journal").open("a")
