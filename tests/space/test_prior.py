from __future__ import annotations

import collections
import itertools
import math
import random
import re
import statistics
from pathlib import Path
from typing import Any

import pytest

from nas.arch import Block, Input
from nas.costs import Budget
from nas.errors import InvalidError
from nas.space import (
    SHIPPED,
    Choice,
    Domain,
    FloatRange,
    IntRange,
    Space,
    Value,
    draw_from_prior,
    draw_networks,
    load_space,
    log_prior,
    random_genes,
)
from nas.space.gene_prior import DEFAULT_STRENGTH, SPREAD, Prior, decode_prior

SETTINGS = """
[stages]
count = 2
blocks = { low = 1, high = 3 }
[block]
kind = ["plain", "separable"]
width = { low = 2, high = 64, log = true }
[norm_act]
bias = [false, true]
dropout = [0.0, 0.1]
[recipe]
learning_rate = { low = 0.001, high = 0.1, log = true }
augmentation = { low = 0.0, high = 1.0 }
"""
PRIOR = """
[prior]
block.kind = { value = "separable", strength = 0.75 }
stage1.block1.kind = "plain"
stages.blocks = { weights = { 2 = 3, 3 = 1 } }
stage1.block1.width = 8
norm_act.bias = { weights = { true = 1 }, strength = 0.5 }
recipe.learning_rate = 0.01
recipe.augmentation = { value = 0, strength = 0.8 }
"""


def space_of(tmp_path: Path, text: str) -> Space:
    path = tmp_path / "space.toml"
    path.write_text(text)
    return load_space(str(path), Input(1, 8, 8), 3)


def problems_of(tmp_path: Path, text: str) -> tuple[str, ...]:
    with pytest.raises(InvalidError) as caught:
        space_of(tmp_path, text)
    return caught.value.problems


def prior_of(domain: Domain, stated: Any) -> Prior:
    problems: list[str] = []
    prior = decode_prior(stated, domain, "gene", problems)
    assert problems == []
    assert prior is not None
    return prior


def shares(prior: Prior, count: int = 8000) -> dict[Value, float]:
    rng = random.Random(0)
    return {v: n / count for v, n in collections.Counter(prior.draw(rng) for _ in range(count)).items()}


# Drawing


def test_a_draw_follows_the_prior_as_often_as_its_strength_says() -> None:
    domain = Choice(("plain", "separable", "other"))
    drawn = shares(prior_of(domain, {"value": "separable", "strength": 0.6}))
    assert drawn["separable"] == pytest.approx(0.6 + 0.4 / 3, abs=0.02)
    assert drawn["plain"] == pytest.approx(0.4 / 3, abs=0.02)


def test_weights_are_proportions_and_need_not_name_every_value() -> None:
    drawn = shares(prior_of(IntRange(1, 4), {"weights": {"2": 3, "3": 1}, "strength": 0.8}))
    assert drawn == pytest.approx({1: 0.05, 2: 0.05 + 0.6, 3: 0.05 + 0.2, 4: 0.05}, abs=0.02)


@pytest.mark.parametrize(
    ("domain", "value"),
    [
        (FloatRange(0.0, 2.0), 0.5),
        (FloatRange(0.001, 0.1, log=True), 0.01),
        (IntRange(0, 1000), 300),
        (IntRange(10, 5000, log=True), 200),
    ],
)
def test_the_draws_of_a_range_lie_around_the_likely_value_on_its_scale(
    domain: FloatRange | IntRange, value: float
) -> None:
    def scaled(number: float) -> float:
        low, high, number = (math.log(n) if domain.log else n for n in (domain.low, domain.high, number))
        return (number - low) / (high - low)

    rng, prior = random.Random(1), prior_of(domain, {"value": value, "strength": 0.999})
    drawn = [scaled(float(prior.draw(rng))) for _ in range(4000)]
    assert statistics.median(drawn) == pytest.approx(scaled(value), abs=0.005)
    assert statistics.quantiles(drawn, n=100)[83] - scaled(value) == pytest.approx(SPREAD, abs=0.006)


@pytest.mark.parametrize("end", [0.0, 1.0])
def test_a_likely_value_at_the_end_of_a_range_is_drawn_within_it(end: float) -> None:
    drawn = [prior_of(FloatRange(0.0, 1.0), end).draw(random.Random(seed)) for seed in range(300)]
    assert all(isinstance(value, float) and 0.0 <= value <= 1.0 for value in drawn)
    assert statistics.median(map(float, drawn)) == pytest.approx(end, abs=0.06)


# How likely a value is


@pytest.mark.parametrize(
    ("domain", "stated"),
    [
        (Choice((1, 2, 4)), {"weights": {"1": 1, "4": 2}, "strength": 0.7}),
        (Choice((False, True)), True),
        (IntRange(2, 11, 3), 5),
        (IntRange(2, 40, log=True), {"value": 6, "strength": 0.5}),
    ],
)
def test_the_ratio_is_that_of_the_draws_to_even_draws(domain: Choice | IntRange, stated: Any) -> None:
    prior, rng = prior_of(domain, stated), random.Random(2)
    even = collections.Counter(domain.draw(rng) for _ in range(40_000))
    drawn = shares(prior, 40_000)
    for value in domain.values():
        expected = math.exp(prior.log_ratio(value)) * even[value] / 40_000
        assert drawn.get(value, 0.0) == pytest.approx(expected, abs=0.012), value


@pytest.mark.parametrize("domain", [FloatRange(0.5, 3.0), FloatRange(0.01, 10.0, log=True)])
def test_the_density_of_a_real_number_averages_to_one_over_even_draws(domain: FloatRange) -> None:
    prior, rng = prior_of(domain, 0.6), random.Random(3)
    ratios = [math.exp(prior.log_ratio(domain.draw(rng))) for _ in range(20_000)]
    assert statistics.fmean(ratios) == pytest.approx(1.0, abs=0.05)
    assert min(ratios) == pytest.approx(1 - DEFAULT_STRENGTH)


def test_what_is_drawn_from_a_prior_is_likelier_by_it(tmp_path: Path) -> None:
    space, rng = space_of(tmp_path, SETTINGS + PRIOR), random.Random(4)
    likely = [log_prior(space, draw_from_prior(space, rng)) for _ in range(50)]
    even = [log_prior(space, random_genes(space, rng)) for _ in range(50)]
    assert statistics.fmean(likely) > 0 > statistics.fmean(even)


# Spaces


def test_a_key_speaks_for_its_genes_and_a_gene_for_itself(tmp_path: Path) -> None:
    space, rng = space_of(tmp_path, SETTINGS + PRIOR), random.Random(5)
    genes = [draw_from_prior(space, rng) for _ in range(500)]
    assert all(drawn.keys() == space.genes.keys() for drawn in genes)
    kinds = {
        name: statistics.fmean(drawn[name] == "separable" for drawn in genes) for name in space.genes if "kind" in name
    }
    first = kinds.pop("stage1.block1.kind")
    assert first == pytest.approx(0.05, abs=0.03)
    assert list(kinds.values()) == pytest.approx([0.875] * 5, abs=0.06)
    assert space.priors["stage2.block3.kind"].text == "likely separable, strength 0.75"
    assert space.priors["norm_act.bias"].text == "likely true x1, strength 0.5"
    assert "norm_act.dropout" not in space.priors


def test_the_order_of_a_file_does_not_matter(tmp_path: Path) -> None:
    lines = PRIOR.strip().splitlines()
    turned = "\n".join([lines[0], *reversed(lines[1:])])
    assert space_of(tmp_path, SETTINGS + turned).digest == space_of(tmp_path, SETTINGS + PRIOR).digest


def test_a_prior_is_part_of_the_digest(tmp_path: Path) -> None:
    texts = [SETTINGS, SETTINGS + "[prior]\n", SETTINGS + PRIOR, SETTINGS + PRIOR.replace("0.75", "0.7")]
    digests = [space_of(tmp_path, text).digest for text in texts]
    assert digests[0] == digests[1]
    assert len(set(digests[1:])) == 3


def test_a_space_without_priors_draws_evenly(tmp_path: Path) -> None:
    space = space_of(tmp_path, SETTINGS)
    assert draw_from_prior(space, random.Random(6)) == random_genes(space, random.Random(6))
    assert log_prior(space, random_genes(space, random.Random(7))) == 0


def test_the_first_networks_are_the_prior_at_sizes_within_the_budget(tmp_path: Path) -> None:
    likely = 'block.kind = "separable"\nblock.width = 12\nstages.blocks = 2\n'
    space = space_of(tmp_path, f"{SETTINGS}[prior]\n{likely}")
    draws = list(itertools.islice(draw_networks(space, Budget(1000), 0), 100))
    sizes = [draw.candidate.costs.num_params for draw in draws]
    assert max(sizes) <= 1000
    assert min(sizes) < 200
    separable = [draw.candidate.genes["stage1.block2.kind"] == "separable" for draw in draws]
    assert statistics.fmean(separable) > 0.85


def test_the_general_space_draws_what_did_well() -> None:
    """A plain block, then separable ones, in pooled stages, with widths that hardly ever fall; whatever the budget."""
    space = load_space("general", Input(1, 28, 28), 10)
    for budget in (2_500, 8_000):
        found = [draw.candidate for draw in itertools.islice(draw_networks(space, Budget(budget), 1), 40)]
        assert max(c.costs.num_params for c in found) <= budget
        bodies = [[item for item in c.architecture.body if isinstance(item, Block)] for c in found]
        assert statistics.fmean(len(c.architecture.body) - len(b) for c, b in zip(found, bodies, strict=True)) > 1.6
        assert statistics.fmean(body[0].kind == "plain" for body in bodies) > 0.85
        later = [block for body in bodies for block in body[1:]]
        assert statistics.fmean(block.kind == "separable" for block in later) > 0.85
        assert statistics.fmean(block.norm_act.activation == "hardswish" for block in later) > 0.75
        assert statistics.fmean(block.padding == "same" for block in later) > 0.9
        pairs = [pair for body in bodies for pair in itertools.pairwise(body)]
        assert statistics.fmean(a.width <= b.width for a, b in pairs) > 0.9
        assert statistics.fmean(5 <= len(body) <= 8 for body in bodies) > 0.75


def test_a_space_with_old_names_has_priors_by_its_own_names(tmp_path: Path) -> None:
    text = '[dress]\nlast = ["bare", "full"]\n[prior]\ndress.last = { weights = { bare = 1 } }\n'
    assert space_of(tmp_path, text).priors["dress.last"].text == "likely bare x1, strength 0.9"
    assert problems_of(tmp_path, text.replace("bare = 1", "none = 1"))[0].startswith("prior.dress.last.weights.none")


# Problems


def test_every_problem_of_the_priors_at_once(tmp_path: Path) -> None:
    problems = problems_of(
        tmp_path,
        """
        name = 3
        [stages]
        count = 2
        blocks = { low = 1, high = 3 }
        [block]
        kind = ["plain", "separable"]
        width = { low = 2, high = 640, step = 2 }
        [norm_act]
        bias = [false, true]
        [recipe]
        augmentation = { low = 0.0, high = 1.0 }
        [prior]
        head.kind = "gap_conv"
        blok.kind = "plain"
        stage3.block1.width = 4
        stage1.block1.width = 5
        stage1.block2.width = { weights = { 2 = 1 } }
        stage1.block1.kind = { value = "plain", weights = { plain = 1 } }
        stage1.block2.kind = { weights = { plain = 0 } }
        stage1.block3.kind = { weights = { plane = 1 } }
        stage2.block1.kind = { weights = ["plain"] }
        stage2.block2.kind = { value = "plain", strength = 1.0 }
        stage2.block3.kind = { weights = { plain = -1 }, force = 2 }
        stages.blocks = true
        norm_act.bias = 1
        recipe.augmentation = { weights = { 0 = 1 } }
        """,
    )
    expected = [
        "name: 3 is not text",
        "prior.head.kind: nothing to choose, the key is a constant",
        "prior.blok.kind: neither a key nor a gene.*did you mean 'block.kind'",
        "prior.stage3.block1.width: neither a key nor a gene.*did you mean 'stage.\\.block1.width'",
        "prior.stage1.block1.width: 5 is no value of this gene, which has 2 to 640, step 2",
        "prior.stage1.block2.width.weights: only up to 100 values",
        "prior.stage1.block1.kind: a prior has either a value or weights",
        "prior.stage1.block2.kind.weights: no weight is above 0",
        "prior.stage1.block3.kind.weights.plane: unknown value; did you mean 'plain'",
        r"prior.stage2.block1.kind.weights: \['plain'\] is not a table",
        "prior.stage2.block2.kind.strength: 1.0 must be below 1.0",
        "prior.stage2.block3.kind.force: unknown key",
        "prior.stage2.block3.kind.weights.plain: -1.0 is below 0.0",
        "prior.stages.blocks: True is no value of this gene, which has 1 to 3",
        r"prior.norm_act.bias: 1 is no value of this gene, which has False \| True",
        "prior.recipe.augmentation.weights: only up to 100 values",
    ]
    for pattern in expected:
        assert any(re.match(pattern, problem) for problem in problems), (pattern, problems)
    assert len(problems) == len(expected)


@pytest.mark.parametrize("stated", ["3", '"block"', "[1]"])
def test_a_prior_that_is_no_table_is_refused(tmp_path: Path, stated: str) -> None:
    assert problems_of(tmp_path, f"prior = {stated}\n")[0].startswith("prior: ")


def test_the_readme_explains_priors(tmp_path: Path) -> None:
    readme = (SHIPPED / "README.md").read_text()
    settings, example = (text for text in re.findall(r"```toml\n(.+?)```", readme, re.DOTALL))
    settings = settings.replace("blocks = 2 ", "blocks = { low = 2, high = 3 } ")
    priors = space_of(tmp_path, settings + example).priors
    assert priors["stage1.blocks"].text == "likely 2 x3, 3 x1, strength 0.9"
    assert f"the default is {DEFAULT_STRENGTH}" in readme
