"""Where the maps of a network lie in one block of memory, as small as possible."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from itertools import accumulate
from math import prod
from typing import NamedTuple

from nas.arch.lowering import IMAGE, Layer
from nas.arch.operations import Activation, Add, Conv2d

SHUFFLES = 400


class Plan(NamedTuple):
    """Where each map lies in one block of memory; offsets and sizes in elements."""

    image: int  # offset of the input image
    offsets: list[int]  # of each layer's output; the last layer's is the caller's own memory, at 0
    size: int


def works_in_place(layer: Layer) -> bool:
    """Return whether each output element depends on the input element at its place (in Add, on two of them)."""
    operation = layer.operation
    if isinstance(operation, Conv2d):
        one_by_one = operation.kernel == operation.stride == 1 and operation.padding == 0
        return one_by_one and operation.groups == operation.in_channels == operation.out_channels
    return isinstance(operation, (Activation, Add))


def overwrites_source(layers: list[Layer]) -> list[bool]:
    """Return for each layer whether it writes its output over its first source."""
    last_reader = {source: index for index, layer in enumerate(layers) for source in layer.sources}
    # A 1x1 convolution may read what a shortcut still needs; the image is not overwritten, to keep this simple. The
    # last layer writes to the caller's memory.
    return [
        works_in_place(layer)
        and layer.sources[0] != IMAGE
        and last_reader[layer.sources[0]] == index != len(layers) - 1
        for index, layer in enumerate(layers)
    ]


def plan_memory(layers: list[Layer]) -> Plan:
    """Return where all maps but the logits lie, in as little memory as they need while the layers run in order.

    In a chain of layers, each map is placed at the end opposite to the map that it is computed from, which is optimal.
    Where a shortcut leaves no room between them, maps are placed one by one, each as low as it can be: the largest
    first (Pisarchyk and Lee 2020, Efficient Memory Management for Deep Neural Net Inference, algorithm 3), in the order
    of the layers, in the reverse one, or in a shuffled one, whichever needs least.
    """
    overwrites = overwrites_source(layers)
    buffer_of, size = {IMAGE: IMAGE}, {IMAGE: prod(layers[0].input_shape)}
    source_of, last_use = {IMAGE: IMAGE}, {IMAGE: 0}
    final = len(layers) - 1
    for index, layer in enumerate(layers):
        for source in layer.sources:
            last_use[buffer_of[source]] = index
        source = layer.sources[0]
        if overwrites[index]:
            buffer_of[index] = buffer_of[source]
        else:
            buffer_of[index] = index
            if index != final:
                size[index], source_of[index] = prod(layer.output_shape), buffer_of[source]
        last_use[buffer_of[index]] = index
    change = Counter(size)
    for buffer, count in size.items():
        change[last_use[buffer] + 1] -= count
    peak = max(accumulate(change[moment] for moment in range(IMAGE, final + 1)))
    offsets = _at_opposite_ends(size, source_of, last_use, peak)
    if offsets is None:
        offsets = _smallest_of_many(size, last_use, peak)
    return Plan(offsets[IMAGE], [offsets[buffer_of[i]] for i in range(final)] + [0], _used(offsets, size))


def _used(offsets: dict[int, int], size: dict[int, int]) -> int:
    return max(offsets[buffer] + size[buffer] for buffer in size)


def _smallest_of_many(size: dict[int, int], last_use: dict[int, int], peak: int) -> dict[int, int]:
    """Return the offset of each buffer, placed in the first of `_orders` that needs `peak` alone, or else least."""
    best: dict[int, int] = {}
    for order in _orders(size):
        offsets = _one_by_one(order, size, last_use)
        if not best or _used(offsets, size) < _used(best, size):
            best = offsets
        if _used(best, size) == peak:
            break
    return best


def _orders(size: dict[int, int]) -> Iterator[list[int]]:
    """Yield the orders in which to place buffers."""
    yield sorted(size, key=lambda b: -size[b])
    yield list(size)
    yield list(reversed(size))
    # Within a shortcut around wide maps (an inverted block) none of these may do: 41 shuffles were the most needed for
    # 1,000 sampled networks.
    rng, order = random.Random(0), list(size)
    for _ in range(SHUFFLES):
        rng.shuffle(order)
        yield order


def _at_opposite_ends(
    size: dict[int, int], source_of: dict[int, int], last_use: dict[int, int], limit: int
) -> dict[int, int] | None:
    """Return the offset of each buffer within `limit`, or None where one does not fit."""
    offsets: dict[int, int] = {}
    live: list[int] = []
    for buffer, count in size.items():  # in the order in which they are written
        live = [b for b in live if last_use[b] >= buffer]
        free, end = [], 0
        for low, high in [*sorted((offsets[b], offsets[b] + size[b]) for b in live), (limit, limit)]:
            if low - end >= count:
                free.append((end, low))
            end = max(end, high)
        if not free:
            return None
        at_the_low_end = buffer != IMAGE and offsets[source_of[buffer]] == 0
        offsets[buffer] = free[-1][1] - count if at_the_low_end else free[0][0]
        live.append(buffer)
    return offsets


def _one_by_one(order: list[int], size: dict[int, int], last_use: dict[int, int]) -> dict[int, int]:
    """Return the offset of each buffer, placed in that order and each as low as it can be."""
    offsets: dict[int, int] = {}
    for buffer in order:
        alive_with = [b for b in offsets if b <= last_use[buffer] and buffer <= last_use[b]]
        end = 0
        for low, high in sorted((offsets[b], offsets[b] + size[b]) for b in alive_with):
            if low - end >= size[buffer]:
                break
            end = max(end, high)
        offsets[buffer] = end
    return offsets
