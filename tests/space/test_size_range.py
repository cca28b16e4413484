from __future__ import annotations

import functools
import itertools
import random
import statistics
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from nas.arch import Architecture, Input, Layer, lower
from nas.costs import Budget
from nas.data.known import KNOWN_DATASETS
from nas.errors import BudgetError
from nas.space import (
    SHIPPED,
    Candidate,
    Space,
    candidate,
    draw_network,
    draw_networks,
    least_network,
    load_space,
    most_network,
    random_genes,
    require_reachable,
)

IMAGES = {"separable": "mnist", "squeeze_expand": "mnist", "tiny_digits": "digits"}


@functools.cache
def shipped(name: str) -> Space:
    return load_space(name, *KNOWN_DATASETS[IMAGES[name]].images)


def space_of(tmp_path: Path, text: str, input: Input = Input(1, 8, 8), classes: int = 3) -> Space:  # noqa: B008
    path = tmp_path / f"space{len(list(tmp_path.iterdir()))}.toml"
    path.write_text(text)
    return load_space(str(path), input, classes)


def enumerated(space: Space) -> list[Candidate]:
    combinations = itertools.product(*(domain.values() for domain in space.genes.values()))
    found = (candidate(space, dict(zip(space.genes, values, strict=True))) for values in combinations)
    return [c for c in found if c is not None]


SMALL_SPACES = {
    "valid padding makes a dense head small": """
        stages.count = 1
        stages.blocks = [1, 2, 3]
        block.width = [4, 8]
        block.padding = ["same", "valid"]
        head.kind = "flatten_linear"
    """,
    "pools make a dense head small": """
        stages = { count = [1, 2, 3], blocks = 1, junction = ["pool", "transition_pool", "transition", "stride"] }
        block.width = [4, 6]
        transition.width = [3, 5]
        head.kind = ["flatten_linear", "conv_gap"]
        head.kernel = 3
    """,
    "an equal width saves a projection": """
        stages = { count = 2, blocks = 1, junction = "transition" }
        block = { kind = "separable", width = { low = 6, high = 12 }, shortcut = "auto" }
        transition.width = { low = 8, high = 10 }
    """,
    "unequal widths add projections": """
        stages = { count = 1, blocks = [2, 3] }
        block.kind = "separable"
        block.width = { low = 3, high = 9 }
        block.shortcut = { choices = ["auto", "none"], per = "network" }
    """,
    "norms and activations": """
        stages = { count = 2, blocks = 1, junction = "transition" }
        block = { kind = { choices = ["plain", "separable"], per = "stage" }, first = ["any", "separable"], width = 3 }
        norm_act.bias = [true, false]
        norm_act.norm = ["batch", "none"]
        norm_act.activation = ["prelu", "relu"]
        norm_act.last = ["full", "no_norm", "none"]
        norm_act.dropout = [0.0, 0.1]
        transition = { width = [2, 4], norm_act = ["blocks", "none"] }
        head = { kind = ["gap_conv", "flatten_linear"], bias = [true, false] }
    """,
    "norms with less to train": """
        stages = { count = 1, blocks = 2 }
        block = { kind = ["plain", "separable"], width = [3, 4] }
        norm_act.norm = ["batch_bias", "batch"]
        norm_act.middle = ["batch", "same", "batch_plain"]
    """,
    "norms as those of the block": """
        stages = { count = 1, blocks = 2 }
        block = { kind = "separable", width = [3, 4] }
        norm_act.norm = ["batch_plain", "none"]
        norm_act.middle = ["batch_bias", "same"]
    """,
    "norms with two scalars": """
        stages = { count = 1, blocks = 2 }
        block = { kind = ["plain", "separable"], width = [3, 4] }
        norm_act.norm = ["batch_scalars", "batch_bias"]
        norm_act.middle = ["batch_bias", "same", "batch_scalars"]
    """,
    "inverted blocks": """
        stages = { count = 1, blocks = [1, 2] }
        block.kind = ["inverted", "separable"]
        block.width = { low = 2, high = 5 }
        block.shortcut = ["auto", "none"]
        block.expansion = { choices = [3, 1, 2], per = "stage" }
    """,
    "widths that divide into groups": """
        stages = { count = 1, blocks = [2, 3] }
        block.width = { low = 3, high = 10 }
        block.groups = { choices = [2, 1, 4], per = "network" }
    """,
    "groups that have nothing in common": """
        stages = { count = 1, blocks = 2 }
        block.kind = ["inverted", "plain"]
        block.width = { low = 4, high = 9 }
        block.groups = [2, 3]
        block.expansion = 2
        block.shortcut = { choices = ["auto", "none"], per = "network" }
    """,
    # From 4 channels, separable blocks would keep 4, and plain ones take 3.
    "the first block is of another kind": """
        stages = { count = 1, blocks = [1, 2] }
        block = { kind = "separable", first = "plain", width = { low = 3, high = 5 }, shortcut = "auto" }
    """,
    # With norms the second block would rather be 7 wide: 12 * 12 + 12 * (2 + 3) > 2 * 12 * 7 + 7 * (2 + 3).
    "the last block has neither norm nor activation": """
        stages = { count = 2, blocks = 1, junction = "transition" }
        block = { kind = "separable", first = "plain", width = { low = 7, high = 12 }, shortcut = "auto" }
        transition.width = 12
        norm_act.last = "none"
    """,
    # The layers of one stage hold less in sum, those of two stages hold less at once (where the image is small).
    "more layers hold less at once": """
        stages = { count = [1, 2], blocks = 1 }
        block.width = [4, 5, 6]
        head.kind = "conv_gap"
    """,
    "one value for the whole network": """
        stages.count = [1, 2]
        stages.blocks = { choices = [1, 2], per = "network" }
        stages.pool_size = [2, 3]
        stages.junction = { choices = ["pool", "stride"], per = "network" }
        block.width = { low = 5, high = 6, per = "network" }
        block.kernel = { choices = [1, 3, 5], per = "network" }
        block.padding = { choices = ["valid", "same"], per = "stage" }
        block.repeat = { choices = [1, 2], per = "network" }
        head.kind = "flatten_linear"
    """,
    # A norm behind an activation is not folded, whatever it has.
    "the order of norm and activation": """
        stages = { count = [1, 2], blocks = 1 }
        block = { width = { low = 3, high = 5, per = "network" }, kind = ["plain", "separable"] }
        [norm_act]
        norm = ["none", "batch", "batch_plain"]
        bias = [true, false]
        order = ["activation_first", "norm_first"]
    """,
    "the first options lead nowhere": """
        stages = { count = [4, 3], blocks = 1, junction = ["pool", "transition"], pool_size = [8, 2] }
        block = { width = 4, kernel = { choices = [5, 3], per = "network" }, padding = ["valid", "same"] }
        transition.width = 3
        head.kind = "conv_gap"
        head.kernel = [5, 1]
    """,
}


@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize("text", SMALL_SPACES.values(), ids=SMALL_SPACES)
def test_extremes_equal_those_of_a_full_enumeration(tmp_path: Path, text: str, channels: int) -> None:
    space = space_of(tmp_path, text, Input(channels, 8, 8))
    everything = [c.costs for c in enumerated(space)]
    assert 10 < len(everything) < 20_000
    sizes = [costs.num_params for costs in everything]
    assert (least_network(space).costs.num_params, most_network(space).costs.num_params) == (min(sizes), max(sizes))
    assert min(sizes) < max(sizes)

    # Each limit alone: the least that there is can be met, and one below it cannot.
    limits: list[tuple[Callable[[int], Budget], int]] = [
        (lambda n: Budget(n), min(sizes)),
        (lambda n: Budget(10**9, max_macs=n), min(costs.num_macs for costs in everything)),
        (lambda n: Budget(10**9, max_activation_bytes=n), min(costs.peak_activation_bytes for costs in everything)),
    ]
    for budget_of, bound in limits:
        assert budget_of(bound).admits(require_reachable(space, budget_of(bound)).costs)
        with pytest.raises(BudgetError, match=f"{bound:,}"):
            require_reachable(space, budget_of(bound - 1))

    # So can the least that is deployed.
    deployed = [costs.deployed_params for costs in everything]
    most = most_network(space, "deployed").costs.deployed_params
    assert (least_network(space, "deployed").costs.deployed_params, most) == (min(deployed), max(deployed))
    budget = Budget(min(deployed), count="deployed")
    assert budget.admits(require_reachable(space, budget).costs)
    with pytest.raises(BudgetError, match=f"has {min(deployed):,} parameters deployed"):
        require_reachable(space, replace(budget, max_params=min(deployed) - 1))

    # A limit on activations makes other networks the smallest.
    peak = int(statistics.median(costs.peak_activation_bytes for costs in everything))
    within = min(costs.num_params for costs in everything if costs.peak_activation_bytes <= peak)
    found = require_reachable(space, Budget(10**9, max_activation_bytes=peak))
    assert found.costs.num_params == within


@pytest.fixture
def lowered(monkeypatch: pytest.MonkeyPatch) -> list[Architecture]:
    """What `nas.space.size_range` lowers, which is nearly all that it spends its time on, on any machine."""
    architectures: list[Architecture] = []

    def counted(architecture: Architecture) -> list[Layer]:
        architectures.append(architecture)
        return lower(architecture)

    monkeypatch.setattr("nas.space.size_range.lower", counted)
    return architectures


@pytest.mark.parametrize("name", IMAGES)
def test_extremes_are_found_with_little_work_and_bound_every_draw(name: str, lowered: list[Architecture]) -> None:
    path = SHIPPED / f"{name}.toml"
    space = load_space(str(path), *KNOWN_DATASETS[IMAGES[name]].images)  # a fresh one, which no cache knows
    least, most = least_network(space), most_network(space)
    assert 0 < len(lowered) < 2_000
    rng = random.Random(1)
    sizes = [c.costs.num_params for c in (candidate(space, random_genes(space, rng)) for _ in range(500)) if c]
    assert least.costs.num_params < min(sizes)
    assert max(sizes) < most.costs.num_params
    assert candidate(space, least.genes) == least
    assert candidate(space, most.genes) == most


def test_least_networks_of_shipped_spaces_by_hand() -> None:
    # separable: 3x3 to 3 channels; two blocks of 3x3 depthwise, norm, 1x1; norms; linear.
    stages = [3 * 9 + 6, *[3 * 9 + 6 + 3 * 3 + 6] * 2]
    assert least_network(shipped("separable")).costs.num_params == sum(stages) + 3 * 10 + 10
    # squeeze_expand: two blocks of 4, no norm, no bias; gap and linear without bias.
    assert least_network(shipped("squeeze_expand")).costs.num_params == 4 * 9 + 4 * 4 * 9 + 4 * 10


@pytest.mark.parametrize("per", ["network", "stage", "block"])
def test_spaces_of_any_size_are_measured_with_bounded_work(
    tmp_path: Path, per: str, lowered: list[Architecture]
) -> None:
    blocks = 6 if per == "block" else 8
    space = space_of(
        tmp_path,
        f"""
        stages.count = {{ low = 1, high = 8 }}
        stages.blocks = {{ low = 1, high = {blocks} }}
        stages.junction = ["pool", "stride", "transition"]
        block.kind = {{ choices = ["plain", "separable"], per = "{per}" }}
        block.width = {{ low = 3, high = 400, per = "{per}" }}
        block.kernel = {{ low = 1, high = 31, step = 2, per = "{per}" }}
        block.padding = {{ choices = ["same", "valid"], per = "{per}" }}
        block.shortcut = {{ choices = ["none", "auto"], per = "{per}" }}
        block.repeat = {{ low = 1, high = 16, per = "{per}" }}
        head.kind = ["flatten_linear", "conv_gap"]
        """,
        Input(3, 32, 32),
    )
    # One block: a depthwise 1x1 and a 1x1, or a plain 1x1.
    assert least_network(space).costs.num_params < 60
    assert most_network(space).costs.num_params > 10**9
    assert next(draw_networks(space, Budget(8_000), 0)).candidate.costs.num_params <= 8_000
    assert 0 < len(lowered) < 4_000


# Budgets that cannot be met


@pytest.mark.parametrize(
    ("name", "least", "largest"),
    [
        ("separable", 169, "Linear 3x1x1 to 10 has 40, Conv2d 1x28x28 to 3x28x28 has 27"),
        ("squeeze_expand", 220, "Conv2d 4x14x14 to 4x14x14 has 144, Linear 4x1x1 to 10 has 40"),
        ("tiny_digits", 42, "Linear 2x1x1 to 10 has 20, Conv2d 1x8x8 to 2x8x8 has 18"),
    ],
)
def test_a_budget_of_20(name: str, least: int, largest: str) -> None:
    space = load_space(str(SHIPPED / f"{name}.toml"), *KNOWN_DATASETS[IMAGES[name]].images)
    with pytest.raises(BudgetError) as caught:
        require_reachable(space, Budget(20))
    text = str(caught.value)
    assert text.startswith(f"`max_params` 20: the smallest network of space {name!r} has {least} parameters (")
    assert text.endswith(f"raise `max_params` to {least} or more, or take a space with smaller widths or fewer blocks")
    for part in largest.split(", "):
        assert part in text
    with pytest.raises(BudgetError, match=f"has {least} parameters"):
        draw_network(space, Budget(20), random.Random(0))


def test_limits_on_macs_and_activations_say_what_forces_them() -> None:
    space = shipped("separable")
    with pytest.raises(
        BudgetError,
        match=r"`max_macs` 99: the network of space 'separable' with the fewest multiply-accumulates has 30,018 "
        r"\(Conv2d 1x28x28 to 3x28x28 has 21,168, .*; raise `max_macs` to 30,018 or more",
    ):
        require_reachable(space, Budget(8_000, max_macs=99))
    peak = (28 * 28 + 3 * 28 * 28) * 4
    with pytest.raises(
        BudgetError,
        match=rf"`max_activation_bytes` 99: every network of space 'separable' holds {peak:,} or more at once "
        rf"\(Conv2d 1x28x28 to 3x28x28 has {peak:,}\); raise `max_activation_bytes` to {peak:,} or more",
    ):
        require_reachable(space, Budget(8_000, max_activation_bytes=99))


@pytest.mark.parametrize(
    ("limit", "text"),
    [("max_flash", r"flash_bytes [\d,]+ exceeds 500"), ("max_ram", r"ram_bytes [\d,]+ exceeds 500")],
)
def test_a_microcontroller_that_is_too_small(limit: str, text: str) -> None:
    with pytest.raises(BudgetError, match=rf"no network of space 'separable' .* {text}; raise that limit"):
        require_reachable(shipped("separable"), Budget(8_000, **{limit: 500}))


def test_the_least_ram_can_be_had() -> None:
    space = shipped("separable")
    costs = [draw.candidate.costs for draw in itertools.islice(draw_networks(space, Budget(8_000), 0), 60)]
    least = min(c.ram_bytes for c in costs)
    assert require_reachable(space, Budget(8_000, max_ram=least)).costs.ram_bytes <= least


TRADE = """
    stages = { count = [1, 2], blocks = 1, junction = "pool" }
    block.width = 4
    head.kind = "flatten_linear"
"""


def test_limits_that_only_together_cannot_be_met(tmp_path: Path) -> None:
    # One stage: few MACs, a large dense head. Two stages: more MACs, a small head.
    space = space_of(tmp_path, TRADE)
    one, two = (c.costs for c in enumerated(space))
    assert one.num_params > two.num_params
    assert one.num_macs < two.num_macs
    assert require_reachable(space, Budget(one.num_params, max_macs=one.num_macs)).costs == one
    assert require_reachable(space, Budget(two.num_params, max_macs=two.num_macs)).costs == two
    with pytest.raises(
        BudgetError,
        match=r"no network of space 'space\d' was found within all limits at once; near them, one of [\d,]+ "
        r"parameters has: num_.* exceeds .*; raise that limit",
    ):
        require_reachable(space, Budget(two.num_params, max_macs=one.num_macs))


def test_a_space_without_any_network(tmp_path: Path) -> None:
    space = space_of(tmp_path, "stages.count = 5")
    for look in (least_network, most_network):
        with pytest.raises(
            BudgetError, match=r"no network of space 'space0' keeps a map of 8x8 pixels alive; use fewer stages"
        ):
            look(space)
