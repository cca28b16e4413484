"""`BudgetSampler`: proposals within the budget as an Optuna sampler, for a search or a plain Optuna script."""

from __future__ import annotations

import random
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import BaseTrial, FrozenTrial

from nas.costs import Budget
from nas.space import Choice, Domain, Draw, Genes, IntRange, Space
from nas.strategy.beliefs import Goal
from nas.strategy.history import LEARNING, History
from nas.strategy.proposing import Proposal, Proposer


def distributions_of(space: Space) -> dict[str, BaseDistribution]:
    """Return the Optuna distribution of every gene."""
    return {name: _distribution(domain) for name, domain in space.genes.items()}


def _distribution(domain: Domain) -> BaseDistribution:
    if isinstance(domain, Choice):
        return CategoricalDistribution(domain.options)
    if isinstance(domain, IntRange):
        return IntDistribution(domain.low, domain.high, log=domain.log, step=1 if domain.log else domain.step)
    return FloatDistribution(domain.low, domain.high, log=domain.log)


def suggest_genes(trial: BaseTrial, space: Space) -> dict[str, Any]:
    """Return a value for every gene of `space`, asked of `trial`: what an objective does first."""
    return {name: _suggest(trial, name, distribution) for name, distribution in distributions_of(space).items()}


def _suggest(trial: BaseTrial, name: str, distribution: BaseDistribution) -> Any:
    if isinstance(distribution, CategoricalDistribution):
        return trial.suggest_categorical(name, distribution.choices)
    if isinstance(distribution, IntDistribution):
        return trial.suggest_int(
            name, distribution.low, distribution.high, step=distribution.step, log=distribution.log
        )
    assert isinstance(distribution, FloatDistribution)
    return trial.suggest_float(name, distribution.low, distribution.high, log=distribution.log)


class BudgetSampler(BaseSampler):
    """Samples networks of `space` within `budget`; see `Proposer` for how, and `suggest_genes` for the objective.

    The study maximizes an accuracy in percent. What Optuna records is the network that is trained: the genes after the
    repair. Parameters that are no genes are drawn at random. A sampler serves one study.
    """

    def __init__(
        self, space: Space, budget: Budget, seed: int = 0, goal: Goal | None = None, epochs: int | None = None
    ) -> None:
        """`goal` is None without a target; `epochs` is the length of every training, by default that of the longest."""
        self.space = space
        self.budget = budget
        self.seed = seed
        self.history = History(space, epochs, goal, budget.count)
        self.proposer = Proposer(space, budget, seed, self.history.beliefs)
        self.last_draw: Draw | None = None
        self.last_proposal: Proposal | None = None
        self._distributions = distributions_of(space)
        self._next: tuple[int, Goal | None, int, Proposal] | None = None

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return the whole flat space, always, so that every trial has every gene."""
        return self._distributions

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return every gene of the network to try.

        Raises:
            ValueError: the study has several objectives, or minimizes, or is another than before.
            BudgetError: no network of the space fits the budget.
        """
        require_one_objective(study)
        with LEARNING:
            self.last_proposal = self._next_proposal(study, trial.number)
            self.last_draw = self.last_proposal.draw
            return self.last_draw.candidate.genes

    def _next_proposal(self, study: optuna.Study, number: int) -> Proposal:
        """Return what would be proposed for trial `number`, as things are."""
        with LEARNING:
            # The trial itself runs already when it is proposed; it tells nothing, and is not learned by the beliefs.
            self.history.update(study)
            goal, version = self.history.goal, self.history.beliefs.version
            if self._next is None or self._next[:3] != (number, goal, version):
                self._next = number, goal, version, self.proposer.propose(number, goal)
            return self._next[3]

    def next_worth(self, study: optuna.Study, number: int) -> float:
        """Return what the network for trial `number` promises for its cost; nan where that is not known."""
        return self._next_proposal(study, number).worth

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Return a random value for a parameter that is no gene.

        Raises:
            ValueError: the study has several objectives.
        """
        require_one_objective(study)
        seed = random.Random(f"{self.seed}:{trial.number}:{param_name}").randrange(2**32)
        return RandomSampler(seed).sample_independent(study, trial, param_name, param_distribution)

    def draw_counts(self, genes: Genes) -> dict[str, Any]:
        """Return what the last draw took, by the names of `TrialRecord`; nothing if `genes` were enqueued."""
        draw = self.last_draw
        if draw is None or draw.candidate.genes != genes:
            return {}
        return {name: getattr(draw, name) for name in ("redrawn", "over_budget", "repaired", "repeated")}


def require_one_objective(study: optuna.Study) -> None:
    """Refuse a study of several objectives.

    Raises:
        ValueError: it has them.
    """
    if len(study.directions) > 1:
        raise ValueError(
            f"the study has {len(study.directions)} objectives; BudgetSampler maximizes one, the accuracy in percent, "
            "and knows the parameters of each network before it is trained: create the study with direction='maximize'"
        )
