"""The kinds of blocks, in one table: the layers of each from the block's input up to its last norm.

Norm, shortcut, activation and dropout follow in the same way whatever the kind: see `nas.arch.lowering`. The table has
the kinds that come with nas, and those that a person has registered (`nas.arch.own_kinds`).
"""

from __future__ import annotations

import functools
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from nas.arch.description import Block, BlockLayer, BlockLayers, Norm, Option, Padding
from nas.arch.operations import Activation, Add, AvgPool2d, BatchNorm2d, BlockOperation, Conv2d, MaxPool2d
from nas.decode import decode, encode
from nas.errors import UsageError, describe, near_misses

Value = int | float | str | bool

INPUT = -1  # what goes into a block
MAX_LAYERS = 100  # of a block, up to its last norm

TRAINED: dict[str, Literal["weight_and_bias", "bias", "scalars", "nothing"]] = {
    "batch": "weight_and_bias",
    "batch_bias": "bias",
    "batch_scalars": "scalars",
    "batch_plain": "nothing",
}


class BlockBuilder:
    """Takes the layers of one block, one by one.

    Each method that adds a layer returns the number of the map that it makes. A layer reads the map made last, or
    `of`. What is asked of the block can be read here.
    """

    def __init__(self, block: Block, channels: int) -> None:
        self.channels = channels  # that go into the block
        self.width = block.width  # channels that the last layer has to make
        self.kernel, self.stride = block.kernel, block.stride  # pixels; the stride has to be taken once on every way
        self.padding: Padding = block.padding
        self.groups = block.groups  # divide `channels` and `width`
        self.expansion = block.expansion
        self.layers: list[BlockLayer] = []
        self._norm_act = block.norm_act
        self._channels = {INPUT: channels}  # by map

    @property
    def input(self) -> int:
        """The map that goes into the block."""
        return INPUT

    @property
    def last(self) -> int:
        """The map made last; at first the one that goes into the block."""
        return len(self.layers) - 1

    def conv(
        self,
        width: int,
        kernel: int = 1,
        stride: int = 1,
        *,
        padding: Padding = "same",
        groups: int = 1,
        bias: bool | None = None,
        of: int | None = None,
    ) -> int:
        """Add a convolution from a map (C, H, W) to `width` channels; return the map that it makes.

        Args:
            width: output channels.
            kernel: pixels, square; odd where the padding is 'same'.
            stride: pixels.
            padding: 'same' keeps the map's size, divided by the stride and rounded up; 'valid' shrinks it.
            groups: divide C and `width`.
            bias: by default whether the block's convolutions have one.
            of: the map that it reads, by default the one made last.
        """
        of, channels = self._read(of)
        bias = self._norm_act.bias if bias is None else bias
        pixels = kernel // 2 if padding == "same" else 0
        return self._add(Conv2d(channels, width, kernel, stride, pixels, groups, bias), width, of)

    def depthwise(
        self, kernel: int, stride: int = 1, *, padding: Padding = "same", bias: bool = False, of: int | None = None
    ) -> int:
        """Add a depthwise convolution from a map (C, H, W) to C channels, as `conv` does; return the map."""
        of, channels = self._read(of)
        return self.conv(channels, kernel, stride, padding=padding, groups=channels, bias=bias, of=of)

    def norm(self, of: int | None = None) -> int:
        """Add the norm that stands between the convolutions of the block, if there is one; return the map."""
        of, channels = self._read(of)
        norm: Norm = self._norm_act.middle_norm
        return of if norm == "none" else self._add(BatchNorm2d(channels, TRAINED[norm]), channels, of)

    def activation(self, of: int | None = None) -> int:
        """Add the activation of the block, if it has one; return the map."""
        of, channels = self._read(of)
        name = self._norm_act.activation
        return of if name == "none" else self._add(Activation(name), channels, of)

    def norm_and_activation(self, of: int | None = None) -> int:
        """Add both in the order that the block has them; return the map."""
        if self._norm_act.order == "norm_first":
            return self.activation(self.norm(of))
        return self.norm(self.activation(of))

    def pool(self, kind: Literal["max", "average"], size: int, stride: int = 0, of: int | None = None) -> int:
        """Add a pool over windows of `size` pixels, without padding; a stride of 0 is `size`. Return the map."""
        of, channels = self._read(of)
        operation = MaxPool2d if kind == "max" else AvgPool2d
        return self._add(operation(size, stride or size), channels, of)

    def add(self, one: int, other: int) -> int:
        """Add the sum of two maps of the same shape; return the map."""
        return self._add(Add(), self._read(one)[1], one, other)

    def _read(self, of: int | None) -> tuple[int, int]:
        """Return a map, by default the one made last, and its channels."""
        of = self.last if of is None else of
        if of not in self._channels:
            raise ValueError(f"{of!r} is no map of this block, which has {INPUT} (its input) to {self.last}")
        return of, self._channels[of]

    def _add(self, operation: BlockOperation, channels: int, *sources: int) -> int:
        self.layers.append(BlockLayer(operation, sources))
        self._channels[self.last] = channels
        return self.last


@dataclass(frozen=True, eq=False)  # identity serves as a cache key
class Kind:
    """A kind of block."""

    build: Callable[..., object]  # takes a BlockBuilder, and the options by their names
    mark: str  # what it is called in an outline
    activates: bool = True  # whether the block's activation follows
    has_expansion: bool = False  # whether `Block.expansion` has an effect
    options: Mapping[str, tuple[Value, ...]] = field(default_factory=dict)  # the values of each, its default first
    fingerprint: str = ""  # of the layers that it makes; empty for kinds that come with nas

    def options_of(self, block: Block) -> dict[str, Value] | None:
        """Return the value of each option for `block`; None where it has options or values that there are not."""
        if not self.options and not block.options:
            return {}
        given = {option.name: option.value for option in block.options}
        if any(value not in self.options.get(name, ()) for name, value in given.items()):
            return None
        return {name: given.get(name, values[0]) for name, values in self.options.items()}


def _plain(block: BlockBuilder) -> None:
    block.conv(block.width, block.kernel, block.stride, padding=block.padding, groups=block.groups)


def _separable(block: BlockBuilder) -> None:
    block.depthwise(block.kernel, block.stride, padding=block.padding)
    block.norm()
    block.conv(block.width, groups=block.groups)


def _inverted(block: BlockBuilder) -> None:
    if block.expansion > 1:
        block.conv(block.channels * block.expansion, groups=block.groups)
        block.norm_and_activation()
    hidden = block.channels * block.expansion
    block.conv(hidden, block.kernel, block.stride, padding=block.padding, groups=hidden)
    block.norm_and_activation()
    block.conv(block.width, groups=block.groups)


KINDS: dict[str, Kind] = {
    "plain": Kind(_plain, ""),
    "separable": Kind(_separable, "s"),
    "inverted": Kind(_inverted, "i", activates=False, has_expansion=True),
}
SHIPPED_KINDS = tuple(KINDS)


def problem_of_kind(name: str, also: tuple[str, ...] = ()) -> str | None:
    """Return what is wrong with `name` as that of a kind of block, or None; names in `also` will do as well."""
    if name in KINDS or name in also:
        return None
    near = near_misses(name, (*KINDS, *also))
    return (
        f"{name!r} is not known; {near}{'' if near.endswith('?') else '.'} A kind of your own has to be registered "
        f"before this is opened, in Python: nas.register_block"
    )


def problem_of_options(block: Block) -> str:
    """Return what is wrong with the options of a block, which its kind has not."""
    known = "; ".join(f"{name} = {' | '.join(map(str, values))}" for name, values in KINDS[block.kind].options.items())
    given = ", ".join(f"{option.name} = {option.value}" for option in block.options)
    return f"{given} is given, and blocks of kind {block.kind!r} have {known or 'no options'}"


def layers_of_block(block: Block, channels: int) -> BlockLayers | None:
    """Return the layers of `block` behind `channels`: those that it comes with, or those that its kind makes.

    None where it comes with none, and its kind is not known or has other options.
    """
    return layers_of_kind(block, channels) if block.layers is None else block.layers


def layers_of_kind(block: Block, channels: int) -> BlockLayers | None:
    """Return the layers that the kind of `block` makes of it behind `channels`, whatever layers it comes with.

    None where that is not known, or has other options.

    Raises:
        UsageError: the function of a person's own kind fails.
        InvalidError: it makes layers that cannot be.
    """
    kind = KINDS.get(block.kind)
    if kind is None or kind.options_of(block) is None:
        return None
    return _build(kind, block, channels)


@functools.lru_cache(maxsize=16_384)
def _build(kind: Kind, block: Block, channels: int) -> BlockLayers:
    builder, options = BlockBuilder(block, channels), kind.options_of(block) or {}
    if block.kind in SHIPPED_KINDS:
        kind.build(builder)
        return BlockLayers(tuple(builder.layers), kind.activates)
    what = f"the block kind {block.kind!r}, for {channels} channels to {block.width}, options {options}"
    try:
        kind.build(builder, **options)
    except Exception as error:
        raise UsageError(f"{what}, failed{_place_of(error)}: {describe(error)}") from error
    # As it is read again from what is kept: with whole numbers within their bounds.
    return decode(BlockLayers, encode(BlockLayers(tuple(builder.layers), kind.activates)), what)


def _place_of(error: BaseException) -> str:
    """Return the last line of a person's own that led to an error."""
    lines = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename != __file__]
    return f" (line {lines[-1].lineno} of {lines[-1].filename})" if lines else ""


def with_own_layers(block: Block, channels: int) -> Block:
    """Return a block of a person's own kind with its layers behind `channels`, and all its options.

    Any other, and one of an unknown kind, as it is.
    """
    if block.kind in SHIPPED_KINDS or (layers := layers_of_kind(block, channels)) is None:
        return block
    options = KINDS[block.kind].options_of(block) or {}
    return replace(block, layers=layers, options=tuple(Option(*item) for item in options.items()))


def problems_of_layers(block: BlockLayers, channels: int, width: int) -> Iterator[str]:
    """Yield what is wrong with the layers of a block that reads `channels` and has to make `width`."""
    if not 1 <= len(block.layers) <= MAX_LAYERS:
        yield f"{len(block.layers)} layers, and a block has 1 to {MAX_LAYERS}"
        return
    made = {INPUT: channels}
    readers = Counter(source for layer in block.layers for source in layer.sources)
    for index, (operation, sources) in enumerate((layer.operation, layer.sources) for layer in block.layers):
        what, count = f"layer {index} ({operation.kind})", 2 if isinstance(operation, Add) else 1
        if len(set(sources)) != count or len(sources) != count or any(source not in made for source in sources):
            yield f"{what} reads {list(sources)}, and needs {count} of the maps before it, from {INPUT} on"
            return
        reads = [made[source] for source in sources]
        made[index] = operation.out_channels if isinstance(operation, Conv2d) else reads[0]
        expected = reads[0]
        if isinstance(operation, (Conv2d, BatchNorm2d)):
            expected = operation.in_channels if isinstance(operation, Conv2d) else operation.channels
        if any(number != expected for number in reads):
            yield f"{what} takes {expected} channels, and gets {' and '.join(map(str, reads))}"
        if isinstance(operation, Conv2d) and (expected % operation.groups or made[index] % operation.groups):
            yield f"{what} has {operation.groups} groups, which do not divide {expected} and {made[index]} channels"
        if not readers[index] and index < len(block.layers) - 1:
            yield f"{what} makes a map that no layer reads"
    if made[len(block.layers) - 1] != width:
        yield f"the last layer makes {made[len(block.layers) - 1]} channels, and the block's width is {width}"
