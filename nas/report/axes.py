"""The axes of the front, for the picture and for the terminal: parameters and error, both on a log scale."""

from __future__ import annotations

import math
from collections.abc import Sequence

from nas.study.front import validation_front
from nas.study.landmarks import Reference
from nas.study.records import TrialRecord

_LEAST_ERROR = 0.01  # points; 100 % has no place on a log axis


class Axes:
    """From parameters and percent to fractions of the width, from the left, and of the height, from the top.

    The error is what is on a log axis, so that 99.0 and 99.4 stand apart.
    """

    def __init__(self, sizes: Sequence[float], accuracies: Sequence[float]) -> None:
        self._low, self._high = math.log10(min(sizes) * 0.9), math.log10(max(sizes) * 1.1)
        errors = [max(100 - a, _LEAST_ERROR) for a in accuracies]
        self._least, self._most = math.log10(min(errors) * 0.85), math.log10(max(errors) * 1.15)

    def x(self, size: float) -> float:
        """0 at the left, 1 at the right."""
        return (math.log10(size) - self._low) / (self._high - self._low)

    def y(self, accuracy: float) -> float:
        """0 at the top, 1 at the bottom; more for what is too weak to be shown."""
        error = math.log10(max(100 - accuracy, _LEAST_ERROR))
        return (error - self._least) / (self._most - self._least)

    def sizes(self) -> list[int]:
        """Where the axis of sizes is labeled."""
        steps = [d * 10**e for e in range(1, 9) for d in (1, 2, 3, 5)]
        return [s for s in steps if self._low <= math.log10(s) <= self._high]

    def accuracies(self) -> list[float]:
        """Where the axis of accuracy is labeled."""
        steps = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1, 1.5, 2, 3, 5, 10, 20, 30, 40, 60, 80]
        return [100 - e for e in steps if self._least <= math.log10(e) <= self._most]


def front_axes(
    records: Sequence[TrialRecord], max_params: int, target: float | None, landmarks: Sequence[Reference]
) -> Axes:
    """Axes that show what is near the fronts: a few weak trials must not flatten everything else."""
    completed = [r for r in records if r.fate == "completed"]
    fronts = [r.validation_accuracy for r in validation_front(records)]
    fronts += [r.confirmed.mean for r in records if r.confirmed]
    shown = [*fronts, *(m.best_test_accuracy for m in landmarks), *([target] if target is not None else [])]
    floor = 100 - 4 * (100 - max(shown)) if shown else 0.0
    return Axes(
        [max_params, *(r.num_params for r in completed), *(m.num_params for m in landmarks)],
        [a for a in shown if a >= floor] or [90.0, 99.0],
    )
