"""What to try next: mutations of the front, drawn again or repaired until they fit the budget."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from nas.arch import Budget
from nas.space import Candidate, Draw, Genes, Space, draw_network, least_network
from nas.strategy.linear_model import LinearModel
from nas.strategy.observations import Observation, gene_inputs, log_odds, model_inputs
from nas.study.front import pareto_front

STARTUP_TRIALS = 4  # drawn at random before the front guides the draws
MUTATIONS = 1.5  # genes that a mutation draws again, on average; one at least
SCREENED = 8  # mutations of which one is proposed
FRESH_DRAWS = 8  # after which a network that was tried before is let through


class Proposer:
    """Evolves the front, and never proposes a network over budget.

    A proposal is a network of the front with a gene or two drawn anew (mutation and elitism of Elsken et al. 2019,
    Lamarckian evolution, section 4; parents are chosen uniformly). Of several mutations it is the one that a linear
    model of the genes, learned from the completed trials, rates best (White et al. 2021, BANANAS, section 4, screen
    mutations by a surrogate). The model's weights are drawn from their posterior (Thompson 1933).

    Sizes are part of the search. Each draw aims just below a ceiling, and a proposal of another size has its widths
    scaled to it. So what wins at one size is tried at the others. Without a target the ceilings are spread over all
    sizes within the budget. With one they lie in the upper half of what is left: at first of the budget, then, once a
    network has met the target, of the sizes below `below`.

    A draw follows from the seed, the trial's number and the trials learned, and from nothing else. So a resumed study
    goes on exactly as it would have.
    """

    def __init__(self, space: Space, budget: Budget, seed: int, has_target: bool = False) -> None:
        self.space = space
        self.budget = budget
        self.seed = seed
        self.has_target = has_target
        self._recipe_genes = [name for name, key in space.keys.items() if key.startswith("recipe.")]
        self._tried: set[tuple[Any, ...]] = set()
        self._num_trained = 0
        self._front: list[Observation] = []  # of parameters and validation accuracy
        # The model of the accuracy leaves widths out: a proposal is scaled to the size that the draw aims at.
        self._judged = {name: domain for name, domain in space.genes.items() if name not in space.width_genes}
        self._model = LinearModel.of_genes(1, 1 + len(gene_inputs(space.plain_genes, self._judged)))

    def learn(self, trial: Observation) -> None:
        """Take in `trial`: a finished one once, another as often as is convenient."""
        self._tried.add(self._identity(trial.digest, trial.genes))
        self._num_trained += trial.was_trained
        if trial.final_accuracy is not None:
            # By number, so that of two equal ones the same stays, in whatever order they ended.
            known = sorted([*self._front, trial], key=lambda t: t.number)
            self._front = pareto_front(known, lambda t: t.num_params, lambda t: t.final_accuracy or 0.0)
            self._model.learn(model_inputs(trial, self._judged), log_odds(trial.final_accuracy))

    def propose(self, number: int, below: int | None = None) -> Draw:
        """Return a network for trial `number`, one that was not tried before where that can be.

        Args:
            number: of the trial; each has its own random numbers.
            below: with a target, the draw has fewer parameters than this; None where the budget is the only bound.

        Raises:
            BudgetError: no network of the space fits the budget.
        """
        rng = random.Random(f"{self.seed}:{number}")
        draws: list[Draw] = []
        for attempt in range(FRESH_DRAWS):
            # The best of many mutations was tried again and again: choose among fewer.
            mutate = self.mutations(rng, max(1, SCREENED >> attempt))
            draws.append(draw_network(self.space, self.budget, rng, mutate, self.ceiling(rng, below)))
            if not self.was_tried(draws[-1].candidate):
                break
        return draws[-1]._replace(
            redrawn=sum(draw.redrawn for draw in draws),
            over_budget=sum(draw.over_budget for draw in draws),
            repeated=len(draws) - 1,
        )

    def was_tried(self, found: Candidate) -> bool:
        """Return whether a trial has the same network and recipe as `found`."""
        return self._identity(found.digest, found.genes) in self._tried

    def mutations(self, rng: random.Random, screened: int) -> Callable[[], Genes] | None:
        """Return what makes proposals, each the best of `screened` mutations of the front by one draw of the model.

        None where too few trials were learned for more than random draws.
        """
        if self._num_trained < STARTUP_TRIALS or not self._front:
            return None
        weights = self._model.draw_weights(rng)[1:]

        def mutate() -> Genes:
            mutants = [self._mutate(rng.choice(self._front).genes, rng) for _ in range(screened)]
            return max(mutants, key=lambda genes: float(weights @ gene_inputs(genes, self._judged)))

        return mutate

    def ceiling(self, rng: random.Random, below: int | None) -> int | None:
        """Return the parameters that a draw aims just below; None leaves it to the draw, within the budget."""
        if not self.has_target:
            return None
        most = self.budget.max_params if below is None else min(below - 1, self.budget.max_params)
        least = least_network(self.space).costs.num_params
        if most <= least or rng.random() < 0.5:
            return max(most, least)
        return round(rng.uniform(max(least, most / 2), most))

    def _mutate(self, genes: Genes, rng: random.Random) -> Genes:
        """Return `genes` with one of them drawn again, and now and then another."""
        names = list(self.space.genes)
        first = rng.choice(names)
        chosen = {name for name in names if rng.random() < (MUTATIONS - 1) / len(names)} | {first}
        return {**genes, **{name: self.space.genes[name].draw(rng) for name in names if name in chosen}}

    def _identity(self, digest: str, genes: Genes) -> tuple[Any, ...]:
        """Return what two trainings share that differ in their seeds alone."""
        return digest, *(genes[name] for name in self._recipe_genes)
