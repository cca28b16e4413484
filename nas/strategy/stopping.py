"""Early stopping against the Pareto front: a trial is judged at its own parameter count."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate
from statistics import NormalDist

from nas.space import Domain
from nas.strategy.curve_model import CurveModel
from nas.strategy.observations import Observation, log_odds, model_inputs
from nas.study.front import pareto_front

MOST_RUNGS = 20
# The share of the front's hypervolume that a whole training must be expected to add; the rest of a training, as much
# less as it is shorter. Chosen on tables of learning curves, see benchmarks/search_quality.py: a higher stake saves
# training and loses networks of the front, a lower one does the reverse.
STAKE = 0.00002
BEYOND = 1.25  # Sizes up to this multiple of the largest on the front count, so that the largest have something to win.

Point = tuple[float, float]
_NORMAL = NormalDist()


def rungs_of(epochs: int) -> tuple[int, ...]:
    """Return the epochs, from 1, after which a trial may be stopped.

    That is after all but the last; of more than `MOST_RUNGS`, after some that are evenly spread.
    """
    parts = min(epochs, MOST_RUNGS)
    return tuple(round(part * epochs / parts) for part in range(1, parts))


class StoppingRule:
    """Stops a trial at a rung when it is not going to move the front of (parameters, final accuracy).

    A `CurveModel` of the trials learned predicts the final accuracy from the curve so far, the parameters and the
    genes, with a standard deviation. The prediction gives the expected rise of the front's hypervolume (expected
    hypervolume improvement: Emmerich et al. 2006, Single- and Multiobjective Evolutionary Optimization Assisted by
    Gaussian Random Field Metamodels). The trial stops when that is less than `stake` times the share of the training
    that is left (improvement per cost: Snoek et al. 2012, section 3.2).

    While few trials are completed, the deviation is large or infinite, and none is stopped. Nor is a network smaller
    than all that were completed.

    A curve is the best accuracy up to each rung, in log-odds: at a high learning rate, single epochs may dip by several
    points.
    """

    def __init__(self, genes: Mapping[str, Domain], epochs: int, stake: float = STAKE) -> None:
        """`genes` are those of the space; `epochs` is the length of every training."""
        self.rungs = rungs_of(epochs)
        self.stake = stake
        self._genes = genes
        self._epochs = epochs
        self._model: CurveModel | None = None
        self._front: list[Point] = []  # parameters, log-odds of the final accuracy

    def learn(self, trial: Observation) -> None:
        """Take in `trial`: a finished one once, another as often as is convenient."""
        if not trial.was_trained or not trial.curve:
            return
        curve, inputs = self._curve(trial), model_inputs(trial, self._genes)
        if trial.final_accuracy is not None:
            end = log_odds(trial.final_accuracy)
            front = [*self._front, (float(trial.num_params), end)]
            self._front = pareto_front(front, lambda p: p[0], lambda p: p[1])
            if len(curve) == len(self.rungs):  # one that ended before its last rung says nothing of the end from there
                curve.append(end)
        if self._model is None:
            self._model = CurveModel(len(self.rungs) + 1, 1, len(inputs))
        self._model.learn(curve, inputs)

    def stops(self, trial: Observation) -> bool:
        """Return whether `trial`, which has just come to the end of an epoch, should stop."""
        epoch, size = len(trial.curve), float(trial.num_params)
        if epoch not in self.rungs or self._model is None or not self._front or size < self._front[0][0]:
            return False
        expected, deviation = self._model.predict(self._curve(trial), model_inputs(trial, self._genes))
        left = 1 - epoch / self._epochs
        return expected_gain(self._front, size, expected, deviation) < self.stake * left

    def _curve(self, trial: Observation) -> list[float]:
        """Return the best accuracy up to each rung that `trial` has come to, in log-odds."""
        best = list(accumulate(trial.curve, max))
        return [log_odds(best[rung - 1]) for rung in self.rungs if rung <= len(best)]


def expected_gain(front: Sequence[Point], size: float, expected: float, deviation: float) -> float:
    """Return what a network is expected to add to the hypervolume of a front over log parameters, as a share of it.

    Args:
        front: parameters and log-odds of the accuracy, ascending in both; its first accuracy is the reference.
        size: parameters of the network, no fewer than the front's first.
        expected: log-odds of the network's accuracy, normally distributed.
        deviation: its standard deviation, above 0.

    Returns:
        The expected share, to first order in the log-odds; infinite where the front is a single point.
    """
    sizes, levels = zip(*front, strict=True)
    hypervolume = gain = 0.0
    for first, level, last in zip(sizes, levels, (*sizes[1:], BEYOND * max(size, sizes[-1])), strict=True):
        hypervolume += math.log(last / first) * (_share(level) - _share(levels[0]))
        if size < last:
            z = (expected - level) / deviation
            rise = deviation * (_NORMAL.pdf(z) + z * _NORMAL.cdf(z))  # expected improvement (Jones et al. 1998)
            slope = _share(level) * (1 - _share(level))  # from log-odds to shares
            gain += math.log(last / max(first, size)) * rise * slope
    return gain / hypervolume if hypervolume else math.inf


def _share(log_odds_: float) -> float:
    return 1 / (1 + math.exp(-log_odds_))
