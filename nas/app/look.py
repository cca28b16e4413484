"""What the commands that look at a study share: opening it, and finding a trial."""

from __future__ import annotations

import contextlib
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


def study_folders(studies: Path) -> list[StudyFolder]:
    """Return the studies in a folder, by the time when they last changed, the latest last."""
    found = [StudyFolder(studies, path.parents[1].name) for path in studies.glob("*/run/settings.json")]
    return sorted(found, key=lambda folder: (_changed(folder), folder.name))


def no_study_text(studies: Path) -> str:
    """Return what is said of a folder without studies."""
    return f"no study in {studies} yet; make one with: nas search --max-params 8000 --target 99.4"


def latest_folder(studies: Path) -> StudyFolder:
    """Return the study that has changed last.

    Raises:
        StudyError: the folder holds none.
    """
    found = study_folders(studies)
    if not found:
        raise StudyError(no_study_text(studies))
    return found[-1]


def _changed(folder: StudyFolder) -> float:
    """Return when a search last wrote to the study, in seconds; 0 where that cannot be read."""
    with contextlib.suppress(OSError):
        files = (folder.settings_file, folder.log_file, folder.database_file)
        return max(file.stat().st_mtime for file in files if file.exists())
    return 0.0


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
