"""Spaces written when `norm_act` was called `dress`. The literals are what the code of that time printed."""

from __future__ import annotations

import hashlib
import itertools
import json
import random
from pathlib import Path

import pytest

from nas.arch import Input, digest_of, lower
from nas.costs import Budget
from nas.errors import InvalidError, SpaceError
from nas.space import (
    SHIPPED,
    Candidate,
    Space,
    assemble,
    candidate,
    draw_networks,
    genes_of,
    least_network,
    load_space,
    most_network,
    random_genes,
)

STUDIES = Path(__file__).parents[2] / "studies"
EVERYTHING = """
[stages]
count = { low = 1, high = 3 }
blocks = { low = 1, high = 2, per = "network" }
junction = ["pool", "transition", "pool_transition", "stride"]
pool = ["max", "average"]
pool_size = [2, 3]
[block]
kind = ["plain", "separable"]
first = ["any", "plain"]
width = { low = 2, high = 4 }
kernel = [1, 3]
padding = ["same", "valid"]
shortcut = ["none", "auto"]
repeat = [1, 2]
[dress]
bias = [true, false]
norm = ["batch", "none"]
activation = ["relu", "prelu", "none"]
order = ["norm_first", "activation_first"]
dropout = { low = 0.0, high = 0.5 }
dropout_kind = ["element", "channel"]
last = ["full", "no_norm", "bare"]
[transition]
width = [2, 3]
dress = ["bare", "dressed"]
[head]
kind = ["gap_linear", "gap_conv", "conv_gap", "flatten_linear"]
bias = [true, false]
kernel = [1, 3]
padding = ["same", "valid"]
"""
RENAMED = {
    "[dress]": "[norm_act]",
    'last = ["full", "no_norm", "bare"]': 'last = ["full", "no_norm", "none"]',
    'dress = ["bare", "dressed"]': 'norm_act = ["none", "blocks"]',
}


def with_new_names(text: str) -> str:
    for old, new in RENAMED.items():
        assert old in text
        text = text.replace(old, new)
    return text


def with_old_names(path: Path) -> str:
    """Return a shipped space as it was written."""
    text = path.read_text()
    for old, new in RENAMED.items():
        text = text.replace(new, old)
    assert "[dress]" in text
    return text


def space_of(tmp_path: Path, text: str, input: Input = Input(2, 12, 12)) -> Space:  # noqa: B008
    path = tmp_path / "space.toml"
    path.write_text(text)
    return load_space(str(path), input, 10)


def fingerprint(values: object) -> str:
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:16]


def some_of(space: Space, count: int) -> list[Candidate]:
    rng = random.Random(0)
    found = (candidate(space, random_genes(space, rng)) for _ in range(count))
    return [c for c in found if c is not None]


@pytest.mark.parametrize(
    ("name", "digest", "draws"),
    [
        ("separable", "31e1c9e52bcdf5cd", "ad1ee4fd78bddde5"),
        ("squeeze_expand", "cef0b13534ba212d", "85289491f9341729"),
        ("tiny_digits", "8b4bce1bbc97fd1d", "408a90f69b76f7c6"),
    ],
)
def test_shipped_spaces_as_they_were_written(tmp_path: Path, name: str, digest: str, draws: str) -> None:
    space = space_of(tmp_path, with_old_names(SHIPPED / f"{name}.toml"), Input(1, 28, 28))
    assert space.digest == digest
    drawn = [draw.candidate.genes for draw in itertools.islice(draw_networks(space, Budget(8_000), 1), 5)]
    assert fingerprint(drawn) == draws


@pytest.mark.parametrize(
    ("study", "digest"),
    [
        ("mnist-1400", "95b9287706986202"),
        ("mnist-3300-b", "95b9287706986202"),
        ("mnist-8000", "31e1c9e52bcdf5cd"),
        ("mnist-separable-8000", "31e1c9e52bcdf5cd"),
    ],
)
def test_spaces_of_kept_studies_have_the_digest_that_they_were_searched_with(study: str, digest: str) -> None:
    assert load_space(str(STUDIES / study / "space.toml"), Input(1, 28, 28), 10).digest == digest


def test_a_space_with_every_old_name(tmp_path: Path) -> None:
    space = space_of(tmp_path, EVERYTHING)
    assert space.digest == "6fab5f8132904bd4"
    assert fingerprint([(c.genes, c.digest) for c in some_of(space, 30)]) == "5a09308d195bbcb4"
    assert (least_network(space).costs.num_params, most_network(space).costs.num_params) == (24, 6644)
    assert list(space.plain_genes.items())[-8:] == [
        ("dress.last", "full"),
        ("stage1.transition_width", 2),
        ("stage2.transition_width", 2),
        ("transition.dress", "bare"),
        ("head.kind", "gap_linear"),
        ("head.bias", True),
        ("head.kernel", 1),
        ("head.padding", "valid"),
    ]
    assert space.keys["dress.last"] == "norm_act.last"
    assert space.value({"dress.last": "bare"}, "norm_act.last") == "none"
    assert space.value({"transition.dress": "dressed"}, "transition.norm_act") == "blocks"


def test_genes_are_found_again_under_their_old_names(tmp_path: Path) -> None:
    space = space_of(tmp_path, EVERYTHING)
    found = some_of(space, 200)
    assert {c.genes["dress.last"] for c in found} == {"full", "no_norm", "bare"}
    for one in found:
        genes = genes_of(space, one.architecture)
        assert all(space.genes[name].contains(value) for name, value in genes.items())
        assert digest_of(lower(assemble(space, genes))) == one.digest


def test_the_same_networks_under_either_name(tmp_path: Path) -> None:
    old, new = space_of(tmp_path, EVERYTHING), space_of(tmp_path, with_new_names(EVERYTHING))
    assert [c.architecture for c in some_of(old, 50)] == [c.architecture for c in some_of(new, 50)]
    assert {"norm_act.last", "transition.norm_act"} < set(new.genes)
    # Their genes have other names, so a study with the ones cannot go on with the others.
    assert old.digest != new.digest


def test_constants_have_one_digest_under_either_name(tmp_path: Path) -> None:
    assert space_of(tmp_path, "block.width = [8, 16]").digest == "28f57dae30000f1a"
    rest = "\nstages.junction = 'transition'\nblock.width = [8, 9]\ntransition.width = 4"
    old = "dress = { norm = 'none', last = 'bare' }\ntransition.dress = 'dressed'" + rest
    new = "norm_act = { norm = 'none', last = 'none' }\ntransition.norm_act = 'blocks'" + rest
    spaces = [space_of(tmp_path, text) for text in (old, new)]
    assert [space.digest for space in spaces] == ["53b48ac1157d8f0f"] * 2
    assert [least_network(space).costs.num_params for space in spaces] == [2602] * 2


def test_problems_of_an_old_file_have_its_names(tmp_path: Path) -> None:
    text = "[dress]\nnrom = 'batch'\nlast = ['full', 'half']\ndropout = 2.0\n[transition]\ndress = 'worn'"
    with pytest.raises(InvalidError) as caught:
        space_of(tmp_path, text)
    assert list(caught.value.problems) == [
        "dress.nrom: unknown key; did you mean 'dress.norm'?",
        "dress.dropout: 2.0 must be below 1.0",
        "dress.last[1]: 'half' is not known; known: full, no_norm, none",
        "transition.dress: 'worn' is not known; known: blocks, none",
    ]


def test_reasons_against_an_architecture_have_the_old_names(tmp_path: Path) -> None:
    small = "stages = { count = 2, blocks = 1, junction = 'transition' }\ntransition.width = 8\n"
    found = candidate(space_of(tmp_path, small + "transition.dress = 'dressed'"), {})
    assert found is not None
    with pytest.raises(SpaceError, match=r"body\[1\]: transition\.dress is 'dressed', and the space has bare$"):
        genes_of(space_of(tmp_path, small + "transition.dress = 'bare'"), found.architecture)


def test_a_file_with_names_of_both_times(tmp_path: Path) -> None:
    with pytest.raises(InvalidError) as caught:
        space_of(tmp_path, "norm_act.norm = 'none'\ndress.bias = true\ntransition.dress = 'dressed'")
    assert list(caught.value.problems) == [
        "dress: unknown key; known: block, head, norm_act, prior, recipe, stages, transition",
        "transition.dress: unknown key; known: transition.norm_act, transition.width",
    ]
