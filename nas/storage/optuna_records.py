"""Optuna's trials as trial records. What a storage holds is checked here, once, as it is read.

A column of SQLite takes values of any type, and a journal is text: what is damaged, or was changed by hand, looks like
a trial to Optuna and would fail far from here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any, TypeAlias

import optuna
from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState

from nas.costs import COUNTED, Count
from nas.decode import Bounds, decode, show_value
from nas.errors import InvalidError
from nas.study.records import Confirmation, Fate, Percent, TrialRecord

FATES: Mapping[TrialState, Fate] = {TrialState.COMPLETE: "completed", TrialState.PRUNED: "stopped"}
NO_END: Mapping[str, Any] = {"fate": None, "reason": "", "epochs": None}  # attributes of a trial that has not ended
_Count: TypeAlias = Annotated[int, Bounds(0, 2**53)]
_Size: TypeAlias = Annotated[int, Bounds(1, 2**53)]
CONFIRMATION = "confirmation:"  # with number and seed, the study attribute that holds one


@dataclass(frozen=True)
class _Measured:
    """What a trial holds besides its attributes and genes."""

    epochs: tuple[Annotated[int, Bounds(0)], ...]
    accuracies: tuple[Percent, ...]  # one an epoch
    value: tuple[Percent] | None


@dataclass(frozen=True)
class _Attributes:
    """What a described trial's user attributes hold, or may; others are none of ours."""

    num_params: _Size
    num_macs: _Size
    peak_activation_bytes: _Size
    digest: str
    seed: int
    fate: Fate | None = None
    train_seconds: Annotated[float, Bounds(0.0)] = 0.0
    reason: str = ""
    redrawn: _Count = 0
    over_budget: _Count = 0
    repaired: bool = False
    repeated: _Count = 0
    origin: str = ""
    network: str = ""  # in one line, for people
    flash_bytes: _Size | None = None
    ram_bytes: _Size | None = None
    deployed_params: _Size | None = None
    epochs: _Count | None = None  # where an attempt that was cut off went further than the last one


_NAMES = frozenset(field.name for field in fields(_Attributes))


Confirmations = Mapping[int, tuple[Confirmation, ...]]


def confirmations_of(study_attributes: Mapping[str, Any]) -> Confirmations:
    """Return the confirmations by trial.

    Raises:
        InvalidError: the storage holds what makes no sense.
    """
    found: dict[int, tuple[Confirmation, ...]] = {}
    for key, value in sorted(study_attributes.items()):
        if key.startswith(CONFIRMATION):
            number = int(key.split(":")[1])
            confirmation = decode(Confirmation, value, key)
            if not confirmation.test_accuracy:
                raise InvalidError(key, ["test_accuracy: no epoch"])
            found[number] = (*found.get(number, ()), confirmation)
    # In the order of training. Before there were places, they were in the order of their keys, which `sorted` keeps.
    return {number: tuple(sorted(seeds, key=lambda c: c.place)) for number, seeds in found.items()}


def read_trials(study: optuna.Study) -> list[FrozenTrial]:
    """Return the trials of `study`, by number.

    Raises:
        InvalidError: one holds what makes no sense. Attributes are left to `records_of`.
    """
    trials = study.get_trials(deepcopy=False)
    for number, trial in enumerate(trials):
        _check(trial, number)
    return trials


def _check(trial: FrozenTrial, number: int) -> None:
    if trial.number != number:
        raise InvalidError(f"trial {number}", [f"{show_value(trial.number)} is there in its place"])
    reported, values = trial.intermediate_values, trial.values
    measured = {"epochs": [*reported], "accuracies": [*reported.values()], "value": values and [*values]}
    decode(_Measured, measured, f"trial {number}")
    for name, value in trial.params.items():
        if not isinstance(name, str):
            raise InvalidError(f"trial {number}", [f"{show_value(name)} is no name of a gene"])
        may_be_word = isinstance(trial.distributions[name], CategoricalDistribution)
        is_number = isinstance(value, (int, float)) and math.isfinite(value)
        if not (is_number or (may_be_word and isinstance(value, str))):
            raise InvalidError(f"trial {number}", [f"gene {name}: {show_value(value)} is no value of a gene"])


def records_of(trials: Iterable[FrozenTrial], confirmations: Confirmations, count: Count) -> list[TrialRecord]:
    """Return the records of those trials that were described, of a study that goes by the parameters of `count`.

    Raises:
        InvalidError: the storage holds what makes no sense.
    """
    return [_record(t, confirmations.get(t.number, ()), count) for t in trials if "num_params" in t.user_attrs]


def _record(trial: FrozenTrial, confirmations: tuple[Confirmation, ...], count: Count) -> TrialRecord:
    known = {name: value for name, value in trial.user_attrs.items() if name in _NAMES}
    attributes, fate = decode(_Attributes, known, f"trial {trial.number}"), fate_of(trial)
    curve = tuple(trial.intermediate_values[step] for step in sorted(trial.intermediate_values))[: attributes.epochs]
    if not curve and (confirmations or fate in ("completed", "stopped")):
        raise InvalidError(f"trial {trial.number}", ["it was trained, and has no accuracy"])
    if COUNTED[count] not in known:
        raise InvalidError(f"trial {trial.number}", [f"{COUNTED[count]}: missing, and the study goes by it"])
    return TrialRecord(
        number=trial.number,
        fate=fate,
        genes=dict(trial.params),
        validation_curve=curve,
        count=count,
        confirmations=confirmations,
        **{name: getattr(attributes, name) for name in _NAMES - {"fate", "epochs"}},
    )


def fate_of(trial: FrozenTrial) -> Fate:
    """Return what became of a trial.

    Its state tells, or the attribute `fate` where the state says less; else the trial was cut off.
    """
    if trial.state == TrialState.RUNNING:
        return "running"
    if not trial.state.is_finished():
        return "interrupted"
    fate: Fate = trial.user_attrs.get("fate") or FATES.get(trial.state, "interrupted")
    return fate
