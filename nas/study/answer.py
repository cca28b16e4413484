"""What a study answers: which network, and whether the target is met. Decided here and nowhere else."""

from __future__ import annotations

from collections.abc import Sequence

from nas.study.front import validation_front
from nas.study.records import ConfirmedFigure, TrialRecord, last_epochs_text
from nas.study.settings import StudySettings


def meets_target(figure: ConfirmedFigure, settings: StudySettings) -> bool:
    """Return whether a figure meets the target; one of fewer seeds than the study asks for never does."""
    return settings.target is not None and figure.num_seeds >= settings.num_seeds and figure.mean >= settings.target


def smallest_met(records: Sequence[TrialRecord], settings: StudySettings) -> TrialRecord | None:
    """Return the smallest network whose confirmation met the target."""
    met = [r for r in records if r.confirmed and meets_target(r.confirmed, settings)]
    return min(met, key=lambda r: (r.size, r.number), default=None)


def is_target_met(records: Sequence[TrialRecord], settings: StudySettings) -> bool:
    """Return whether some confirmation met the target; without a target there is nothing to meet."""
    return settings.target is None or smallest_met(records, settings) is not None


def best_record(records: Sequence[TrialRecord], settings: StudySettings) -> TrialRecord | None:
    """Return the trial that answers the study; None before a trial has completed.

    With a target it is the smallest that met it, else the most accurate that was confirmed. Without one, or where
    nothing was confirmed, it is the most accurate in validation, by which candidates are chosen: the test set tells its
    figure, and does not choose it. Of equally accurate ones it is the smallest.
    """
    if met := smallest_met(records, settings):
        return met
    confirmed = [(r.confirmed.mean, -r.size, -r.number, r) for r in records if r.confirmed]
    most_accurate = next(reversed(validation_front(records)), None)
    if confirmed and (settings.target is not None or most_accurate is None):
        return max(confirmed, key=lambda entry: entry[:3])[3]
    return most_accurate


def answer_text(records: Sequence[TrialRecord], settings: StudySettings) -> str:
    """Return what the study found, in one sentence about `best_record`."""
    best, target, budget = best_record(records, settings), settings.target, f"{settings.max_params:,}"
    unit = settings.budget.unit
    if best is None:
        return f"No trial within {budget} {unit} has completed yet."
    figure = best.confirmed
    if figure is None:
        text = f"{best.size_text} reach {best.validation_accuracy:.2f} % in validation (trial {best.number})"
        if target is None:
            return f"{text}, the most accurate within {budget}; it is not confirmed on the test set yet."
        return f"{_not_confirmed(target, budget, unit)}: nothing came near enough to confirm; {text}."
    text = f"{best.size_text} reach {figure} on the test set"
    if target is not None and meets_target(figure, settings):
        epochs = last_epochs_text(figure.num_epochs)
        consistent = f", in every one of {epochs} of every seed" if figure.consistent(target) else ""
        return (
            f"{text} ({figure.seeds_text}, mean of {epochs}{consistent}): the target of {target:g} % is met within "
            f"{budget} by trial {best.number}."
        )
    text = f"{text} ({figure.num_seeds} of {max(figure.num_seeds, settings.num_seeds)} seeds)"
    if target is None:
        return f"{text}: trial {best.number} is the most accurate in validation within {budget}."
    return f"{_not_confirmed(target, budget, unit)}; the best is trial {best.number}: {text}."


def _not_confirmed(target: float, budget: str, unit: str) -> str:
    return f"The target of {target:g} % is not confirmed within {budget} {unit}"


def target_met_text(met: TrialRecord, settings: StudySettings, goes_on: bool) -> str:
    """Return what is said when `met` has just become the smallest network that met the target."""
    text = f"target met by trial {met.number}: {met.size_text} reach {settings.target:g} %"
    if not goes_on:
        return text
    if settings.stop_at_first:
        return f"{text}; the search ends here, as it was asked to"
    return f"{text}; going on for smaller ones (Ctrl-C ends the search and keeps everything)"
