"""Hypothesis strategies shared by all tests: architectures over the whole vocabulary, and recipes."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, get_args

from hypothesis import strategies as st
from own_blocks import OWN_KINDS, own_block

from nas.arch import Architecture, Block, Head, Input, NormAct, Pool, Recipe, Transition, lower
from nas.arch.description import Activation, BodyItem, Norm, Padding, Shortcut
from nas.arch.kinds import SHIPPED_KINDS
from nas.arch.recipe import Optimizer, Schedule
from nas.errors import ArchitectureError

WIDTHS = st.integers(1, 8)


@st.composite
def norm_acts(draw: st.DrawFn) -> NormAct:
    activation = draw(st.sampled_from(get_args(Activation)))
    return NormAct(
        bias=draw(st.booleans()),
        norm=draw(st.sampled_from(get_args(Norm))),
        activation=activation,
        order=draw(st.sampled_from(["norm_first", "activation_first"])),
        dropout=draw(st.sampled_from([0.0, 0.1, 0.25])),
        dropout_kind=draw(st.sampled_from(["element", "channel"])),
        functional=activation != "prelu" and draw(st.booleans()),
        middle=draw(st.sampled_from(["same", *get_args(Norm)])),
    )


@st.composite
def blocks(draw: st.DrawFn, channels: int) -> Block:
    shortcut = draw(st.sampled_from(get_args(Shortcut)))
    repeat = draw(st.sampled_from([1, 1, 2, 3]))
    padding: Any = "same" if shortcut != "none" else draw(st.sampled_from(get_args(Padding)))
    width = channels if shortcut == "identity" or repeat > 1 else draw(WIDTHS)
    most_groups = math.gcd(channels, width)
    kind = draw(st.sampled_from([*SHIPPED_KINDS, *OWN_KINDS]))
    block = Block(
        width=width,
        kind=kind if kind in SHIPPED_KINDS else "plain",
        kernel=draw(st.sampled_from([1, 3, 5] if padding == "same" else [1, 2, 3, 4])),
        stride=1 if shortcut == "identity" else draw(st.sampled_from([1, 1, 2])),
        padding=padding,
        shortcut=shortcut,
        repeat=repeat,
        norm_act=draw(norm_acts()),
        expansion=draw(st.integers(1, 3)),
        groups=draw(st.sampled_from([1, *(g for g in range(2, most_groups + 1) if most_groups % g == 0)])),
    )
    return block if kind in SHIPPED_KINDS else own_block(kind, block, channels)


def transitions() -> st.SearchStrategy[Transition]:
    return st.builds(Transition, width=WIDTHS) | st.builds(Transition, width=WIDTHS, norm_act=norm_acts())


def pools() -> st.SearchStrategy[Pool]:
    return st.builds(
        Pool, kind=st.sampled_from(["max", "average"]), size=st.integers(1, 3), stride=st.sampled_from([0, 0, 1, 2])
    )


@st.composite
def heads(draw: st.DrawFn) -> Head:
    kind: Any = draw(st.sampled_from(["gap_linear", "gap_conv", "conv_gap", "flatten_linear"]))
    if kind != "conv_gap":
        return Head(kind, draw(st.booleans()))
    padding = draw(st.sampled_from(get_args(Padding)))
    return Head(kind, draw(st.booleans()), draw(st.sampled_from([1, 3] if padding == "same" else [1, 2, 3])), padding)


@st.composite
def architectures(draw: st.DrawFn, max_items: int = 5) -> Architecture:
    """Any architecture of small widths on a small image; always lowers."""
    height = draw(st.integers(6, 16))
    width = draw(st.sampled_from([height, height]) | st.integers(6, 16))
    result = Architecture(Input(draw(st.integers(1, 3)), height, width), draw(st.integers(2, 10)), ())
    # Simplest first, and yet seldom empty: an integer from a range would be 0 too often.
    for _ in range(draw(st.sampled_from([*range(2, max_items + 1), 1, 0]))):
        channels = lower(result)[-2].output_shape[0]
        kinds: dict[str, st.SearchStrategy[Any]] = {
            "block": blocks(channels),
            "transition": transitions(),
            "pool": pools(),
        }
        item: BodyItem = draw(kinds[draw(st.sampled_from(["block", "block", "block", "block", "transition", "pool"]))])
        result = _if_it_fits(result, body=(*result.body, item))
    return _if_it_fits(result, head=draw(heads()))


def _if_it_fits(architecture: Architecture, **change: Any) -> Architecture:
    changed = dataclasses.replace(architecture, **change)
    try:
        lower(changed)
    except ArchitectureError:
        return architecture
    return changed


def recipes() -> st.SearchStrategy[Recipe]:
    """Any recipe that trains in seconds."""
    return st.builds(
        Recipe,
        epochs=st.integers(1, 4),
        batch_size=st.sampled_from([16, 32, 128]),
        optimizer=st.sampled_from(get_args(Optimizer)),
        learning_rate=st.floats(1e-4, 0.1),
        momentum=st.floats(0.1, 0.95),
        nesterov=st.booleans(),
        weight_decay=st.sampled_from([0.0, 1e-4, 0.01]),
        schedule=st.sampled_from(get_args(Schedule)),
        warmup=st.floats(0.0, 0.9),
        step_epochs=st.integers(1, 4),
        step_factor=st.floats(0.0, 1.0),
        label_smoothing=st.sampled_from([0.0, 0.1]),
        averaging=st.sampled_from([0.0, 0.9]),
        augmentation=st.sampled_from([0.0, 0.5, 1.0]),
        class_weights=st.sampled_from(["none", "balanced"]),
        augmentation_kind=st.sampled_from(["data", "glyphs", "photos"]),
    )
