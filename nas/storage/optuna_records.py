"""Optuna's trials as trial records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any

from optuna.trial import FrozenTrial, TrialState

from nas.decode import Bounds, decode
from nas.study.records import Confirmation, Fate, TrialRecord

FATES: Mapping[TrialState, Fate] = {TrialState.COMPLETE: "completed", TrialState.PRUNED: "stopped"}
NO_END: Mapping[str, Any] = {"fate": None, "reason": "", "epochs": None}  # attributes of a trial that has not ended
CONFIRMATION = "confirmation:"  # with number and seed, the study attribute that holds one


@dataclass(frozen=True)
class _Attributes:
    """What a described trial's user attributes hold, or may; others are none of ours."""

    num_params: Annotated[int, Bounds(0)]
    num_macs: Annotated[int, Bounds(0)]
    peak_activation_bytes: Annotated[int, Bounds(0)]
    digest: str
    seed: int
    fate: Fate | None = None
    train_seconds: Annotated[float, Bounds(0.0)] = 0.0
    reason: str = ""
    redrawn: Annotated[int, Bounds(0)] = 0
    over_budget: Annotated[int, Bounds(0)] = 0
    repaired: bool = False
    repeated: Annotated[int, Bounds(0)] = 0
    origin: str = ""
    network: str = ""  # in one line, for people
    epochs: int | None = None  # where an attempt that was cut off went further than the last one


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
            found[number] = (*found.get(number, ()), decode(Confirmation, value, key))
    # In the order of training. Before there were places, they were in the order of their keys, which `sorted` keeps.
    return {number: tuple(sorted(seeds, key=lambda c: c.place)) for number, seeds in found.items()}


def records_of(trials: Iterable[FrozenTrial], confirmations: Confirmations) -> list[TrialRecord]:
    """Return the records of those trials that were described.

    Raises:
        InvalidError: the storage holds what makes no sense.
    """
    return [_record(t, confirmations.get(t.number, ())) for t in trials if "num_params" in t.user_attrs]


def _record(trial: FrozenTrial, confirmations: tuple[Confirmation, ...]) -> TrialRecord:
    known = {name: value for name, value in trial.user_attrs.items() if name in _NAMES}
    attributes = decode(_Attributes, known, f"trial {trial.number} in the storage")
    curve = tuple(trial.intermediate_values[step] for step in sorted(trial.intermediate_values))
    return TrialRecord(
        number=trial.number,
        fate=fate_of(trial),
        num_params=attributes.num_params,
        num_macs=attributes.num_macs,
        peak_activation_bytes=attributes.peak_activation_bytes,
        digest=attributes.digest,
        genes=dict(trial.params),
        seed=attributes.seed,
        validation_curve=curve[: attributes.epochs],
        train_seconds=attributes.train_seconds,
        reason=attributes.reason,
        redrawn=attributes.redrawn,
        over_budget=attributes.over_budget,
        repaired=attributes.repaired,
        repeated=attributes.repeated,
        origin=attributes.origin,
        network=attributes.network,
        confirmations=confirmations,
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
