"""Two descriptions of one network have one digest; whatever changes the network changes it."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from own_blocks import OWN_KINDS, own_block

from nas.arch import (
    Architecture,
    Block,
    Head,
    Input,
    NormAct,
    Pool,
    Recipe,
    Transition,
    canonical_form,
    digest_of,
    lower,
)
from nas.arch.description import BodyItem
from nas.arch.recipe import recipe_digest

Body = tuple[BodyItem, ...]

GAP_LINEAR = Head()
IMAGE = Input(1, 8, 8)


def digest(*body: BodyItem, head: Head = GAP_LINEAR, image: Input = IMAGE, classes: int = 10) -> str:
    return digest_of(lower(Architecture(image, classes, body, head)))


BARE = NormAct(norm="none", activation="none")
DROPPED = NormAct(dropout=0.1)

EQUAL: dict[str, tuple[Body, Head, Body, Head]] = {
    "a transition and a 1x1 block": (
        (Block(8), Transition(4)), Head(), (Block(8), Block(4, kernel=1, norm_act=BARE)), Head()
    ),
    "same and valid at kernel 1": (
        (Block(8, kernel=1),), Head(), (Block(8, kernel=1, padding="valid"),), Head()
    ),
    "an average pool over the whole map and global pooling": (
        (Block(8), Pool("average", 8)), Head(), (Block(8),), Head()
    ),
    "the order of a norm and no activation": (
        (Block(8, norm_act=NormAct(activation="none")),),
        Head(),
        (Block(8, norm_act=NormAct(activation="none", order="activation_first")),),
        Head(),
    ),
    "the kind of no dropout": (
        (Block(8, norm_act=NormAct(dropout_kind="channel")),), Head(), (Block(8),), Head()
    ),
    "the kind of dropout on one pixel": (
        (Pool("max", 8), Block(8, norm_act=DROPPED)),
        Head(),
        (Pool("max", 8), Block(8, norm_act=NormAct(dropout=0.1, dropout_kind="channel"))),
        Head(),
    ),
    "a function and a layer": (
        (Block(8, norm_act=NormAct(functional=True, dropout=0.1)),), Head(), (Block(8, norm_act=DROPPED),), Head()
    ),
    "a function and a layer with shared weights": (
        (Block(8), Block(8, repeat=2, norm_act=NormAct(functional=True, order="activation_first"))),
        Head(),
        (Block(8), Block(8, repeat=2, norm_act=NormAct(order="activation_first"))),
        Head(),
    ),
    "gap_linear and gap_conv": ((Block(8),), Head("gap_linear"), (Block(8),), Head("gap_conv")),
    "gap_linear and gap_conv without bias": (
        (Block(8),), Head("gap_linear", bias=False), (Block(8),), Head("gap_conv", bias=False)
    ),
    "a convolution over the whole map and flatten_linear": (
        (Block(8),), Head("conv_gap", kernel=8), (Block(8),), Head("flatten_linear")
    ),
    "every head on one pixel": (
        (Pool("max", 8),), Head("conv_gap"), (Pool("max", 8),), Head("flatten_linear")
    ),
    "the stride of a pool and its size": ((Pool("max", 2, 2),), Head(), (Pool("max", 2),), Head()),
    "the stride of a window that is placed once": (
        (Pool("max", 5, 4), Block(8)), Head(), (Pool("max", 5, 7), Block(8)), Head()
    ),
    "the stride of a convolution that is placed once": (
        (Block(8, kernel=5, padding="valid", stride=4),),
        Head(),
        (Block(8, kernel=5, padding="valid", stride=8),),
        Head(),
    ),
    "the norm between two convolutions by its name": (
        (Block(8, "separable"),), Head(), (Block(8, "separable", norm_act=NormAct(middle="batch")),), Head()
    ),
    "the norm between two convolutions where there are none": (
        (Block(8, norm_act=NormAct(middle="batch_plain")),), Head(), (Block(8),), Head()
    ),
    "a pool that changes nothing": ((Block(8), Pool("max", 1)), Head(), (Block(8),), Head()),
    "the largest and the mean of one pixel": (
        (Pool("max", 1, 2), Block(8)), Head(), (Pool("average", 1, 2), Block(8)), Head()
    ),
    "a depthwise convolution of one channel and a plain one": (
        (Block(8, kind="separable", norm_act=BARE),),
        Head(),
        (Block(1, norm_act=BARE), Transition(8)),
        Head(),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("body", "head", "other_body", "other_head"), EQUAL.values(), ids=EQUAL)
def test_one_network_written_twice_has_one_digest(body: Body, head: Head, other_body: Body, other_head: Head) -> None:
    assert Architecture(IMAGE, 10, body, head) != Architecture(IMAGE, 10, other_body, other_head)
    assert digest(*body, head=head) == digest(*other_body, head=other_head)


BASE = Block(8, norm_act=NormAct(dropout=0.1))
OTHER_NORMS = ("batch_bias", "batch_scalars", "batch_plain", "none")
CHANGES: list[dict[str, Any]] = [
    {"width": 9},
    {"kind": "separable"},
    {"kind": "inverted"},
    {"kind": "inverted", "expansion": 1},
    {"kind": "inverted", "expansion": 2},
    *({"kind": kind, "layers": own_block(kind, BASE, 8).layers} for kind in OWN_KINDS),
    {"groups": 2},
    {"kernel": 5},
    {"stride": 2},
    {"padding": "valid"},
    {"shortcut": "identity"},
    {"shortcut": "projection"},
    {"repeat": 2},
    {"norm_act": dataclasses.replace(BASE.norm_act, bias=True)},
    *({"norm_act": dataclasses.replace(BASE.norm_act, norm=norm)} for norm in OTHER_NORMS),
    *({"kind": "separable", "norm_act": dataclasses.replace(BASE.norm_act, middle=norm)} for norm in OTHER_NORMS),
    *(
        {"norm_act": dataclasses.replace(BASE.norm_act, activation=name)}
        for name in ("leaky_relu", "prelu", "silu", "gelu", "hardswish", "none")
    ),
    {"norm_act": dataclasses.replace(BASE.norm_act, order="activation_first")},
    {"norm_act": dataclasses.replace(BASE.norm_act, dropout=0.2)},
    {"norm_act": dataclasses.replace(BASE.norm_act, dropout=0.0)},
    {"norm_act": dataclasses.replace(BASE.norm_act, dropout_kind="channel")},
]


def test_each_change_of_a_block_changes_the_digest() -> None:
    blocks = [BASE, *(dataclasses.replace(BASE, **change) for change in CHANGES)]
    assert len({digest(Block(8), block) for block in blocks}) == len(blocks)
    untested = (
        {f.name for f in dataclasses.fields(Block)} - {"options"} - {name for change in CHANGES for name in change}
    )
    assert not untested


def test_each_change_of_a_pool_changes_the_digest() -> None:
    pools = [Pool(), Pool("average"), Pool("max", 3), Pool("max", 3, 2), Pool("max", 2, 1), Pool("max", 1, 2)]
    assert len({digest(pool, Block(8)) for pool in pools} | {digest(Block(8))}) == len(pools) + 1


def test_each_change_of_a_transition_or_head_changes_the_digest() -> None:
    transitions = [Transition(4), Transition(5), Transition(4, NormAct()), Transition(4, NormAct(bias=True))]
    assert len({digest(Block(8), transition) for transition in transitions}) == len(transitions)
    heads = [
        Head(),
        Head(bias=False),
        Head("flatten_linear"),
        Head("conv_gap"),
        Head("conv_gap", kernel=3),
        Head("conv_gap", kernel=3, padding="same"),
    ]
    assert len({digest(Block(8), head=head) for head in heads}) == len(heads)


def test_the_image_and_the_classes_are_part_of_the_network() -> None:
    images = [Input(1, 8, 8), Input(3, 8, 8), Input(1, 9, 8), Input(1, 8, 9)]
    digests = {digest(Block(8), image=image) for image in images} | {digest(Block(8), classes=11)}
    assert len(digests) == len(images) + 1


def test_the_order_of_the_body_matters() -> None:
    assert digest(Block(8), Pool(), Block(8)) != digest(Block(8), Block(8), Pool())


def test_a_depthwise_convolution_is_no_plain_one() -> None:
    separable = Block(6, kind="separable", norm_act=BARE)
    assert digest(Block(4), separable) != digest(Block(4), Block(4, norm_act=BARE), Transition(6))


def test_shared_weights_are_another_network() -> None:
    assert digest(Block(8), Block(8, repeat=2)) != digest(Block(8), Block(8), Block(8))
    # Which of the layers share matters too.
    assert digest(Block(8), Block(8, repeat=2), Block(8)) != digest(Block(8), Block(8), Block(8, repeat=2))


def test_only_weights_are_shared() -> None:
    entries = canonical_form(lower(Architecture(IMAGE, 10, (Block(1, repeat=2, norm_act=NormAct(norm="none")),))))
    convolutions = [i for i, entry in enumerate(entries) if entry[0] == "convolution"]
    assert [entries[i][-1] for i in convolutions] == [convolutions[0]] * 2
    assert [entry[-1] for entry in entries if entry[0] == "activation"] == [2, 4]


def test_form_is_json_and_digest_is_16_hexadecimal_digits() -> None:
    layers = lower(Architecture(IMAGE, 10, (Block(8, shortcut="projection", norm_act=DROPPED), Pool())))
    form = canonical_form(layers)
    assert json.loads(json.dumps(form)) == form
    assert re.fullmatch(r"[0-9a-f]{16}", digest_of(layers))


blocks = st.builds(
    Block,
    width=st.integers(1, 3),
    kernel=st.sampled_from([1, 3]),
    kind=st.sampled_from(["plain", "separable"]),
    padding=st.sampled_from(["same", "valid"]),
    shortcut=st.sampled_from(["none", "none", "projection"]),
    norm_act=st.builds(
        NormAct,
        bias=st.booleans(),
        norm=st.sampled_from(["batch", "none"]),
        activation=st.sampled_from(["relu", "silu", "none"]),
        order=st.sampled_from(["norm_first", "activation_first"]),
        dropout=st.sampled_from([0.0, 0.1]),
        dropout_kind=st.sampled_from(["element", "channel"]),
    ),
).filter(lambda block: block.shortcut == "none" or block.padding == "same")


@settings(max_examples=100, deadline=None)
@given(st.lists(blocks, max_size=4))
def test_functional_never_changes_the_digest_or_the_costs(body: list[Block]) -> None:
    functional = [dataclasses.replace(b, norm_act=dataclasses.replace(b.norm_act, functional=True)) for b in body]
    image = Input(2, 12, 12)
    assert digest(*body, image=image) == digest(*functional, image=image)


def test_recipe_digest() -> None:
    assert recipe_digest(Recipe()) == recipe_digest(Recipe(epochs=15)) == "73e0defa836151a6"
    others = [dataclasses.replace(Recipe(), **change) for change in RECIPE_CHANGES]
    assert len({recipe_digest(recipe) for recipe in [Recipe(), *others]}) == len(others) + 1
    assert {name for change in RECIPE_CHANGES for name in change} == {f.name for f in dataclasses.fields(Recipe)}


RECIPE_CHANGES: list[dict[str, Any]] = [
    {"epochs": 1},
    {"batch_size": 1},
    {"optimizer": "sgd"},
    {"learning_rate": 0.1},
    {"momentum": 0.0},
    {"nesterov": False},
    {"weight_decay": 0.1},
    {"schedule": "step"},
    {"warmup": 0.1},
    {"step_epochs": 1},
    {"step_factor": 0.2},
    {"label_smoothing": 0.1},
    {"averaging": 0.9},
    {"augmentation": 1.0},
    {"class_weights": "balanced"},
    {"augmentation_kind": "photos"},
]
