"""How well an early epoch predicts the end: the rank correlation between accuracy at the rungs and at the end."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from statistics import StatisticsError, correlation
from typing import NamedTuple

from nas.report.gene_effects import average_ranks
from nas.study.records import TrialRecord

MIN_TRIALS = 5  # that completed; fewer have too few orders to tell one from another


class RankCorrelation(NamedTuple):
    """How the order of the trials at an epoch agrees with their order at the end."""

    epoch: int
    spearman: float  # -1 to 1
    trials: int


def rank_correlations(records: Sequence[TrialRecord], rungs: Sequence[int]) -> list[RankCorrelation]:
    """Return Spearman's correlation between the best accuracy up to each rung and the accuracy at the end.

    Only trials that completed have an end to compare with. The stopped ones were the weak ones of their size, so the
    correlation over all trials is another, unless these would have agreed as well.
    """
    found = []
    for rung in rungs:
        curves = [r for r in records if r.fate == "completed" and len(r.validation_curve) > rung]
        if len(curves) < MIN_TRIALS:
            continue
        there = average_ranks([max(r.validation_curve[:rung]) for r in curves])
        end = average_ranks([r.validation_accuracy for r in curves])
        with suppress(StatisticsError):  # where all of them are equal, and have no order
            found.append(RankCorrelation(rung, round(correlation(there, end), 3), len(curves)))
    return found
