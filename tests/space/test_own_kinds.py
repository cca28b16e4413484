"""Kinds of blocks of a person's own as part of a search space."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest
from own_blocks import mixed, preactivated

import nas
from nas.arch import BlockBuilder, Input, lower
from nas.arch.kinds import KINDS
from nas.costs import Budget
from nas.errors import InvalidError, SpaceError, UsageError
from nas.space import (
    Choice,
    Space,
    assemble,
    candidate,
    draw_networks,
    genes_of,
    least_network,
    load_space,
    most_network,
    require_reachable,
)

TEXT = """
stages.count = 2
stages.blocks = [1, 2]
stages.junction = ["pool", "stride"]
[block]
first = ["any", "mixed"]
kind = ["separable", "mixed", "preactivated"]
large = { choices = [5, 7], per = "stage" }
width = { low = 4, high = 12 }
shortcut = "auto"
groups = [1, 2]
[norm_act]
activation = ["relu", "hardswish"]
middle = ["same", "batch_plain"]
order = ["norm_first", "activation_first"]
last = ["full", "none"]
[prior]
block.large = 7
stage1.block1.kind = "mixed"
"""


@pytest.fixture(autouse=True)
def registered(own_kinds: None) -> None:
    nas.register_block("mixed", mixed, options={"large": [5, 7, 9]})
    nas.register_block("preactivated", preactivated, activates=False)


def space_of(tmp_path: Path, text: str = TEXT) -> Space:
    path = tmp_path / "own.toml"
    path.write_text(text)
    return load_space(str(path), Input(1, 12, 12), 10)


def test_options_are_genes_and_networks_stay_within_the_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    space = space_of(tmp_path)
    assert [space.genes[f"stage{n}.large"] for n in (1, 2)] == [Choice((5, 7)), Choice((5, 7))]
    budget = Budget(1500)
    assert require_reachable(space, budget).costs == least_network(space).costs
    for draw in itertools.islice(draw_networks(space, budget, 0), 30):
        found = draw.candidate
        assert least_network(space).costs.num_params <= found.costs.num_params <= 1500
        # The genes of a network make it again, also where the network is all that is known.
        genes = genes_of(space, found.architecture)
        again = candidate(space, genes)
        assert again is not None
        assert again.digest == found.digest
        with monkeypatch.context() as elsewhere:
            for kind in ("mixed", "preactivated"):
                elsewhere.delitem(KINDS, kind)
            assert lower(found.architecture) == found.layers  # as a worker does, which knows no kind but those of nas
    assert most_network(space).costs.num_params > 1500


def test_a_space_of_an_unknown_kind_says_what_to_do(tmp_path: Path) -> None:
    KINDS.pop("mixed")
    with pytest.raises(InvalidError) as caught:
        space_of(tmp_path)
    after = "known: inverted, plain, preactivated, separable"
    hint = "A kind of your own has to be registered before this is opened, in Python: nas.register_block"
    assert f"block.kind[1]: 'mixed' is not known; {after}. {hint}" in caught.value.problems
    assert any(problem.startswith("block.first[1]: 'mixed' is not known") for problem in caught.value.problems)


def test_a_space_has_the_digest_of_what_its_kinds_make(tmp_path: Path) -> None:
    def larger(block: BlockBuilder, large: int) -> None:
        mixed(block, large + 2)

    plain = load_space("general", Input(1, 12, 12), 10)
    before, own = plain.digest, space_of(tmp_path).digest
    nas.register_block("mixed", mixed, options={"large": [5, 7, 9]})
    assert space_of(tmp_path).digest == own
    nas.register_block("mixed", larger, options={"large": [5, 7, 9]})
    assert space_of(tmp_path).digest != own
    assert load_space("general", Input(1, 12, 12), 10).digest == before  # whatever is registered beside it


def test_a_network_of_other_layers_is_no_member(tmp_path: Path) -> None:
    space = space_of(tmp_path)
    found = candidate(space, {**space.plain_genes, "block.first": "mixed"})
    assert found is not None
    nas.register_block("mixed", lambda block, large: mixed(block, 3), options={"large": [5, 7, 9]})
    with pytest.raises(SpaceError, match=re.escape("body[0]: its layers are not those that the kind 'mixed' makes")):
        genes_of(space_of(tmp_path), found.architecture)
    KINDS.pop("mixed")
    separable = space_of(tmp_path, "block.kind = ['plain', 'separable']\n")
    with pytest.raises(SpaceError, match=re.escape("stage1.block1.kind is 'mixed', and the space has plain | sep")):
        genes_of(separable, found.architecture)


def test_a_failure_in_the_middle_of_a_search_names_the_kind(tmp_path: Path) -> None:
    def only_known(block: BlockBuilder, large: int) -> None:
        if block.width not in (1, 8, 16):
            raise ValueError(f"no width {block.width}")
        mixed(block, large)

    nas.register_block("mixed", only_known, options={"large": [5, 7, 9]})
    space = space_of(tmp_path)
    with pytest.raises(UsageError, match=r"the block kind 'mixed', for 1 .*, failed .* ValueError: no width 4"):
        assemble(space, {**space.plain_genes, "block.first": "mixed", "stage1.block1.width": 4})
