"""The README and the guide say what is true: commands, examples, links and tables are held against the code."""

from __future__ import annotations

import ast
import inspect
import json
import re
import shlex
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import pytest
import typer.main

import nas
from nas.api import Study
from nas.arch import Head, NormAct, read_architecture
from nas.arch.description import Block, Pool, Transition
from nas.arch.kinds import SHIPPED_KINDS
from nas.cli import app
from nas.data.known import KNOWN_DATASETS
from nas.study.settings import StudySettings, read_settings

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
GUIDE = sorted((ROOT / "docs").glob("*.md"))
ELSEWHERE = [ROOT / name for name in ("CONTRIBUTING.md", "CHANGELOG.md", "search_spaces/README.md")]
PAGES = [README, *GUIDE, *ELSEWHERE, ROOT / "benchmarks/README.md", *sorted(ROOT.glob("studies/*/README.md"))]


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def text_of(page: Path) -> str:
    """A page as it is built: with the files that it includes."""
    return re.sub(r'^--8<-- "(.+)"$', lambda m: (ROOT / m[1]).read_text(), page.read_text(), flags=re.MULTILINE)


def blocks_of(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\b[^\n]*\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


def spans_of(text: str) -> list[str]:
    """The code within sentences, not in blocks."""
    return re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))


ALL_BLOCKS = [(page, language) for page in PAGES for language in ("sh", "python", "toml")]


def cases(language: str) -> list[Any]:
    return [
        pytest.param(block, id=f"{name_of(page)}-{number}")
        for page, kind in ALL_BLOCKS
        if kind == language
        for number, block in enumerate(blocks_of(page, language))
    ]


def find_command(words: list[str]) -> tuple[Any, list[str]]:
    """The command that the first of `words` name, and the words that are left."""
    command: Any = typer.main.get_command(app)
    while words and not words[0].startswith("-") and (commands := getattr(command, "commands", None)):
        assert words[0] in commands, f"there is no command {words[0]!r}"
        command, words = commands[words[0]], words[1:]
    return command, words


def nas_lines(block: str) -> list[list[str]]:
    """The words after `nas` of each command of a block for the shell."""
    lines = block.replace("\\\n", " ").splitlines()
    commands = [shlex.split(part, comments=True) for line in lines for part in line.split("&&")]
    return [words[1:] for words in commands if words and Path(words[0]).name == "nas"]


@pytest.mark.parametrize("block", cases("sh"))
def test_commands_in_blocks_are_understood(block: str) -> None:
    for words in nas_lines(block):
        command, rest = find_command(words)
        assert not hasattr(command, "commands"), f"{words} names no command"
        command.make_context("nas", list(rest))  # raises where an option or a value is none


def test_the_blocks_hold_commands() -> None:
    """Else the test above could not fail."""
    found = {words[0] for page in (README, *GUIDE) for block in blocks_of(page, "sh") for words in nas_lines(block)}
    assert found == set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


@pytest.mark.parametrize("page", [README, *GUIDE], ids=name_of)
def test_commands_in_sentences_have_these_options(page: Path) -> None:
    other_programs = {"--strict"}
    every_option = options_of() | other_programs
    for span in spans_of(page.read_text()):
        words = span.split()
        if words[0] == "nas":
            command, rest = find_command(words[1:])
            known = {option for param in command.params for option in (*param.opts, *param.secondary_opts)}
            assert {word for word in rest if word.startswith("-")} <= known, span
        elif words[0].startswith("--"):
            assert words[0] in every_option, span


def options_of(command: Any = None) -> set[str]:
    """The options of a command and of all that it holds."""
    command = command or typer.main.get_command(app)
    own = {option for param in command.params for option in (*param.opts, *param.secondary_opts)}
    return own.union({"--help"}, *(options_of(inner) for inner in getattr(command, "commands", {}).values()))


@pytest.mark.parametrize("block", cases("python"))
def test_python_examples_use_what_there_is(block: str) -> None:
    known = set(inspect.signature(nas.search).parameters) - {"renamed"}
    compile(block, "example", "exec")
    for node in ast.walk(ast.parse(block)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            owner = {"nas": nas, "study": Study}.get(node.value.id)
            assert owner is None or hasattr(owner, node.attr), f"{node.value.id}.{node.attr}"
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "nas.search":
            assert {keyword.arg for keyword in node.keywords} <= known


@pytest.mark.parametrize("block", [case for case in cases("toml") if "search_spaces" not in str(case.id)])
def test_files_of_the_guide_are_read(block: str, tmp_path: Path) -> None:
    """Spaces are held against the code in tests/space."""
    file = tmp_path / "example.toml"
    file.write_text(block)
    if "max_params" in block:
        assert read_settings(file).max_params > 0
    else:
        assert read_architecture(file).body


def anchors_of(page: Path) -> set[str]:
    text = re.sub(r"^```.*?^```", "", text_of(page), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"\s+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower()) for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    """What is included lies in two places, and its links must hold in both."""
    for link in re.findall(r"\]\(([^)\s]+)\)", text_of(page)):
        if link.startswith(("https://", "http://")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors_of(target), link


def test_paths_in_the_guide_for_contributors_are_there() -> None:
    paths = {span for span in spans_of((ROOT / "docs/contributing.md").read_text()) if span.startswith("nas/")}
    assert len(paths) > 30
    assert [path for path in sorted(paths) if not (ROOT / path).exists()] == []


def test_every_package_is_in_the_guide_for_contributors() -> None:
    table = (ROOT / "docs/contributing.md").read_text()
    packages = {path.parent.name for path in (ROOT / "nas").glob("*/__init__.py")}
    assert [name for name in sorted(packages) if f"| `nas/{name}` |" not in table] == []


def test_the_readme_is_short_and_has_the_two_commands() -> None:
    text = README.read_text()
    assert len(text.splitlines()) <= 120
    for name, end in (("main", "nas search --max-params 8000 --target 99.4"), ("test", "./check")):
        (command,) = re.findall(rf"<!-- {name} command -->\n```sh\n([^\n]+)\n```\n", text)
        assert command.startswith("python3 -m venv .venv && ")
        assert command.endswith(end)


def rows_of(page: str, heading: str) -> list[list[str]]:
    """The cells of the table under a heading, without its head."""
    _, _, text = text_of(ROOT / "docs" / page).partition(f"# {heading}\n")
    table = re.search(r"^\|.+?(?=\n\n|\Z)", text, re.MULTILINE | re.DOTALL)
    assert table is not None
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[0].splitlines()[2:]]


def test_every_setting_of_a_study_is_in_the_guide() -> None:
    rows = rows_of("index.md", "Settings of a study")
    assert [row[0].strip("`") for row in rows] == [field.name for field in fields(StudySettings)]
    search, _ = find_command(["search"])
    names = {param.name: {*param.opts, *param.secondary_opts} for param in search.params}
    for setting, options, *_ in rows:
        assert set(spans_of(options)) == names.get(setting.strip("`"), set())  # `train` is given in Python alone


def test_every_known_data_set_is_in_the_guide() -> None:
    expected = []
    for name, known in KNOWN_DATASETS.items():
        shape, policy = known.shape, known.policy
        ranges = [
            (policy.rotation, f"rotation {policy.rotation:g}°"),
            (policy.shift, f"shift {policy.shift:g}"),
            (policy.scale, f"scale {policy.scale:g}"),
            (policy.shear, f"shear {policy.shear:g}°"),
            (policy.mirror, "mirror"),
        ]
        expected.append(
            [
                f"`{name}`",
                f"{shape.channels} x {shape.height} x {shape.width}",
                f"{known.num_classes}",
                f"{known.num_train:,}",
                f"{known.num_test:,}",
                ", ".join(text for size, text in ranges if size),
            ]
        )
    assert rows_of("data.md", "Known data sets") == expected


def values_of(hint: Any) -> str:
    if get_args(hint)[:1] == (str,):
        return ", ".join(f"`{name}`" for name in SHIPPED_KINDS)
    if get_origin(hint) is Annotated:
        bounds = hint.__metadata__[0]
        return f"{bounds.low:g} to {bounds.high:g}{', without the end' if bounds.open_high else ''}"
    if get_origin(hint) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(hint))
    assert hint is bool
    return "`true`, `false`"


@pytest.mark.parametrize(
    ("heading", "described"),
    [
        ("Block", Block),
        ("Transition", Transition),
        ("Pool", Pool),
        ("Norm and activation", NormAct),
        ("Head", Head),
    ],
)
def test_every_key_of_an_architecture_is_in_the_guide(heading: str, described: type) -> None:
    hints = get_type_hints(described, include_extras=True)
    rows = {row[0].strip("`"): row[1:] for row in rows_of("architectures.md", heading)}
    assert list(rows) == [field.name for field in fields(described)]
    for field in fields(described):
        meaning, values, default = rows[field.name]
        assert meaning
        if is_dataclass(field.default) or field.name in ("options", "layers"):
            continue  # a table of its own
        assert values == values_of(hints[field.name])
        assert default == ("needed" if field.default is MISSING else f"`{json.dumps(field.default)}`")
