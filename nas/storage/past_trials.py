"""A study as it was at an earlier moment, rebuilt in memory from its trials: what a replay decides again."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import TypeAlias

import optuna
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState

from nas.storage.address import Storage, address_of
from nas.storage.enqueued_trials import was_enqueued
from nas.storage.optuna_records import read_trials
from nas.storage.study_store import Store

PastTrial: TypeAlias = FrozenTrial


def past_trials(store: Store) -> list[PastTrial]:
    """Return every trial of the study, by number.

    Raises:
        StudyError: the storage cannot be read, or what it holds of a trial makes no sense.
    """
    with address_of(store.folder).errors(store.folder.name):
        return read_trials(store.study)


def rebuild_study(name: str, trials: Iterable[PastTrial], curves: Mapping[int, tuple[float, ...] | None]) -> Storage:
    """Return a storage in memory with study `name`, which holds `trials`.

    Args:
        name: of the study.
        trials: from number 0 on.
        curves: the trials that waited, by number: the accuracies (percent, one an epoch) of one that had been begun,
            None for one that had only been enqueued.
    """
    storage = InMemoryStorage()
    study = optuna.create_study(study_name=name, storage=storage, direction="maximize")
    for trial in trials:
        study.add_trial(_unfinished(trial, curves[trial.number]) if trial.number in curves else trial)
    return storage


def enqueue_again(store: Store, trial: PastTrial) -> None:
    """Enqueue `trial` in the storage of `store`, as somebody did before it was trained, or as if one had."""
    if was_enqueued(trial):
        store.study.add_trial(_unfinished(trial, None))
    else:
        store.study.enqueue_trial(dict(trial.params))


def _unfinished(trial: PastTrial, curve: tuple[float, ...] | None) -> PastTrial:
    """Return `trial` as it waited to be trained, or to be trained again where it has a curve."""
    trial = copy.copy(trial)
    trial.state, trial.values, trial.datetime_complete = TrialState.WAITING, None, None
    trial.intermediate_values = dict(enumerate(curve or (), 1))
    if curve is None:
        trial.params, trial.distributions, trial.user_attrs = {}, {}, {}
    return trial
