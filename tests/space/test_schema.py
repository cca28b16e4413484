from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import pytest

from nas.arch import Input
from nas.arch.kinds import SHIPPED_KINDS
from nas.costs import Budget
from nas.data.known import KNOWN_DATASETS
from nas.errors import InvalidError, NasError, SpaceError
from nas.space import KEYS, SHIPPED, Choice, Space, candidate, draw_networks, load_space, recipe_of

IMAGE = Input(1, 28, 28)
README = (SHIPPED / "README.md").read_text()


def space_of(tmp_path: Path, text: str) -> Space:
    path = tmp_path / "space.toml"
    path.write_text(text)
    return load_space(str(path), IMAGE, 10)


def problems_of(tmp_path: Path, text: str) -> tuple[str, ...]:
    with pytest.raises(InvalidError) as caught:
        space_of(tmp_path, text)
    return caught.value.problems


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.toml")), ids=lambda path: path.stem)
def test_shipped_spaces_say_what_they_are(path: Path) -> None:
    space = load_space(path.stem, IMAGE, 10)
    assert space.name == path.stem
    assert len(space.summary) > 20
    assert f"`{path.name}`" in README
    assert space.source == path


def test_every_problem_at_once_each_with_its_key(tmp_path: Path) -> None:
    problems = problems_of(
        tmp_path,
        """
        name = 3
        color = "red"
        [stage]
        count = 2
        [stages]
        cuont = 2
        blocks = []
        junction = { low = 1, high = 2 }
        count = { low = 3, high = 2 }
        [block]
        width = "wide"
        kind = { choices = ["plain", "separabel"] }
        kernel = { low = 3, high = 7, step = 0 }
        [norm_act]
        norm = { choices = ["batch", "none"], per = "block" }
        dropout = { low = 0.0, high = 0.5, log = true }
        [head]
        kind = { choices = ["gap_linear"], per = "galaxy" }
        """,
    )
    assert list(problems) == [
        "name: 3 is not text",
        "color: unknown key; known: block, head, norm_act, prior, recipe, stages, transition",
        "stage: unknown key; did you mean 'stages'?",
        "stages.cuont: unknown key; did you mean 'stages.count'?",
        "stages.count.low: 3 exceeds high, 2; swap them",
        "stages.blocks: the list is empty; give at least one value",
        "stages.junction: only numbers have a range; list the values instead",
        "block.kind.choices[1]: 'separabel' is not known; did you mean 'separable'? A kind of your own has to be "
        "registered before this is opened, in Python: nas.register_block",
        "block.width: 'wide' is not a whole number",
        "block.kernel.step: 0 is below 1, the least",
        "norm_act.norm.per: 'block' is finer than 'network', the finest for this key",
        "norm_act.dropout.low: 0.0 has no logarithm; use a low above 0, or leave log out",
        "head.kind.per: 'galaxy' is not known; known: block, network, stage",
    ]


def test_one_problem_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidError, match=r"space\.toml: block\.width: 0 is below 1, the least"):
        space_of(tmp_path, "block.width = 0")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("block.kernel = 4", "block.kernel: 4 is even, and 'same' padding needs odd kernels"),
        ("block.kernel = [3, 6]", "block.kernel: 6 is even, and 'same' padding needs odd kernels"),
        ("block.kernel = {low = 3, high = 5}", "block.kernel: 4 is even, and 'same' padding needs odd kernels"),
        ("block.kernel = 2\nblock.padding = ['valid', 'same']", "block.kernel: 2 is even"),
        ("head.kernel = 2\nhead.padding = 'same'", "head.kernel: 2 is even, and 'same' padding needs odd kernels"),
        ("stages = 3", "stages: 3 is not a table"),
        (
            "recipe.epochs = [4, 12]",
            "recipe.epochs: 4 | 12 is more than one value, and early stopping compares trials at the same epochs; "
            "use one number, and a study for each with `epochs`",
        ),
        ("recipe.epochs = { low = 4, high = 12 }", "recipe.epochs: 4 to 12 is more than one value"),
    ],
)
def test_problems_of_keys_together(tmp_path: Path, text: str, problem: str) -> None:
    (found,) = problems_of(tmp_path, text)
    assert found.startswith(problem)


def test_even_kernels_with_valid_padding_are_fine(tmp_path: Path) -> None:
    assert space_of(tmp_path, "block.kernel = [2, 4]\nblock.padding = 'valid'").genes["stage1.block1.kernel"].size == 2


def test_too_many_genes(tmp_path: Path) -> None:
    text = """
    stages.count = { low = 1, high = 8 }
    stages.blocks = { low = 1, high = 8 }
    block.kind = ["plain", "separable"]
    block.width = { low = 4, high = 400 }
    block.kernel = { low = 1, high = 31, step = 2 }
    block.padding = ["same", "valid"]
    block.shortcut = ["none", "auto"]
    block.repeat = { low = 1, high = 16 }
    transition.width = { low = 1, high = 400 }
    stages.junction = ["pool", "transition"]
    """
    # 8 * 8 * 6 of the blocks, 8 counts of blocks, 7 junctions, 7 transitions, 1 count of stages
    (problem,) = problems_of(tmp_path, text)
    assert (
        problem
        == f"the space has {8 * 8 * 6 + 8 + 7 + 7 + 1} genes, more than 400, the most; use fewer stages or blocks"
    )


def test_malformed_and_missing_files(tmp_path: Path) -> None:
    with pytest.raises(NasError, match=r"space\.toml is not valid TOML: .*line 2"):
        space_of(tmp_path, "name = 'a'\n[block\n")
    with pytest.raises(NasError, match=r"is not valid TOML"):
        space_of(tmp_path, "a = " + "[" * 100_000)
    with pytest.raises(NasError, match=r"larger than 1,000,000 bytes, the most that is read"):
        space_of(tmp_path, "#" * 1_000_001)
    with pytest.raises(NasError, match=r"cannot read .*absent\.toml: No such file or directory; check the path"):
        load_space(str(tmp_path / "absent.toml"), IMAGE, 10)


def test_unknown_names_get_near_misses() -> None:
    with pytest.raises(
        SpaceError, match=r"unknown space 'seperable'; did you mean 'separable'.*\?; or give the path of a \.toml file"
    ):
        load_space("seperable", IMAGE, 10)
    with pytest.raises(
        SpaceError, match=r"unknown space 'xyz'; known: general, separable, squeeze_expand, tiny_digits"
    ):
        load_space("xyz", IMAGE, 10)


def test_defaults_are_a_space_without_genes(tmp_path: Path) -> None:
    space = space_of(tmp_path, "")
    assert space.name == "space"
    assert space.genes == {}
    found = candidate(space, {})
    assert found is not None
    first, second, later = 1 * 16 * 9, 16 * 16 * 9, 4 * 16 * 16 * 9
    assert found.costs.num_params == first + second + later + 6 * 2 * 16 + 16 * 10 + 10


def test_per_sets_how_many_genes_a_key_has(tmp_path: Path) -> None:
    text = "stages.count = 2\nblock.width = {{ low = 4, high = 8, per = '{}' }}"
    names = {per: list(space_of(tmp_path, text.format(per)).genes) for per in ("network", "stage", "block")}
    assert names == {
        "network": ["block.width"],
        "stage": ["stage1.width", "stage2.width"],
        "block": [f"stage{s}.block{b}.width" for s in (1, 2) for b in (1, 2)],
    }


def test_junctions_lie_between_stages(tmp_path: Path) -> None:
    space = space_of(tmp_path, "stages.junction = ['pool', 'transition']\ntransition.width = [8, 9]")
    assert list(space.genes) == [
        "stage1.junction",
        "stage2.junction",
        "stage1.transition_width",
        "stage2.transition_width",
    ]
    # Without a transition anywhere its width is no gene.
    assert list(space_of(tmp_path, "transition.width = [8, 9]").genes) == []


def test_the_digest_is_of_what_can_be_drawn(tmp_path: Path) -> None:
    base = space_of(tmp_path, "name = 'a'\nblock.width = [8, 16]")
    renamed = space_of(tmp_path, "name = 'b'\nsummary = 'c'\nblock.width = [8, 16]\nblock.kernel = 3")
    wider = space_of(tmp_path, "block.width = [8, 17]")
    other_classes = load_space(str(tmp_path / "space.toml"), IMAGE, 11)
    assert base.digest == renamed.digest
    assert len({base.digest, wider.digest, other_classes.digest}) == 3


def test_recipes_come_from_genes_and_constants(tmp_path: Path) -> None:
    space = space_of(tmp_path, "recipe.epochs = 3\nrecipe.learning_rate = { low = 0.001, high = 0.1, log = true }")
    recipe = recipe_of(space, {"recipe.learning_rate": 0.05})
    assert (recipe.epochs, recipe.learning_rate, recipe.batch_size) == (3, 0.05, 128)


def table_values(hint: Any) -> str:
    if get_args(hint)[:1] == (str,):
        return ", ".join(f"`{name}`" for name in (*hint.__metadata__[0].also, *SHIPPED_KINDS))
    if get_origin(hint) is Annotated:
        bounds = hint.__metadata__[0]
        end = ", without the end" if bounds.open_high else ""
        return f"{bounds.low:g} to {bounds.high:g}{end}"
    if get_origin(hint) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(hint))
    assert hint is bool
    return "`true`, `false`"


def test_the_readme_has_every_key_with_its_values_and_default() -> None:
    rows = re.findall(r"^\| `(\w+\.\w+)` \| (.+) \| (.+) \| `(.+)` \| (\w+) \|$", README, re.MULTILINE)
    assert [(key, values, default, per) for key, _, values, default, per in rows] == [
        (name, table_values(key.hint), json.dumps(key.default), key.per) for name, key in KEYS.items()
    ]
    assert all(meaning.strip() for _, meaning, *_ in rows)


def test_the_readme_says_the_bounds() -> None:
    assert "one of the values, at most 100" in README
    assert "a space has at most 400" in README


def test_the_readme_example_is_a_space(tmp_path: Path) -> None:
    example, _ = re.findall(r"```toml\n(.+?)```", README, re.DOTALL)
    space = space_of(tmp_path, example)
    assert space.name == "my_space"
    assert space.settings["stages.blocks"].domain == Choice((2,))
    assert list(space.genes["stage1.block1.width"].values()) == [4, 8, 12, 16, 20, 24, 28, 32]
    assert [n for n in space.genes if "kernel" in n] == ["stage1.kernel", "stage2.kernel", "stage3.kernel"]
    assert next(draw_networks(space, Budget(8000), 0)).candidate.costs.num_params <= 8000


def test_known_images_are_shapes_and_classes() -> None:
    assert KNOWN_DATASETS["mnist"].images == (Input(1, 28, 28), 10)
    assert KNOWN_DATASETS["cifar100"].images == (Input(3, 32, 32), 100)
