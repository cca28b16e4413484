"""Kinds of blocks as a person might register them: branches, sums, a norm that comes first, a linear end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from nas.arch import Block, BlockBuilder
from nas.arch.description import BlockLayers, Option


def mixed(block: BlockBuilder, large: int) -> None:
    """Two depthwise convolutions of different kernels, summed, and a 1x1 one (Tan and Le 2019, MixConv, with a sum)."""
    small = block.depthwise(3, block.stride)
    block.add(small, block.depthwise(large, block.stride, of=block.input))
    block.norm()
    block.conv(block.width, groups=block.groups)


def preactivated(block: BlockBuilder) -> None:
    """A bottleneck whose norm and activation come first (He et al. 2016, Identity mappings)."""
    block.norm_and_activation()
    block.conv(max(1, block.width // 2))
    block.norm_and_activation()
    block.conv(block.width, block.kernel, block.stride, padding=block.padding)


def two_sums(block: BlockBuilder) -> None:
    """Three branches, a sum of sums, and a map that is read again after an activation; ends in a sum."""
    one = block.conv(block.width, stride=block.stride)
    block.norm_and_activation()
    entry = block.last
    block.conv(block.width, 3, block.stride, of=block.input)
    sum_of_two = block.add(one, block.pool("max", 1))
    block.add(block.add(entry, sum_of_two), block.depthwise(5, of=entry))


OWN_KINDS: dict[str, tuple[Callable[..., None], bool, tuple[Option, ...]]] = {  # with whether it activates
    "mixed": (mixed, True, (Option("large", 5),)),
    "preactivated": (preactivated, False, ()),
    "two_sums": (two_sums, True, ()),
}


def own_block(kind: str, block: Block, channels: int) -> Block:
    """Return `block` as one of `kind` with its layers, as whoever reads an architecture gets it: nothing registered."""
    function, activates, options = OWN_KINDS[kind]
    builder = BlockBuilder(block, channels)
    function(builder, **{option.name: option.value for option in options})
    return replace(block, kind=kind, options=options, layers=BlockLayers(tuple(builder.layers), activates))
