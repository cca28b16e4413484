"""A study's trials as observations, read as the study grows.

Among thousands of trials, a look at each would cost more than a decision.
"""

from __future__ import annotations

import math
import threading
from typing import cast

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from nas.costs import COUNTED, Count
from nas.space import Genes, Space, candidate, is_valid
from nas.strategy.beliefs import Beliefs, Goal
from nas.strategy.observations import Observation
from nas.study.records import Fate

# Held while an adapter learns and decides: `optimize(n_jobs=...)` calls it from several threads. One for the process,
# since an adapter with a lock of its own could not be pickled.
LEARNING = threading.RLock()

_FATES: dict[TrialState, Fate] = {
    TrialState.COMPLETE: "completed",
    TrialState.PRUNED: "stopped",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "running",
}


class History:
    """Gives every finished trial of one study once, and the others whenever it is asked.

    A sampler and a pruner of the study share one. `goal` is what the study is for, where there is a target.
    """

    def __init__(
        self, space: Space, epochs: int | None = None, goal: Goal | None = None, count: Count = "trained"
    ) -> None:
        self.beliefs = Beliefs(space, epochs)
        self.goal = goal
        self._counted = COUNTED[count]
        self._space = space
        self._study_name: str | None = None
        self._start = 0  # all trials before this number were given, finished
        self._given: set[int] = set()  # and these, of the later ones
        self._networks: dict[int, tuple[int, int, str] | None] = {}  # parameters, MACs and digest, by trial

    def update(self, study: optuna.Study) -> None:
        """Let the beliefs learn what has happened.

        Raises:
            ValueError: as `unread` does.
        """
        for observation in self.unread(study):
            self.beliefs.learn(observation)

    def unread(self, study: optuna.Study) -> list[Observation]:
        """Return, by number, the trials that have finished since the last call and those that have not finished yet.

        Left out are trials that `observe` knows nothing of.

        Raises:
            ValueError: the study is another than before, or it minimizes.
        """
        if self._study_name not in (None, study.study_name):
            raise ValueError(
                f"this sampler or pruner has learned from study {self._study_name!r}, and is now asked about "
                f"{study.study_name!r}; make a new one for each study"
            )
        self._study_name = study.study_name
        fresh = [t for t in study.get_trials(deepcopy=False)[self._start :] if t.number not in self._given]
        observations = [seen for trial in fresh if (seen := self.observe(trial))]
        if any(seen.was_trained for seen in observations) and study.direction != StudyDirection.MAXIMIZE:
            raise ValueError("the study minimizes; create it with direction='maximize', and return percent accuracy")
        self._given.update(trial.number for trial in fresh if trial.state.is_finished())
        while self._start in self._given:
            self._given.remove(self._start)
            self._start += 1
        return observations

    def observe(self, trial: FrozenTrial) -> Observation | None:
        """Return `trial` as strategies see it; None unless every gene has a value that it may, and they make a network.

        A training reports its accuracy in percent after every epoch, whatever number it gives the first one; an
        accuracy that is no number counts as 0. Parameters that are no genes are left out.
        """
        if not is_valid(self._space, trial.params):
            return None
        genes = {name: trial.params[name] for name in self._space.genes}
        network = self._network(trial, genes)
        if network is None:
            return None
        reported = (trial.intermediate_values[step] for step in sorted(trial.intermediate_values))
        curve = tuple(0.0 if math.isnan(accuracy) else accuracy for accuracy in reported)
        final = float(trial.value or 0.0) if trial.state == TrialState.COMPLETE else None
        fate = cast("Fate", trial.user_attrs.get("fate", _FATES[trial.state]))
        return Observation(trial.number, genes, *network, fate, curve, final)

    def _network(self, trial: FrozenTrial, genes: Genes) -> tuple[int, int, str] | None:
        """Return parameters, MACs and digest: those that the trial says, else those that its genes come to."""
        attributes = trial.user_attrs
        if attributes.keys() >= {self._counted, "num_macs", "digest"}:
            return int(attributes[self._counted]), int(attributes["num_macs"]), str(attributes["digest"])
        if trial.number not in self._networks:
            found = candidate(self._space, genes)
            counted = (getattr(found.costs, self._counted), found.costs.num_macs, found.digest) if found else None
            self._networks[trial.number] = counted
        return self._networks[trial.number]
