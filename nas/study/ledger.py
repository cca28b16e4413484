"""The ledger: what a search spent and on what: trials and seconds by fate, draws, and what a warm start gave."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from nas.study.records import FINISHED, Fate, TrialRecord


def fates(records: Sequence[TrialRecord]) -> dict[Fate, int]:
    """Return how many trials met each fate."""
    return dict(Counter(r.fate for r in records))


def num_finished(by_fate: Mapping[Fate, int]) -> int:
    """Return how many of the trials that `fates` has counted are finished: what `max_trials` bounds."""
    return sum(by_fate.get(fate, 0) for fate in FINISHED)


def seconds_by_fate(records: Sequence[TrialRecord]) -> dict[str, float]:
    """Return the seconds of training that went into each fate, and into confirmations."""
    seconds: Counter[str] = Counter()
    for record in records:
        seconds[record.fate] += record.train_seconds  # type: ignore[assignment]
        for confirmation in record.confirmations:
            seconds["confirmed"] += confirmation.train_seconds  # type: ignore[assignment]
        if record.summary:
            seconds["confirmed"] += record.summary.confirm_seconds  # type: ignore[assignment]
    return {fate: round(value, 1) for fate, value in seconds.items() if value}


class DrawCounts(NamedTuple):
    """What it took to propose the trials' networks."""

    redrawn: int  # draws that were thrown away, as they missed the size that was aimed at
    over_budget: int  # of all draws, thrown away or repaired: those that exceeded the budget
    repaired: int  # networks whose widths were changed to fit
    repeated: int  # networks that were passed over, as they had been tried before
    duplicates: int  # trials that took the result of another with the same network and recipe

    def __str__(self) -> str:
        return (
            f"{self.redrawn:,} drawn again for their size, {self.repaired:,} repaired ({self.over_budget:,} draws "
            f"exceeded the budget), {self.repeated:,} passed over as tried before, {self.duplicates:,} took the result "
            f"of their twin"
        )


def count_draws(records: Sequence[TrialRecord]) -> DrawCounts | None:
    """Return the draws of all trials, counted; None where there are no trials, or that was not kept of them."""
    if not records or any(r.summary for r in records):
        return None
    return DrawCounts(
        redrawn=sum(r.redrawn for r in records),
        over_budget=sum(r.over_budget for r in records),
        repaired=sum(r.repaired for r in records),
        repeated=sum(r.repeated for r in records),
        duplicates=sum(r.fate == "duplicate" for r in records),
    )


class WarmStarted(NamedTuple):
    """What the networks that a study began with have come to."""

    trials: int
    on_front: int
    answers: bool  # whether one of them answers the study

    def __str__(self) -> str:
        answer = "the answer is one of them" if self.answers else "the answer is none of them"
        return f"{self.trials} known networks taken over, {self.on_front} of them on the front; {answer}"


def warm_started(
    records: Sequence[TrialRecord], front: Sequence[TrialRecord], best: TrialRecord | None
) -> WarmStarted | None:
    """Return what a warm start gave to the `front` and the answer, `best`; None where the study had none."""
    known = sum(bool(r.origin) for r in records)
    on_front = sum(bool(r.origin) for r in front)
    return WarmStarted(known, on_front, bool(best and best.origin)) if known else None
