"""Genes to an architecture and a recipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, NamedTuple

from nas.arch import (
    Architecture,
    Block,
    Budget,
    Costs,
    Dress,
    Head,
    Layer,
    Pool,
    Recipe,
    Transition,
    costs_of,
    digest_of,
    lower,
)
from nas.arch.description import BodyItem
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
        """The digest of the network."""
        return digest_of(self.layers)


def candidate(space: Space, genes: Genes) -> Candidate | None:
    """The network that `genes` describe, or None where its maps shrink to nothing."""
    architecture = assemble(space, genes)
    try:
        layers = lower(architecture)
    except ArchitectureError:
        return None
    return Candidate(dict(genes), architecture, layers, costs_of(layers))


def fitting(space: Space, genes: Genes, budget: Budget) -> Candidate | None:
    """The network that `genes` describe where there is one and it stays within `budget`."""
    result = candidate(space, genes)
    return result if result is not None and budget.admits(result.costs) else None


def assemble(space: Space, genes: Genes) -> Architecture:
    """The architecture that `genes` describe; its maps may shrink to nothing, which lowering reports."""
    dress = _dress(space, genes)
    stages = int(space.value(genes, "stages.count"))
    body: list[BodyItem] = []
    channels, stride = space.input.channels, 1
    for stage in range(1, stages + 1):
        for number in range(1, int(space.value(genes, "stages.blocks", stage)) + 1):
            block = _block(space, genes, stage, number, channels, stride, dress)
            body.append(block)
            channels, stride = block.width, 1
        if stage < stages:
            for step in str(space.value(genes, "stages.junction", stage)).split("_"):
                if step == "stride":
                    stride = int(space.value(genes, "stages.pool_size"))
                elif step == "transition":
                    channels = int(space.value(genes, "transition.width", stage))
                    body.append(_transition(space, genes, stage, channels, dress))
                else:
                    body.append(_pool(space, genes))
    body[-1] = _last_block(space, genes, body[-1])
    return Architecture(space.input, space.classes, tuple(body), _head(space, genes))


def recipe_of(space: Space, genes: Genes) -> Recipe:
    """The recipe that `genes` describe."""
    values: dict[str, Any] = {f.name: space.value(genes, f"recipe.{f.name}") for f in fields(Recipe)}
    return Recipe(**values)


def _dress(space: Space, genes: Genes) -> Dress:
    names = ("bias", "norm", "activation", "order", "dropout", "dropout_kind")
    values: dict[str, Any] = {name: space.value(genes, f"dress.{name}") for name in names}
    return Dress(**values)


def _block(space: Space, genes: Genes, stage: int, number: int, channels: int, stride: int, dress: Dress) -> Block:
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
    return Block(width, kind, kernel, stride, padding, shortcut, repeat, dress)  # type: ignore[arg-type]


def _transition(space: Space, genes: Genes, stage: int, width: int, dress: Dress) -> Transition:
    if space.value(genes, "transition.dress", stage) == "bare":
        dress = Dress(bias=dress.bias, norm="none", activation="none")
    return Transition(width, dress)


def _pool(space: Space, genes: Genes) -> Pool:
    kind: Any = space.value(genes, "stages.pool")
    return Pool(kind, int(space.value(genes, "stages.pool_size")))


def _last_block(space: Space, genes: Genes, block: BodyItem) -> BodyItem:
    assert isinstance(block, Block), "a network ends in a block, ahead of its head"
    match space.value(genes, "dress.last"):
        case "no_norm":
            return replace(block, dress=replace(block.dress, norm="none"))
        case "bare":
            return replace(block, dress=Dress(bias=block.dress.bias, norm="none", activation="none"))
    return block


def _head(space: Space, genes: Genes) -> Head:
    kind: Any = space.value(genes, "head.kind")
    bias = bool(space.value(genes, "head.bias"))
    if kind != "conv_gap":
        return Head(kind, bias)
    padding: Any = space.value(genes, "head.padding")
    return Head(kind, bias, int(space.value(genes, "head.kernel")), padding)
