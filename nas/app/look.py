"""What the commands that look at studies share: opening one, what it has found, and finding a trial."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any, NamedTuple

from nas.errors import StudyError
from nas.model.trained_network import TrainedNetwork
from nas.report.document import study_document, summary_row
from nas.storage.study_store import read_records
from nas.study.answer import best_record
from nas.study.folder import SHIPPED_STUDIES, StudyFolder, find_study, study_names
from nas.study.networks import device_costs, kept_network
from nas.study.records import TrialRecord, record_of
from nas.study.settings import StudySettings


def open_folder(studies: Path, name: str) -> StudyFolder:
    """Return the folder of a study, be it one that comes with nas.

    Raises:
        StudyError: there is no study of that name.
    """
    folder = find_study(studies, name)
    folder.require()
    return folder


class ReadStudy(NamedTuple):
    """A study, what it was asked for, and its trials."""

    folder: StudyFolder
    settings: StudySettings
    records: list[TrialRecord]


def read_study(studies: Path, name: str) -> ReadStudy:
    """Read a study, be it one that comes with nas.

    Raises:
        StudyError: there is no study of that name, or it is damaged.
    """
    folder = open_folder(studies, name)
    return ReadStudy(folder, folder.settings(), read_records(folder))


class Result(NamedTuple):
    """What a study has found so far."""

    document: dict[str, Any]  # ready for JSON
    network: TrainedNetwork | None  # that answers it, where it is kept


def result_of(folder: StudyFolder, settings: StudySettings, records: list[TrialRecord]) -> Result:
    """Return what the study has found, and what its answer takes of a microcontroller."""
    best = best_record(records, settings)
    network = kept_network(folder, best) if best is not None else None
    return Result(study_document(folder.name, settings, records) | device_costs(network), network)


def summary_rows(studies: Path) -> list[dict[str, Any]]:
    """Return what each study in a folder was asked for and has found, ready for JSON, the latest last."""
    return [summary_row(f.name, f.settings(), read_records(f)) for f in study_folders(studies)]


def study_folders(studies: Path) -> list[StudyFolder]:
    """Return the studies in a folder, by the time when they last changed, the latest last."""
    found = [StudyFolder(studies, name) for name in study_names(studies)]
    return sorted(found, key=lambda folder: (_changed(folder), folder.name))


def no_study_text(studies: Path) -> str:
    """Return what is said of a folder without studies."""
    shipped = study_names(SHIPPED_STUDIES)
    look = f" (or look at one that comes with nas: nas status {shipped[0]})" if shipped else ""
    return f"no study in {studies} yet; make one with: nas search --max-params 8000 --target 99.4{look}"


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
        files = (folder.settings_file, folder.log_file, folder.database_file, folder.kept_file)
        return max(file.stat().st_mtime for file in files if file.exists())
    return 0.0


def find_trial(folder: StudyFolder, number: int | None) -> TrialRecord:
    """Return trial `number`, or the one that answers the study where that is None.

    Raises:
        StudyError: there is no such trial, or none has completed.
    """
    records, name = read_records(folder), folder.name
    if number is not None:
        return record_of(records, number, name)
    best = best_record(records, folder.settings())
    if best is None:
        raise StudyError(f"study {name!r} has no completed trial yet; go on with: nas search --name {name} …")
    return best
