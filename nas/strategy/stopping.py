"""Early stopping that knows sizes: a small network is not stopped for losing to a large one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate
from statistics import NormalDist

import optuna
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial, TrialState

from nas.strategy.curve_model import CurveModel
from nas.strategy.history import History
from nas.strategy.linear_model import Distributions, log_odds, trial_inputs
from nas.study.front import pareto_front

MOST_RUNGS = 20
# Of the front's hypervolume: what a whole training has to be expected to add to it, and the rest of one accordingly.
# Chosen on tables of learning curves, see benchmarks/search_quality.py: more saves more training and loses networks of
# the front, less the other way round.
STAKE = 0.00002
BEYOND = 1.25  # Sizes up to this multiple of the largest on the front count, so that the largest have something to win.

Point = tuple[float, float]
_NORMAL = NormalDist()


def rungs_of(epochs: int) -> tuple[int, ...]:
    """The epochs, from 1, after which a trial may be stopped: all but the last, or, of many, some evenly spread."""
    parts = min(epochs, MOST_RUNGS)
    return tuple(round(part * epochs / parts) for part in range(1, parts))


class ParetoPruner(BasePruner):
    """Stops a trial at a rung when it is not going to move the front of (parameters, final accuracy).

    The final accuracy is predicted from the curve so far, the parameters and the genes by a `CurveModel` of the study's
    trials, with a standard deviation. From it follows by how much the trial may be expected to raise the hypervolume of
    the front (expected hypervolume improvement: Emmerich et al. 2006, Single- and Multiobjective Evolutionary
    Optimization Assisted by Gaussian Random Field Metamodels). It stops when that is less than `stake` asks for the
    share of the training that is left (improvement by cost: Snoek et al. 2012, section 3.2). While few have completed,
    the deviation is large or infinite, and none is stopped; nor is a network smaller than all that completed.

    A curve is the best epoch so far at each rung, since under a high learning rate a single epoch dips by several
    points now and then; accuracies are in log-odds. It serves one study, and reads the user attribute `num_params`, set
    before the first report.
    """

    def __init__(self, epochs: int, stake: float = STAKE) -> None:
        self.rungs = rungs_of(epochs)
        self._epochs = epochs
        self.stake = stake
        # What `_learn` took in of the study's finished trials:
        self._history = History()
        self._model: CurveModel | None = None
        self._front: list[Point] = []  # parameters, log-odds of the final accuracy

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Whether `trial`, which has just reported, should stop."""
        if trial.last_step not in self.rungs:
            return False
        self._learn(study, trial.distributions)
        size = float(trial.user_attrs["num_params"])
        if self._model is None or not self._front or size < self._front[0][0]:
            return False
        expected, deviation = self._model.predict(self._curve(trial), trial_inputs(trial, trial.distributions))
        left = 1 - trial.last_step / self._epochs
        return expected_gain(self._front, size, expected, deviation) < self.stake * left

    def _learn(self, study: optuna.Study, genes: Distributions) -> None:
        """Takes in what has finished in `study` since the last call."""
        for trial in self._history.unread(study):
            trained = trial.state in (TrialState.COMPLETE, TrialState.PRUNED) and trial.intermediate_values
            if trained and "num_params" in trial.user_attrs and trial.params.keys() == genes.keys():
                self._learn_trial(trial, genes)

    def _learn_trial(self, trial: FrozenTrial, genes: Distributions) -> None:
        curve, inputs = self._curve(trial), trial_inputs(trial, genes)
        if trial.state == TrialState.COMPLETE:
            curve.append(log_odds(float(trial.value or 0.0)))
            front = [*self._front, (float(trial.user_attrs["num_params"]), curve[-1])]
            self._front = pareto_front(front, lambda p: p[0], lambda p: p[1])
        if self._model is None:
            self._model = CurveModel(len(self.rungs) + 1, 1, len(inputs))
        self._model.learn(curve, inputs)

    def _curve(self, trial: FrozenTrial) -> list[float]:
        """The best accuracy up to each rung that `trial` has come to."""
        best = list(accumulate((trial.intermediate_values[step] for step in sorted(trial.intermediate_values)), max))
        return [log_odds(best[rung - 1]) for rung in self.rungs if rung <= len(best)]


def expected_gain(front: Sequence[Point], size: float, expected: float, deviation: float) -> float:
    """What a network adds to the hypervolume of a front over log parameters, as a share of it.

    Args:
        front: parameters and log-odds of the accuracy, ascending in both; its first accuracy is the reference.
        size: parameters of the network, no fewer than the front's first.
        expected: log-odds of the network's accuracy, normally distributed.
        deviation: its standard deviation, above 0.

    Returns:
        The expectation, to first order in the log-odds; infinite where the front is a single point.
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
