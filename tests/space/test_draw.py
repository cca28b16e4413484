from __future__ import annotations

import functools
import itertools
import math
import random
import statistics
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.arch import Block, Input
from nas.costs import Budget, flash_bytes, ram_bytes
from nas.data.known import KNOWN_DATASETS
from nas.space import (
    SHIPPED,
    Candidate,
    Draw,
    Genes,
    Space,
    Value,
    candidate,
    draw_network,
    draw_networks,
    fit_candidate,
    fit_network,
    least_network,
    load_space,
    most_network,
    random_genes,
)
from nas.space.draw import PATIENCE

IMAGES = {"general": "mnist", "separable": "mnist", "squeeze_expand": "mnist", "tiny_digits": "digits"}
BUDGETS = (800, 8_000)
DRAWS = 100


@functools.cache
def shipped(name: str) -> Space:
    return load_space(name, *KNOWN_DATASETS[IMAGES[name]].images)


def space_of(tmp_path: Path, text: str, input: Input = Input(1, 8, 8), classes: int = 3) -> Space:  # noqa: B008
    path = tmp_path / f"space{len(list(tmp_path.iterdir()))}.toml"
    path.write_text(text)
    return load_space(str(path), input, classes)


def drawn(space: Space, budget: Budget, count: int, seed: int = 0) -> list[Draw]:
    return list(itertools.islice(draw_networks(space, budget, seed), count))


def test_every_shipped_space_is_drawn_from() -> None:
    assert sorted(IMAGES) == sorted(path.stem for path in SHIPPED.glob("*.toml"))


# What drawing promises


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("name", IMAGES)
def test_draws_fit_the_budget_and_are_of_every_size(name: str, budget: int) -> None:
    space = shipped(name)
    least = least_network(space).costs.num_params
    assert least < budget
    draws = drawn(space, Budget(budget), DRAWS)
    sizes = [draw.candidate.costs.num_params for draw in draws]
    assert least <= min(sizes)
    assert max(sizes) <= budget
    assert len({draw.candidate.digest for draw in draws}) >= 0.95 * DRAWS
    assert sum(size > 0.8 * budget for size in sizes) >= 0.06 * DRAWS
    deciles = {min(int(10 * (size - least) / (budget - least)), 9) for size in sizes}
    assert deciles == set(range(10))
    # What is said of a candidate is what its genes describe, and every gene is of its domain.
    for draw in draws[::10]:
        again = candidate(space, draw.candidate.genes)
        assert again == draw.candidate


@pytest.mark.parametrize("name", ["separable", "squeeze_expand", "tiny_digits"])
def test_flash_and_ram_are_hard_limits(name: str) -> None:
    space = shipped(name)
    loose = [draw.candidate.costs for draw in drawn(space, Budget(8_000), 20)]
    budget = Budget(
        8_000,
        max_flash=int(statistics.median(c.flash_bytes for c in loose)),
        max_ram=int(statistics.median(c.ram_bytes for c in loose)),
    )
    assert sum(budget.admits(costs) for costs in loose) < 18  # the limits bite
    for draw in drawn(space, budget, 20):
        assert flash_bytes(draw.candidate.layers) <= budget.max_flash
        assert ram_bytes(draw.candidate.layers) <= budget.max_ram


@pytest.mark.parametrize("name", IMAGES)
def test_every_limit_of_a_budget_holds(name: str) -> None:
    space = shipped(name)
    loose = [draw.candidate.costs for draw in drawn(space, Budget(8_000), 40)]
    budget = Budget(
        8_000,
        max_macs=int(statistics.quantiles([c.num_macs for c in loose])[0]),
        max_activation_bytes=int(statistics.median(c.peak_activation_bytes for c in loose)),
    )
    assert sum(budget.admits(costs) for costs in loose) < 20  # the limits bite
    draws = drawn(space, budget, 40)
    assert all(budget.admits(draw.candidate.costs) for draw in draws)
    assert len({draw.candidate.digest for draw in draws}) > 36


def test_same_seed_same_draws() -> None:
    space = shipped("separable")
    genes = [[draw.candidate.genes for draw in drawn(space, Budget(2_000), 30, seed)] for seed in (1, 1, 2)]
    assert genes[0] == genes[1]
    assert genes[0] != genes[2]


def test_a_space_of_few_networks_repeats_them(tmp_path: Path) -> None:
    space = space_of(tmp_path, "stages.count = 1\nblock.width = [2, 3]")
    assert len({draw.candidate.digest for draw in drawn(space, Budget(1_000), 300)}) == 4


# Proposals


@pytest.mark.parametrize("name", IMAGES)
def test_a_proposal_far_over_budget_is_repaired(name: str) -> None:
    space = shipped(name)
    most = most_network(space).genes
    # A flattened map of the whole image takes thousands of parameters a width.
    room = {"general": 100_000, "squeeze_expand": 50_000}.get(name, 5_000)
    ceiling = least_network(space).costs.num_params + room
    assert most_network(space).costs.num_params > 4 * ceiling
    draw = draw_network(space, Budget(ceiling), random.Random(0), propose=lambda: most, ceiling=ceiling)
    assert draw.repaired
    assert 0.9 * ceiling < draw.candidate.costs.num_params <= ceiling
    widths = set(space.width_genes)
    assert {k: v for k, v in draw.candidate.genes.items() if k not in widths} == {
        k: v for k, v in most.items() if k not in widths
    }


def test_a_proposal_that_no_width_can_save_gives_way_gene_by_gene(tmp_path: Path) -> None:
    space = space_of(
        tmp_path, "stages.count = 2\nstages.blocks = {low = 1, high = 4}\nblock.width = {low = 4, high = 8}"
    )
    most = most_network(space).genes
    budget = Budget(least_network(space).costs.num_params + 160)
    draw = draw_network(space, budget, random.Random(0), propose=lambda: most, ceiling=budget.max_params)
    assert draw.repaired
    assert budget.admits(draw.candidate.costs)
    assert draw.candidate.genes != least_network(space).genes


def test_a_proposal_that_fits_is_taken_as_it_is() -> None:
    space = shipped("separable")
    genes = drawn(space, Budget(3_000), 1)[0].candidate.genes
    draw = draw_network(space, Budget(3_000), random.Random(0), propose=lambda: genes, ceiling=3_000)
    assert draw == Draw(draw.candidate, 0, False)
    assert draw.candidate.genes == genes


def block_widths(found: Candidate) -> list[int]:
    return [item.width for item in found.architecture.body if isinstance(item, Block)]


@pytest.mark.parametrize("growing", [True, False])
def test_growing_widths_ascend_in_every_draw(tmp_path: Path, growing: bool) -> None:
    text = f"""
    block.width = {{ low = 3, high = 6 }}
    block.growing = {str(growing).lower()}
    stages.blocks = {{ low = 1, high = 3 }}
    stages.count = {{ low = 2, high = 3 }}
    """
    space = space_of(tmp_path, text, Input(1, 28, 28), 10)
    draws = drawn(space, Budget(1_500), 150)
    assert any(draw.repaired for draw in draws)
    # The least network, moved towards a proposal that nothing can save, keeps to it too.
    most, budget = most_network(space).genes, Budget(least_network(space).costs.num_params + 500)
    draws += [draw_network(space, budget, random.Random(seed), lambda: most, budget.max_params) for seed in range(9)]
    ascends = [widths == sorted(widths) for widths in (block_widths(draw.candidate) for draw in draws)]
    assert all(ascends[:150]) == all(ascends[150:]) == growing


def test_a_ceiling_is_kept() -> None:
    space, rng = shipped("separable"), random.Random(0)
    for ceiling in (300, 1_000, 7_000):
        draws = [draw_network(space, Budget(8_000), rng, ceiling=ceiling) for _ in range(50)]
        assert max(draw.candidate.costs.num_params for draw in draws) <= ceiling
    assert draw_network(space, Budget(400), rng, ceiling=9_000).candidate.costs.num_params <= 400


def test_a_repair_gives_what_scaling_leaves_over_to_widths_a_step_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = space_of(tmp_path, "block.width = [8, 12, 20, 32]\nblock.growing = true", Input(1, 28, 28), 10)
    left, used = [], []  # shares of the ceiling
    for space, seed in itertools.product((shipped("separable"), shipped("tiny_digits"), listed), range(25)):
        rng = random.Random(seed)
        least, genes = least_network(space).costs, random_genes(space, rng)
        ceiling = rng.randint(least.num_params + 200, 6 * least.num_params + 2_000)
        budget = Budget(ceiling, max_macs=20 * least.num_macs if seed % 3 == 0 else None)
        without, filled = (_draw_with(monkeypatch, fill, space, budget, genes).candidate for fill in (False, True))
        assert budget.admits(filled.costs)
        assert candidate(space, filled.genes) == filled
        assert filled.costs.num_params >= without.costs.num_params
        if space.value(filled.genes, "block.growing"):
            assert block_widths(filled) == sorted(block_widths(filled))
        else:
            for name in space.width_genes:
                values = list(space.genes[name].values())
                at = values.index(without.genes[name])
                assert filled.genes[name] in values[at : at + 2]
                if filled != without and filled.genes[name] == values[at] != values[-1]:
                    raised = fit_candidate(space, {**filled.genes, name: values[at + 1]}, budget)
                    assert raised is None or raised.costs.num_params <= filled.costs.num_params
        if filled != without:
            left.append(1 - without.costs.num_params / ceiling)
            used.append((filled.costs.num_params - without.costs.num_params) / ceiling)
    assert len(used) > 30
    assert statistics.fmean(used) > statistics.fmean(left) / 2


def _draw_with(monkeypatch: pytest.MonkeyPatch, fill: bool, space: Space, budget: Budget, genes: Genes) -> Draw:
    monkeypatch.setattr("nas.space.draw.FILL", fill)
    return draw_network(space, budget, random.Random(0), propose=lambda: genes, ceiling=budget.max_params)


def test_draws_over_the_budget_are_counted() -> None:
    space = shipped("separable")
    most = most_network(space).genes
    assert draw_network(space, Budget(5_000), random.Random(0), lambda: most, 5_000).over_budget == PATIENCE + 1
    small = least_network(space).genes
    far_below = draw_network(space, Budget(5_000), random.Random(0), lambda: small, 5_000)
    assert (far_below.redrawn, far_below.repaired, far_below.over_budget) == (PATIENCE, True, 0)
    # Above the ceiling is not over the budget.
    assert draw_network(space, Budget(10**9), random.Random(0), lambda: most, 5_000).over_budget == 0


@given(st.integers(0, 10**6), st.integers(60, 4000), st.none() | st.integers(20, 5000))
def test_what_is_fitted_stays_as_it_is_where_it_can(seed: int, max_params: int, ceiling: int | None) -> None:
    space, budget, rng = shipped("tiny_digits"), Budget(max_params), random.Random(seed)
    genes = random_genes(space, rng)
    draw = fit_network(space, genes, budget, rng, ceiling)
    found, proposed = draw.candidate, candidate(space, genes)
    most = max(min(ceiling or max_params, max_params), least_network(space).costs.num_params)
    assert budget.admits(found.costs)
    assert found.costs.num_params <= most
    assert candidate(space, found.genes) == found
    assert proposed is not None
    assert draw.repaired == (proposed.costs.num_params > most)
    assert draw.over_budget == (not budget.admits(proposed.costs))
    assert found == proposed or draw.repaired
    # Widths alone, where that suffices.
    least = candidate(space, genes | {name: min(space.genes[name].values()) for name in space.width_genes})
    if least is not None and least.costs.num_params <= most:
        assert {n: v for n, v in found.genes.items() if n not in space.width_genes} == {
            n: v for n, v in genes.items() if n not in space.width_genes
        }


def test_what_has_no_network_gives_its_genes_to_the_least(tmp_path: Path) -> None:
    space = space_of(
        tmp_path, "stages.count = {low = 1, high = 5}\nblock.width = {low = 4, high = 9}\nstages.pool_size = 2"
    )
    genes = {name: max(domain.values()) for name, domain in space.genes.items()}
    assert candidate(space, genes) is None
    draw = fit_network(space, genes, Budget(5_000), random.Random(0))
    assert draw.repaired
    assert draw.candidate.genes == genes | {"stages.count": draw.candidate.genes["stages.count"]}


def test_foreign_genes_are_refused() -> None:
    space, budget = shipped("separable"), Budget(8_000)
    found = least_network(space)
    assert fit_candidate(space, found.genes, budget) == found
    large = most_network(space)
    assert fit_candidate(space, large.genes, budget) is None
    assert fit_candidate(space, large.genes, Budget(large.costs.num_params)) == large
    assert fit_candidate(space, large.genes, Budget(large.costs.num_params - 1)) is None
    for name, value in [("stage1.block1.width", 49), ("stage1.block1.width", 2.5), ("stage2.blocks", 0)]:
        assert fit_candidate(space, {**found.genes, name: value}, budget) is None
    assert fit_candidate(space, {"stage1.block1.width": 3}, budget) is None
    draw = draw_network(space, budget, random.Random(0), propose=lambda: {"stage1.block1.width": 412})
    assert budget.admits(draw.candidate.costs)


def test_lists_of_widths_are_resized_within_the_list(tmp_path: Path) -> None:
    space = space_of(tmp_path, "block.width = [8, 16, 24, 64]", Input(1, 28, 28), 10)
    draws = drawn(space, Budget(20_000), 100)
    assert any(draw.repaired for draw in draws)
    assert {v for draw in draws for v in draw.candidate.genes.values()} == {8, 16, 24, 64}
    assert statistics.median(draw.candidate.costs.num_params for draw in draws) > 8_000


def test_genes_without_effect_are_drawn_and_change_nothing() -> None:
    space, rng = shipped("separable"), random.Random(0)
    for _ in range(30):
        genes = {**random_genes(space, rng), "stage1.blocks": 1}
        one, other = (candidate(space, {**genes, "stage1.block2.width": width}) for width in (3, 48))
        assert one is not None
        assert other is not None
        assert (one.costs, one.digest) == (other.costs, other.digest)


def test_maps_that_shrink_to_nothing_are_no_candidates(tmp_path: Path) -> None:
    space = space_of(tmp_path, "stages.count = {low = 1, high = 5}\nblock.width = 4\nstages.pool_size = 2")
    # 8x8 pixels hold three pools of 2: 8, 4, 2, 1.
    assert [candidate(space, {"stages.count": n}) is not None for n in range(1, 6)] == [True] * 4 + [False]
    assert all(draw.candidate.genes["stages.count"] != 5 for draw in drawn(space, Budget(5_000), 20))


def test_values_of_a_candidate() -> None:
    draw = drawn(shipped("tiny_digits"), Budget(500), 1)[0]
    values: list[Value] = list(draw.candidate.genes.values())
    assert all(not isinstance(v, float) or math.isfinite(v) for v in values)
    assert list(draw.candidate.genes) == list(shipped("tiny_digits").genes)
