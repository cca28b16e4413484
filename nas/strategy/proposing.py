"""The sampler: networks of the front, mutated; drawn again or repaired until they fit the budget.

What Optuna records is the network that was trained: the genes after the repair. A trial's draws depend on the study's
seed, the trial's number and the history alone, so a resumed study goes on exactly as it would have.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from nas.arch import Budget
from nas.space import Choice, Domain, Draw, Genes, IntRange, Space, draw_network, least_network
from nas.strategy.history import History
from nas.strategy.linear_model import LinearModel, gene_inputs, log_odds, trial_inputs
from nas.study.front import pareto_front

STARTUP_TRIALS = 4  # drawn at random before the front guides the draws
MUTATIONS = 1.5  # genes that a mutation draws again, on average; one at least
SCREENED = 8  # mutations of which one is proposed
FRESH_DRAWS = 8  # after which a network that was tried before is let through


def distributions_of(space: Space) -> dict[str, BaseDistribution]:
    """One fixed Optuna distribution for every gene."""
    return {name: _distribution(domain) for name, domain in space.genes.items()}


def _distribution(domain: Domain) -> BaseDistribution:
    if isinstance(domain, Choice):
        return CategoricalDistribution(domain.options)
    if isinstance(domain, IntRange):
        return IntDistribution(domain.low, domain.high, log=domain.log, step=1 if domain.log else domain.step)
    return FloatDistribution(domain.low, domain.high, log=domain.log)


def _num_params(trial: FrozenTrial) -> float:
    return float(trial.user_attrs["num_params"])


def _accuracy(trial: FrozenTrial) -> float:
    return float(trial.value or 0.0)


class BudgetSampler(BaseSampler):
    """Evolution of the front that never proposes a network over budget.

    A proposal is a network of the front with a gene or two drawn anew (the mutation and the elitism of Elsken et al.
    2019, Lamarckian evolution, section 4; parents are chosen evenly): of several such mutations the one that a linear
    model of the genes, learnt from the completed trials, likes best by a draw of its weights (mutations screened by a
    surrogate: White et al. 2021, BANANAS, section 4; by a draw: Thompson 1933).

    Sizes are part of the search: each draw aims just below a ceiling, spread over all sizes that the budget leaves, and
    a proposal of another size has its widths scaled to it; so what wins at one size is tried at the others. With a
    target, ceilings stay in the upper half of what is left: the budget, until a network met the target, and what is
    `below` that network by enough to be worth a confirmation from then on.

    It serves one study, and reads the user attributes `num_params` and `digest` of its trials.
    """

    def __init__(self, space: Space, budget: Budget, seed: int, has_target: bool = False) -> None:
        self.space = space
        self.budget = budget
        self.seed = seed
        self.has_target = has_target
        self.below: int | None = None  # draws have fewer parameters, once a network met the target
        self.last_draw: Draw | None = None
        self._distributions = distributions_of(space)
        # What `_learn` took in of the study:
        self._history = History()
        self._tried: set[tuple[Any, ...]] = set()
        self._num_trained = 0  # to the end, or stopped early
        self._front: list[FrozenTrial] = []  # of parameters and validation accuracy
        # Of validation accuracy. Widths are left out: a proposal is scaled to the size that the draw aims at.
        self._judged = {n: d for n, d in self._distributions.items() if n not in space.width_genes}
        self._model = LinearModel.of_genes(1, 1 + len(gene_inputs(space.plain_genes, self._judged)))
        self._recipe_genes = [name for name, key in space.keys.items() if key.startswith("recipe.")]

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """The whole flat space, always, so that every trial has every gene."""
        return self._distributions

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Every gene of a network within the budget, one that was not tried before where that can be."""
        rng = random.Random(f"{self.seed}:{trial.number}")
        tried = self.tried(study)
        draws: list[Draw] = []
        for attempt in range(FRESH_DRAWS):
            # What seems best again and again was tried: look less far.
            propose = self.proposals(study, trial, rng, max(1, SCREENED >> attempt))
            draws.append(draw_network(self.space, self.budget, rng, propose, self.ceiling(rng)))
            genes = draws[-1].candidate.genes
            if self._identity(draws[-1].candidate.digest, genes) not in tried:
                break
        self.last_draw = draws[-1]._replace(
            redrawn=sum(draw.redrawn for draw in draws),
            over_budget=sum(draw.over_budget for draw in draws),
            repeated=len(draws) - 1,
        )
        return genes

    def draw_counts(self, genes: Genes) -> dict[str, Any]:
        """What the last draw took, by the names of `TrialRecord`; nothing if `genes` were not drawn but enqueued."""
        draw = self.last_draw
        if draw is None or draw.candidate.genes != genes:
            return {}
        return {name: getattr(draw, name) for name in ("redrawn", "over_budget", "repaired", "repeated")}

    def tried(self, study: optuna.Study) -> set[tuple[Any, ...]]:
        """Networks with their recipes that need no second training."""
        self._learn(study)
        return self._tried

    def proposals(
        self, study: optuna.Study, trial: FrozenTrial, rng: random.Random, screened: int
    ) -> Callable[[], Genes] | None:
        """What makes proposals from the history, each the one of `screened` mutations that seems best.

        None where the history is too short for more than random draws.
        """
        self._learn(study)
        if self._num_trained < STARTUP_TRIALS or not self._front:
            return None
        weights = self._model.draw_weights(rng)[1:]

        def propose() -> Genes:
            mutants = [self._mutated(rng.choice(self._front).params, rng) for _ in range(screened)]
            return max(mutants, key=lambda genes: float(weights @ gene_inputs(genes, self._judged)))

        return propose

    def _learn(self, study: optuna.Study) -> None:
        """Takes in what is new in `study`."""
        for trial in self._history.unread(study):
            described = trial.user_attrs.keys() >= {"digest", "num_params"}
            described = described and trial.params.keys() == self._distributions.keys()
            if described:
                self._tried.add(self._identity(trial.user_attrs["digest"], trial.params))
            if trial.state.is_finished():
                self._num_trained += trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
                if described and trial.state == TrialState.COMPLETE:
                    self._learn_end(trial)

    def _learn_end(self, trial: FrozenTrial) -> None:
        # By number, so that of two equal ones the same stays, in whatever order they ended.
        known = sorted([*self._front, trial], key=lambda t: t.number)
        self._front = pareto_front(known, _num_params, _accuracy)
        self._model.learn(trial_inputs(trial, self._judged), log_odds(_accuracy(trial)))

    def _mutated(self, genes: Genes, rng: random.Random) -> Genes:
        """`genes` with one of them drawn again, and now and then another."""
        names = list(self.space.genes)
        surely = rng.choice(names)
        chosen = {name for name in names if rng.random() < (MUTATIONS - 1) / len(names)} | {surely}
        return {**genes, **{name: self.space.genes[name].draw(rng) for name in names if name in chosen}}

    def ceiling(self, rng: random.Random) -> int | None:
        """Parameters that the next draw aims just below; None is anywhere within the budget."""
        if not self.has_target:
            return None
        most = self.budget.max_params if self.below is None else min(self.below - 1, self.budget.max_params)
        least = least_network(self.space).costs.num_params
        if most <= least or rng.random() < 0.5:
            return max(most, least)
        return round(rng.uniform(max(least, most / 2), most))

    def _identity(self, digest: str, genes: Genes) -> tuple[Any, ...]:
        """What makes two trainings the same, but for their seeds."""
        return digest, *(genes[name] for name in self._recipe_genes)

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
