"""A second study beside the search's own, with parameters and accuracy as its values, for the dashboard's Pareto page.

That page is for studies of several objectives. Optuna stops no trial of those early (optuna issue 3450), so the
search's own has one, and this is a copy to look at: nothing reads it.
"""

from __future__ import annotations

import warnings

import optuna
from optuna.trial import create_trial

from nas.storage.locks import locked
from nas.storage.study_store import Store

SUFFIX = " (parameters, accuracy)"  # after the name of the search's own study
_TRIAL = "trial"  # the attribute that says which one of the search's own a trial is


def save_two_values(store: Store) -> None:
    """Add the trials that have been completed since the last call.

    Raises:
        BusyError: another process is doing so.
        SQLAlchemyError, StorageInternalError: the storage cannot be written.
    """
    completed = {record.number: record for record in store.records() if record.fate == "completed"}
    if not completed:
        return
    with locked(store.folder.run / "two_values.lock", store.folder.name):
        study = optuna.create_study(
            study_name=store.folder.stored_name + SUFFIX,
            storage=store.storage,
            directions=["minimize", "maximize"],
            load_if_exists=True,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.set_metric_names([store.folder.settings().budget.unit, "validation accuracy (%)"])
        shown = {trial.user_attrs[_TRIAL] for trial in study.get_trials(deepcopy=False)}
        for trial in store.trials():
            if trial.number not in completed.keys() - shown:
                continue
            record = completed[trial.number]
            study.add_trial(
                create_trial(
                    values=[record.size, record.validation_accuracy],
                    params=trial.params,
                    distributions=trial.distributions,
                    user_attrs={_TRIAL: record.number, "network": record.network},
                )
            )
