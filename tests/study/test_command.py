from __future__ import annotations

import shlex
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from nas.cli import app
from nas.decode import encode
from nas.storage.address import StorageAddress
from nas.study.command import DEFAULT_STUDIES, format_search_command
from nas.study.resolve_settings import given_settings, resolve_settings
from nas.study.settings import StudySettings

NOWHERE = Path("there-is-no-such-folder")


def parse(line: str) -> dict[str, Any]:
    """Return what the real command makes of a line as a shell reads it, without running it."""
    program, command, *words = shlex.split(line)
    assert program == "nas"
    return typer.main.get_command(app).commands[command].make_context(command, words).params  # type: ignore[attr-defined]


def resolve(parameters: dict[str, Any], studies: Path) -> tuple[str, Path, StudySettings]:
    folder, resolved = resolve_settings(given_settings(parameters), studies, parameters["name"], parameters["study"])
    return folder.name, folder.path.parent, resolved


def number(least: int, most: int) -> st.SearchStrategy[int | None]:
    return st.none() | st.integers(least, most)


# A data set that looks like a person's home folder would be looked up there.
# No argument of a program holds a zero byte.
TEXTS = st.text(min_size=1).filter(lambda text: not text.startswith("~") and "\0" not in text)
STUDIES = st.builds(
    StudySettings,
    max_params=st.integers(1, 1_000_000_000),
    max_macs=number(1, 10**15),
    max_activation_bytes=number(1, 10**15),
    max_flash=number(1, 10**15),
    max_ram=number(1, 10**15),
    dataset=TEXTS,
    image_size=number(4, 1024),
    color=st.none() | st.booleans(),
    space=TEXTS | TEXTS.map(lambda text: f"{text}.toml"),
    epochs=number(1, 10_000),
    class_weights=st.sampled_from([None, "none", "balanced"]),
    augmentation_kind=st.sampled_from([None, "data", "photos", "glyphs"]),
    count=st.sampled_from(["trained", "deployed"]),
    seed=st.integers(0, 2**31 - 1),
    sampler=TEXTS.filter(lambda text: not text.startswith("python:")),
    warm_start=st.lists(TEXTS | TEXTS.map(lambda text: f"{text}.toml"), max_size=3).map(tuple),
    target=st.none() | st.floats(1, 100, exclude_min=True),  # percent; up to 1 it is taken for a share
    stop_at_first=st.booleans(),
    max_trials=number(1, 1_000_000),
    max_seconds=st.none() | st.floats(0, 1e9),
    num_seeds=st.integers(1, 100),
)


@given(STUDIES, st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,9}", fullmatch=True), TEXTS)
@example(StudySettings(8000, target=99.45678, max_seconds=1.08e6), "long", "studies")
@example(StudySettings(8000, warm_start=("it's", 'a "b"', "--json"), dataset="-", color=False), "quotes", "my studies")
@settings(max_examples=60, deadline=None)
def test_the_printed_line_runs_the_same_study(asked: StudySettings, name: str, studies: str) -> None:
    try:
        _, _, kept = resolve({**encode(asked), "name": name, "study": None}, NOWHERE)  # what a study of it would hold
    except (ValueError, OSError):
        assume(False)  # no file can be called so
    line = format_search_command(name, kept, Path(studies), "journal:///a/b c?.log")
    parsed = parse(line)
    assert Path(parsed["studies"]) == Path(studies)
    assert parsed["storage"] == "journal:///a/b c?.log"
    assert resolve(parsed, NOWHERE) == (name, NOWHERE, kept)


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        (StudySettings(8000), "nas search --name s --max-params 8000"),
        (
            StudySettings(8000, dataset="my pictures", color=True, target=99.4, max_seconds=90.0, seed=3),
            "nas search --name s --max-params 8000 --dataset 'my pictures' --color --seed 3 --target 99.4 --time 90",
        ),
        (StudySettings(8000, train="mixup"), "# in Python: nas.search(name='s', train=mixup)"),
        (StudySettings(8000, sampler="python:Mine"), "# in Python: nas.search(name='s', sampler=Mine)"),
        (StudySettings(8000, max_macs=9, color=False), "nas search --name s --max-params 8000 --max-macs 9 --gray"),
        (
            StudySettings(8000, warm_start=("a", "b c.toml"), target=99.0, stop_at_first=True),
            "nas search --name s --max-params 8000 --warm-start a --warm-start 'b c.toml' --target 99 --stop-at-first",
        ),
    ],
)
def test_what_has_its_default_is_left_out(asked: StudySettings, line: str) -> None:
    assert format_search_command("s", asked) == line


def test_another_folder_and_another_storage_are_named() -> None:
    address = str(StorageAddress.parse("postgresql://ann:secret@host/team"))
    line = format_search_command("s", StudySettings(8000), Path("/data/my studies"), address)
    assert line.endswith("--max-params 8000 --studies '/data/my studies' --storage postgresql://ann@host/team")
    assert "--studies" not in format_search_command("s", StudySettings(8000), DEFAULT_STUDIES)


def test_a_setting_without_an_option_would_be_noticed() -> None:
    known = parse("nas search").keys()
    assert {f.name for f in fields(StudySettings)} - {"train"} <= known  # a function of Python, which no option can be
