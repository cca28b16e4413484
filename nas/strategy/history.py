"""A study's history, read as it grows: among thousands of trials, a look at each would cost more than a decision."""

from __future__ import annotations

import optuna
from optuna.trial import FrozenTrial


class History:
    """Gives every finished trial of one study once, and those that are not finished whenever it is asked."""

    def __init__(self) -> None:
        self._start = 0  # all trials before this number were given, finished
        self._given: set[int] = set()  # and these, of the later ones

    def unread(self, study: optuna.Study) -> list[FrozenTrial]:
        """By number: what has finished since the last call, and what has not finished yet."""
        fresh = [t for t in study.get_trials(deepcopy=False)[self._start :] if t.number not in self._given]
        self._given.update(trial.number for trial in fresh if trial.state.is_finished())
        while self._start in self._given:
            self._given.remove(self._start)
            self._start += 1
        return fresh
