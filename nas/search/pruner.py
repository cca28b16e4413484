"""Early stopping that knows sizes: a small network is not stopped for losing to a large one."""

from __future__ import annotations

import math

import optuna
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial, TrialState

from nas.results.front import pareto_front, ranks
from nas.search.history import History
from nas.search.predict import Distributions, LinearModel, gene_inputs, log_odds

RUNG_FRACTIONS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)  # of all epochs
LEAST_COMPLETED = 8  # trials from which a prediction of the end is worth something
# Standard deviations that a trial may be predicted short of the front. Chosen on tables of learning curves, see
# benchmarks/search_quality.py: less saves more training and loses networks of the front, more the other way round.
DOUBT = 1.5

_Point = tuple[float, float]


def rungs_of(epochs: int) -> tuple[int, ...]:
    """The epochs, from 1, after which trials are compared; none where a training is too short to be worth stopping."""
    return tuple(sorted({rung for f in RUNG_FRACTIONS if 1 <= (rung := round(f * epochs)) < epochs}))


class ParetoPruner(BasePruner):
    """Stops a trial at a rung when it is not going to move the front of (parameters, final accuracy).

    The final accuracy is predicted by a linear model of the study's completed trials: from the best accuracy up to the
    rung, the parameters and the genes, accuracies in log-odds. A trial stops when the prediction plus `doubt` standard
    deviations is still below the best completed network of at most its size. (Stopping what is unlikely to beat the
    best: Domhan et al. 2015, section 3.2; with such a model: Baker et al. 2017, section 4. Here the best is the front's
    at that size.)

    Until `least_completed` trials have completed, a trial goes on while it is among the better half of all that came to
    the rung, better meaning a lower non-dominated rank (Schmucker et al. 2021, Multi-objective Asynchronous Successive
    Halving, section 3.2, in the stopping form of Li et al. 2020).

    The best epoch so far counts, since under a high learning rate a single epoch dips by several points now and then.
    It serves one study, and reads the user attribute `num_params`, set before the first report.
    """

    def __init__(
        self, epochs: int, doubt: float = DOUBT, least_completed: int = LEAST_COMPLETED, least_peers: int = 4
    ) -> None:
        """Nothing is stopped at a rung until `least_peers` others have come there."""
        self.rungs = rungs_of(epochs)
        self.doubt = doubt
        self.least_completed = least_completed
        self.least_peers = least_peers
        # What `_learn` took in of the study's finished trials:
        self._history = History()
        self._came: dict[int, list[_Point]] = {rung: [] for rung in self.rungs}
        self._models: dict[int, LinearModel] = {}  # by rung
        self._front: list[_Point] = []  # parameters, final accuracy

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Whether `trial`, which has just reported, should stop."""
        rung = trial.last_step
        if rung not in self.rungs:
            return False
        running = self._learn(study, trial.distributions)
        point = _point(trial, rung)
        model = self._models.get(rung)
        if model is None or model.count < self.least_completed:
            others = [
                _point(peer, rung)
                for peer in running
                if peer.number != trial.number and rung in peer.intermediate_values
            ]
            peers = [*self._came[rung], *others]
            return len(peers) >= self.least_peers and _in_lower_half(point, peers)
        best = max((accuracy for size, accuracy in self._front if size <= point[0]), default=-math.inf)
        expected, deviation = model.predict(_inputs(trial, point, trial.distributions))
        return expected + self.doubt * deviation < best

    def _learn(self, study: optuna.Study, genes: Distributions) -> list[FrozenTrial]:
        """Takes in what has finished in `study` since the last call; returns the trials that run."""
        running = []
        for trial in self._history.unread(study):
            if "num_params" not in trial.user_attrs:
                continue
            if trial.state == TrialState.RUNNING:
                running.append(trial)
            elif trial.state in (TrialState.COMPLETE, TrialState.PRUNED) and trial.intermediate_values:
                self._learn_trial(trial, genes)
        return running

    def _learn_trial(self, trial: FrozenTrial, genes: Distributions) -> None:
        points = {rung: _point(trial, rung) for rung in self.rungs if rung in trial.intermediate_values}
        for rung, point in points.items():
            self._came[rung].append(point)
        if trial.state == TrialState.PRUNED or trial.params.keys() != genes.keys():
            return
        end = log_odds(float(trial.value or 0.0))
        for rung, point in points.items():
            inputs = _inputs(trial, point, genes)
            if rung not in self._models:
                self._models[rung] = LinearModel.of_genes(2, len(inputs))
            self._models[rung].learn(inputs, end)
        front = [*self._front, (float(trial.user_attrs["num_params"]), end)]
        self._front = pareto_front(front, lambda p: p[0], lambda p: p[1])


def _inputs(trial: FrozenTrial, point: _Point, genes: Distributions) -> list[float]:
    size, accuracy = point
    return [log_odds(accuracy), math.log(size), *gene_inputs(trial.params, genes)]


def _point(trial: FrozenTrial, rung: int) -> _Point:
    """Parameters, and the best accuracy up to `rung`."""
    best = max(accuracy for step, accuracy in trial.intermediate_values.items() if step <= rung)
    return float(trial.user_attrs["num_params"]), best


def _in_lower_half(point: _Point, peers: list[_Point]) -> bool:
    all_ranks = ranks([point, *peers])
    better = sum(rank < all_ranks[0] for rank in all_ranks)
    return better >= len(all_ranks) / 2
