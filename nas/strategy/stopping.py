"""Early stopping: a trial ends where what it still promises is not worth what is left of its training."""

from __future__ import annotations

import numpy as np

from nas.strategy.beliefs import Beliefs, Goal, quarters_of
from nas.strategy.observations import Observation, log_odds
from nas.strategy.worth import hypervolume_gain
from nas.study.front import pareto_front

# The share of the front's hypervolume that a whole training must be expected to add; the rest of a training, as much
# less as it is shorter. Chosen on tables of learning curves, see benchmarks/search_quality.py: a higher stake saves
# training and loses networks of the front, a lower one does the reverse.
STAKE = 0.00002
LEAST_CHANCE = 0.02  # to meet the target, below which a trial is stopped
LEAST_COMPLETED = 3  # trials, before which none is stopped


def rungs_of(epochs: int) -> tuple[int, ...]:
    """Return the epochs, from 1, after which a trial may be stopped.

    That is after each quarter of a training but the last: there the model knows all trainings.
    """
    return tuple(epoch for epoch in quarters_of(epochs) if epoch < epochs)


class StoppingRule:
    """Stops a trial at a rung: with a target when its chance is small, without one when it will not move the front.

    Without a target, the model's prediction of the end gives the expected rise of the front's hypervolume. The trial
    stops when that is less than `stake` times the share of the training that is left (improvement per cost: Snoek et
    al. 2012, section 3.2). A network smaller than all that were completed is not stopped.
    """

    def __init__(self, beliefs: Beliefs, epochs: int, stake: float = STAKE) -> None:
        """`epochs` is the length of every training."""
        self.rungs = rungs_of(epochs)
        self.stake = stake
        self.beliefs = beliefs
        self._epochs = epochs

    def stops(self, trial: Observation, goal: Goal | None) -> bool:
        """Return whether `trial`, which was learned as it is and has come to the end of an epoch, should stop."""
        epoch = len(trial.curve)
        completed = [t for t in self.beliefs.trained if t.final_accuracy is not None]
        if epoch not in self.rungs or len(completed) < LEAST_COMPLETED:
            return False
        if goal is not None:
            return trial.num_params > goal.most_useful or self.beliefs.chance(trial, goal) < LEAST_CHANCE
        points = [(float(t.num_params), log_odds(t.final_accuracy or 0.0)) for t in completed]
        front = pareto_front(points, lambda p: p[0], lambda p: p[1])
        if trial.num_params < front[0][0]:
            return False
        mean, deviation = self.beliefs.ends([self.beliefs.network(trial)], trial.number)
        gain = hypervolume_gain(front, np.array([float(trial.num_params)]), mean, deviation)
        return bool(gain[0] < self.stake * (1 - epoch / self._epochs))
