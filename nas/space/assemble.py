"""Genes to an architecture and a recipe."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, NamedTuple

from nas.arch import Architecture, Block, Head, Layer, NormAct, Pool, Recipe, Transition, digest_of, lower
from nas.arch.description import BodyItem, Option
from nas.arch.kinds import KINDS, with_own_layers
from nas.costs import Budget, Costs, costs_of
from nas.errors import ArchitectureError
from nas.space.domains import Value
from nas.space.schema import Space

Genes = Mapping[str, Value]


class Candidate(NamedTuple):
    """A network of a space, counted but not built."""

    genes: dict[str, Value]
    architecture: Architecture
    layers: list[Layer]
    costs: Costs

    @property
    def digest(self) -> str:
        """Return the digest of the network."""
        return digest_of(self.layers)


def is_valid(space: Space, genes: Genes) -> bool:
    """Return whether `genes` have a value for every gene, within its domain."""
    return all(name in genes and domain.contains(genes[name]) for name, domain in space.genes.items())


def candidate(space: Space, genes: Genes) -> Candidate | None:
    """Return the network that `genes` describe.

    None where its maps shrink to nothing, and where a gene is missing or has a value outside its domain, as genes
    that were written by hand or for another space may.
    """
    if not is_valid(space, genes):
        return None
    architecture = assemble(space, genes)
    try:
        layers = lower(architecture)
    except ArchitectureError:
        return None
    return Candidate(dict(genes), architecture, layers, costs_of(layers))


def fit_candidate(space: Space, genes: Genes, budget: Budget) -> Candidate | None:
    """Return the network that `genes` describe where there is one and it stays within `budget`."""
    result = candidate(space, genes)
    return result if result is not None and budget.admits(result.costs) else None


def sort_widths(space: Space, genes: Genes) -> dict[str, Value]:
    """Return `genes` with the widths of the network's blocks in ascending order, where the space asks for that.

    A rule of drawing, not of the space: a network whose widths fall somewhere can still be described and enqueued.
    """
    if not space.value(genes, "block.growing"):
        return dict(genes)
    stages = range(1, int(space.value(genes, "stages.count")) + 1)
    names = [
        space.gene("block.width", stage, block)
        for stage in stages
        for block in range(1, int(space.value(genes, "stages.blocks", stage)) + 1)
    ]
    names = [name for name in dict.fromkeys(names) if name in space.genes]
    return {**genes, **dict(zip(names, sorted(genes[name] for name in names), strict=True))}


def assemble(space: Space, genes: Genes) -> Architecture:
    """Return the architecture that `genes` describe; its maps may shrink to nothing, which lowering reports."""
    norm_act = norm_act_of(space, genes)
    stages = int(space.value(genes, "stages.count"))
    body: list[BodyItem] = []
    channels, stride = space.input.channels, 1
    for stage in range(1, stages + 1):
        blocks = int(space.value(genes, "stages.blocks", stage))
        for number in range(1, blocks + 1):
            block = block_of(space, genes, stage, number, channels, stride, norm_act)
            if (stage, number) == (stages, blocks):
                block = last_block(space, genes, block, channels)
            body.append(block)
            channels, stride = block.width, 1
        if stage < stages:
            items, channels, stride = junction_of(space, genes, stage, channels, norm_act)
            body += items
    return Architecture(space.input, space.classes, tuple(body), head_of(space, genes))


def recipe_of(space: Space, genes: Genes) -> Recipe:
    """Return the recipe that `genes` describe."""
    values: dict[str, Any] = {f.name: space.value(genes, f"recipe.{f.name}") for f in fields(Recipe)}
    return Recipe(**values)


def norm_act_of(space: Space, genes: Genes) -> NormAct:
    """Return the norm, activation and dropout of every block but the last."""
    names = ("bias", "norm", "activation", "order", "dropout", "dropout_kind", "middle")
    values: dict[str, Any] = {name: space.value(genes, f"norm_act.{name}") for name in names}
    return NormAct(**values)


def block_of(
    space: Space, genes: Genes, stage: int, number: int, channels: int, stride: int, norm_act: NormAct
) -> Block:
    """Return the block at its place (both from 1), which reads `channels` and takes `stride`."""

    def value(key: str) -> Any:
        return space.value(genes, f"block.{key}", stage, number)

    kind, width, kernel, padding = value("kind"), value("width"), value("kernel"), value("padding")
    if stage == number == 1 and value("first") != "any":
        kind = value("first")
    same_width = width == channels
    shortcut = "none"
    # A gene that asks for what cannot be (a shortcut around a map that shrinks) asks for nothing; the digest sees
    # through the two ways of writing the same network.
    if value("shortcut") == "auto" and (padding == "same" or kernel == 1):
        shortcut = "identity" if same_width and stride == 1 else "projection"
    repeat = value("repeat") if same_width and stride == 1 else 1
    about = KINDS[kind]
    expansion = value("expansion") if about.has_expansion else DEFAULT_EXPANSION
    groups = groups_of(value("groups"), channels, width)
    options = tuple(Option(name, value(name)) for name in about.options)
    block = Block(width, kind, kernel, stride, padding, shortcut, repeat, norm_act, expansion, groups, options)  # type: ignore[arg-type]
    return with_own_layers(block, channels)


DEFAULT_EXPANSION = Block(1).expansion  # of blocks in which it has no effect


def groups_of(wanted: int, channels: int, width: int) -> int:
    """Return the most groups that divide `wanted`, the channels that go in, and the width."""
    return math.gcd(wanted, channels, width)


def junction_of(
    space: Space, genes: Genes, stage: int, channels: int, norm_act: NormAct
) -> tuple[list[BodyItem], int, int]:
    """Return what follows a stage of `channels`, the channels that leave it, and the stride of the next block."""
    items: list[BodyItem] = []
    stride, size = 1, int(space.value(genes, "stages.pool_size"))
    for step in str(space.value(genes, "stages.junction", stage)).split("_"):
        if step == "stride":
            stride = size
        elif step == "transition":
            channels = int(space.value(genes, "transition.width", stage))
            alone = space.value(genes, "transition.norm_act") == "none"
            items.append(Transition(channels, bias_only(norm_act) if alone else norm_act))
        else:
            kind: Any = space.value(genes, "stages.pool")
            items.append(Pool(kind, size))
    return items, channels, stride


def bias_only(norm_act: NormAct) -> NormAct:
    """Return `norm_act` without norm, activation and dropout: the bias of the convolution alone."""
    return NormAct(bias=norm_act.bias, norm="none", activation="none")


def last_block(space: Space, genes: Genes, block: Block, channels: int) -> Block:
    """Return `block` as the last of its network, behind `channels`.

    `norm_act.last` may leave it without a norm or without norm and activation.
    """
    match space.value(genes, "norm_act.last"):
        case "no_norm":
            return with_own_layers(replace(block, norm_act=replace(block.norm_act, norm="none")), channels)
        case "none":
            return with_own_layers(replace(block, norm_act=bias_only(block.norm_act)), channels)
    return block


def head_of(space: Space, genes: Genes) -> Head:
    """Return the head; a kernel and padding are conv_gap's alone."""
    kind: Any = space.value(genes, "head.kind")
    bias = bool(space.value(genes, "head.bias"))
    if kind != "conv_gap":
        return Head(kind, bias)
    padding: Any = space.value(genes, "head.padding")
    return Head(kind, bias, int(space.value(genes, "head.kernel")), padding)
