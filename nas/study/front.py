"""The front: the trials that no other trial beats on both size and accuracy.

Their size are the parameters that their study goes by, unless another size is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from nas.study.records import TrialRecord

T = TypeVar("T")


def pareto_front(items: Iterable[T], size: Callable[[T], float], accuracy: Callable[[T], float]) -> list[T]:
    """Return the items with no other both at most as large and at least as accurate (and better in one), by size."""
    front: list[T] = []
    for item in sorted(items, key=lambda i: (size(i), -accuracy(i))):
        if not front or accuracy(item) > accuracy(front[-1]):
            front.append(item)
    return front


def _size(record: TrialRecord) -> float:
    return record.size


def validation_front(records: Iterable[TrialRecord], size: Callable[[TrialRecord], float] = _size) -> list[TrialRecord]:
    """Return the front of parameters, or of another size, against validation accuracy, over completed trials."""
    return pareto_front((r for r in records if r.fate == "completed"), size, lambda r: r.validation_accuracy)


def confirmed_front(records: Iterable[TrialRecord], size: Callable[[TrialRecord], float] = _size) -> list[TrialRecord]:
    """Return the front of parameters, or of another size, against confirmed test accuracy, over confirmed trials."""
    confirmed = [(r, r.confirmed.mean) for r in records if r.confirmed]
    return [r for r, _ in pareto_front(confirmed, lambda pair: size(pair[0]), lambda pair: pair[1])]


def front_records(records: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Return the confirmed front and the trials of the validation front that no confirmation stands for, by size."""
    confirmed = confirmed_front(records)
    unconfirmed = [r for r in validation_front(records) if r.confirmed is None]
    return sorted([*confirmed, *unconfirmed], key=_size)
