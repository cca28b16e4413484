from __future__ import annotations

import csv
import itertools
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nas.arch import Architecture, Block, Head, Input, NormAct, Pool, Transition, digest_of, lower, read_architecture
from nas.arch.description import BodyItem
from nas.costs import Budget, costs_of
from nas.data.known import KNOWN_DATASETS
from nas.errors import ArchitectureError, SpaceError
from nas.space import (
    SHIPPED,
    Choice,
    Domain,
    IntRange,
    Space,
    Value,
    assemble,
    candidate,
    draw_networks,
    genes_of,
    load_space,
    log_prior,
    random_genes,
)

STUDIES = Path(__file__).parents[2] / "studies"
REFERENCES = sorted((STUDIES / "reference").glob("*.toml"))
DESCRIBED = sorted(path for path in STUDIES.rglob("*.toml") if path.name != "space.toml")
SPACES = {path.stem: load_space(path.stem, *KNOWN_DATASETS["mnist"].images) for path in SHIPPED.glob("*.toml")}
SQUEEZE = SPACES["squeeze_expand"]


def reference(name: str) -> Architecture:
    (path,) = (p for p in REFERENCES if p.stem == name)
    return read_architecture(path).architecture


def space_of(tmp_path: Path, text: str, input: Input = Input(2, 12, 12)) -> Space:  # noqa: B008
    path = tmp_path / "space.toml"
    path.write_text(text)
    return load_space(str(path), input, 10)


def reasons_against(space: Space, architecture: Architecture) -> list[str]:
    with pytest.raises(SpaceError) as caught:
        genes_of(space, architecture)
    start, *reasons = str(caught.value).split("\n  ")
    assert start == (
        f"the architecture is no member of space {space.name!r}; a copy of {space.source} could be widened:"
    )
    return reasons


def rebuilt(space: Space, architecture: Architecture) -> bool:
    genes = genes_of(space, architecture)
    assert list(genes) == list(space.genes)
    assert all(space.genes[name].contains(value) for name, value in genes.items())
    return digest_of(lower(assemble(space, genes))) == digest_of(lower(architecture))


def test_there_are_seven_references() -> None:
    assert len(REFERENCES) == 7


@pytest.mark.parametrize("path", REFERENCES, ids=lambda path: path.stem)
def test_reference_networks_are_members_of_squeeze_expand(path: Path) -> None:
    assert rebuilt(SQUEEZE, read_architecture(path).architecture)


@pytest.mark.parametrize("path", DESCRIBED, ids=lambda path: path.stem)
def test_described_networks_are_members_of_general(path: Path) -> None:
    assert rebuilt(SPACES["general"], read_architecture(path).architecture)


@pytest.mark.parametrize("folder", [path.parent for path in sorted(STUDIES.glob("*/trials.csv"))], ids=lambda p: p.name)
def test_networks_of_kept_studies_are_members_of_general(folder: Path) -> None:
    own = load_space(str(folder / "space.toml"), *KNOWN_DATASETS["mnist"].images)
    with (folder / "trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert rows
    for row in rows:
        genes = {name: decoded(row[name], domain) for name, domain in own.genes.items()}
        architecture = assemble(own, genes)
        assert digest_of(lower(architecture)) == row["digest"]
        assert rebuilt(SPACES["general"], architecture)


def decoded(text: str, domain: Domain) -> Value:
    """The value of a gene in a table of trials."""
    if isinstance(domain, Choice):
        return next(value for value in domain.options if str(value) == text)
    return int(text) if isinstance(domain, IntRange) else float(text)


@pytest.mark.parametrize(
    ("widths", "num_params"), [([[6, 10, 12], [15, 16], [18, 21]], 2_429), ([[5, 8], [8, 9], [10, 11]], 1_003)]
)
def test_small_networks_that_did_well_are_members_of_general(widths: list[list[int]], num_params: int) -> None:
    body: list[BodyItem] = []
    for stage in widths:
        body += [Pool()] if body else []
        for width in stage:
            norm_act = NormAct(activation="hardswish", middle="batch_plain")
            body.append(Block(width, "separable" if body else "plain", norm_act=norm_act))
    architecture = Architecture(Input(1, 28, 28), 10, tuple(body))
    assert costs_of(lower(architecture)).num_params == num_params
    assert rebuilt(SPACES["general"], architecture)
    genes = genes_of(SPACES["general"], architecture)
    assert log_prior(SPACES["general"], genes) > log_prior(SPACES["general"], SPACES["general"].plain_genes)


def test_genes_of_a_reference() -> None:
    genes = genes_of(SQUEEZE, reference("004"))
    expected = {
        "stages.count": 3,
        "stage1.blocks": 2,
        "stage3.blocks": 1,
        "stage1.junction": "pool_transition",
        "stages.pool": "max",
        "stage1.block2.width": 32,
        "stage1.transition_width": 8,
        "stage2.transition_width": 16,
        "stage1.block1.padding": "same",
        "stage3.block1.padding": "valid",
        "norm_act.bias": True,
        "norm_act.order": "activation_first",
        "norm_act.dropout": 0.05,
        "norm_act.dropout_kind": "channel",
        "norm_act.last": "no_norm",
        "transition.norm_act": "none",
        "head.kind": "conv_gap",
    }
    assert {name: genes[name] for name in expected} == expected
    assert genes["stage3.block2.width"] == 16  # of a block that is not there: the key's default


def changed(architecture: Architecture, index: int, **changes: Any) -> Architecture:
    body = list(architecture.body)
    body[index] = replace(body[index], **changes)
    return replace(architecture, body=tuple(body))


@pytest.mark.parametrize(
    ("architecture", "reasons"),
    [
        (
            changed(reference("000"), 1, width=33),
            ["body[1]: stage1.block2.width is 33, and the space has 4 to 32"],
        ),
        (
            changed(changed(reference("000"), 0, kernel=5), 6, kernel=5),
            [
                f"{where}.kernel is 5, and the space has 3"
                for where in ("body[0]: stage1.block1", "body[6]: stage2.block3")
            ],
        ),
        (
            changed(reference("001"), 2, width=17),
            ["body[2]: stage1.transition_width is 17, and the space has 4 to 16"],
        ),
        (
            changed(reference("001"), 3, size=3, stride=2),
            [
                "body[3]: stages.pool_size is 3, and the space has 2",
                "body[3]: the pool's stride is 2, and the space has its size",
            ],
        ),
        (
            changed(reference("003_model_1"), 2, kind="average"),
            ["body[5]: stages.pool is 'max', and 'average' elsewhere; it is one gene"],
        ),
        (
            changed(reference("003_model_1"), 0, norm_act=NormAct(norm="batch", activation="silu")),
            [
                "body[0]: norm_act.activation is 'silu', and the space has relu",
                # The last block, body[7], could do without a norm.
                *(f"body[{i}]: norm_act.norm is 'none', and 'batch' elsewhere; it is one gene" for i in (1, 3, 4, 6)),
            ],
        ),
        (
            changed(changed(reference("003_model_1"), 1, shortcut="projection"), 4, padding="same", repeat=2),
            [
                "body[1]: stage1.block2.shortcut is 'auto', and the space has none",
                "body[4]: stage2.block2.repeat is 2, and the space has 1",
            ],
        ),
        (
            replace(reference("003_model_1"), classes=11),
            ["images of 1x28x28 in 11 classes, and the space is for images of 1x28x28 in 10 classes"],
        ),
        (
            replace(reference("003_model_1"), head=Head("conv_gap", kernel=1)),
            ["head.kernel is 1, and the space has 3"],
        ),
        (
            replace(reference("000"), body=(Pool(), *reference("000").body[1:3])),
            [
                "the body does not begin with a block, as every network of a space does",
                "body[2]: behind the last block only the head may come",
                "stage1.blocks is 0, and the space has 1 to 3",
            ],
        ),
        (
            replace(reference("000"), body=(*reference("000").body[:3], *reference("000").body[2:])),
            [
                "stage1.junction is 'transition_transition_pool', and the space has "
                "pool | transition_pool | pool_transition | transition",
            ],
        ),
    ],
)
def test_what_is_no_member_of_squeeze_expand(architecture: Architecture, reasons: list[str]) -> None:
    assert reasons_against(SQUEEZE, architecture) == reasons


def test_every_reason_is_given_at_once() -> None:
    architecture = changed(changed(reference("004"), 0, width=64, kernel=5), 6, size=3)
    assert reasons_against(SQUEEZE, replace(architecture, head=Head("gap_linear"))) == [
        "body[0]: stage1.block1.width is 64, and the space has 4 to 32",
        "body[0]: stage1.block1.kernel is 5, and the space has 3",
        "body[6]: stages.pool_size is 3, and the space has 2",
    ]


def test_what_is_no_network_at_all() -> None:
    with pytest.raises(ArchitectureError, match="the map shrinks to nothing"):
        genes_of(SQUEEZE, replace(reference("000"), body=(*reference("000").body, *[Pool()] * 5)))


@pytest.mark.parametrize("name", SPACES)
def test_genes_are_found_again_for_every_draw(name: str) -> None:
    space = SPACES[name]
    for draw in itertools.islice(draw_networks(space, Budget(20_000), 7), 100):
        assert rebuilt(space, draw.candidate.architecture)


RICH = """
[stages]
count = { low = 1, high = 3 }
blocks = { low = 1, high = 2, per = "network" }
junction = ["pool", "transition", "pool_transition", "stride"]
pool = ["max", "average"]
pool_size = [2, 3]
[block]
kind = ["plain", "separable", "inverted"]
expansion = [1, 2]
groups = { choices = [2, 1, 4], per = "stage" }
first = ["any", "plain"]
width = { low = 2, high = 4 }
kernel = [1, 3]
padding = ["same", "valid"]
shortcut = ["none", "auto"]
repeat = [1, 2]
[norm_act]
bias = [true, false]
norm = ["batch", "batch_plain", "none"]
middle = ["same", "batch_bias", "none"]
activation = ["relu", "prelu", "none"]
order = ["norm_first", "activation_first"]
dropout = { low = 0.0, high = 0.5 }
dropout_kind = ["element", "channel"]
last = ["full", "no_norm", "none"]
[transition]
width = [2, 3]
norm_act = ["none", "blocks"]
[head]
kind = ["gap_linear", "gap_conv", "conv_gap", "flatten_linear"]
bias = [true, false]
kernel = [1, 3]
padding = ["same", "valid"]
"""


def test_genes_are_found_again_in_a_space_of_everything(tmp_path: Path) -> None:
    space, rng = space_of(tmp_path, RICH), random.Random(0)
    found = [c for c in (candidate(space, random_genes(space, rng)) for _ in range(700)) if c is not None]
    assert len(found) > 300
    assert all(rebuilt(space, c.architecture) for c in found)


def test_a_head_that_builds_the_same_under_another_name(tmp_path: Path) -> None:
    space = space_of(tmp_path, "head.kind = ['gap_linear', 'flatten_linear']\nstages.count = 1")
    body = (Block(16), Block(16))
    pooled = Architecture(space.input, 10, body, Head("gap_conv"))
    assert genes_of(space, pooled)["head.kind"] == "gap_linear"
    covering = Architecture(space.input, 10, body, Head("conv_gap", kernel=12))
    assert genes_of(space, covering)["head.kind"] == "flatten_linear"


def test_a_1x1_block_may_be_a_transition(tmp_path: Path) -> None:
    norm_act = NormAct()
    blocks = (
        Block(16),
        Block(16),
        Block(8, kernel=1, norm_act=norm_act),
        Block(16),
        Block(16),
        Block(8, kernel=1, norm_act=norm_act),
    )
    space = space_of(tmp_path, "stages.junction = 'transition'\ntransition.norm_act = ['none', 'blocks']")
    assert rebuilt(space, Architecture(space.input, 10, (*blocks, Block(16), Block(16))))
    assert "stage2.blocks is 3, and the space has 2" in reasons_against(space, Architecture(space.input, 10, blocks))

    space = space_of(tmp_path, "block.kernel = [1, 3]\nblock.width = [8, 16]\nstages.count = 1\nstages.blocks = 3")
    body = (Block(16), Transition(8, norm_act), Block(16))
    assert genes_of(space, Architecture(space.input, 10, body))["stage1.block2.kernel"] == 1


def test_the_padding_of_a_1x1_block_has_no_effect(tmp_path: Path) -> None:
    space = space_of(tmp_path, "block.kernel = [1, 3]\nblock.padding = 'valid'\nstages.count = 1")
    assert rebuilt(
        space, Architecture(space.input, 10, (Block(16, padding="valid"), Block(16, kernel=1, padding="same")))
    )


def test_where_the_space_leaves_no_choice(tmp_path: Path) -> None:
    space = space_of(tmp_path, "stages.count = 1\nblock.shortcut = 'auto'\nblock.repeat = 2\nblock.first = 'separable'")
    member = (Block(16, "separable", shortcut="projection"), Block(16, shortcut="identity", repeat=2))
    assert rebuilt(space, Architecture(space.input, 10, member))
    other = (Block(16, shortcut="projection", stride=2), Block(16, shortcut="projection", repeat=3))
    assert reasons_against(space, Architecture(space.input, 10, other)) == [
        "body[0]: block.first is 'plain', and the space has separable",
        "body[0]: the stride is 2, and the first block of a space has none",
        "body[1]: a projection where the shape stays, and the space has an identity there",
        "body[1]: stage1.block2.repeat is 3, and the space has 2",
    ]


def test_the_norm_between_two_convolutions(tmp_path: Path) -> None:
    def network(norm: Any, middle: Any, last: Any = "same") -> Architecture:
        blocks = (Block(16, "separable", norm_act=NormAct(norm=norm, middle=m)) for m in (middle, last))
        return Architecture(Input(2, 12, 12), 10, tuple(blocks))

    text = 'stages.count = 1\nblock.kind = "separable"\nnorm_act.norm = ["batch", "batch_plain"]\nnorm_act.middle = '
    named, as_block = space_of(tmp_path, text + '"batch_plain"'), space_of(tmp_path, text + '["same", "batch_bias"]')
    assert rebuilt(named, network("batch_plain", "same"))
    assert rebuilt(as_block, network("batch", "batch"))
    assert rebuilt(as_block, network("batch", "batch_bias", "batch_bias"))
    assert reasons_against(named, network("batch", "batch_plain", "same")) == [
        "the norm between two convolutions is batch_plain and batch, and norm_act.middle has batch_plain, one for all"
    ]
    assert reasons_against(as_block, network("batch", "none")) == [
        "the norm between two convolutions is none and batch, and norm_act.middle has same | batch_bias, one for all"
    ]
    bare = space_of(tmp_path, text + '["same", "batch_bias"]\nnorm_act.last = "none"')
    alone = NormAct(norm="none", activation="none", middle="batch_bias")
    last = Architecture(Input(2, 12, 12), 10, (Block(16, "separable"), Block(16, "separable", norm_act=alone)))
    assert reasons_against(bare, last) == ["body[1]: the last block has more than a bias, and norm_act.last is 'none'"]


def test_the_last_block_with_neither_norm_nor_activation(tmp_path: Path) -> None:
    space = space_of(tmp_path, "stages.count = 1\nnorm_act.last = 'none'")
    alone = NormAct(norm="none", activation="none")
    assert rebuilt(space, Architecture(space.input, 10, (Block(16), Block(16, norm_act=alone))))
    assert reasons_against(space, Architecture(space.input, 10, (Block(16), Block(16)))) == [
        "body[1]: the last block has more than a bias, and norm_act.last is 'none'"
    ]
