"""What the commands that look at a study share: opening it, and finding a trial."""

from __future__ import annotations

from pathlib import Path

from nas.errors import StudyError
from nas.storage.study_store import Store
from nas.study.answer import best_record
from nas.study.folder import StudyFolder
from nas.study.records import TrialRecord


def open_folder(studies: Path, name: str) -> StudyFolder:
    """Return the folder of a study.

    Raises:
        StudyError: there is no study of that name.
    """
    folder = StudyFolder(studies, name)
    folder.require()
    return folder


def read_records(folder: StudyFolder) -> list[TrialRecord]:
    """Return every trial of a study, by number; also while it is searched.

    Raises:
        StudyError: its storage cannot be read.
    """
    return Store(folder).records()


def find_trial(folder: StudyFolder, number: int | None) -> TrialRecord:
    """Return trial `number`, or the one that answers the study where that is None.

    Raises:
        StudyError: there is no such trial, or none has completed.
    """
    store = Store(folder)
    if number is not None:
        return store.record(number)
    best = best_record(store.records(), folder.settings())
    if best is None:
        name = folder.name
        raise StudyError(f"study {name!r} has no completed trial to export; go on with: nas search --name {name} …")
    return best
