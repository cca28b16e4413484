"""Architecture files: what a person writes, every problem in it at once, and the plain form of an architecture."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.arch import (
    Architecture,
    ArchitectureFile,
    Block,
    Head,
    Input,
    NormAct,
    Pool,
    Recipe,
    Transition,
    architecture_from_plain,
    architecture_to_plain,
    digest_of,
    lower,
    read_architecture,
)
from nas.errors import ArchitectureError, InvalidError, NasError

HEADER = 'name = "a"\ninput = [1, 28, 28]\nclasses = 10\n'


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "a.toml"
    path.write_text(text)
    return path


def test_a_full_file(tmp_path: Path) -> None:
    text = """
        name = "small"
        source = "by hand"
        dataset = "digits"
        published_best_test_accuracy = 99
        input = [3, 8, 6]
        classes = 7
        norm_act = { bias = true, dropout = 0.1 }
        body = [
          { type = "block", width = 4, kind = "separable", kernel = 5, shortcut = "projection" },
          { type = "block", width = 4, repeat = 2, norm_act = { dropout = 0.0, norm = "none" } },
          { type = "transition", width = 5 },
          { type = "transition", width = 6, norm_act = true },
          { type = "transition", width = 7, norm_act = { activation = "silu" } },
          { type = "transition", width = 8, norm_act = { norm = "none", bias = false, dropout = 0.0 } },
          { type = "transition", width = 9, norm_act = false },
          { type = "pool", kind = "average", size = 3, stride = 2 },
        ]
        head = { kind = "conv_gap", kernel = 3, padding = "same", bias = false }
        [recipe]
        epochs = 3
        learning_rate = 1
    """
    norm_act = NormAct(bias=True, dropout=0.1)
    body = (
        Block(4, "separable", 5, shortcut="projection", norm_act=norm_act),
        Block(4, repeat=2, norm_act=NormAct(bias=True, norm="none")),
        Transition(5),
        Transition(6, norm_act),
        Transition(7, NormAct(bias=True, activation="silu", dropout=0.1)),
        Transition(8, NormAct(norm="none")),
        Transition(9),
        Pool("average", 3, 2),
    )
    file = read_architecture(write(tmp_path, text))
    head = Head("conv_gap", False, 3, "same")
    recipe = Recipe(epochs=3, learning_rate=1.0)
    assert file == ArchitectureFile("small", (3, 8, 6), 7, body, head, recipe, "digits", "by hand", 99.0)
    assert file.architecture == Architecture(Input(3, 8, 6), 7, body, head)


def test_the_least_file(tmp_path: Path) -> None:
    file = read_architecture(write(tmp_path, HEADER + "body = []"))
    assert file == ArchitectureFile("a", (1, 28, 28), 10, ())


BODY = HEADER + "body = [{}]\n"
PROBLEMS: list[tuple[str, str]] = [
    (BODY.format('{ type = "block" }'), "body[0].width: missing"),
    (BODY.format('{ type = "block", width = 0 }'), "body[0].width: 0 is below 1, the least"),
    (BODY.format('{ type = "block", width = 4097 }'), "body[0].width: 4097 exceeds 4096, the most"),
    (BODY.format('{ type = "block", width = true }'), "body[0].width: True is not a whole number"),
    (BODY.format('{ type = "block", width = 8.0 }'), "body[0].width: 8.0 is not a whole number"),
    (
        BODY.format('{ type = "block", width = 0x' + "f" * 5_000 + " }"),
        "body[0].width: a value too large to show exceeds 4096, the most",
    ),
    (BODY.format('{ type = "block", widht = 8, width = 8 }'), "body[0].widht: unknown key; did you mean 'width'?"),
    (BODY.format('{ type = "block", width = 8, kernel = 32 }'), "body[0].kernel: 32 exceeds 31, the most"),
    (
        BODY.format('{ type = "block", width = 8, padding = "full" }'),
        "body[0].padding: 'full' is not known; known: same, valid",
    ),
    (
        BODY.format('{ type = "block", width = 8, norm_act = { activation = "rulu" } }'),
        "body[0].norm_act.activation: 'rulu' is not known; did you mean 'relu' or 'prelu'?",
    ),
    (
        BODY.format('{ type = "block", width = 8, norm_act = { dropout = 1.0 } }'),
        "body[0].norm_act.dropout: 1.0 must be below 1.0",
    ),
    (BODY.format('{ type = "block", width = 8, norm_act = 3 }'), "body[0].norm_act: 3 is not true, false or a table"),
    (BODY.format('{ type = "blok", width = 8 }'), "body[0].type: 'blok' is not known; did you mean 'block'?"),
    (BODY.format('{ type = ["block"] }'), "body[0].type: ['block'] is not known; known: block, pool, transition"),
    (BODY.format("{ width = 8 }"), "body[0].type: missing; known: block, pool, transition"),
    (BODY.format('"pool"'), "body[0]: 'pool' is not a table"),
    (
        BODY.format('{ type = "transition", width = 8, norm_act = 1 }'),
        "body[0].norm_act: 1 is not true, false or a table",
    ),
    (BODY.format('{ type = "pool", norm_act = true }'), "body[0].norm_act: unknown key; known: kind, size, stride"),
    (BODY.format('{ type = "pool", size = 0 }'), "body[0].size: 0 is below 1, the least"),
    (HEADER, "body: missing"),
    (HEADER + "body = 3", "body: 3 is not a list"),
    (HEADER + "body = []\nnorm_act = 3", "norm_act: 3 is not a table"),
    (HEADER + 'body = []\nnorm_act = { nrom = "batch" }', "norm_act.nrom: unknown key; did you mean 'norm'?"),
    (
        BODY.format("") + 'head = { kind = "gap" }',
        "head.kind: 'gap' is not known; did you mean 'conv_gap' or 'gap_conv' or 'gap_linear'?",
    ),
    (HEADER + "body = []\nrecipe = { epochs = 0 }", "recipe.epochs: 0 is below 1, the least"),
    (HEADER + "body = []\nrecipe = { learning_rate = nan }", "recipe.learning_rate: nan is not a finite number"),
    (HEADER + "body = []\nrecipe = { learning_rate = 1e999 }", "recipe.learning_rate: inf is not a finite number"),
    (
        HEADER + "body = []\npublished_best_test_accuracy = 100.5",
        "published_best_test_accuracy: 100.5 exceeds 100.0, the most",
    ),
    (HEADER.replace("10", "1") + "body = []", "classes: 1 is below 2, the least"),
    (HEADER.replace("[1, 28, 28]", "[1, 28]") + "body = []", "input: 2 items where 3 belong"),
    (HEADER.replace("[1, 28, 28]", "[1, 28, 1025]") + "body = []", "input[2]: 1025 exceeds 1024, the most"),
]


@pytest.mark.parametrize(("text", "problem"), PROBLEMS, ids=[problem for _, problem in PROBLEMS])
def test_each_problem_has_its_path_and_text(text: str, problem: str, tmp_path: Path) -> None:
    path = write(tmp_path, text)
    with pytest.raises(InvalidError, match=f"^{re.escape(f'{path}: {problem}')}$"):
        read_architecture(path)


def test_tables_of_any_depth(tmp_path: Path) -> None:
    path = write(tmp_path, HEADER.replace("name =", "name" + ".a" * 5_000 + " =") + "body = []")
    # Newer parsers refuse such a key themselves.
    with pytest.raises(NasError, match=r"name: a value too large to show is not text$|is not valid TOML"):
        read_architecture(path)


def test_all_problems_at_once(tmp_path: Path) -> None:
    text = """
        nmae = "a"
        input = [0, 28, 28]
        classes = 10
        norm_act = { dropout = 2 }
        body = [
          { type = "block", width = 0, norm_act = { bias = 1 } },
          { type = "pol" },
          { type = "transition", width = 8, norm_act = "yes" },
        ]
        [recipe]
        optimizer = "adm"
    """
    path = write(tmp_path, text)
    with pytest.raises(InvalidError) as caught:
        read_architecture(path)
    assert str(caught.value).splitlines() == [
        f"{path} has 9 problems:",
        "  norm_act.dropout: 2.0 must be below 1.0",
        "  body[2].norm_act: 'yes' is not true, false or a table",
        "  nmae: unknown key; did you mean 'name'?",
        "  name: missing",
        "  input[0]: 0 is below 1, the least",
        "  body[0].width: 0 is below 1, the least",
        "  body[0].norm_act.bias: 1 is not true or false",
        "  body[1].type: 'pol' is not known; did you mean 'pool'?",
        "  recipe.optimizer: 'adm' is not known; did you mean 'adam' or 'adamw'?",
    ]


def test_a_network_that_cannot_be_built_names_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, BODY.format('{ type = "pool", size = 64 }, { type = "block", width = 8, kernel = 4 }'))
    with pytest.raises(ArchitectureError) as caught:
        read_architecture(path)
    assert str(caught.value).splitlines() == [
        f"{path} has 2 problems:",
        "  body[0]: the map shrinks to nothing: MaxPool2d needs at least 64x64, and the map is 28x28 here; "
        "use padding = 'same', fewer pools or a larger input",
        "  body[1].kernel: 4 is even; 'same' padding needs an odd kernel",
    ]


def test_a_file_that_is_not_toml_names_its_line(tmp_path: Path) -> None:
    path = write(tmp_path, HEADER + "body = [\n")
    with pytest.raises(NasError, match=rf"^{re.escape(str(path))} is not valid TOML: .*\(at "):
        read_architecture(path)


norm_acts = st.builds(NormAct, bias=st.booleans(), dropout=st.floats(0.0, 0.9), functional=st.booleans())
architectures = st.builds(
    Architecture,
    input=st.builds(Input, st.integers(1, 3), st.integers(16, 40), st.integers(16, 40)),
    classes=st.integers(2, 100),
    body=st.lists(
        st.builds(
            Block, width=st.integers(1, 9), kernel=st.sampled_from([1, 3]), stride=st.integers(1, 2), norm_act=norm_acts
        )
        | st.builds(Transition, width=st.integers(1, 9), norm_act=norm_acts)
        | st.builds(Pool, kind=st.sampled_from(["max", "average"]), size=st.just(1), stride=st.integers(0, 2)),
        max_size=4,
    ).map(tuple),
    head=st.builds(Head, kind=st.sampled_from(["gap_linear", "gap_conv", "conv_gap"]), bias=st.booleans()),
)


@settings(max_examples=100, deadline=None)
@given(architectures)
def test_plain_form_round_trips_through_json(architecture: Architecture) -> None:
    plain = architecture_to_plain(architecture)
    again = architecture_from_plain(json.loads(json.dumps(plain)))
    assert again == architecture
    assert architecture_from_plain(plain) == architecture
    assert digest_of(lower(again)) == digest_of(lower(architecture))


@pytest.mark.parametrize(
    "path", sorted(Path(__file__).parents[2].glob("studies/reference/*.toml")), ids=lambda p: p.stem
)
def test_plain_form_of_every_reference(path: Path) -> None:
    architecture = read_architecture(path).architecture
    assert architecture_from_plain(json.loads(json.dumps(architecture_to_plain(architecture)))) == architecture


def test_plain_form_with_problems() -> None:
    plain = architecture_to_plain(Architecture(Input(1, 8, 8), 10, (Block(4),)))
    plain["input"]["height"] = 0
    plain["body"][0]["type"] = "blck"
    del plain["classes"]
    with pytest.raises(InvalidError) as caught:
        architecture_from_plain(plain, "trial 3")
    assert str(caught.value).splitlines() == [
        "trial 3 has 3 problems:",
        "  input.height: 0 is below 1, the least",
        "  classes: missing",
        "  body[0].type: 'blck' is not known; did you mean 'block'?",
    ]
    with pytest.raises(InvalidError, match=r"^the architecture: None is not a table$"):
        architecture_from_plain(None)
