"""The front: the trials that no other trial beats on both parameters and accuracy."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from nas.results.records import TrialRecord

T = TypeVar("T")


def pareto_front(items: Iterable[T], size: Callable[[T], float], accuracy: Callable[[T], float]) -> list[T]:
    """The items with no other both at most as large and at least as accurate (and better in one), by size."""
    front: list[T] = []
    for item in sorted(items, key=lambda i: (size(i), -accuracy(i))):
        if not front or accuracy(item) > accuracy(front[-1]):
            front.append(item)
    return front


def ranks(points: Sequence[tuple[float, float]]) -> list[int]:
    """The non-dominated rank, from 0, of each (size, accuracy) point (Deb et al. 2002, NSGA-II, section III.A).

    Two objectives need one pass by size (Jensen 2003, section III): a point belongs to the first front whose best
    accuracy so far is below its own. Later fronts have lower ones, so that it is found by bisection.
    """
    result = [0] * len(points)
    losses: list[float] = []  # the best accuracy so far of each front, negative, ascending
    previous = -1
    for index in sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1])):
        if previous >= 0 and points[index] == points[previous]:
            result[index] = result[previous]
        else:
            rank = bisect.bisect_right(losses, -points[index][1])
            losses[rank : rank + 1] = [-points[index][1]]
            result[index] = rank
        previous = index
    return result


def validation_front(records: Iterable[TrialRecord]) -> list[TrialRecord]:
    """The front of parameters against validation accuracy, over completed trials."""
    completed = [r for r in records if r.fate == "completed"]
    return pareto_front(completed, lambda r: r.num_params, lambda r: r.validation_accuracy)


def confirmed_front(records: Iterable[TrialRecord]) -> list[TrialRecord]:
    """The front of parameters against confirmed test accuracy, over confirmed trials."""
    confirmed = [(r, r.confirmed.mean) for r in records if r.confirmed]
    return [r for r, _ in pareto_front(confirmed, lambda pair: pair[0].num_params, lambda pair: pair[1])]
