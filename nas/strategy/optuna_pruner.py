"""`ParetoPruner`: early stopping against the front as an Optuna pruner, for a search or a plain Optuna script."""

from __future__ import annotations

import optuna
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial

from nas.space import Space
from nas.strategy.history import LEARNING, History
from nas.strategy.stopping import STAKE, StoppingRule


class ParetoPruner(BasePruner):
    """Stops a trial that is not going to move the front of parameters and final accuracy; see `StoppingRule`.

    Every trial of the study suggests all genes of `space` before its first report, is trained for `epochs`, and reports
    its validation accuracy in percent after each of them. A pruner serves one study.
    """

    def __init__(self, space: Space, epochs: int, stake: float = STAKE, history: History | None = None) -> None:
        """`history` is that of a `BudgetSampler` of the same study, which spares the work of learning it twice."""
        self._history = history or History(space, epochs)
        self.rule = StoppingRule(self._history.beliefs, epochs, stake)
        self.rungs = self.rule.rungs

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Return whether `trial`, which has just reported, should stop.

        Raises:
            ValueError: the study minimizes, or is another than before.
        """
        if len(trial.intermediate_values) not in self.rungs:
            return False
        with LEARNING:
            self._history.update(study)
            observed = self._history.observe(trial)
            if observed is None:
                return False
            self._history.beliefs.learn(observed)
            return self.rule.stops(observed, self._history.goal)
