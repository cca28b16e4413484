"""The end of a learning curve, predicted by a chain of linear models."""

from __future__ import annotations

import math
from collections.abc import Sequence

from nas.strategy.linear_model import LinearModel


class CurveModel:
    """Predicts the end of a learning curve: each point by a linear model of the two points before it and the genes.

    It learns from stopped curves too. A stopped curve lacks all points from some point on, and only the points seen
    decided to stop it. So the likelihood factors into one regression per point, fitted on all curves that have the
    point (Little and Rubin 2002, Statistical Analysis with Missing Data, chapter 7). Fitted on completed curves alone,
    the model would know survivors only, and expect too much of all others.
    """

    PAST = 2  # points that the next one is predicted from: they say where a curve stands, and its last gain
    # The prior mean of the weight of the last point. At 0 every curve would be expected to fall back to the mean of all
    # curves, at 1 to keep all of its lead or lag.
    PERSISTENCE = 0.7

    def __init__(self, points: int, others: int, num_inputs: int) -> None:
        """For curves of `points`, the last of which is the end; inputs as in `LinearModel.of_genes`."""
        pasts = [min(self.PAST, point) for point in range(points)]
        # The model of the first point is never asked: every curve has that point.
        self._models = [LinearModel.of_genes(past + others, past + num_inputs) for past in pasts]

    def learn(self, curve: Sequence[float], inputs: Sequence[float]) -> None:
        """Take in the points seen of one curve (at most `points`), and its inputs (num_inputs,)."""
        for point in range(1, len(curve)):
            beyond = curve[point] - self.PERSISTENCE * curve[point - 1]
            self._models[point].learn([*curve[:point][-self.PAST :], *inputs], beyond)

    def predict(self, curve: Sequence[float], inputs: Sequence[float]) -> tuple[float, float]:
        """Return the mean and the standard deviation of the end of a curve that begins with `curve`."""
        points, first, last = list(curve), len(curve), len(self._models) - 1
        deviations = {}
        for point in range(first, last + 1):
            beyond, deviations[point] = self._models[point].predict([*points[-self.PAST :], *inputs])
            points.append(self.PERSISTENCE * points[-1] + beyond)
        effects = {last: 1.0}  # by how much an error at a point moves the end
        for point in reversed(range(first, last)):
            later = range(point + 1, min(point + self.PAST, last) + 1)
            effects[point] = sum(effects[p] * self._reaction(p, point) for p in later)
        return points[-1], math.hypot(*(effects[point] * deviations[point] for point in effects))

    def _reaction(self, point: int, to: int) -> float:
        """Return how much `point` rises with the earlier point `to`: the past comes first in the inputs, ascending."""
        learned = float(self._models[point].slopes[min(self.PAST, point) - (point - to)])
        return learned + (self.PERSISTENCE if to == point - 1 else 0.0)
