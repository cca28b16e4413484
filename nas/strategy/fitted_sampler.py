"""Any sampler of Optuna as the sampler of a search: what it proposes is fitted into the budget, and tried."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from nas.costs import Budget
from nas.errors import UsageError, near_misses
from nas.space import Genes, Space, fit_network
from nas.strategy.beliefs import Goal
from nas.strategy.history import LEARNING
from nas.strategy.optuna_sampler import BudgetSampler, require_one_objective
from nas.study.settings import GIVEN_IN_PYTHON

OWN = "auto"  # the sampler of this project
# Each is made anew for every trial, from a seed of its own.
BY_NAME: dict[str, Callable[..., BaseSampler]] = {
    "tpe": TPESampler,
    "gp": partial(GPSampler, warn_independent_sampling=False),
    "nsgaii": NSGAIISampler,
    "cmaes": partial(CmaEsSampler, warn_independent_sampling=False),
    "random": RandomSampler,
}


class FittedSampler(BudgetSampler):
    """Samples the networks that another sampler proposes, fitted into the budget by `fit_network`.

    The other sampler sees the trials of the study: the networks that were trained, and their accuracy, which it
    maximizes. How large a network may be is not its choice: each trial has a ceiling of its own, of all sizes that are
    of use, so that the search sees small networks too. A sampler serves one study.
    """

    def __init__(
        self,
        space: Space,
        budget: Budget,
        sampler: BaseSampler | Callable[..., BaseSampler],
        seed: int = 0,
        goal: Goal | None = None,
        epochs: int | None = None,
    ) -> None:
        """`sampler` is a sampler; or makes one by `sampler(seed=...)`.

        One that is made anew for every trial has no past, so that its proposal follows from the seed, the trial's
        number and the study alone.
        """
        super().__init__(space, budget, seed, goal, epochs)
        self._sampler = sampler

    def _sampler_of(self, number: int) -> BaseSampler:
        if isinstance(self._sampler, BaseSampler):
            return self._sampler
        return self._sampler(seed=random.Random(f"{self.seed}:{number}:sampler").randrange(2**31))

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return every gene of the network to try.

        Raises:
            ValueError: the study has several objectives, or minimizes, or is another than before; or the other sampler
                proposes what the space does not have.
            BudgetError: no network of the space fits the budget.
        """
        require_one_objective(study)
        with LEARNING:
            self.history.update(study)
            genes = self._propose(self._sampler_of(trial.number), study, trial)
            rng = random.Random(f"{self.seed}:{trial.number}")
            ceiling = self.proposer.draw_ceiling(rng, self.history.goal)
            self.last_draw = fit_network(self.space, genes, self.budget, rng, ceiling)
            return self.last_draw.candidate.genes

    def _propose(self, sampler: BaseSampler, study: optuna.Study, trial: FrozenTrial) -> Genes:
        """Return a value for every gene, as Optuna asks for parameters: those that belong together, then the others."""
        shared = sampler.infer_relative_search_space(study, trial)
        found = sampler.sample_relative(study, trial, shared)
        genes = {}
        for name, distribution in self._distributions.items():
            value = found[name] if name in found else sampler.sample_independent(study, trial, name, distribution)
            # As Optuna stores it: without numpy's types.
            genes[name] = distribution.to_external_repr(distribution.to_internal_repr(value))
            if not self.space.genes[name].contains(genes[name]):
                raise ValueError(f"{sampler} proposed {name} = {value!r}, which {distribution} does not hold")
        return genes

    def next_worth(self, study: optuna.Study, number: int) -> float:
        """Return nan: what the next network promises is not known before its trial begins."""
        return float("nan")

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Tell the other sampler."""
        self._sampler_of(trial.number).before_trial(study, trial)

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """Tell the other sampler."""
        self._sampler_of(trial.number).after_trial(study, trial, state, values)

    def reseed_rng(self) -> None:
        """Reseed a sampler that was given as it is; the others have a seed for each trial."""
        if isinstance(self._sampler, BaseSampler):
            self._sampler.reseed_rng()


def name_given(sampler: object) -> str:
    """Return the name, among the settings of a study, of a sampler that a Python program gives.

    Raises:
        UsageError: it is no sampler.
    """
    if not isinstance(sampler, BaseSampler):
        raise UsageError(f"`sampler` {sampler!r}: give one of {_known()}, or a sampler of Optuna")
    return GIVEN_IN_PYTHON + type(sampler).__name__


def is_given(name: str) -> bool:
    """Return whether a study's sampler was given by a Python program, so that nobody can make it again."""
    return name.startswith(GIVEN_IN_PYTHON)


def require_sampler(name: str, given: object = None) -> None:
    """Refuse a sampler that cannot be made.

    Args:
        name: among the settings of the study.
        given: the sampler of the Python program that searches, if it gives one.

    Raises:
        UsageError: there is none of that name, or it was given in Python and is not now.
    """
    if is_given(name):
        if given is None:
            raise UsageError(
                f"the study's `sampler` {name.removeprefix(GIVEN_IN_PYTHON)} was given in Python: resume it there, by "
                "nas.search(name=..., sampler=...)"
            )
    elif name not in (OWN, *BY_NAME):
        raise UsageError(f"`sampler` {name!r} is not known; {near_misses(name, (OWN, *BY_NAME))}")


def sampler_of(
    name: str,
    space: Space,
    budget: Budget,
    seed: int,
    goal: Goal | None,
    epochs: int,
    given: object = None,
) -> BudgetSampler:
    """Return the sampler of a study; for one that was given in Python, and is not now, our own.

    The arguments are those of `FittedSampler` and of `require_sampler`.
    """
    if is_given(name) and isinstance(given, BaseSampler):
        return FittedSampler(space, budget, given, seed, goal, epochs)
    if name in BY_NAME:
        return FittedSampler(space, budget, BY_NAME[name], seed, goal, epochs)
    return BudgetSampler(space, budget, seed, goal, epochs)


def _known() -> str:
    return ", ".join((OWN, *BY_NAME))
