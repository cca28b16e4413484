"""Whether a budget can be met in a space, and what forces it where it cannot."""

from __future__ import annotations

import functools
from collections.abc import Callable
from math import prod

from nas.arch import Layer
from nas.costs import Budget, layers_that_count, max_work_bytes
from nas.costs.counting import BYTES_PER_ACTIVATION
from nas.errors import BudgetError
from nas.space.assemble import Candidate
from nas.space.schema import Space
from nas.space.size_range import Goal, extreme, find_extreme, least_network


@functools.lru_cache(maxsize=32)
def require_reachable(space: Space, budget: Budget) -> Candidate:
    """Return a small network of the space within `budget`: the smallest, unless that exceeds another limit.

    Raises:
        BudgetError: no network of the space fits; says the least there is and what forces it.
    """
    _require_params(space, budget)
    least = least_network(space, budget.count)
    if budget.admits(least.costs):
        return least
    _require_macs(space, budget)
    _require_activation_bytes(space, budget)
    # One weighted cost at a time, since limits on two sums have no exact answer of this kind; the peak of activations
    # needs no weight.
    macs = 1.0 / budget.max_macs if budget.max_macs else 0.0
    nearest = least
    for weight in (0.0, 1.0, 0.25, 4.0, 0.06, 16.0) if macs else (0.0,):
        goal = Goal(1.0 / budget.max_params, weight * macs, count=budget.count)
        found = find_extreme(space, goal, _most_activation_bytes(space, budget))
        if found is None:
            break
        if budget.admits(found.costs):
            return found
        nearest = found
    raise BudgetError(
        f"no network of space {space.name!r} was found within all limits at once; near them, "
        f"one of {budget.size(nearest.costs):,} {budget.unit} has: {'; '.join(budget.excesses(nearest.costs))}; raise "
        "that limit"
    )


def _most_activation_bytes(space: Space, budget: Budget) -> int | None:
    """Return the limit on float32 activations that keeps a network within that on activations, and that on RAM.

    In 8 bits the maps take a quarter of it at most, and memory is planned so that no more is needed.
    """
    if budget.max_ram is None:
        return budget.max_activation_bytes
    of_ram = BYTES_PER_ACTIVATION * (max_work_bytes(budget.max_ram, space.classes))
    peak = extreme(space, Goal(peak=True)).costs.peak_activation_bytes
    return min(budget.max_activation_bytes or of_ram, max(of_ram, peak))


def _require_params(space: Space, budget: Budget) -> None:
    least = least_network(space, budget.count)
    size, layers = budget.size(least.costs), layers_that_count(least.layers, budget.count)
    if budget.max_params < size:
        raise BudgetError(
            f"`max_params` {budget.max_params:,}: the smallest network of space {space.name!r} has "
            f"{size:,} {budget.unit} ({_largest(layers, lambda layer: layer.num_params)}); raise "
            f"`max_params` to {size:,} or more, or take a space with smaller widths or fewer blocks"
        )


def _require_macs(space: Space, budget: Budget) -> None:
    if budget.max_macs is None:
        return
    least = extreme(space, Goal(params=0.0, macs=1.0))
    if budget.max_macs < least.costs.num_macs:
        raise BudgetError(
            f"`max_macs` {budget.max_macs:,}: the network of space {space.name!r} with the fewest multiply-accumulates "
            f"has {least.costs.num_macs:,} ({_largest(least.layers, lambda layer: layer.num_macs)}); raise `max_macs` "
            f"to {least.costs.num_macs:,} or more, or take a space with smaller widths or earlier pools"
        )


def _require_activation_bytes(space: Space, budget: Budget) -> None:
    if budget.max_activation_bytes is None:
        return
    least = extreme(space, Goal(peak=True))
    peak = least.costs.peak_activation_bytes
    if budget.max_activation_bytes < peak:

        def held(layer: Layer) -> int:
            # Norms and activations work in place; see nas.costs.costs_of.
            floats = prod(layer.input_shape) + prod(layer.output_shape)
            return floats * BYTES_PER_ACTIVATION if layer.num_macs else 0

        raise BudgetError(
            f"`max_activation_bytes` {budget.max_activation_bytes:,}: every network of space {space.name!r} holds "
            f"{peak:,} or more at once ({_largest(least.layers, held, 1)}); raise `max_activation_bytes` to {peak:,} "
            "or more, or take a space with smaller first widths"
        )


def _largest(layers: list[Layer], amount: Callable[[Layer], int], count: int = 3) -> str:
    """Describe the `count` layers that hold most of a cost, with the amount of each."""
    layers = sorted(layers, key=amount, reverse=True)[:count]
    return ", ".join(
        f"{layer.operation.kind} {'x'.join(map(str, layer.input_shape))} to "
        f"{'x'.join(map(str, layer.output_shape))} has {amount(layer):,}"
        for layer in layers
    )
