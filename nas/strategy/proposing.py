"""What to try next: of many networks within the budget, the one that promises the most for its cost."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from nas.costs import Budget
from nas.space import (
    Candidate,
    Draw,
    Genes,
    Space,
    candidate,
    draw_from_prior,
    draw_network,
    least_network,
    random_genes,
)
from nas.space.domains import IntRange, Value
from nas.strategy.accuracy_model import Array
from nas.strategy.beliefs import Beliefs, Goal, Network
from nas.strategy.observations import Observation, log_odds
from nas.strategy.worth import Point, hypervolume_gain, saving, trial_cost
from nas.study.front import pareto_front

STARTUP = (1.0, 0.75, 1.0, 0.5)  # of the budget: the sizes of the first trials where there is a target
STARTUP_TRIALS = len(STARTUP)
FRESH = 12  # networks drawn anew for each proposal
MUTANTS = 120
PARENTS = 12
CLIMBS = 2  # rounds in which the best are mutated once more
CLIMBERS, OFFSPRING = 5, 6
MUTATIONS = 1.5  # genes that a mutation changes, on average; one at least
STEP = 0.5  # chance that a number moves a step or two instead of being drawn anew
FRESH_DRAWS = 8  # after which a network that was tried before is let through
PRIOR_TRIALS = 10  # the prior counts as much as what was learned of so many
EXPECTED_SHARE = 0.7  # of a trial that is trained, since some stop early


@dataclass(frozen=True, slots=True)
class Proposal:
    """A network to try."""

    draw: Draw
    chance: float  # to meet the target; nan without one, or where nothing was learned
    worth: float  # what it promises for its cost; nan where nothing was learned
    gain: float = math.nan  # log saving of parameters that is expected of it, or share of the front's hypervolume


class Proposer:
    """Draws networks within the budget, and proposes the one that is worth the most; see `nas.strategy.worth`.

    The networks are drawn from the space, and by mutating the most promising ones. They are of all sizes below the
    smallest that has met the target. The first few are drawn from the space alone.

    A proposal follows from the seed, the trial's number, the goal and what was learned, and from nothing else. So a
    resumed study goes on exactly as it would have.
    """

    def __init__(
        self,
        space: Space,
        budget: Budget,
        seed: int,
        beliefs: Beliefs | None = None,
    ) -> None:
        self.space = space
        self.budget = budget
        self.seed = seed
        self.beliefs = beliefs or Beliefs(space)

    def learn(self, trial: Observation) -> None:
        """Take in `trial`, or what has become of it."""
        self.beliefs.learn(trial)

    def propose(self, number: int, goal: Goal | None = None) -> Proposal:
        """Return a network for trial `number`, one that was not tried before where that can be.

        Args:
            number: of the trial; each has its own random numbers.
            goal: None where there is no target.

        Raises:
            BudgetError: no network of the space fits the budget.
        """
        rng = random.Random(f"{self.seed}:{number}")
        trained = sum(1 for trial in self.beliefs.trials.values() if trial.was_trained)
        if trained < STARTUP_TRIALS or not self.beliefs.can_predict:
            return Proposal(self._draw_first(rng, number, goal), math.nan, math.nan)
        tried = {self.beliefs.network(trial).identity for trial in self.beliefs.trials.values()}
        pool = _Pool(self, goal, tried)
        pool.add(self._draw_fresh(rng, goal).candidate for _ in range(FRESH))
        pool.add(self._mutants(rng, pool.parents(), MUTANTS))
        for _ in range(CLIMBS):
            best = [found.genes for found, _, _ in pool.best(CLIMBERS)]
            pool.add(self._mutants(rng, best, CLIMBERS * OFFSPRING))
        if not pool.found:
            return Proposal(self._draw_fresh(rng, goal), math.nan, 0.0, 0.0)
        found, chance, worth = pool.best(1)[0]
        gain = pool.gain(found, chance)
        return Proposal(Draw(found, pool.missed, False, pool.over_budget, pool.repeated), chance, worth, gain)

    def ceiling(self, goal: Goal | None) -> int:
        """Return the most parameters that a network may have to be of use."""
        most_useful = goal.most_useful if goal else math.inf
        return max(self._least, int(min(self.budget.max_params, most_useful)))

    def draw_ceiling(self, rng: random.Random, goal: Goal | None) -> int:
        """Return a size that is of use, even in the logarithm."""
        return round(math.exp(rng.uniform(math.log(self._least), math.log(self.ceiling(goal)))))

    @property
    def _least(self) -> int:
        """Return the size of the smallest network of the space."""
        return self.budget.size(least_network(self.space, self.budget.count).costs)

    def _draw_first(self, rng: random.Random, number: int, goal: Goal | None) -> Draw:
        ceiling = None
        if goal is not None:
            ceiling = round(STARTUP[number % STARTUP_TRIALS] * self.ceiling(goal))
        tried = {self.beliefs.network(trial).identity for trial in self.beliefs.trials.values()}
        repeated = 0
        while True:
            draw = draw_network(self.space, self.budget, rng, lambda: draw_from_prior(self.space, rng), ceiling)
            if self.beliefs.identity(draw.candidate.digest, draw.candidate.genes) not in tried:
                break
            repeated += 1
            if repeated == FRESH_DRAWS:
                break
        return draw._replace(repeated=repeated)

    def _draw_fresh(self, rng: random.Random, goal: Goal | None) -> Draw:
        """Return a network drawn from the space, of a size even in the logarithm."""
        ceiling = self.draw_ceiling(rng, goal)
        # The prior is believed less as evidence grows (PriMO, Basu et al. 2025; piBO, Hvarfner et al. 2022).
        draw = draw_from_prior if rng.random() < self.belief_in_prior else random_genes
        return draw_network(self.space, self.budget, rng, lambda: draw(self.space, rng), ceiling)

    @property
    def belief_in_prior(self) -> float:
        """Return the weight of the prior: 1 before any training, a half after `PRIOR_TRIALS`."""
        return PRIOR_TRIALS / (PRIOR_TRIALS + len(self.beliefs.trained))

    def _mutants(self, rng: random.Random, parents: Sequence[Genes], count: int) -> Iterable[Candidate]:
        for at in range(count if parents else 0):
            found = candidate(self.space, self._mutate(parents[at % len(parents)], rng))
            if found is not None:
                yield found

    def _mutate(self, genes: Genes, rng: random.Random) -> dict[str, Value]:
        """Return `genes` with one of them changed, and now and then others."""
        names = list(self.space.genes)
        first = rng.choice(names)
        chosen = {name for name in names if rng.random() < (MUTATIONS - 1) / len(names)} | {first}
        mutant = dict(genes)
        for name in names:
            if name in chosen:
                domain, value = self.space.genes[name], genes[name]
                if isinstance(domain, IntRange) and rng.random() < STEP:
                    moved = int(value) + domain.step * rng.choice((-2, -1, 1, 2))
                    mutant[name] = moved if domain.contains(moved) else value
                else:
                    mutant[name] = domain.draw(rng)
        return mutant


class _Pool:
    """Networks that may be proposed, each with its chance and its worth."""

    def __init__(self, proposer: Proposer, goal: Goal | None, tried: set[tuple[object, ...]]) -> None:
        self.found: list[tuple[Candidate, float, float]] = []
        self.missed = self.over_budget = self.repeated = 0  # networks that were passed over: see `Draw`
        self._ceiling = proposer.ceiling(goal)
        self._beliefs, self._budget, self._goal = proposer.beliefs, proposer.budget, goal
        self._seen = set(tried)
        self._running = [t for _, t in sorted(self._beliefs.trials.items()) if t.fate == "running"]
        if goal is not None:
            pending = [t for n, t in self._beliefs.trials.items() if n in goal.confirming or t.fate == "running"]
            self._pending = [(t.num_params, self._beliefs.chance(t, goal)) for t in pending]
        else:
            self._front = self._expected_front()

    def parents(self) -> list[Genes]:
        """Return the genes of the trained networks that are worth the most, had they not been tried, best first."""
        trained = self._beliefs.trained
        networks = [self._beliefs.network(trial) for trial in trained]
        _, worths = self._judge(networks)
        order = sorted(range(len(trained)), key=lambda i: (-worths[i], trained[i].number))
        return [trained[i].genes for i in order[:PARENTS]]

    def add(self, candidates: Iterable[Candidate]) -> None:
        """Take in those of `candidates` that are new, and neither too large nor over the budget."""
        fresh: list[tuple[Candidate, Network]] = []
        for found in candidates:
            is_over_budget = not self._budget.admits(found.costs)
            self.over_budget += is_over_budget
            if is_over_budget or self._budget.size(found.costs) > self._ceiling:
                self.missed += 1
                continue
            identity = self._beliefs.identity(found.digest, found.genes)
            if identity in self._seen:
                self.repeated += 1
                continue
            self._seen.add(identity)
            size = self._budget.size(found.costs), found.costs.num_macs
            fresh.append((found, Network(found.genes, *size, identity)))
        if fresh:
            chances, worths = self._judge([network for _, network in fresh])
            self.found += [(found, float(c), float(w)) for (found, _), c, w in zip(fresh, chances, worths, strict=True)]

    def gain(self, found: Candidate, chance: float) -> float:
        """Return the log saving of parameters that is expected of a network; nan without a target."""
        if self._goal is None:
            return math.nan
        sizes = np.array([float(self._budget.size(found.costs))])
        return chance * float(saving(sizes, self._goal.below, self._budget.max_params)[0])

    def best(self, count: int) -> list[tuple[Candidate, float, float]]:
        """Return those that are worth the most, best first; of equal ones that which was drawn first."""
        # Without the last digits, which differ between machines.
        return sorted(self.found, key=lambda entry: -float(f"{entry[2]:.6g}"))[:count]

    def _judge(self, networks: list[Network]) -> tuple[Array, Array]:
        sizes = np.array([float(network.num_params) for network in networks])
        if self._goal is None:
            means, deviations = self._beliefs.ends(networks)
            if len(self._front) < 2:
                return np.full(len(networks), math.nan), means
            return np.full(len(networks), math.nan), hypervolume_gain(self._front, sizes, means, deviations)
        chances = self._beliefs.chances(networks, self._goal)
        gains = saving(sizes, self._goal.below, self._budget.max_params, self._pending)
        num_macs = np.array([float(network.num_macs) for network in networks])
        return chances, chances * gains / trial_cost(chances, num_macs, EXPECTED_SHARE, self._goal.num_seeds)

    def _expected_front(self) -> list[Point]:
        """Return the front of completed trials, and of running ones as they are expected to end."""
        completed = [t for t in self._beliefs.trained if t.final_accuracy is not None]
        points = [(float(t.num_params), log_odds(t.final_accuracy or 0.0)) for t in completed]
        for trial in self._running:
            mean, _ = self._beliefs.ends([self._beliefs.network(trial)], trial.number)
            points.append((float(trial.num_params), float(mean[0])))
        return pareto_front(points, lambda p: p[0], lambda p: p[1])
