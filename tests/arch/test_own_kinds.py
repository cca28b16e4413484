"""Kinds of blocks of a person's own: counted, drawn and built like those of nas, and read where nobody knows them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from own_blocks import OWN_KINDS, mixed, own_block, preactivated, two_sums

import nas
from nas.arch import (
    Architecture,
    Block,
    BlockBuilder,
    Head,
    Input,
    Pool,
    architecture_from_plain,
    architecture_to_plain,
    digest_of,
    lower,
    outline,
    read_architecture,
)
from nas.arch.description import BlockLayer, BlockLayers, Option
from nas.arch.kinds import KINDS
from nas.arch.operations import Activation, Add, BatchNorm2d, Conv2d
from nas.costs import costs_of, layer_table, sketch
from nas.errors import ArchitectureError, InvalidError, NasError, UsageError
from nas.model.build import build
from nas.model.trace import trace_layers

FILE = 'name = "a"\ninput = [3, 8, 8]\nclasses = 10\nbody = [{}]\n'


def network(*blocks: Block) -> Architecture:
    return Architecture(Input(3, 8, 8), 10, blocks, Head("gap_linear"))


@pytest.fixture
def registered(own_kinds: None) -> None:
    nas.register_block("mixed", mixed, options={"large": [5, 7]})
    nas.register_block("preactivated", preactivated, activates=False)
    nas.register_block("two_sums", two_sums)


def test_a_registered_block_is_counted_built_and_drawn(registered: None) -> None:
    block = Block(6, "mixed", options=(Option("large", 7),), shortcut="projection")
    layers = lower(network(block, Block(6, "preactivated", repeat=2), Block(6, "two_sums", stride=2)))
    first = 3 * 3 * 3 + 7 * 7 * 3 + 2 * 3 + 3 * 6 + 2 * 6 + 3 * 6
    second = 2 * 6 + 6 * 3 + 2 * 3 + 9 * 3 * 6 + 2 * 6
    third = 6 * 6 + 2 * 6 + 9 * 6 * 6 + 25 * 6 + 2 * 6
    assert costs_of(layers).num_params == first + second + third + 6 * 10 + 10
    net = build(layers)
    assert digest_of(trace_layers(net, (3, 8, 8))) == digest_of(layers)
    assert "(add Conv2d-1)" in layer_table(layers)
    assert "  add convblock1 " in sketch(layers)
    # What is linear at its end has no activation there: of the second block those behind its norms alone.
    runs = [layer for layer in layers if layer.group.startswith("convblock2") and layer.use == 0]
    assert sum(isinstance(layer.operation, Activation) for layer in runs) == 2


def test_an_outline_says_the_kind_and_its_options() -> None:
    body = (own_block("mixed", Block(6, kernel=5, stride=2), 3), Block(8))
    assert outline(network(*body)) == "mixed(6k5/2,large=5) 8 gap_linear"


def test_a_block_that_comes_with_its_layers_needs_no_registration(registered: None) -> None:
    text = '{ type = "block", kind = "mixed", width = 6, options = { large = 7 } }, { type = "pool" }, '
    text += '{ type = "block", kind = "two_sums", width = 4 }'
    path = write(text)
    described = read_architecture(path).architecture
    plain = json.loads(json.dumps(architecture_to_plain(described)))
    expected = lower(network(Block(6, "mixed", options=(Option("large", 7),)), Pool(), Block(4, "two_sums")))
    KINDS.pop("mixed"), KINDS.pop("two_sums")
    again = architecture_from_plain(plain)
    assert again == described
    assert lower(again) == expected
    with pytest.raises(InvalidError, match=r"body\[0\].kind: 'mixed' is not known.* registered before this is opened"):
        read_architecture(path)


def write(items: str) -> Path:
    path = Path("a.toml")
    path.write_text(FILE.format(items))
    return path


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_unknown_kinds_and_options(registered: None) -> None:
    with pytest.raises(ArchitectureError, match=re.escape("body[0].kind: 'ghost' is not known; known: inverted, ")):
        lower(network(Block(6, "ghost")))
    with pytest.raises(ArchitectureError, match=r"large = 9 is given, and blocks of kind 'mixed' have large = 5 \| 7"):
        lower(network(Block(6, "mixed", options=(Option("large", 9),))))
    path = write('{ type = "block", kind = "mixed", width = 6, options = { lrge = 7 } }')
    with pytest.raises(ArchitectureError, match=r"body\[0\].options: lrge = 7 is given, and blocks of kind 'mixed'"):
        read_architecture(path)


def broken(change: Callable[[list[BlockLayer]], list[BlockLayer]]) -> Block:
    block = own_block("mixed", Block(6), 3)
    assert block.layers is not None
    return replace(block, layers=BlockLayers(tuple(change(list(block.layers.layers)))))


CONV, NORM = BlockLayer(Conv2d(3, 6, 1), (-1,)), BlockLayer(BatchNorm2d(6), (0,))


@pytest.mark.parametrize(
    ("block", "problem"),
    [
        (broken(lambda _: []), "layers: 0 layers, and a block has 1 to 100"),
        (broken(lambda _: [CONV, *[NORM] * 100]), "layers: 101 layers, and a block has 1 to 100"),
        (broken(lambda _: [CONV, BlockLayer(BatchNorm2d(6), (1,))]), "layer 1 (BatchNorm2d) reads [1], and needs 1 of"),
        (broken(lambda _: [CONV, BlockLayer(Add(), (0, 0))]), "layer 1 (Add) reads [0, 0], and needs 2 of the maps"),
        (broken(lambda _: [CONV, BlockLayer(Add(), (0, -1))]), "layer 1 (Add) takes 6 channels, and gets 6 and 3"),
        (broken(lambda _: [BlockLayer(Conv2d(4, 6, 1), (-1,))]), "layer 0 (Conv2d) takes 4 channels, and gets 3"),
        (broken(lambda _: [BlockLayer(Conv2d(3, 6, 1, groups=2), (-1,))]), "2 groups, which do not divide 3 and 6"),
        (
            broken(lambda _: [CONV, CONV, BlockLayer(BatchNorm2d(6), (1,))]),
            "layer 0 (Conv2d) makes a map that no layer",
        ),
        (broken(lambda layers: layers[:-1]), "the last layer makes 3 channels, and the block's width is 6"),
        (
            broken(lambda _: [CONV, BlockLayer(Conv2d(3, 6, 1, 2), (-1,)), BlockLayer(Add(), (0, 1))]),
            "a sum of maps of 6x8x8 and 6x4x4, which differ",
        ),
        (replace(broken(lambda layers: layers), kind="plain"), "layers and options belong to kinds of one's own"),
    ],
)
def test_layers_that_do_not_fit_together(block: Block, problem: str) -> None:
    plain = json.loads(json.dumps(architecture_to_plain(network(block))))
    with pytest.raises(ArchitectureError, match=re.escape(problem)):
        lower(architecture_from_plain(plain))


def fails(block: BlockBuilder) -> None:
    raise KeyError("oops")


def ignores_the_stride(block: BlockBuilder) -> None:
    block.conv(block.width)


def is_too_narrow(block: BlockBuilder) -> None:
    block.conv(block.width // 2 + 1, stride=block.stride)


@pytest.mark.parametrize(
    ("name", "build", "settings", "problem"),
    [
        ("Mixed", mixed, {}, "a block kind 'Mixed': its name has 2 to 30 small letters and underscores"),
        ("plain", mixed, {}, "a block kind 'plain': nas has one of this name; choose another"),
        ("own", mixed, {"options": {"kernel": [3]}}, "its option 'kernel' cannot be called so"),
        ("own", mixed, {"options": {"pool": [3]}}, "its option 'pool' cannot be called so"),
        ("own", mixed, {"options": {"large": []}}, "its option 'large' has 0 values: give 1 to 100, each once"),
        ("own", mixed, {"options": {"large": [5, 5]}}, "its option 'large' has 2 values: give 1 to 100, each once"),
        ("own", mixed, {"options": {"large": [5, "x"]}}, "its option 'large' has the values (5, 'x'): give whole"),
        ("own", mixed, {"options": {"large": [3, 5]}}, "'large' has other values than that of kind 'mixed'"),
        ("own", mixed, {"options": {"huge": [4]}}, "got an unexpected keyword argument 'huge'"),
        ("own", mixed, {"options": {"l" * 31: [4]}}, "choose a name of at most 30 letters, digits and underscores"),
        ("own", mixed, {"options": {"size": [0.5, float("nan")]}}, "its option 'size' has the values (0.5, nan): give"),
        ("own", fails, {}, "for 1 channels to 1, options {}, failed (line"),
        ("own", lambda block: block.norm(of=3), {}, "ValueError: 3 is no map of this block, which has -1 (its input)"),
        ("own", lambda block: block.conv(block.width / 2), {}, "layers[0].operation.out_channels: 0.5 is not a whole"),
        ("own", is_too_narrow, {}, "the last layer makes 5 channels, and the block's width is 8"),
        ("own", ignores_the_stride, {}, "a map of 32x32 becomes one of 32x32, and has to be 16x16"),
    ],
)
def test_what_cannot_be_registered_is_said_and_leaves_nothing(
    registered: None, name: str, build: Any, settings: dict[str, Any], problem: str
) -> None:
    before = dict(KINDS)
    with pytest.raises(NasError, match=re.escape(problem)):
        nas.register_block(name, build, **settings)
    assert before == KINDS


def test_a_failure_names_the_line_of_the_function(own_kinds: None) -> None:
    with pytest.raises(
        UsageError, match=rf"\(line {fails.__code__.co_firstlineno + 1} of .*test_own_kinds.py\): KeyError: 'oops'"
    ):
        nas.register_block("own", fails)


def test_the_strategies_have_every_kind_that_is_tried_here() -> None:
    assert {function for function, _, _ in OWN_KINDS.values()} == {mixed, preactivated, two_sums}
