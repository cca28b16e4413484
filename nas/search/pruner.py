"""Early stopping that knows sizes: a small network is not stopped for losing to a large one."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import optuna
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial, TrialState

from nas.results.front import ranks
from nas.search.history import History

RUNG_FRACTIONS = (0.2, 0.4, 0.67)  # of all epochs
LEAST_COMPLETED = 8  # trials from which a prediction of the end is worth something
# Standard deviations that a trial may be predicted short of the front. Chosen on a table of learning curves, see
# benchmarks/search_quality.py: 1.0 saves more training and loses networks of the front, 1.7 the other way round.
DOUBT = 1.5


def rungs_of(epochs: int) -> tuple[int, ...]:
    """The epochs, from 1, after which trials are compared; none where a training is too short to be worth stopping."""
    return tuple(sorted({rung for f in RUNG_FRACTIONS if 1 <= (rung := round(f * epochs)) < epochs}))


Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


@dataclass
class _Seen:
    """The finished trials that came to a rung."""

    history: History = field(default_factory=History)
    stopped: list[tuple[float, float]] = field(default_factory=list)  # parameters, accuracy at the rung
    completed: Array = field(default_factory=lambda: np.empty((0, 3)))  # and the final accuracy


class ParetoPruner(BasePruner):
    """Stops a trial at a rung when it is not going to move the front of (parameters, final accuracy).

    The final accuracy is predicted from the best accuracy up to the rung by a line through the completed trials, both
    in log-odds, in which errors of 2 % and 1 % are as far apart as 20 % and 10 %. A trial stops when the prediction
    plus `doubt` standard deviations of the line's residuals is still below the best completed network of at most its
    size. (Extrapolating to the end and stopping what is unlikely to beat the best: Domhan et al. 2015, section 3.2;
    here the best is the front's at that size, and the extrapolation learns from the study's own trials.)

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
        self._seen: dict[int, _Seen] = {}  # by rung

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Whether `trial`, which has just reported, should stop."""
        rung = trial.last_step
        if rung not in self.rungs:
            return False
        seen = self._seen.setdefault(rung, _Seen())
        running = []
        for peer in seen.history.unread(study):
            if peer.number == trial.number or rung not in peer.intermediate_values:
                continue
            if "num_params" not in peer.user_attrs:
                continue
            if peer.state == TrialState.RUNNING:
                running.append(_point(peer, rung))
            elif peer.state == TrialState.PRUNED:
                seen.stopped.append(_point(peer, rung))
            elif peer.state == TrialState.COMPLETE:
                seen.completed = np.vstack([seen.completed, (*_point(peer, rung), float(peer.value or 0.0))])
        point = _point(trial, rung)
        if len(seen.stopped) + len(seen.completed) + len(running) < self.least_peers:
            return False
        if len(seen.completed) < self.least_completed:
            return _in_lower_half(point, [*seen.stopped, *map(tuple, seen.completed[:, :2].tolist()), *running])
        return self._falls_short(point, seen.completed)

    def _falls_short(self, point: tuple[float, float], completed: Array) -> bool:
        """Whether `point` (parameters, accuracy at the rung) will stay below the front of `completed`.

        Rows of `completed` are (parameters, accuracy at the rung, final accuracy).
        """
        sizes, at_rung, final = completed[:, 0], _log_odds(completed[:, 1]), _log_odds(completed[:, 2])
        rivals = final[sizes <= point[0]]
        if not len(rivals):
            return False
        varying = np.ptp(at_rung) > 0
        slope = np.cov(at_rung, final)[0, 1] / np.var(at_rung, ddof=1) if varying else 0.0
        residuals = final - final.mean() - slope * (at_rung - at_rung.mean())
        deviation = math.sqrt(float(residuals @ residuals) / (len(final) - 2))
        predicted = final.mean() + slope * (_log_odds(np.array(point[1])) - at_rung.mean())
        return bool(predicted + self.doubt * deviation < rivals.max())


def _point(trial: FrozenTrial, rung: int) -> tuple[float, float]:
    """Parameters, and the best accuracy up to `rung`."""
    best = max(accuracy for step, accuracy in trial.intermediate_values.items() if step <= rung)
    return float(trial.user_attrs["num_params"]), best


def _in_lower_half(point: tuple[float, float], peers: list[tuple[float, float]]) -> bool:
    all_ranks = ranks([point, *peers])
    better = sum(rank < all_ranks[0] for rank in all_ranks)
    return better >= len(all_ranks) / 2


def _log_odds(accuracy: Array) -> Array:
    """Of percent; nothing is taken for certain beyond what 2,000 images could show."""
    share = np.clip(accuracy / 100, 0.0005, 0.9995)
    return np.asarray(np.log(share / (1 - share)))
