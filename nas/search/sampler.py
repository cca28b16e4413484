"""The sampler: an Optuna sampler's proposals, drawn again or repaired until they fit the budget.

What Optuna records is the network that was trained: the genes after the repair. A trial's draws depend on the study's
seed, the trial's number and the history alone, so a resumed study goes on exactly as it would have.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from nas.arch import Budget
from nas.space import Choice, Domain, Draw, IntRange, Space, draw_network, least_network, random_genes

STARTUP_TRIALS = 12  # drawn at random, spread over all sizes, before the model guides the draws


def distributions_of(space: Space) -> dict[str, BaseDistribution]:
    """One fixed Optuna distribution for every gene."""
    return {name: _distribution(domain) for name, domain in space.genes.items()}


def _distribution(domain: Domain) -> BaseDistribution:
    if isinstance(domain, Choice):
        return CategoricalDistribution(domain.options)
    if isinstance(domain, IntRange):
        return IntDistribution(domain.low, domain.high, log=domain.log, step=1 if domain.log else domain.step)
    return FloatDistribution(domain.low, domain.high, log=domain.log)


class BudgetSampler(BaseSampler):
    """Wraps TPE (Bergstra et al. 2011; multivariate, Falkner et al. 2018) and never proposes a network over budget.

    Sizes are part of the search: each draw aims just below a ceiling. Without a target, ceilings are spread over all
    sizes at first; then half of them are the whole budget and half a random part of it, so that the small end of the
    front gets its share. With a target, draws stay in the upper half of what is left: the budget, until a network
    met the target, and what is `below` that network from then on.
    """

    def __init__(self, space: Space, budget: Budget, seed: int, has_target: bool = False) -> None:
        self.space = space
        self.budget = budget
        self.seed = seed
        self.has_target = has_target
        self.below: int | None = None  # parameters of the smallest network that met the target
        self.last_draw: Draw | None = None
        self._distributions = distributions_of(space)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """The whole flat space, always: a gene left out once would leave the joint space for good."""
        return self._distributions

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Every gene of a network within the budget."""
        rng = random.Random(f"{self.seed}:{trial.number}")
        model = TPESampler(
            multivariate=True,
            constant_liar=True,
            n_startup_trials=STARTUP_TRIALS,
            seed=rng.randrange(2**32),
        )
        guided = _finished(study) >= STARTUP_TRIALS

        def propose() -> Mapping[str, Any]:
            return {**random_genes(self.space, rng), **model.sample_relative(study, trial, search_space)}

        ceiling = self._ceiling(rng) if guided or self.has_target else None
        draw = draw_network(self.space, self.budget, rng, propose if guided else None, ceiling)
        self.last_draw = draw
        return draw.candidate.genes

    def _ceiling(self, rng: random.Random) -> int:
        most = self.budget.max_params if self.below is None else min(self.below - 1, self.budget.max_params)
        least = least_network(self.space).costs.num_params
        if most <= least or rng.random() < 0.5:
            return max(most, least)
        return round(rng.uniform(max(least, most / (2 if self.has_target else 4)), most))

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Never needed, since every gene is sampled together; here because Optuna requires it.

        Raises:
            KeyError: `param_name` is no gene of the space.
        """
        return self.space.genes[param_name].draw(random.Random(f"{self.seed}:{trial.number}:{param_name}"))

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """Nothing to keep: the next draw depends on the stored history alone."""


def _finished(study: optuna.Study) -> int:
    states = (TrialState.COMPLETE, TrialState.PRUNED)
    return len(study.get_trials(deepcopy=False, states=states))
