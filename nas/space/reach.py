"""The sizes that a space can reach: its least and its most network, found exactly, and whether a budget can be met.

A network is a path of blocks and junctions over the shape of the map between them, and what it costs is a sum (or,
for the peak of activations, a maximum) over that path. So the cheapest way to each shape is all that need be kept
(Bellman 1957). Two things keep the paths few: what blocks wear costs more or less whatever else is chosen, and so is
settled first; and every cost grows with every width but where two widths become equal (a shortcut without a
convolution, a block that may repeat), so only widths at or next to such a meeting are tried.
"""

from __future__ import annotations

import bisect
import functools
import itertools
import random
from collections.abc import Iterable, Iterator, Sequence
from math import prod
from typing import Any, NamedTuple

from nas.arch import Architecture, Budget, Costs, Dress, Head, Input, Layer, costs_of, lower
from nas.arch.costs import BYTES_PER_ACTIVATION
from nas.arch.description import BodyItem, Channels
from nas.arch.operations import Shape
from nas.errors import ArchitectureError, BudgetError
from nas.space.assemble import Candidate, block_of, candidate, dress_of, head_of, junction_of, last_block
from nas.space.domains import Choice, IntRange, Scope, Value
from nas.space.schema import Space, gene_name

Genes = dict[str, Value]

# What each adds to a network's parameters, from least to most; none of it touches the other costs.
_BY_WEIGHT: dict[str, tuple[Value, ...]] = {
    "dress.bias": (False, True),
    "dress.norm": ("none", "batch"),
    "dress.activation": ("none", "relu", "leaky_relu", "silu", "gelu", "hardswish", "prelu"),
    "dress.last": ("bare", "no_norm", "full"),
    "transition.dress": ("bare", "dressed"),
    "head.bias": (False, True),
}
_BLOCK = ("block.kind", "block.width", "block.kernel", "block.padding", "block.shortcut", "block.repeat")
_JUNCTION = ("stages.junction", "transition.width")
_NETWORK = ("stages.blocks", "stages.pool_size", "block.first", *_BLOCK, *_JUNCTION)
_HEAD = ("head.kind", "head.kernel", "head.padding")
# The most ways of choosing genes together that are all tried. A space beyond it has only the ends of its ranges
# tried, then a sample: its extremes are close, not exact. Whatever a person writes down by hand stays below.
MOST_CHOICES = 300


class _Cost(NamedTuple):
    """What is made small (sign 1) or large (-1)."""

    params: float = 1.0  # weight of each parameter
    macs: float = 0.0  # weight of each multiply-accumulate
    peak: bool = False  # the peak of activations in place of both
    sign: int = 1

    def of(self, costs: Costs) -> float:
        if self.peak:
            return self.sign * costs.peak_activation_bytes
        return self.sign * (self.params * costs.num_params + self.macs * costs.num_macs)

    def join(self, one: float, other: float) -> float:
        return max(one, other) if self.peak else one + other


class _State(NamedTuple):
    """Where a path stands: the shape of the map, and the stride that the next block takes."""

    shape: Shape
    stride: int


class _Path(NamedTuple):
    """The best way to a state, as the genes that its last step settled and the path before it."""

    cost: float
    genes: Genes
    before: _Path | None = None

    def all_genes(self) -> Genes:
        path: _Path | None = self
        genes: Genes = {}
        while path:
            genes = {**path.genes, **genes}
            path = path.before
        return genes


_Paths = dict[_State, _Path]


class _Search:
    def __init__(self, space: Space, cost: _Cost, max_activation_bytes: int | None) -> None:
        self.space, self.cost, self.max_activation_bytes = space, cost, max_activation_bytes
        stem = space.input
        self.start = _State((stem.channels, stem.height, stem.width), 1)
        self.fragments: dict[tuple[BodyItem, Shape], tuple[float, Shape] | None] = {}
        self.heads: dict[Shape, tuple[float, Genes] | None] = {}
        self.best: _Path | None = None
        self.worn = {k: self._worn(k) for k in _BY_WEIGHT if k in space.genes}
        self.dress: Dress = dress_of(space, {**space.plain_genes, **self.worn})

    def run(self) -> Candidate | None:
        for genes in self._choices(_NETWORK, "network"):
            self._walk(genes)
        if self.best is None:
            return None
        found = candidate(self.space, {**self.space.plain_genes, **self.worn, **self.best.all_genes()})
        assert found is not None
        return found

    def _worn(self, key: str) -> Value:
        options = sorted(self.space.genes[key].values(), key=_BY_WEIGHT[key].index)
        return options[0] if self.cost.sign > 0 else options[-1]

    def _walk(self, network: Genes) -> None:
        """All networks whose genes of the network's own are `network`."""
        counts, blocks = self.space.settings["stages.count"], self.space.settings["stages.blocks"]
        numbers = [int(n) for n in blocks.domain.values()]
        if blocks.per == "network":
            numbers = [int(self.space.value(network, "stages.blocks"))]
        most_stages = max(int(n) for n in counts.domain.values())
        entering: _Paths = {self.start: _Path(0.0 if self.cost.sign > 0 or not self.cost.peak else 0.0, network)}
        for stage in range(1, most_stages + 1):
            leaving: _Paths = {}
            may_end = counts.domain.contains(stage)
            for own in self._choices(_BLOCK, "stage", stage):
                paths = {state: _Path(path.cost, own, path) for state, path in entering.items()}
                steps = functools.cache(functools.partial(self._blocks, {**network, **own}, stage))
                for number in range(1, max(numbers) + 1):
                    count = {gene_name("stages.blocks", blocks.per, stage, 1): number}
                    if may_end and number in numbers:
                        self._end(paths, steps, number, {**count, "stages.count": stage})
                    if stage == most_stages and number == max(numbers):
                        break
                    paths = self._step(paths, steps, number)
                    if number in numbers:
                        for state, path in paths.items():
                            self._keep(leaving, state, _Path(path.cost, count, path))
            entering = self._cross(leaving, network, stage)
