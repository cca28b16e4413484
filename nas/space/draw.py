"""Drawing networks that fit a budget: draw again, then repair, and never return one that exceeds it.

A plain draw that is repeated until it fits collapses to tiny networks or to the budget's edge, whichever the space
makes common. So every draw aims at a size: a window below a ceiling that is itself drawn from the range that the
budget leaves, the upper end included. A draw that misses its window a few times has its widths shrunk or grown until
it is as large as the ceiling allows.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple

from nas.arch import Budget
from nas.errors import BudgetError
from nas.space.assemble import Candidate, Genes, candidate, fitting
from nas.space.domains import Choice, IntRange, Value
from nas.space.schema import Space

REDRAWS = 8  # draws that may miss their window before one is repaired
WINDOW = 0.75  # a draw fits its window when it has at least this part of the ceiling
BISECTIONS = 6


class Draw(NamedTuple):
    """A network within its budget, and what it took to get it."""

    candidate: Candidate
    redrawn: int  # draws that were thrown away before this one
    repaired: bool  # whether widths were changed after the last draw


def random_genes(space: Space, rng: random.Random) -> dict[str, Value]:
    """One value for every gene, independently."""
    return {name: domain.draw(rng) for name, domain in space.genes.items()}


def draw_network(
    space: Space,
    budget: Budget,
    rng: random.Random,
    propose: Callable[[], Genes] | None = None,
    ceiling: int | None = None,
) -> Draw:
    """A network of at most `budget`, proposed by `propose` (at random by default) and repaired where it must be.

    Args:
        space: what may be drawn.
        budget: never exceeded.
        rng: the source of the ceiling and of the repair's choices.
        propose: returns one value for every gene; called up to `REDRAWS` times.
        ceiling: parameters to aim below; drawn at random by default, with a window of sizes under it. A given ceiling
            has no window: anything below it fits.

    Raises:
        BudgetError: no network of the space fits the budget.
    """
    least = least_network(space)
    if not budget.admits(least.costs):
        require_reachable(space, budget)
        least = least_network(space, _weights_of(budget))
    windowed = ceiling is None
    if ceiling is None:
        most = min(budget.max_params, most_network(space).costs.num_params)
        ceiling = round(rng.uniform(least.costs.num_params, most))
    ceiling = max(min(ceiling, budget.max_params), least.costs.num_params)
    limit = replace(budget, max_params=ceiling)
    floor = WINDOW * ceiling if windowed else 0
    proposal: Genes = {}
    misfit: Candidate | None = None
    for attempt in range(REDRAWS):
        proposal = propose() if propose else random_genes(space, rng)
        found = candidate(space, proposal)
        if found is None:
            continue
        if limit.admits(found.costs) and found.costs.num_params >= floor:
            return Draw(found, attempt, False)
        repaired = _resize(space, found, limit, rng)
        if repaired is not None and (attempt == REDRAWS - 1 or repaired.costs.num_params >= floor):
            return Draw(repaired, attempt, True)
        misfit = repaired or misfit
    return Draw(misfit or _from_least(space, least, proposal, limit, rng), REDRAWS, True)


def draw_networks(space: Space, budget: Budget, seed: int) -> Iterator[Draw]:
    """Random networks without end, a repeated one drawn again a few times before it is let through."""
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


def _resize(space: Space, found: Candidate, limit: Budget, rng: random.Random) -> Candidate | None:
    """`found` with its widths scaled to the largest network within `limit`; None where even the least widths exceed it.

    Every count grows with every width, so bisection finds the scale; what it leaves over goes to single widths, in
    random order.
    """

    def scaled(scale: float) -> dict[str, Value]:
        genes = dict(found.genes)
        for name in widths:
            domain = space.genes[name]
            assert isinstance(domain, (IntRange, Choice))
            genes[name] = _scaled(domain, genes[name], scale)
        return genes

    widths = [name for name in space.width_genes if name in found.genes]
    best = fitting(space, scaled(0.0), limit)
    if best is None:
        return None
    # Scale 1 is the network itself, and 2 has every width at its most.
    low, high = (0.0, 1.0) if not limit.admits(found.costs) else (1.0, 2.0)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        fits = fitting(space, scaled(middle), limit)
        if fits is None:
            high = middle
        else:
            low, best = middle, fits
    for name in rng.sample(widths, min(len(widths), 4)):
        domain, value = space.genes[name], best.genes[name]
        if isinstance(domain, IntRange) and domain.contains(int(value) + domain.step):
            best = fitting(space, {**best.genes, name: int(value) + domain.step}, limit) or best
    return best


def _scaled(domain: IntRange | Choice, value: Value, scale: float) -> Value:
    """`value` moved towards the least of its domain (scale below 1) or towards the most (1 to 2)."""
    options = sorted(int(o) for o in domain.extremes())
    least, most, value = options[0], options[-1], int(value)
    exact = least + (value - least) * scale if scale <= 1 else value + (most - value) * (scale - 1)
    if isinstance(domain, IntRange):
        return least + domain.step * int((exact - least) / domain.step)
    return max(o for o in options if o <= exact)


def _from_least(space: Space, least: Candidate, proposal: Genes, limit: Budget, rng: random.Random) -> Candidate:
    """Where no proposal can be repaired: the least network, moved towards `proposal` gene by gene while it fits."""
    best = least
    for name in rng.sample(sorted(space.genes), len(space.genes)):
        best = fitting(space, {**best.genes, name: proposal[name]}, limit) or best
    return best


# What is weighed when the least network is looked for: parameters, then whatever else a budget limits.
_Weights = tuple[float, float, float]
_PARAMETERS_ALONE: _Weights = (1.0, 0.0, 0.0)


def _weights_of(budget: Budget) -> _Weights:
    return (
        1.0 / budget.max_params,
        1.0 / budget.max_macs if budget.max_macs else 0.0,
        1.0 / budget.max_activation_bytes if budget.max_activation_bytes else 0.0,
    )


@functools.lru_cache(maxsize=32)
def least_network(space: Space, weights: _Weights = _PARAMETERS_ALONE) -> Candidate:
    """The smallest network that the space can reach; see `_extreme` for how it is found."""
    return _extreme(space, weights, 1)


@functools.lru_cache(maxsize=32)
def most_network(space: Space) -> Candidate:
    """The largest network that the space can reach; see `_extreme` for how it is found."""
    return _extreme(space, _PARAMETERS_ALONE, -1)


def _extreme(space: Space, weights: _Weights, sign: int) -> Candidate:
    """The candidate with the least (sign 1) or most (-1) weighted cost, by coordinate descent from several starts.

    Costs are sums over layers that each grow with every width, so a descent over one gene at a time, with all its
    extreme values tried, ends in the optimum but for rare ties among structures; the starts are there for those.
    """
    rng = random.Random(0)

    def cost(found: Candidate) -> float:
        parts = (found.costs.num_params, found.costs.num_macs, found.costs.peak_activation_bytes)
        return sign * sum(w * p for w, p in zip(weights, parts, strict=True))

    best: Candidate | None = None
    structural = [name for name, domain in space.genes.items() if not name.startswith("recipe.")]
    for start in range(4):
        genes = {n: d.extremes()[0 if sign > 0 else -1] for n, d in space.genes.items()}
        if start:
            genes.update({n: v for n, v in random_genes(space, rng).items() if n not in space.width_genes})
        here = candidate(space, genes)
        improved = True
        while improved:
            improved = False
            for name in structural:
                for value in space.genes[name].extremes():
                    there = candidate(space, {**genes, name: value})
                    if there is not None and (here is None or cost(there) < cost(here)):
                        here, genes, improved = there, there.genes, True
        if here is not None and (best is None or cost(here) < cost(best)):
            best = here
    if best is None:
        raise BudgetError(
            f"no network of space {space.name!r} keeps a map of "
            f"{space.input.height}x{space.input.width} pixels alive; use fewer stages, or padding = 'same'"
        )
    return best


def require_reachable(space: Space, budget: Budget) -> None:
    """Refuses a budget that no network of the space meets, with the smallest size there is and what forces it.

    Raises:
        BudgetError: no network of the space fits.
    """
    least = least_network(space)
    if budget.max_params < least.costs.num_params:
        largest = sorted(least.layers, key=lambda layer: -layer.num_params)[:3]
        parts = ", ".join(
            f"{layer.operation.kind} {'x'.join(map(str, layer.input_shape))} to "
            f"{'x'.join(map(str, layer.output_shape))} has {layer.num_params:,}"
            for layer in largest
        )
        raise BudgetError(
            f"--max-params {budget.max_params:,}: the smallest network of space {space.name!r} has "
            f"{least.costs.num_params:,} parameters ({parts}); raise --max-params to {least.costs.num_params:,} or "
            f"more, or take a space with smaller widths or fewer blocks"
        )
    if budget.admits(least.costs):
        return
    balanced = least_network(space, _weights_of(budget))
    if not budget.admits(balanced.costs):
        raise BudgetError(
            f"no network of space {space.name!r} was found within the budget; the nearest: "
            + "; ".join(budget.excesses(balanced.costs))
            + "; raise that limit"
        )
