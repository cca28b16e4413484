"""Every error of decoding, with its text and key path, and the round trip of values."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.decode import MAX_FILE_BYTES, Bounds, decode, encode, read_toml
from nas.errors import InvalidError, NasError


@dataclass(frozen=True)
class Circle:
    type: ClassVar[str] = "circle"
    radius: Annotated[float, Bounds(0.0, 10.0)]


@dataclass(frozen=True)
class Square:
    type: ClassVar[str] = "square"
    side: Annotated[int, Bounds(1, 8)]


@dataclass(frozen=True)
class Drawing:
    title: str
    shapes: tuple[Circle | Square, ...] = ()
    size: tuple[int, float] = (1, 1.0)
    filled: bool = False
    color: Literal["red", "green", 3] = "red"
    opacity: Annotated[float, Bounds(0.0, 1.0, open_high=True)] = 0.0
    frame: Square | None = None


def nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth):
        value = {"a": value}
    return value


PROBLEMS: list[tuple[Any, str]] = [
    (3, "3 is not a table"),
    (["title"], "['title'] is not a table"),
    ({}, "title: missing"),
    ({"title": 1}, "title: 1 is not text"),
    ({"title": None}, "title: None is not text"),
    ({"titel": "x", "title": "x"}, "titel: unknown key; did you mean 'title'?"),
    ({"title": "x", "zzz": 1}, "zzz: unknown key; known: color, filled, frame, opacity, shapes, size, title"),
    ({"title": "x", "filled": 1}, "filled: 1 is not true or false"),
    ({"title": "x", "filled": "yes"}, "filled: 'yes' is not true or false"),
    ({"title": "x", "color": "rad"}, "color: 'rad' is not known; did you mean 'red'?"),
    ({"title": "x", "color": "blue"}, "color: 'blue' is not known; known: 3, green, red"),
    ({"title": "x", "color": ["red"]}, "color: ['red'] is not known; known: 3, green, red"),
    ({"title": "x", "color": 3.0}, "color: 3.0 is not known; known: 3, green, red"),
    ({"title": "x", "opacity": -0.5}, "opacity: -0.5 is below 0.0, the least"),
    ({"title": "x", "opacity": 1}, "opacity: 1.0 must be below 1.0"),
    ({"title": "x", "opacity": 2.0}, "opacity: 2.0 must be below 1.0"),
    ({"title": "x", "opacity": True}, "opacity: True is not a number"),
    ({"title": "x", "opacity": "0.1"}, "opacity: '0.1' is not a number"),
    ({"title": "x", "opacity": float("nan")}, "opacity: nan is not a finite number"),
    ({"title": "x", "opacity": float("inf")}, "opacity: inf is not a finite number"),
    (
        {"title": "x", "opacity": 2**53 + 1},
        "opacity: 9007199254740993 is beyond 2**53, where whole numbers stop being exact",
    ),
    (
        {"title": "x", "opacity": 10**5_000},
        "opacity: a value too large to show is beyond 2**53, where whole numbers stop being exact",
    ),
    ({"title": "x", "shapes": {}}, "shapes: {} is not a list"),
    ({"title": "x", "shapes": [3]}, "shapes[0]: 3 is not a table"),
    ({"title": "x", "shapes": [{"side": 1}]}, "shapes[0].type: missing; known: circle, square"),
    ({"title": "x", "shapes": [{"type": "cirlce"}]}, "shapes[0].type: 'cirlce' is not known; did you mean 'circle'?"),
    ({"title": "x", "shapes": [{"type": None}]}, "shapes[0].type: None is not known; known: circle, square"),
    ({"title": "x", "shapes": [{"type": []}]}, "shapes[0].type: [] is not known; known: circle, square"),
    ({"title": "x", "shapes": [{"type": {"a": 1}}]}, "shapes[0].type: {'a': 1} is not known; known: circle, square"),
    ({"title": "x", "shapes": [{"type": "square", "side": 0}]}, "shapes[0].side: 0 is below 1, the least"),
    ({"title": "x", "shapes": [{"type": "square", "side": 9}]}, "shapes[0].side: 9 exceeds 8, the most"),
    ({"title": "x", "shapes": [{"type": "square", "side": True}]}, "shapes[0].side: True is not a whole number"),
    ({"title": "x", "shapes": [{"type": "square", "side": 1.0}]}, "shapes[0].side: 1.0 is not a whole number"),
    (
        {"title": "x", "shapes": [{"type": "square", "side": 10**5_000}]},
        "shapes[0].side: a value too large to show exceeds 8, the most",
    ),
    (
        {"title": "x", "shapes": [{"type": "square", "side": -(10**100)}]},
        "shapes[0].side: -1" + "0" * 75 + "... is below 1, the least",
    ),
    (
        {"title": "x", "shapes": [{"type": "circle", "radius": 1, "side": 1}]},
        "shapes[0].side: unknown key; known: radius",
    ),
    ({"title": "x", "shapes": [{"type": "circle"}]}, "shapes[0].radius: missing"),
    ({"title": "x", "shapes": [3] * 10_001}, "shapes: 10,001 items exceed 10,000, the most"),
    ({"title": "x", "size": [1]}, "size: 1 items where 2 belong"),
    ({"title": "x", "size": [1, "x"]}, "size[1]: 'x' is not a number"),
    ({"title": "x", "size": "1x1"}, "size: '1x1' is not a list"),
    ({"title": "x", "frame": 3}, "frame: 3 is not a table"),
    ({"title": "x", "frame": {"side": 0}}, "frame.side: 0 is below 1, the least"),
    ({"title": nested(100_000)}, "title: a value too large to show is not text"),
    ({"title": "x", "size": "y" * 100_000}, "size: '" + "y" * 76 + "... is not a list"),
]


@pytest.mark.parametrize(("value", "problem"), PROBLEMS, ids=[problem[:60] for _, problem in PROBLEMS])
def test_each_problem_has_its_path_and_text(value: Any, problem: str) -> None:
    with pytest.raises(InvalidError, match=f"^drawing: {re.escape(problem)}$"):
        decode(Drawing, value, "drawing")


def test_all_problems_at_once() -> None:
    value = {"titel": "x", "shapes": [{"type": "square", "side": 0}, {"type": "circle", "radius": 11}], "filled": 1}
    with pytest.raises(InvalidError) as caught:
        decode(Drawing, value, "a.toml")
    assert str(caught.value).splitlines() == [
        "a.toml has 5 problems:",
        "  titel: unknown key; did you mean 'title'?",
        "  title: missing",
        "  shapes[0].side: 0 is below 1, the least",
        "  shapes[1].radius: 11.0 exceeds 10.0, the most",
        "  filled: 1 is not true or false",
    ]


def test_a_union_at_the_top_names_its_type() -> None:
    with pytest.raises(InvalidError, match=r"^shape: type: missing; known: circle, square$"):
        decode(Circle | Square, {}, "shape")  # type: ignore[arg-type]


def test_values_that_are_right() -> None:
    value = {
        "title": "x",
        "shapes": [{"type": "circle", "radius": 10}, {"type": "square", "side": 8}],
        "size": [2, 3],
        "filled": True,
        "color": 3,
        "opacity": 0,
        "frame": None,
    }
    drawing = decode(Drawing, value, "drawing")
    assert drawing == Drawing("x", (Circle(10.0), Square(8)), (2, 3.0), True, 3, 0.0)
    assert isinstance(drawing.size[1], float)
    assert isinstance(drawing.opacity, float)
    assert decode(Drawing, {"title": "x"}, "drawing") == Drawing("x")


def test_encode_writes_types_and_lists() -> None:
    drawing = Drawing("x", (Circle(1.5), Square(2)), frame=Square(3))
    assert encode(drawing) == {
        "title": "x",
        "shapes": [{"type": "circle", "radius": 1.5}, {"type": "square", "side": 2}],
        "size": [1, 1.0],
        "filled": False,
        "color": "red",
        "opacity": 0.0,
        "frame": {"type": "square", "side": 3},
    }
    assert encode({"a": (1, Circle(2.0))}) == {"a": [1, {"type": "circle", "radius": 2.0}]}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", "side", "radius"]), inner),
    max_leaves=6,
)


def test_a_list_may_have_as_many_items_as_an_architecture_may_have_classes() -> None:
    shapes = [{"type": "square", "side": 1}] * 10_000
    assert len(decode(Drawing, {"title": "x", "shapes": shapes}, "it").shapes) == 10_000


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from(["title", "shapes", "size", "color", "opacity", "frame"]), json_values))
def test_any_document_is_decoded_or_an_invalid_error(value: dict[str, Any]) -> None:
    try:
        drawing = decode(Drawing, value, "drawing")
    except InvalidError:
        return
    assert drawing.title == value["title"]


FILES: dict[str, tuple[bytes, str]] = {
    "malformed": (b"a = 1\nb = = 2\n", "is not valid TOML: Invalid value (at line 2, column 5)"),
    "a key twice": (b"a = 1\na = 2\n", "is not valid TOML: Cannot overwrite a value (at line 2, column 6)"),
    "not UTF-8": (b'a = "\xff"', "is not UTF-8 text (byte 5); save it as UTF-8"),
    "too large": (b"#" * (MAX_FILE_BYTES + 1), "is larger than 1,000,000 bytes, the most that is read"),
    "a number too long": (b"a = " + b"9" * 5_000, "is not valid TOML: "),
    "lists too deep": (b"a = " + b"[" * 50_000 + b"]" * 50_000, "is not valid TOML: "),
}


@pytest.mark.parametrize(("content", "text"), FILES.values(), ids=FILES)
def test_file_that_cannot_be_read(content: bytes, text: str, tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes(content)
    with pytest.raises(NasError, match=f"^{re.escape(f'{path} {text}')}"):
        read_toml(path)


def test_file_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "none.toml"
    text = re.escape(f"cannot read {path}: No such file or directory; check the path")
    with pytest.raises(NasError, match=f"^{text}$"):
        read_toml(path)
    with pytest.raises(NasError, match=r"^cannot read .*: Is a directory; check the path$"):
        read_toml(tmp_path)


def test_the_largest_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes(b"a = 1\n" + b"#" * (MAX_FILE_BYTES - 6))
    assert read_toml(path) == {"a": 1}
