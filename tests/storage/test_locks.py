"""What works on a system without the locks that nas knows, such as Windows."""

from __future__ import annotations

from pathlib import Path

import pytest
from optuna.study import StudyDirection

from nas.errors import StudyError
from nas.storage import journal_lock, locks
from nas.storage.address import StorageAddress
from nas.storage.locks import BusyError, StorageError, locked
from nas.storage.study_store import Store
from nas.study.folder import Fingerprints, StudyDocument, StudyFolder
from nas.study.settings import StudySettings


def test_a_second_search_is_refused_where_there_are_locks(tmp_path: Path) -> None:
    with (
        locked(tmp_path / "lock", "a"),
        pytest.raises(BusyError, match=r"study 'a' is being worked on by process \d+ on"),
        locked(tmp_path / "lock", "a"),
    ):
        pass


def test_without_locks_a_study_works_and_a_journal_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "HAS_LOCKS", False)
    monkeypatch.setattr(locks, "fcntl", None)
    monkeypatch.setattr(journal_lock, "HAS_LOCKS", False)
    with locked(tmp_path / "lock", "a"):
        pass
    assert (tmp_path / "lock").is_file()
    with pytest.raises(StorageError, match=r"a journal needs locks on files, .*; leave `storage` out"):
        StorageAddress.parse(f"journal://{tmp_path}/trials.log").open("a")
    assert not (tmp_path / "trials.log").exists()


def test_a_folder_of_an_unknown_name_is_told_which_studies_its_database_holds(tmp_path: Path) -> None:
    """A study of version 0.1 does not know its name in the database, and its folder was renamed."""
    folder = StudyFolder(tmp_path, "after")
    folder.create(StudyDocument(StudySettings(900), Fingerprints("0" * 16, "1" * 16)), "")
    storage = StorageAddress.of_file(folder.database_file).open("before")
    storage.create_new_study([StudyDirection.MAXIMIZE], "before")
    with pytest.raises(
        StudyError, match=r"no study 'after'; it holds 'before': give the folder .* the name of the one"
    ):
        Store(folder)
