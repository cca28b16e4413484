"""The trials that a search begins: asked for, judged before anything is trained, and counted where they end at once."""

from __future__ import annotations

import math
from collections.abc import Callable

from nas.arch import recipe_digest
from nas.coordinator.snapshot import RunningJob
from nas.space import Candidate, candidate, is_valid
from nas.storage.search_store import SearchStore
from nas.strategy.optuna_sampler import BudgetSampler
from nas.strategy.worth import LEAST_GAIN
from nas.study.recipe import training_seed, trial_recipe
from nas.study.settings import StudySettings
from nas.workers.messages import Job

MOST_DUPLICATES = 50  # in a row, after which the space counts as exhausted
MOST_WITHOUT_GAIN = 30  # proposals in a row that promise next to nothing, after which the search ends


class Trials:
    """Begins trials, as long as there is something to gain."""

    def __init__(
        self, store: SearchStore, sampler: BudgetSampler, settings: StudySettings, say: Callable[[str], None]
    ) -> None:
        self.refused = 0  # networks over budget
        self._store = store
        self._sampler = sampler
        self._settings = settings
        self._say = say
        self._duplicates = 0  # in a row
        self._without_gain = 0  # proposals in a row
        # Same network and recipe, trained before: (digest, recipe digest) to the trial's number.
        self._known = {
            (r.digest, recipe_digest(trial_recipe(sampler.space, settings, r.genes))): r.number
            for r in store.records()
            if is_valid(sampler.space, r.genes)
        }

    @property
    def are_exhausted(self) -> bool:
        """Whether the space seems to hold nothing new, or nothing better."""
        return self._duplicates >= MOST_DUPLICATES or self._without_gain >= MOST_WITHOUT_GAIN

    def start(self, has_answer: bool) -> RunningJob | None:
        """Ask for a trial; return None where it ended at once: over budget, or trained before."""
        space, settings, goal = self._sampler.space, self._settings, self._sampler.history.goal
        number, genes = self._store.ask(goal.below, goal.confirming) if goal else self._store.ask()
        self._judge_gain(has_answer)
        found = candidate(space, genes)
        if found is None or not settings.budget.admits(found.costs):
            self._refuse(number, found)
            return None
        recipe, digest = trial_recipe(space, settings, genes), found.digest
        seed = training_seed(settings.seed, number, "trial")
        self._store.describe(number, found, seed, self._sampler.draw_counts(genes))
        twin = self._known.setdefault((digest, recipe_digest(recipe)), number)
        if twin != number and self._is_duplicate_of(twin, number):
            return None
        self._known[digest, recipe_digest(recipe)] = number
        self._duplicates = 0
        job, costs = Job((number, None), found.architecture, recipe, seed), found.costs
        return RunningJob(job, costs.num_params, [], costs.deployed_params)

    def _judge_gain(self, has_answer: bool) -> None:
        """Take note of whether the search still promises something, once it has an answer."""
        proposal = self._sampler.last_proposal
        if not has_answer or proposal is None or math.isnan(proposal.gain) or proposal.gain >= LEAST_GAIN:
            self._without_gain = 0
            return
        self._without_gain += 1
        if self._without_gain == MOST_WITHOUT_GAIN:
            self._say(
                f"no gain is expected: the {MOST_WITHOUT_GAIN} last proposals each promised to save less than "
                f"{LEAST_GAIN:.1%} of the parameters (the last one {proposal.gain:.2%}); no further trials"
            )

    def _refuse(self, number: int, found: Candidate | None) -> None:
        """End a trial whose network is over budget, whatever has proposed it, before it is built."""
        self.refused += 1
        reason = "its maps shrink to nothing"
        if found is not None:
            self._store.describe(number, found, 0)
            reason = "over budget: " + "; ".join(self._settings.budget.excesses(found.costs))
        self._store.finish(number, "failed", 0.0, reason=reason)
        self._say(f"trial {number} refused: {reason}")

    def _is_duplicate_of(self, twin: int, number: int) -> bool:
        """End trial `number` with the result of `twin`; return False where that was cut off and has none."""
        known = self._store.record(twin)
        if known.fate == "interrupted":
            return False
        value = known.validation_accuracy if known.fate == "completed" else None
        self._store.finish(number, "duplicate", 0.0, value, reason=f"same network and recipe as trial {twin}")
        self._duplicates += 1
        return True
