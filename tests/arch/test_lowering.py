"""The lowering: the order, shapes, sources and submodules of layers, and every architecture that cannot be built."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.arch import IMAGE, Architecture, Block, Head, Input, Layer, NormAct, Pool, Transition, calls, lower
from nas.arch.description import BodyItem
from nas.errors import ArchitectureError

BARE = NormAct(norm="none", activation="none")
GAP_LINEAR = Head()
SMALL = Input(1, 8, 8)


def layers_of(*body: BodyItem, head: Head = GAP_LINEAR, image: Input = SMALL) -> list[Layer]:
    return lower(Architecture(image, 10, body, head))


def kinds(layers: list[Layer]) -> list[str]:
    return [layer.operation.kind for layer in layers]


def groups(layers: list[Layer]) -> list[tuple[str, int]]:
    return [(call.group, call.use) for call in calls(layers)]


@pytest.mark.parametrize(
    ("norm_act", "expected"),
    [
        (BARE, ["Conv2d"]),
        (NormAct(), ["Conv2d", "BatchNorm2d", "ReLU"]),
        (NormAct(order="activation_first", dropout=0.1), ["Conv2d", "ReLU", "BatchNorm2d", "Dropout"]),
        (
            NormAct(norm="none", activation="prelu", dropout=0.1, dropout_kind="channel"),
            ["Conv2d", "PReLU", "Dropout2d"],
        ),
        (NormAct(norm="none", activation="leaky_relu"), ["Conv2d", "LeakyReLU"]),
        (NormAct(norm="none", activation="silu"), ["Conv2d", "SiLU"]),
        (NormAct(norm="none", activation="gelu"), ["Conv2d", "GELU"]),
        (NormAct(norm="none", activation="hardswish"), ["Conv2d", "Hardswish"]),
    ],
)
def test_norm_act_of_a_block_and_of_a_transition(norm_act: NormAct, expected: list[str]) -> None:
    assert kinds(layers_of(Block(4, norm_act=norm_act)))[:-2] == expected
    assert kinds(layers_of(Transition(4, norm_act)))[:-2] == expected


def test_separable_block() -> None:
    layers = layers_of(Block(4), Block(6, kind="separable", kernel=5, stride=2))[3:-2]
    assert kinds(layers) == ["Conv2d", "BatchNorm2d", "Conv2d", "BatchNorm2d", "ReLU"]
    assert [layer.output_shape for layer in layers] == [(4, 4, 4)] * 2 + [(6, 4, 4)] * 3
    assert {layer.group for layer in layers} == {"convblock2"}


@pytest.mark.parametrize(
    ("item", "shape"),
    [
        (Block(4), (4, 9, 12)),
        (Block(4, kernel=5), (4, 9, 12)),
        (Block(4, kernel=1), (4, 9, 12)),
        (Block(4, padding="valid"), (4, 7, 10)),
        (Block(4, kernel=4, padding="valid"), (4, 6, 9)),
        (Block(4, stride=2), (4, 5, 6)),
        (Block(4, stride=2, padding="valid"), (4, 4, 5)),
        (Transition(4), (4, 9, 12)),
        (Pool(), (2, 4, 6)),
        (Pool("average", 3), (2, 3, 4)),
        (Pool("max", 3, 2), (2, 4, 5)),
    ],
)
def test_output_shapes(item: BodyItem, shape: tuple[int, ...]) -> None:
    layers = layers_of(item, image=Input(2, 9, 12))
    assert layers[0].input_shape == (2, 9, 12)
    assert layers[0].output_shape == shape


@pytest.mark.parametrize(
    ("head", "size", "expected"),
    [
        (Head("gap_linear"), (8, 8), [("AdaptiveAvgPool2d", (4, 1, 1)), ("Linear", (10,))]),
        (Head("gap_conv"), (8, 8), [("AvgPool2d", (4, 1, 1)), ("Conv2d", (10, 1, 1))]),
        (Head("gap_conv"), (8, 6), [("AdaptiveAvgPool2d", (4, 1, 1)), ("Conv2d", (10, 1, 1))]),
        (Head("conv_gap", kernel=3), (8, 8), [("Conv2d", (10, 6, 6)), ("AvgPool2d", (10, 1, 1))]),
        (Head("conv_gap", kernel=3, padding="same"), (8, 8), [("Conv2d", (10, 8, 8)), ("AvgPool2d", (10, 1, 1))]),
        (Head("conv_gap", kernel=4), (8, 6), [("Conv2d", (10, 5, 3)), ("AdaptiveAvgPool2d", (10, 1, 1))]),
        (Head("flatten_linear"), (8, 6), [("Linear", (10,))]),
    ],
)
def test_heads(head: Head, size: tuple[int, int], expected: list[tuple[str, tuple[int, ...]]]) -> None:
    layers = layers_of(Transition(4), head=head, image=Input(1, *size))[1:]
    assert [(layer.operation.kind, layer.output_shape) for layer in layers] == expected


def test_identity_shortcut_reads_the_image_and_ends_ahead_of_the_activation() -> None:
    layers = layers_of(Block(1, shortcut="identity", norm_act=NormAct(dropout=0.1)))
    assert kinds(layers)[:5] == ["Conv2d", "BatchNorm2d", "Add", "ReLU", "Dropout"]
    assert layers[2].sources == (1, IMAGE)
    assert groups(layers) == [("convblock1", 0), ("", 0), ("tail1", 0), ("gap", 0), ("fc", 0)]


def test_projection_shortcut() -> None:
    layers = layers_of(Block(4), Block(6, shortcut="projection", stride=2, norm_act=NormAct(order="activation_first")))
    assert kinds(layers)[3:8] == ["Conv2d", "Conv2d", "Add", "ReLU", "BatchNorm2d"]
    assert [layer.sources for layer in layers[3:6]] == [(2,), (2,), (3, 4)]
    assert {layer.output_shape for layer in layers[3:8]} == {(6, 4, 4)}
    assert groups(layers)[1:5] == [("convblock2", 0), ("shortcut2", 0), ("", 0), ("tail2", 0)]
    assert [call.sources for call in calls(layers)][1:5] == [(0,), (0,), (1, 2), (3,)]


def test_repeat_runs_the_same_submodules_again() -> None:
    layers = layers_of(Block(4), Block(4, repeat=2, shortcut="identity"))
    assert groups(layers)[1:7] == [("convblock2", 0), ("", 0), ("tail2", 0), ("convblock2", 1), ("", 1), ("tail2", 1)]
    first, second = layers[3:7], layers[7:11]
    assert [layer.operation for layer in first] == [layer.operation for layer in second]
    assert [layer.num_params for layer in first] == [4 * 4 * 9, 8, 0, 0]
    assert [layer.num_params for layer in second] == [0, 0, 0, 0]
    assert [layer.num_macs for layer in first] == [layer.num_macs for layer in second]


def test_functional_activation_splits_its_submodule() -> None:
    norm_act = NormAct(functional=True, order="activation_first", dropout=0.1)
    layers = layers_of(
        Block(4, norm_act=norm_act), Transition(4, norm_act), Block(4, norm_act=NormAct(functional=True))
    )
    assert groups(layers)[:-2] == [
        ("convblock1", 0),
        ("", 0),
        ("tail1", 0),
        ("transition1", 0),
        ("", 0),
        ("transition1_tail", 0),
        ("convblock2", 0),
        ("", 0),
    ]


def test_submodules_are_numbered_by_their_kind() -> None:
    layers = layers_of(Block(4), Pool(), Transition(2), Block(4), Transition(2), Pool(), head=Head("conv_gap"))
    names = ["convblock1", "pool1", "transition1", "convblock2", "transition2", "pool2", "classifier", "gap"]
    assert [group for group, _ in groups(layers)] == names


SHRUNK = (
    "the map shrinks to nothing: {} needs at least {}x{}, and the map is {} here; use padding = 'same', fewer pools"
)


@pytest.mark.parametrize(
    ("body", "head", "problem"),
    [
        ((Block(4, kernel=4),), Head(), "body[0].kernel: 4 is even; 'same' padding needs an odd kernel"),
        ((), Head("conv_gap", kernel=2, padding="same"), "head.kernel: 2 is even; 'same' padding needs an odd kernel"),
        ((Block(4, kernel=9, padding="valid"),), Head(), "body[0]: " + SHRUNK.format("Conv2d", 9, 9, "8x8")),
        ((Pool(), Pool("average", 5)), Head(), "body[1]: " + SHRUNK.format("AvgPool2d", 5, 5, "4x4")),
        ((Pool(),) * 5, Head(), "body[3]: " + SHRUNK.format("MaxPool2d", 2, 2, "1x1")),
        ((), Head("conv_gap", kernel=9), "head: " + SHRUNK.format("Conv2d", 9, 9, "8x8")),
        (
            (Block(4), Block(5, repeat=2)),
            Head(),
            "body[1].repeat: shared weights need equal widths, and 4 channels go in, 5 out",
        ),
        (
            (Block(1, shortcut="identity", padding="valid"),),
            Head(),
            "body[0].shortcut: a shortcut needs padding = 'same', so that the shapes agree",
        ),
        (
            (Block(4, shortcut="identity", stride=2),),
            Head(),
            "body[0].shortcut: identity needs equal shapes, and 1 channels go in, 4 out with stride 2; "
            "use 'projection'",
        ),
        (
            (),
            Head("gap_linear", kernel=3),
            "head.kernel: only conv_gap has a kernel and padding of its own, not gap_linear",
        ),
        (
            (),
            Head("gap_conv", padding="same"),
            "head.kernel: only conv_gap has a kernel and padding of its own, not gap_conv",
        ),
        (
            (Block(4, norm_act=NormAct(activation="prelu", functional=True)),),
            Head(),
            "body[0].norm_act.functional: prelu has a weight and must be a layer",
        ),
    ],
)
def test_what_cannot_be_built(body: tuple[BodyItem, ...], head: Head, problem: str) -> None:
    with pytest.raises(ArchitectureError, match="^the architecture: " + re.escape(problem)) as caught:
        layers_of(*body, head=head)
    assert len(caught.value.problems) == 1


def test_several_problems_at_once() -> None:
    body = (Block(4, kernel=2), Block(5, shortcut="identity"), Block(6, kernel=11, padding="valid"), Pool())
    with pytest.raises(ArchitectureError, match=r"^the architecture has 4 problems:\n") as caught:
        layers_of(*body, head=Head("gap_linear", kernel=3))
    paths = [problem.split(":")[0] for problem in caught.value.problems]
    assert paths == ["body[0].kernel", "body[1].shortcut", "body[2]", "head.kernel"]


bodies = st.lists(
    st.one_of(
        st.builds(
            Block,
            width=st.integers(1, 4),
            kind=st.sampled_from(["plain", "separable"]),
            kernel=st.sampled_from([1, 2, 3, 5]),
            stride=st.integers(1, 2),
            padding=st.sampled_from(["same", "valid"]),
            shortcut=st.sampled_from(["none", "identity", "projection"]),
            repeat=st.integers(1, 2),
            norm_act=st.builds(NormAct, functional=st.booleans(), dropout=st.sampled_from([0.0, 0.1])),
        ),
        st.builds(Transition, width=st.integers(1, 4)),
        st.builds(Pool, kind=st.sampled_from(["max", "average"]), size=st.integers(1, 3), stride=st.integers(0, 3)),
    ),
    max_size=5,
)
heads = st.builds(Head, kind=st.sampled_from(["gap_linear", "gap_conv", "conv_gap", "flatten_linear"]))


@settings(max_examples=200, deadline=None)
@given(body=bodies, head=heads)
def test_layers_fit_together_or_the_error_says_where(body: list[BodyItem], head: Head) -> None:
    problems: tuple[str, ...] = ()
    try:
        layers = layers_of(*body, head=head, image=Input(2, 12, 10))
    except ArchitectureError as error:
        problems = error.problems
    if problems:
        assert all(re.match(r"(body\[\d\]|head)(\.\w+)*: ", problem) for problem in problems)
        return
    shapes: dict[int, tuple[int, ...]] = {IMAGE: (2, 12, 10)}
    for index, layer in enumerate(layers):
        assert {shapes[source] for source in layer.sources} == {layer.input_shape}
        assert min(layer.output_shape) >= 1
        shapes[index] = layer.output_shape
    assert layers[-1].output_shape in ((10,), (10, 1, 1))
    assert [layer for call in calls(layers) for layer in call.layers] == layers
    for index, call in enumerate(calls(layers)):
        assert all(source < index for source in call.sources)
