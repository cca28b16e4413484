"""A study's trials in Optuna storage, read back as trial records. Anyone may read; see `search_store` for writing."""

from __future__ import annotations

import optuna
from optuna.trial import FrozenTrial

from nas.errors import StudyError
from nas.storage.address import Storage, address_of
from nas.storage.optuna_records import confirmations_of, read_trials, records_of
from nas.study.folder import StudyFolder
from nas.study.kept import kept_records
from nas.study.records import TrialRecord, record_of

optuna.logging.set_verbosity(optuna.logging.WARNING)


class Store:
    """The study, opened for reading; `SearchStore` opens it for writing."""

    def __init__(self, folder: StudyFolder, storage: Storage | None = None) -> None:
        """Open an existing study, in `storage` where one is given, else where its folder says.

        Raises:
            StudyError: its storage cannot be opened, or does not hold it; or only its results are kept.
        """
        folder.require_resumable()
        self.folder = folder
        address = address_of(folder)
        self.storage = storage or address.open(folder.name)
        with address.errors(folder.name):
            require_study(self.storage, folder)
            self.study = optuna.load_study(study_name=folder.stored_name, storage=self.storage)
            self.study_id = self.storage.get_study_id_from_name(folder.stored_name)

    def records(self) -> list[TrialRecord]:
        """Return every trial, by number.

        Raises:
            StudyError: the storage cannot be read, or what it holds of a trial makes no sense.
        """
        with address_of(self.folder).errors(self.folder.name):
            return records_of(self.trials(), confirmations_of(self.study.user_attrs), self.folder.count)

    def trials(self) -> list[FrozenTrial]:
        """Return Optuna's own trials, by number; raises InvalidError for one that makes no sense."""
        return read_trials(self.study)

    def record(self, number: int) -> TrialRecord:
        """Return one trial.

        Raises:
            StudyError: there is no such trial.
        """
        return record_of(self.records(), number, self.folder.name)


def read_records(folder: StudyFolder) -> list[TrialRecord]:
    """Return every trial of a study, by number; also while it is searched, or where only its results are kept.

    Raises:
        StudyError: its storage or its files cannot be read, or make no sense.
    """
    return kept_records(folder) if folder.is_kept else Store(folder).records()


def require_study(storage: Storage, folder: StudyFolder) -> None:
    """Raise StudyError where the storage does not hold the study of a folder."""
    try:
        storage.get_study_id_from_name(folder.stored_name)
    except KeyError:
        if names := optuna.get_all_study_names(storage):
            advice = (
                f"it holds {', '.join(map(repr, names))}: give the folder {folder.path} the name of the one it is of"
            )
        else:
            advice = f"restore it, or remove {folder.path} to start anew"
        raise StudyError(f"{address_of(folder)} holds no study {folder.stored_name!r}; {advice}") from None
