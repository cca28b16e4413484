"""Early stopping that knows sizes: a small network is not stopped for losing to a large one."""

from __future__ import annotations

import optuna
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial, TrialState

from nas.results.front import ranks

RUNG_FRACTIONS = (0.2, 0.4, 0.67)  # of all epochs


def rungs_of(epochs: int) -> tuple[int, ...]:
    """The epochs, from 1, after which trials are compared; none where a training is too short to be worth stopping."""
    return tuple(sorted({rung for f in RUNG_FRACTIONS if 1 <= (rung := round(f * epochs)) < epochs}))


class ParetoPruner(BasePruner):
    """Asynchronous successive halving over (parameters, best accuracy up to the rung).

    At each rung a trial goes on only while it is among the better half of all that came there, better meaning a lower
    non-dominated rank (Schmucker et al. 2021, Multi-objective Asynchronous Successive Halving, section 3.2, in the
    stopping form of Li et al. 2020). The best epoch so far counts, since under a high learning rate a single epoch
    dips by several points now and then. It reads the user attribute `num_params`, set before the first report.
    """

    def __init__(self, epochs: int, keep: float = 0.5, least_peers: int = 4) -> None:
        """Keeps the fraction `keep` at each rung, and everything until `least_peers` others have come there."""
        self.rungs = rungs_of(epochs)
        self.keep = keep
        self.least_peers = least_peers
        self._points: dict[int, dict[int, tuple[float, float]]] = {}  # of finished trials, by rung and number

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Whether `trial`, which has just reported, should stop."""
        step = trial.last_step
        if step not in self.rungs:
            return False
        states = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)
        finished = self._points.setdefault(step, {})
        peers = []
        for peer in study.get_trials(deepcopy=False, states=states):
            point = finished.get(peer.number)
            if point is None:
                if peer.number == trial.number or step not in peer.intermediate_values:
                    continue
                if "num_params" not in peer.user_attrs:
                    continue
                point = _point(peer, step)
                if peer.state.is_finished():
                    finished[peer.number] = point
            peers.append(point)
        if len(peers) < self.least_peers:
            return False
        all_ranks = ranks([_point(trial, step), *peers])
        better = sum(rank < all_ranks[0] for rank in all_ranks)
        return better >= self.keep * len(all_ranks)


def _point(trial: FrozenTrial, rung: int) -> tuple[float, float]:
    """Parameters, and the best accuracy up to `rung`."""
    best = max(accuracy for step, accuracy in trial.intermediate_values.items() if step <= rung)
    return float(trial.user_attrs["num_params"]), best
