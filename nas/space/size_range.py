"""The size range of a space: its smallest and its largest network, found exactly.

A network is a path of blocks and junctions over the shapes of the maps between them, and what it costs is a sum over
that path (a maximum for the peak of activations). So dynamic programming over the shapes finds it (Bellman 1957,
Dynamic Programming): only the cheapest path to each shape is kept. Two prunings bound the options. Bias, norm and
activation cost more or less whatever else is chosen, and are settled first. And every cost grows with every width,
but where two widths become equal (a shortcut that needs no convolution, a block that may repeat) or divide into
groups, so only widths at, beside or next above such a meeting are tried.
"""

from __future__ import annotations

import bisect
import functools
import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import lcm, prod
from typing import NamedTuple

from nas.arch import IMAGE, Architecture, Block, Head, Input, Layer, lower
from nas.arch.description import BodyItem
from nas.arch.operations import Shape
from nas.costs import COUNTED, Costs, Count, costs_of, layers_that_count
from nas.errors import ArchitectureError, BudgetError
from nas.space.assemble import Candidate, block_of, candidate, head_of, junction_of, last_block, norm_act_of
from nas.space.domains import Scope, Value
from nas.space.schema import KEYS, Space

_Values = dict[str, Value]  # by key, of one place

# What each adds to a network's parameters, from least to most; none of it touches the other costs.
_BY_WEIGHT: dict[str, tuple[Value, ...]] = {
    "norm_act.bias": (False, True),
    "norm_act.norm": ("none", "batch_plain", "batch_scalars", "batch_bias", "batch"),  # of two channels and more
    "norm_act.activation": ("none", "relu", "leaky_relu", "silu", "gelu", "hardswish", "prelu"),
    "norm_act.middle": ("none", "batch_plain", "batch_scalars", "batch_bias", "batch"),  # `same` is the norm
    "norm_act.order": ("norm_first", "activation_first"),  # a norm behind an activation cannot be folded
    "norm_act.last": ("none", "no_norm", "full"),
    "transition.norm_act": ("none", "blocks"),
    "head.bias": (False, True),
}
_WIDTHS = ("block.width", "transition.width")
_NUMBERS = (*_WIDTHS, "stages.blocks", "stages.pool_size", "block.kernel", "block.repeat", "head.kernel")
_BLOCK = tuple(
    f"block.{name}"
    for name in ("first", "kind", "width", "kernel", "padding", "shortcut", "repeat", "expansion", "groups")
)
_JUNCTION = ("stages.pool_size", "stages.junction", "transition.width")
_HEAD = ("head.kind", "head.kernel", "head.padding")
# Values of one place's genes that are tried together. Where there are more, only the ends of numbers are, and of
# those ways a sample: the extremes of such a space may be missed by a little, and no space can make the search hang.
MOST_WAYS = 200


@dataclass(frozen=True)
class Goal:
    """The cost that is made small (`sign` 1) or large (-1)."""

    params: float = 1.0  # weight of a parameter
    macs: float = 0.0  # weight of a multiply-accumulate
    peak: bool = False  # the peak of activations in place of both
    sign: int = 1
    count: Count = "trained"  # the parameters that `params` is about

    def of(self, costs: Costs) -> float:
        """Return the cost of a network, or of a part of one."""
        if self.peak:
            return costs.peak_activation_bytes
        return self.sign * (self.params * int(getattr(costs, COUNTED[self.count])) + self.macs * costs.num_macs)

    def join(self, one: float, other: float) -> float:
        """Return the cost of two parts together."""
        return max(one, other) if self.peak else one + other


class _State(NamedTuple):
    """Where a path stands: the shape of the map, and the stride of the block that comes next."""

    shape: Shape
    stride: int


class _Path(NamedTuple):
    """The best way found to a state: the genes that its last step settled, and the path before."""

    cost: float
    genes: _Values
    before: _Path | None


_Paths = dict[_State, _Path]
_Steps = list[tuple[_State, float, _Values]]  # where a step leads, what it costs, and the values that make it


class _Search:
    def __init__(self, space: Space, goal: Goal, max_activation_bytes: int | None) -> None:
        self.space, self.goal, self.max_activation_bytes = space, goal, max_activation_bytes
        self.best: _Path | None = None
        self.present = set(space.keys.values())
        self.block_keys = (*_BLOCK, *(key for key in space.settings if key not in KEYS))
        self.settled = dict(space.plain_genes)
        for key, by_weight in _BY_WEIGHT.items():
            if key in self.present:
                norm = space.value(self.settled, "norm_act.norm")
                values = space.settings[key].domain.values()
                options = sorted(values, key=lambda v: by_weight.index(norm if v == "same" else v))
                self.settled[space.gene(key)] = space.gene_value(key, options[0 if goal.sign > 0 else -1])
        self.norm_act = norm_act_of(space, self.settled)
        self.item_cost = functools.cache(self._item_cost)
        self.head_step = functools.cache(self._head_step)
        self.blocks = functools.cache(self._blocks)
        self.block_steps = functools.cache(self._block_steps)
        self.junction_steps = functools.cache(self._junction_steps)

    def run(self) -> Candidate | None:
        for network in self._ways(("stages.blocks", *self.block_keys, *_JUNCTION), "network"):
            self._walk(network)
        if self.best is None:
            return None
        return candidate(self.space, {**self.settled, **_collect_genes(self.best)})

    def _walk(self, network: _Values) -> None:
        """Look at all networks whose network-wide genes are `network`."""
        counts, blocks = (self.space.settings[key].domain.values() for key in ("stages.count", "stages.blocks"))
        if "stages.blocks" in network:
            blocks = [network["stages.blocks"]]
        stages, most = max(map(int, counts)), max(map(int, blocks))
        stem = self.space.input
        entering: _Paths = {_State((stem.channels, stem.height, stem.width), 1): _Path(0.0, network, None)}
        for stage in range(1, stages + 1):
            leaving: _Paths = {}
            for own in self._ways(self.block_keys, "stage"):
                fixed = tuple({**network, **own}.items())
                paths = {s: _Path(p.cost, self._by_gene(own, stage), p) for s, p in entering.items()}
                for number in range(1, most + 1):
                    first = stage == number == 1
                    so_far = self._by_gene({"stages.blocks": number, "stages.count": stage}, stage)
                    if number in blocks and stage in counts:
                        last = functools.partial(self.block_steps, fixed, first, True)
                        self._end(self._step(paths, last, stage, number), so_far)
                    onward = functools.partial(self.block_steps, fixed, first, False)
                    paths = self._step(paths, onward, stage, number)
                    if number in blocks:
                        so_far.pop("stages.count", None)
                        for state, path in paths.items():
                            if state not in leaving or path.cost < leaving[state].cost:
                                leaving[state] = _Path(path.cost, so_far, path)
            if stage < stages:
                cross = functools.partial(self.junction_steps, tuple(network.items()))
                entering = self._step(leaving, cross, stage)

    def _step(self, paths: _Paths, steps: Callable[[_State], _Steps], stage: int, number: int = 1) -> _Paths:
        """Return the best paths one step on."""
        result: _Paths = {}
        for state, path in paths.items():
            for there, cost, values in steps(state):
                total = self.goal.join(path.cost, cost)
                if there not in result or total < result[there].cost:
                    result[there] = _Path(total, self._by_gene(values, stage, number), path)
        return result

    def _end(self, paths: _Paths, so_far: _Values) -> None:
        """Put a head on each of `paths`; keep the best network."""
        for state, path in paths.items():
            head = self.head_step(state.shape)
            if head is not None:
                total = self.goal.join(path.cost, head[0])
                if self.best is None or total < self.best.cost:
                    self.best = _Path(total, {**so_far, **head[1]}, path)

    def _block_steps(self, fixed: tuple[tuple[str, Value], ...], first: bool, last: bool, state: _State) -> _Steps:
        result: dict[_State, tuple[float, _Values]] = {}
        for block, values in self.blocks(fixed, first, last, state.shape[0], state.stride).items():
            found = self.item_cost(block, state.shape)
            if found is not None:
                there = _State(found[1], 1)
                if there not in result or found[0] < result[there][0]:
                    result[there] = found[0], values
        return [(there, *found) for there, found in result.items()]

    def _blocks(
        self, fixed: tuple[tuple[str, Value], ...], first: bool, last: bool, channels: int, stride: int
    ) -> dict[Block, _Values]:
        """Return the blocks that there may be behind `channels`, each with values that make it."""
        number = 1 if first else 2  # any place with these genes will do; the first block alone has its own rules
        result: dict[Block, _Values] = {}
        for values in self._ways(self.block_keys, "block"):
            genes = self._by_gene({**dict(fixed), **values}, 1, number)
            block = block_of(self.space, genes, 1, number, channels, stride, self.norm_act)
            result.setdefault(last_block(self.space, self.settled, block, channels) if last else block, values)
        return result

    def _junction_steps(self, fixed: tuple[tuple[str, Value], ...], state: _State) -> _Steps:
        result: _Steps = []
        for values in self._ways(_JUNCTION, "stage"):
            genes = {**self.settled, **self._by_gene({**dict(fixed), **values}, 1)}
            items, _, stride = junction_of(self.space, genes, 1, state.shape[0], self.norm_act)
            cost, shape = 0.0, state.shape
            for item in items:
                found = self.item_cost(item, shape)
                if found is None:
                    break
                cost, shape = self.goal.join(cost, found[0]), found[1]
            else:
                result.append((_State(shape, stride), cost, values))
        return result

    def _item_cost(self, item: BodyItem, shape: Shape) -> tuple[float, Shape] | None:
        """Return what `item` costs on a map of `shape`, and the shape of its output; None where it cannot be there."""
        layers = _layers_on(item, shape)
        return self._cost_and_shape(layers) if layers else None

    def _head_step(self, shape: Shape) -> tuple[float, _Values] | None:
        best: tuple[float, _Values] | None = None
        for values in self._ways(_HEAD, "network"):
            head = head_of(self.space, {**self.settled, **values})
            try:
                layers = lower(Architecture(Input(*shape), self.space.classes, (), head))
            except ArchitectureError:
                continue
            found = self._cost_and_shape(layers)
            if found is not None and (best is None or found[0] < best[0]):
                best = found[0], values
        return best

    def _cost_and_shape(self, layers: list[Layer]) -> tuple[float, Shape] | None:
        if not self.goal.peak and not self.goal.macs and self.max_activation_bytes is None:
            num_params = sum(layer.num_params for layer in layers_that_count(layers, self.goal.count))
            return self.goal.sign * self.goal.params * num_params, layers[-1].output_shape
        costs = costs_of(layers)
        if self.max_activation_bytes is not None and costs.peak_activation_bytes > self.max_activation_bytes:
            return None
        return self.goal.of(costs), layers[-1].output_shape

    def _by_gene(self, values: _Values, stage: int, number: int = 1) -> _Values:
        """Return `values` by gene, for a stage and block, without keys that are no genes."""
        return {self.space.gene(key, stage, number): v for key, v in values.items() if key in self.present}

    def _ways(self, keys: tuple[str, ...], per: Scope) -> list[_Values]:
        """Return all ways to give values to those of `keys` that are genes of `per`."""
        return _ways(self.space, keys, per, self.goal.sign)


@functools.lru_cache(maxsize=16_384)
def _layers_behind(item: BodyItem, channels: int) -> list[Layer]:
    """Return the layers of `item` behind `channels`, on a map so large that it survives; none where it cannot be."""
    large = Input(channels, 1 << 16, 1 << 16)
    try:
        return lower(Architecture(large, 2, (item,), Head("flatten_linear")))[:-1]
    except ArchitectureError:
        return []


def _layers_on(item: BodyItem, shape: Shape) -> list[Layer]:
    """Return the layers of `item` on a map of `shape`, as lowering would; none where it cannot be there."""
    layers: list[Layer] = []
    for layer in _layers_behind(item, shape[0]):
        source = layer.sources[0]
        there = shape if source == IMAGE else layers[source].output_shape
        output = layer.operation.output_shape(there)
        if min(output) < 1:
            return []
        macs = layer.operation.num_macs(output)
        layers.append(Layer(*layer[:4], there, output, layer.num_params, macs))
    return layers


def _collect_genes(path: _Path | None) -> _Values:
    genes: _Values = {}
    while path is not None:
        genes = {**path.genes, **genes}
        path = path.before
    return genes


@functools.lru_cache(maxsize=256)
def _ways(space: Space, keys: tuple[str, ...], per: Scope, sign: int) -> list[_Values]:
    present = set(space.keys.values())
    options = {key: _options(space, key, sign) for key in keys if key in present and space.settings[key].per == per}
    if prod(map(len, options.values())) > MOST_WAYS:
        options = {k: sorted({min(o), max(o)}) if k in _NUMBERS else o for k, o in options.items()}
    ways = [dict(zip(options, way, strict=True)) for way in itertools.product(*options.values())]
    return ways if len(ways) <= MOST_WAYS else random.Random(0).sample(ways, MOST_WAYS)


def _options(space: Space, key: str, sign: int) -> Sequence[Value]:
    """Return the values of `key` that the smallest (`sign` 1) or largest (-1) network may have."""
    values = space.settings[key].domain.values()
    if key in _WIDTHS:
        return _widths(space, key, sign)
    if key == "block.expansion":
        return [min(values, key=lambda value: sign * int(value))]
    if key == "block.groups":
        # Of two numbers of which one divides the other, the larger never makes a network larger.
        numbers = [int(value) for value in values]
        if sign > 0:
            return [n for n in numbers if not any(other % n == 0 for other in numbers if other != n)]
        return [n for n in numbers if not any(n % other == 0 for other in numbers if other != n)]
    return values


def _widths(space: Space, key: str, sign: int) -> Sequence[Value]:
    """Return the widths that the smallest (`sign` 1) or largest (-1) network may have."""
    ends = {k: sorted(int(v) for v in space.settings[k].domain.values()) for k in _WIDTHS}
    own = ends[key]
    meetings = [values[0 if sign > 0 else -1] for values in ends.values()]
    repeats = space.settings["block.repeat"].domain.values()
    groups = [int(value) for value in space.settings["block.groups"].domain.values()]
    if not space.settings["block.shortcut"].domain.contains("auto") and repeats == (1,) and groups == [1]:
        return own[:1] if sign > 0 else own[-1:]
    meetings.append(space.input.channels)
    beside = (bisect.bisect_left(own, width) for width in meetings)
    above = (next((v for v in own if v >= m and v % g == 0), own[0]) for m in meetings for g in _divisors(groups))
    return sorted({value for i in beside for value in own[max(i - 1, 0) : i + 2]} | set(above))


def _divisors(numbers: Sequence[int]) -> list[int]:
    """Return what divides the least common multiple of `numbers`, unless they are 1: the parts of widths in groups."""
    multiple = lcm(*numbers)
    return [d for d in range(2, min(multiple, 64) + 1) if multiple % d == 0]


def find_extreme(space: Space, goal: Goal, max_activation_bytes: int | None = None) -> Candidate | None:
    """Return the network of the space that costs the least by `goal`, within a limit; None where there is none."""
    return _Search(space, goal, max_activation_bytes).run()


@functools.lru_cache(maxsize=32)
def extreme(space: Space, goal: Goal) -> Candidate:
    """Return what `find_extreme` does without a limit.

    Raises:
        BudgetError: the space has no network at all, since every one shrinks its maps to nothing.
    """
    found = find_extreme(space, goal)
    if found is None:
        raise BudgetError(
            f"no network of space {space.name!r} keeps a map of {space.input.height}x{space.input.width} pixels alive; "
            "use fewer stages, padding = 'same' or a data set of larger images"
        )
    return found


def least_network(space: Space, count: Count = "trained") -> Candidate:
    """Return the network of the space with the fewest parameters that count.

    Raises:
        BudgetError: the space has no network at all, since every one shrinks its maps to nothing.
    """
    return extreme(space, Goal(count=count))


def most_network(space: Space, count: Count = "trained") -> Candidate:
    """Return the network of the space with the most parameters that count.

    Raises:
        BudgetError: the space has no network at all, since every one shrinks its maps to nothing.
    """
    return extreme(space, Goal(sign=-1, count=count))
