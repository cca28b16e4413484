"""Drawing networks that fit a budget: draw again, then repair, and never return one that exceeds it.

Rejection sampling returns almost only tiny networks or almost only networks at the budget, whichever the space holds
more of. So every draw aims at a size. Its ceiling is drawn from the range that the budget leaves, the upper end
included, and a draw is taken as it is where it lies in a window below that ceiling. Elsewhere its widths are scaled,
and then widened a step each, until it is as large as the ceiling allows. What a model proposes is drawn again a few
times before it is scaled.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from typing import NamedTuple

from nas.costs import Budget
from nas.space.assemble import Candidate, Genes, candidate, fit_candidate, is_valid, sort_widths
from nas.space.domains import Choice, IntRange, Value
from nas.space.prior import draw_from_prior
from nas.space.reachable import require_reachable
from nas.space.schema import Space
from nas.space.size_range import most_network

REDRAWS = 8  # draws that may miss their window before any size below the ceiling will do
PATIENCE = 3  # proposals of a model that are drawn again before one is repaired: a repair is not what it proposed
WINDOW = 0.75  # a draw fits its window when it has at least this part of the ceiling
BISECTIONS = 6
CLOSE = 0.98  # widths have been scaled enough when the network has at least this part of the ceiling
FILL = True  # whether a repair gives what scaling leaves over to widths, a step each


class Draw(NamedTuple):
    """A network within its budget, and what it took to get it."""

    candidate: Candidate
    redrawn: int  # draws that were thrown away before this one
    repaired: bool  # whether widths were changed after the last draw
    over_budget: int = 0  # of all those draws, the last included: those that exceeded the budget
    repeated: int = 0  # networks within their window that were passed over, as they had been drawn before


def random_genes(space: Space, rng: random.Random) -> dict[str, Value]:
    """Return one value for every gene, drawn independently and evenly, whatever the prior."""
    return {name: domain.draw(rng) for name, domain in space.genes.items()}


def draw_network(
    space: Space,
    budget: Budget,
    rng: random.Random,
    propose: Callable[[], Genes] | None = None,
    ceiling: int | None = None,
) -> Draw:
    """Return a network within `budget`, proposed by `propose` and repaired where need be.

    Args:
        space: what may be drawn.
        budget: never exceeded.
        rng: the source of the ceiling and of the repair's choices.
        propose: returns one value for every gene, those of the prior by default; called several times where its
            networks do not fit.
        ceiling: parameters to aim just below, counted as the budget does; at random over what that allows by default.

    Raises:
        BudgetError: no network of the space fits the budget.
    """
    least = require_reachable(space, budget)
    if ceiling is None:
        most = min(budget.max_params, budget.size(most_network(space, budget.count).costs))
        # Even in the square root: more often small, where a parameter is worth more, but not as often as in the
        # logarithm. A tenth beyond the upper end, so that the very largest networks come up as well.
        low, high = math.sqrt(budget.size(least.costs)), math.sqrt(1.1 * most)
        ceiling = min(round(rng.uniform(low, high) ** 2), most)
    ceiling = max(min(ceiling, budget.max_params), budget.size(least.costs))
    floor = WINDOW * ceiling
    patience = PATIENCE if propose else 0
    proposal: Genes = {}
    misfit: Candidate | None = None
    over_budget = 0
    for attempt in range(REDRAWS):
        proposed = propose() if propose else draw_from_prior(space, rng)
        if not is_valid(space, proposed):
            continue
        proposal = sort_widths(space, proposed)
        found = candidate(space, proposal)
        if found is None:
            continue
        over_budget += not budget.admits(found.costs)
        if budget.admits(found.costs) and floor <= budget.size(found.costs) <= ceiling:
            return Draw(found, attempt, False, over_budget)
        if attempt < patience:
            continue
        misfit = _resize(space, found, budget, ceiling) or misfit
        if misfit is not None and budget.size(misfit.costs) >= floor:
            return Draw(misfit, attempt, True, over_budget)
    return Draw(misfit or _from_least(space, least, proposal, budget, ceiling, rng), REDRAWS, True, over_budget)


def fit_network(space: Space, genes: Genes, budget: Budget, rng: random.Random, ceiling: int | None = None) -> Draw:
    """Return the network that `genes` describe or, where that is too large or none, one near it that fits.

    Widths are scaled. Where that does not suffice, the least network takes over the genes one by one while it fits.

    Args:
        space: what may be drawn.
        genes: a value within its domain for every gene.
        budget: never exceeded.
        rng: the order in which genes are taken over.
        ceiling: the most parameters, those of the budget by default.

    Raises:
        BudgetError: no network of the space fits the budget.
    """
    least = require_reachable(space, budget)
    ceiling = max(min(ceiling or budget.max_params, budget.max_params), budget.size(least.costs))
    proposal = sort_widths(space, genes)
    found = candidate(space, proposal)
    is_over_budget = found is not None and not budget.admits(found.costs)
    if found is not None and (is_over_budget or budget.size(found.costs) > ceiling):
        found = _resize(space, found, budget, ceiling)
    if found is None:
        found = _from_least(space, least, proposal, budget, ceiling, rng)
    return Draw(found, 0, found.genes != dict(genes), int(is_over_budget))


def draw_networks(space: Space, budget: Budget, seed: int) -> Iterator[Draw]:
    """Yield networks from the prior without end; one that was drawn before is drawn again, up to three times."""
    rng = random.Random(seed)
    seen: set[str] = set()
    while True:
        for _ in range(4):
            draw = draw_network(space, budget, rng)
            digest = draw.candidate.digest
            if digest not in seen:
                break
        seen.add(digest)
        yield draw


def _within(space: Space, genes: Genes, budget: Budget, ceiling: int) -> Candidate | None:
    """Return the network that `genes` describe where it is within `budget` and has at most `ceiling` parameters."""
    found = fit_candidate(space, genes, budget)
    return found if found is not None and budget.size(found.costs) <= ceiling else None


def _resize(space: Space, found: Candidate, budget: Budget, ceiling: int) -> Candidate | None:
    """Return `found` with its widths scaled to the largest network within `ceiling`.

    None where even the least widths exceed the ceiling or the budget. Counts grow with widths (but for a shortcut that
    needs no convolution where two are equal), so bisection finds the scale.
    """

    def scale_widths(scale: float) -> dict[str, Value]:
        genes = dict(found.genes)
        for name in space.width_genes:
            domain = space.genes[name]
            assert isinstance(domain, (IntRange, Choice))
            genes[name] = _scale_width(domain, genes[name], scale)
        return genes

    # Scale 0 has every width at its least, 1 is the network itself, and 2 has every width at its most.
    if budget.admits(found.costs) and budget.size(found.costs) <= ceiling:
        best, low, high = found, 1.0, 2.0
    else:
        smallest = _within(space, scale_widths(0.0), budget, ceiling)
        if smallest is None:
            return None
        best, low, high = smallest, 0.0, 1.0
    for _ in range(BISECTIONS):
        if budget.size(best.costs) >= CLOSE * ceiling:
            break
        middle = (low + high) / 2
        fits = _within(space, scale_widths(middle), budget, ceiling)
        if fits is None:
            high = middle
        else:
            low, best = middle, fits
    return _widen(space, best, budget, ceiling) if FILL else best


def _widen(space: Space, found: Candidate, budget: Budget, ceiling: int) -> Candidate:
    """Return `found` with each width a step wider where that stays within `ceiling`, those of the last stages first.

    No more than a step, so that all keep the proportions that were proposed.
    """
    best = found
    for name in reversed(space.width_genes):
        raised = _raise_width(space, best, name, budget, ceiling)
        if raised is not None and budget.size(raised.costs) > budget.size(best.costs):
            best = raised  # else too much, or a width that this network does not have
    return best


def _raise_width(space: Space, found: Candidate, name: str, budget: Budget, ceiling: int) -> Candidate | None:
    """Return `found` with the width `name` a step wider; None where its domain ends, or that exceeds `ceiling`."""
    domain, value = space.genes[name], int(found.genes[name])
    assert isinstance(domain, (IntRange, Choice))
    above = next((v for v in _options(domain) if v > value), None)
    if above is None:
        return None
    return _within(space, sort_widths(space, {**found.genes, name: above}), budget, ceiling)


def _scale_width(domain: IntRange | Choice, value: Value, scale: float) -> Value:
    """Return `value` moved towards the least of its domain (scale below 1) or towards the most (1 to 2)."""
    options = _options(domain)
    least, most, value = options[0], options[-1], int(value)
    exact = least + (value - least) * scale if scale <= 1 else value + (most - value) * (scale - 1)
    if isinstance(domain, IntRange):
        return least + domain.step * int((exact - least) / domain.step)
    return max(option for option in options if option <= exact)


def _options(domain: IntRange | Choice) -> list[int]:
    """Return the widths of a domain, ascending."""
    return sorted(map(int, domain.values()))


def _from_least(
    space: Space, least: Candidate, proposal: Genes, budget: Budget, ceiling: int, rng: random.Random
) -> Candidate:
    """Return the least network, moved towards `proposal` gene by gene while it fits: no proposal could be repaired."""
    best = least
    for name in rng.sample(sorted(space.genes), len(space.genes)):
        genes = sort_widths(space, {**best.genes, name: proposal.get(name, best.genes[name])})
        best = _within(space, genes, budget, ceiling) or best
    return best
