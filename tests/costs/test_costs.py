"""Costs by hand: parameters, multiply-accumulates and the peak of activations, written as arithmetic."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.arch import Architecture, Block, Head, Input, NormAct, Pool, Transition, lower
from nas.arch.description import BodyItem
from nas.costs import Budget, Costs, costs_of

BARE = NormAct(norm="none", activation="none")
BIASED = NormAct(bias=True, norm="none", activation="none")
GAP_LINEAR = Head(bias=False)
IMAGE = Input(3, 8, 8)


def costs(*body: BodyItem, head: Head = GAP_LINEAR, image: Input = IMAGE) -> Costs:
    return costs_of(lower(Architecture(image, 10, body, head)))


HEAD = 16 * 10  # gap_linear of 16 channels without bias

BLOCKS = {
    "plain": (Block(16, norm_act=BARE), 3 * 16 * 3 * 3),
    "bias": (Block(16, norm_act=BIASED), 16 * 3 * 3 * 3 + 16),
    "norm": (Block(16), 16 * 3 * 3 * 3 + 2 * 16),
    "prelu": (Block(16, norm_act=NormAct(norm="none", activation="prelu")), 16 * 3 * 3 * 3 + 1),
    "dropout": (Block(16, norm_act=NormAct(norm="none", dropout=0.5)), 16 * 3 * 3 * 3),
    "kernel": (Block(16, kernel=5, norm_act=BIASED), 16 * 3 * 5 * 5 + 16),
    "valid": (Block(16, padding="valid", norm_act=BIASED), 16 * 3 * 3 * 3 + 16),
    "strided": (Block(16, stride=2, norm_act=BIASED), 16 * 3 * 3 * 3 + 16),
    "separable": (Block(16, kind="separable"), 3 * 3 * 3 + 2 * 3 + 3 * 16 + 2 * 16),
    "norm with a bias alone": (Block(16, norm_act=NormAct(norm="batch_bias")), 16 * 3 * 3 * 3 + 16),
    "norm without parameters": (Block(16, norm_act=NormAct(norm="batch_plain")), 16 * 3 * 3 * 3),
    "separable, middle norm without parameters": (
        Block(16, kind="separable", norm_act=NormAct(middle="batch_plain")),
        3 * 3 * 3 + 3 * 16 + 2 * 16,
    ),
    "separable, middle norm alone": (
        Block(16, kind="separable", norm_act=NormAct(norm="none", middle="batch_bias")),
        3 * 3 * 3 + 3 + 3 * 16,
    ),
    "norm with two scalars": (Block(16, norm_act=NormAct(norm="batch_scalars")), 16 * 3 * 3 * 3 + 2),
    "inverted": (
        Block(16, kind="inverted", expansion=2),
        3 * 6 + 2 * 6 + 6 * 3 * 3 + 2 * 6 + 6 * 16 + 2 * 16,
    ),
    "inverted, expansion 1": (Block(16, kind="inverted", expansion=1), 3 * 3 * 3 + 2 * 3 + 3 * 16 + 2 * 16),
    "inverted, biases": (
        Block(16, kind="inverted", expansion=4, kernel=5, norm_act=NormAct(True, "none", "leaky_relu")),
        3 * 12 + 12 + 12 * 5 * 5 + 12 + 12 * 16 + 16,
    ),
    "inverted, scalars within": (
        Block(16, kind="inverted", expansion=2, norm_act=NormAct(middle="batch_scalars")),
        3 * 6 + 2 + 6 * 3 * 3 + 2 + 6 * 16 + 2 * 16,
    ),
    "inverted, prelu": (
        Block(16, kind="inverted", expansion=2, norm_act=NormAct(norm="none", activation="prelu")),
        3 * 6 + 1 + 6 * 3 * 3 + 1 + 6 * 16,
    ),
    "separable, no norm": (Block(16, kind="separable", norm_act=BIASED), 3 * 3 * 3 + 3 * 16 + 16),
    "projection": (Block(16, shortcut="projection"), 16 * 3 * 3 * 3 + 2 * 16 + 3 * 16),
    "transition": (Transition(16), 3 * 16),
    "transition with norm and activation": (Transition(16, NormAct(bias=True)), 3 * 16 + 16 + 2 * 16),
}


@pytest.mark.parametrize(("block", "num_params"), BLOCKS.values(), ids=BLOCKS)
def test_num_params_of_each_block(block: BodyItem, num_params: int) -> None:
    assert costs(block).num_params == num_params + HEAD


@pytest.mark.parametrize(
    ("middle", "widths", "num_params"),
    [("batch_plain", [[6, 10, 12], [15, 16], [18, 21]], 2_429), ("same", [[6, 10, 11], [14, 16], [18, 21]], 2_505)],
)
def test_num_params_of_networks_for_mnist(middle: Any, widths: list[list[int]], num_params: int) -> None:
    body: list[BodyItem] = []
    for stage in widths:
        body += [Pool()] if body else []
        for width in stage:
            body.append(Block(width, "separable" if body else "plain", norm_act=NormAct(middle=middle)))
    assert costs(*body, head=Head(), image=Input(1, 28, 28)).num_params == num_params


LATE = NormAct(order="activation_first")  # its norms follow no convolution, and stay as a scale and a shift a channel
SEPARABLE = Block(16, kind="separable")
DEPLOYED = {
    "norm": (Block(16), 16 * 3 * 3 * 3 + 16),
    "norm and bias": (Block(16, norm_act=NormAct(bias=True)), 16 * 3 * 3 * 3 + 16),
    "norm with a bias alone": (Block(16, norm_act=NormAct(norm="batch_bias")), 16 * 3 * 3 * 3 + 16),
    "norm with two scalars": (Block(16, norm_act=NormAct(norm="batch_scalars")), 16 * 3 * 3 * 3 + 16),
    "norm without parameters": (Block(16, norm_act=NormAct(norm="batch_plain")), 16 * 3 * 3 * 3 + 16),
    "no norm": (Block(16, norm_act=BARE), 16 * 3 * 3 * 3),
    "no norm, bias": (Block(16, norm_act=BIASED), 16 * 3 * 3 * 3 + 16),
    "norm behind the activation": (Block(16, norm_act=LATE), 16 * 3 * 3 * 3 + 2 * 16),
    "its own without parameters too": (Block(16, norm_act=replace(LATE, norm="batch_plain")), 16 * 27 + 2 * 16),
    "prelu": (Block(16, norm_act=NormAct(activation="prelu")), 16 * 3 * 3 * 3 + 16 + 1),
    "separable": (SEPARABLE, 3 * 3 * 3 + 3 + 3 * 16 + 16),
    "separable, no middle norm": (replace(SEPARABLE, norm_act=NormAct(middle="none")), 3 * 3 * 3 + 3 * 16 + 16),
    "inverted": (Block(16, kind="inverted", expansion=2), 3 * 6 + 6 + 6 * 3 * 3 + 6 + 6 * 16 + 16),
    "projection": (Block(16, shortcut="projection"), 16 * 3 * 3 * 3 + 16 + 3 * 16),
    "transition with norm": (Transition(16, NormAct()), 3 * 16 + 16),
}


@pytest.mark.parametrize(("block", "deployed_params"), DEPLOYED.values(), ids=DEPLOYED)
def test_deployed_params_of_each_block(block: BodyItem, deployed_params: int) -> None:
    assert costs(block).deployed_params == deployed_params + HEAD


def test_deployed_params_of_a_network_for_mnist() -> None:
    """6 s10 s11 | s14 s16 | s18 s21: each norm becomes a bias a channel."""
    body: list[BodyItem] = [Block(6), *(Block(w, "separable") for w in (10, 11)), Pool()]
    body += [*(Block(w, "separable") for w in (14, 16)), Pool(), *(Block(w, "separable") for w in (18, 21))]
    found = costs(*body, head=Head(), image=Input(1, 28, 28))
    first, head = 6 * 9 + 6, 21 * 10 + 10
    separable = [i * 9 + i + i * o + o for i, o in itertools.pairwise((6, 10, 11, 14, 16, 18, 21))]
    assert found.deployed_params == first + sum(separable) + head == 2_334
    assert (
        found.num_params
        == found.deployed_params
        + 6
        + sum(i + o for i, o in [(6, 10), (10, 11), (11, 14), (14, 16), (16, 18), (18, 21)])
        == 2_505
    )


def test_shared_weights_are_deployed_once() -> None:
    assert costs(Transition(16), Block(16, repeat=3)).deployed_params == 3 * 16 + 16 * 16 * 3 * 3 + 16 + HEAD


@pytest.mark.parametrize(
    ("head", "num_params"),
    [
        (Head("gap_linear"), 16 * 10 + 10),
        (Head("gap_linear", bias=False), 16 * 10),
        (Head("gap_conv"), 16 * 10 + 10),
        (Head("conv_gap", kernel=3), 16 * 10 * 3 * 3 + 10),
        (Head("conv_gap", bias=False, kernel=3, padding="same"), 16 * 10 * 3 * 3),
        (Head("flatten_linear"), 16 * 8 * 8 * 10 + 10),
    ],
)
def test_num_params_of_each_head(head: Head, num_params: int) -> None:
    assert costs(Transition(16), head=head).num_params == 3 * 16 + num_params


def test_shared_weights_count_once_and_work_each_time() -> None:
    once = costs(Transition(16), Block(16))
    thrice = costs(Transition(16), Block(16, repeat=3))
    assert thrice.num_params == once.num_params == 3 * 16 + (16 * 16 * 3 * 3 + 2 * 16) + HEAD
    assert thrice.num_macs == 64 * (3 * 16 + 3 * 16 * 16 * 3 * 3) + HEAD


GROUPED = {
    "plain": (Block(8, groups=4), 8 * 12 * 3 * 3 // 4, 2 * 8),
    "separable": (Block(8, "separable", groups=2), 12 * 3 * 3 + 12 * 8 // 2, 2 * 12 + 2 * 8),
    "inverted": (Block(8, "inverted", expansion=3, groups=2), 12 * 36 // 2 + 36 * 9 + 36 * 8 // 2, 4 * 36 + 2 * 8),
    "pointwise": (Block(8, kernel=1, groups=4), 12 * 8 // 4, 2 * 8),
}


@pytest.mark.parametrize(("block", "weights", "norms"), GROUPED.values(), ids=GROUPED)
def test_groups_read_their_own_part_of_the_channels(block: Block, weights: int, norms: int) -> None:
    without = costs(Transition(12), head=Head("conv_gap", False))
    found = costs(Transition(12), block, head=Head("conv_gap", False))
    assert found.num_params - without.num_params == weights + norms + 8 * 10 - 12 * 10
    assert found.num_macs - without.num_macs == 64 * (weights + 8 * 10 - 12 * 10)


def test_num_macs_by_hand() -> None:
    # 8x8 same, pooled to 4x4, valid to 2x2, strided to 1x1; norms, activations and pools count nothing.
    body = (
        Block(8, norm_act=NormAct(bias=True)),
        Pool("max"),
        Block(12, padding="valid"),
        Transition(6),
        Block(16, stride=2),
    )
    assert costs(*body).num_macs == (
        8 * 8 * (8 * 3 * 3 * 3) + 2 * 2 * (12 * 8 * 3 * 3) + 2 * 2 * (12 * 6) + 1 * 1 * (16 * 6 * 3 * 3) + 16 * 10
    )


def test_num_macs_of_separable_and_projection() -> None:
    separable = Block(16, kind="separable", kernel=5, shortcut="projection", stride=2)
    assert costs(separable).num_macs == 4 * 4 * (3 * 5 * 5) + 4 * 4 * (3 * 16) + 4 * 4 * (3 * 16) + HEAD


@pytest.mark.parametrize(
    ("head", "num_macs"),
    [
        (Head("gap_linear"), 3 * 10),
        (Head("gap_conv"), 3 * 10),
        (Head("conv_gap", kernel=3), 6 * 6 * 3 * 10 * 3 * 3),
        (Head("flatten_linear"), 3 * 8 * 8 * 10),
    ],
)
def test_num_macs_of_each_head(head: Head, num_macs: int) -> None:
    assert costs(head=head).num_macs == num_macs


def test_peak_activation_bytes_of_a_plain_network() -> None:
    # The second convolution reads 16x8x8 and writes 8x8x8; norm and activation work in place.
    assert costs(Block(16), Block(8)).peak_activation_bytes == 4 * (16 * 8 * 8 + 8 * 8 * 8)
    # The first reads the image.
    assert costs(Block(16, padding="valid"), Pool()).peak_activation_bytes == 4 * (3 * 8 * 8 + 16 * 6 * 6)


def test_peak_activation_bytes_of_shortcuts() -> None:
    # Identity: the input stays until the sum, but no more than input and output are alive.
    plain, identity = costs(Block(16), Block(16)), costs(Block(16), Block(16, shortcut="identity"))
    assert plain.peak_activation_bytes == identity.peak_activation_bytes == 4 * (16 * 64 + 16 * 64)
    # Projection: the input, the block's output and the projected input are alive at once.
    assert costs(Block(16), Block(16, shortcut="projection")).peak_activation_bytes == 4 * (3 * 16 * 64)
    # Separable: the input waits while the 1x1 convolution reads the depthwise output and writes its own.
    assert costs(Block(16), Block(16, kind="separable")).peak_activation_bytes == 4 * (2 * 16 * 64)
    separable = Block(16, kind="separable", shortcut="identity")
    assert costs(Block(16), separable).peak_activation_bytes == 4 * (3 * 16 * 64)


def test_peak_activation_bytes_of_a_bare_head() -> None:
    assert costs(head=Head("flatten_linear")).peak_activation_bytes == 4 * (3 * 8 * 8 + 10)


@settings(max_examples=50, deadline=None)
@given(widths=st.lists(st.integers(1, 32), min_size=1, max_size=6), channels=st.integers(1, 4))
def test_num_params_is_the_closed_form(widths: list[int], channels: int) -> None:
    got = costs(*(Block(width) for width in widths), image=Input(channels, 9, 7), head=Head()).num_params
    pairs = zip([channels, *widths], widths, strict=False)
    assert got == sum(9 * i * o + 2 * o for i, o in pairs) + 10 * widths[-1] + 10


COSTS = Costs(num_params=8_001, num_macs=1_500_000, peak_activation_bytes=62_720)


@pytest.mark.parametrize(
    ("budget", "excesses"),
    [
        (Budget(8_001), []),
        (Budget(8_000), ["num_params 8,001 exceeds 8,000"]),
        (Budget(8_001, 1_500_000, 62_720), []),
        (Budget(8_001, max_macs=1_499_999), ["num_macs 1,500,000 exceeds 1,499,999"]),
        (Budget(8_001, max_activation_bytes=62_719), ["peak_activation_bytes 62,720 exceeds 62,719"]),
        (
            Budget(1, 2, 3),
            [
                "num_params 8,001 exceeds 1",
                "num_macs 1,500,000 exceeds 2",
                "peak_activation_bytes 62,720 exceeds 3",
            ],
        ),
        (Budget(8_001, 0), ["num_macs 1,500,000 exceeds 0"]),
    ],
)
def test_budget_excesses(budget: Budget, excesses: list[str]) -> None:
    assert budget.excesses(COSTS) == excesses
    assert budget.admits(COSTS) == (not excesses)


@pytest.mark.parametrize("num_params", [3 * 16 + 16 + HEAD, 3 * 16 + 16 + HEAD - 1])
def test_a_budget_of_deployed_parameters(num_params: int) -> None:
    found = costs(Transition(16, NormAct()))  # its norm has 32 parameters, and 16 are deployed
    budget = Budget(num_params, count="deployed")
    excess = f"deployed_params 224 exceeds {num_params}"
    assert budget.excesses(found) == ([] if num_params == 224 else [excess])
    assert (budget.size(found), Budget(1).size(found)) == (224, 240)


def test_arch_loads_neither_torch_nor_anything_outside_the_standard_library() -> None:
    code = (
        "import sys; before = set(sys.modules); import nas.arch, nas.costs.table;"
        "print(*sorted({m.split('.')[0] for m in set(sys.modules) - before} - sys.stdlib_module_names))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert re.fullmatch(r"nas\s*", done.stdout)
