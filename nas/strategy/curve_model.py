"""Where a learning curve will end, predicted by a chain of linear models."""

from __future__ import annotations

import math
from collections.abc import Sequence

from nas.strategy.linear_model import LinearModel


class CurveModel:
    """Where a learning curve will end: a chain of linear models, each of a point given the two before it and the genes.

    It learns from curves that were broken off too. What is missing of a curve is missing from some point on, and
    whether to break off was decided by the points seen, so the likelihood falls into one regression for each point,
    learnt from all curves that came so far (Little and Rubin 2002, Statistical Analysis with Missing Data, chapter 7).
    Learnt from completed curves alone, it would know survivors only, and expect too much of everyone else.
    """

    PAST = 2  # points that the next one is predicted from: where a curve stands, and its last gain
    # The part of where a curve stands that is believed to persist at its next point, until curves tell. With nothing of
    # it every curve is expected to fall back to the mean of all; with all of it, every stroke of luck is to last.
    PERSISTENCE = 0.7

    def __init__(self, points: int, others: int, num_inputs: int) -> None:
        """For curves of `points`, the last of which is their end; inputs as in `LinearModel.of_genes`."""
        pasts = [min(self.PAST, point) for point in range(points)]
        # The first point is given; nobody asks for it.
        self._models = [LinearModel.of_genes(past + others, past + num_inputs) for past in pasts]

    def learn(self, curve: Sequence[float], inputs: Sequence[float]) -> None:
        """Takes in the points seen of one curve."""
        for point in range(1, len(curve)):
            beyond = curve[point] - self.PERSISTENCE * curve[point - 1]
            self._models[point].learn([*curve[:point][-self.PAST :], *inputs], beyond)

    def predict(self, curve: Sequence[float], inputs: Sequence[float]) -> tuple[float, float]:
        """The mean and the standard deviation of the end of a curve that begins with `curve`."""
        points, first, last = list(curve), len(curve), len(self._models) - 1
        deviations = {}
        for point in range(first, last + 1):
            beyond, deviations[point] = self._models[point].predict([*points[-self.PAST :], *inputs])
            points.append(self.PERSISTENCE * points[-1] + beyond)
        effects = {last: 1.0}  # of an error at a point on the end
        for point in reversed(range(first, last)):
            later = range(point + 1, min(point + self.PAST, last) + 1)
            effects[point] = sum(effects[p] * self._reaction(p, point) for p in later)
        return points[-1], math.hypot(*(effects[point] * deviations[point] for point in effects))

    def _reaction(self, point: int, to: int) -> float:
        """How much `point` rises with the point `to` of its past, which its model has first, in ascending order."""
        learnt = float(self._models[point].slopes[min(self.PAST, point) - (point - to)])
        return learnt + (self.PERSISTENCE if to == point - 1 else 0.0)
