"""Early stopping that knows sizes: a small network is not stopped for losing to a large one."""

from __future__ import annotations

from itertools import accumulate

import optuna
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial, TrialState

from nas.results.front import pareto_front
from nas.search.history import History
from nas.search.predict import CurveModel, Distributions, log_odds, trial_inputs

MOST_RUNGS = 20
# Standard deviations that a trial may be predicted short of the front. Chosen on tables of learning curves, see
# benchmarks/search_quality.py: less saves more training and loses networks of the front, more the other way round.
DOUBT = 2.05

_Point = tuple[float, float]


def rungs_of(epochs: int) -> tuple[int, ...]:
    """The epochs, from 1, after which a trial may be stopped: all but the last, or, of many, some evenly spread."""
    parts = min(epochs, MOST_RUNGS)
    return tuple(round(part * epochs / parts) for part in range(1, parts))


class ParetoPruner(BasePruner):
    """Stops a trial at a rung when it is not going to move the front of (parameters, final accuracy).

    The final accuracy is predicted from the curve so far, the parameters and the genes by a `CurveModel` of the study's
    trials. A trial stops when the prediction plus `doubt` standard deviations is still below the best completed network
    of at most its size. (Stopping what is unlikely to beat the best: Domhan et al. 2015, section 3.2; with a regression
    on the curve and the genes: Baker et al. 2017, section 4. Here the best is the front's at that size.) While few have
    completed, the deviation is large or infinite, and none is stopped.

    A curve is the best epoch so far at each rung, since under a high learning rate a single epoch dips by several
    points now and then; accuracies are in log-odds. It serves one study, and reads the user attribute `num_params`, set
    before the first report.
    """

    def __init__(self, epochs: int, doubt: float = DOUBT) -> None:
        self.rungs = rungs_of(epochs)
        self.doubt = doubt
        # What `_learn` took in of the study's finished trials:
        self._history = History()
        self._model: CurveModel | None = None
        self._front: list[_Point] = []  # parameters, final accuracy

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Whether `trial`, which has just reported, should stop."""
        if trial.last_step not in self.rungs:
            return False
        self._learn(study, trial.distributions)
        size = trial.user_attrs["num_params"]
        rivals = [accuracy for other, accuracy in self._front if other <= size]
        if not rivals or self._model is None:
            return False
        expected, deviation = self._model.predict(self._curve(trial), trial_inputs(trial, trial.distributions))
        return expected + self.doubt * deviation < max(rivals)

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
