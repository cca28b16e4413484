"""Trials that somebody gave to a study, in place of those that its sampler draws."""

from __future__ import annotations

from collections.abc import Mapping

import optuna
from optuna.trial import FrozenTrial

from nas.storage.address import Storage


def was_enqueued(trial: FrozenTrial) -> bool:
    """Return whether `Study.enqueue_trial` made the trial, so that no sampler has drawn it.

    Optuna has no public way to tell; this is the only place that reads the attribute which it leaves.
    """
    return "fixed_params" in trial.system_attrs


def enqueue_trials(storage: Storage, name: str, by_origin: Mapping[str, Mapping[str, object]]) -> None:
    """Make genes the first trials of study `name`, before it is opened for the first time.

    May be done again where it was cut off. A study that was opened already is left as it is.

    Args:
        storage: where the study is, or will be.
        name: of the study.
        by_origin: the genes of each trial, by the words that tell where they are from.
    """
    study = optuna.create_study(study_name=name, storage=storage, direction="maximize", load_if_exists=True)
    if "folder" in study.user_attrs:
        return
    there = {trial.user_attrs.get("origin") for trial in study.get_trials(deepcopy=False)}
    for origin, genes in by_origin.items():
        if origin not in there:
            study.enqueue_trial(dict(genes), user_attrs={"origin": origin})
