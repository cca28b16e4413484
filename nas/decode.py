"""TOML and JSON to frozen dataclasses: all errors at once, each with its key path. Never executes anything it reads.

The target's type hints are the schema. Understood: bool, int, float, str, Literal, tuple[X, ...] and tuple[X, Y],
nested dataclasses, `X | None`, unions of scalars, unions of dataclasses told apart by their `type` key (each class
names its own in a class variable `type`), and `Annotated[X, note]` with a `Note` such as `Bounds(low, high)`.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import tomllib
import types
import typing
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from nas.errors import InvalidError, NasError, near_misses

T = TypeVar("T")

MAX_FILE_BYTES = 1_000_000
MAX_ITEMS = 10_000  # as many as an architecture may have classes, each with a name


class Note(ABC):
    """What a type hint says of values beside their type."""

    __slots__ = ()

    @abstractmethod
    def problem(self, value: Any) -> str | None:
        """Return what is wrong with `value`, or None."""


@dataclasses.dataclass(frozen=True, slots=True)
class Bounds(Note):
    """The least and most that a number may be, both included; `open_high` leaves the upper end out."""

    low: float
    high: float = math.inf
    open_high: bool = False

    def problem(self, value: float) -> str | None:
        """Return what is wrong with `value`, or None."""
        if value < self.low:
            return f"{show_value(value)} is below {self.low}, the least"
        if value > self.high or (self.open_high and value == self.high):
            bound = f"must be below {self.high}" if self.open_high else f"exceeds {self.high}, the most"
            return f"{show_value(value)} {bound}"
        return None


class _Missing:
    """What `_decode` returns for a value that could not be decoded; never leaves this module."""


_MISSING: Any = _Missing()


def read_toml(path: Path) -> dict[str, Any]:
    """Return the document at `path`.

    Raises:
        NasError: the file is missing, too large, not UTF-8, or not TOML; the text names the line.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise NasError(f"cannot read {path}: {error.strerror or error}; check the path") from None
    if len(raw) > MAX_FILE_BYTES:
        raise NasError(f"{path} is larger than {MAX_FILE_BYTES:,} bytes, the most that is read")
    try:
        return tomllib.loads(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise NasError(f"{path} is not UTF-8 text (byte {error.start}); save it as UTF-8") from None
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        raise NasError(f"{path} is not valid TOML: {error}") from None


def decode(target: type[T], value: Any, what: str) -> T:
    """Return `value` (plain dicts, lists and scalars) as a `target`; `what` names its source in the error.

    Raises:
        InvalidError: with every problem found, each behind its key path.
    """
    problems: list[str] = []
    result = decode_part(target, value, "", problems)
    if problems:
        raise InvalidError(what, problems)
    return typing.cast(T, result)


def decode_part(hint: Any, value: Any, path: str, problems: list[str]) -> Any:
    """Decode one value at key path `path`; append to `problems` instead of raising."""
    origin = typing.get_origin(hint)
    if origin is typing.Annotated:
        inner, *notes = typing.get_args(hint)
        result = decode_part(inner, value, path, problems)
        for note in notes:
            if isinstance(note, Note) and result is not _MISSING and (problem := note.problem(result)):
                return _problem(problems, path, problem)
        return result
    if origin is Literal:
        choices = typing.get_args(hint)
        if value in choices and type(value) in {type(c) for c in choices}:
            return value
        return _unknown(value, map(str, choices), path, problems)
    if origin is tuple:
        return _decode_tuple(typing.get_args(hint), value, path, problems)
    if origin in (typing.Union, types.UnionType):
        return _decode_union(typing.get_args(hint), value, path, problems)
    if dataclasses.is_dataclass(hint):
        return _decode_dataclass(typing.cast(type, hint), value, path, problems)
    return _decode_scalar(hint, value, path, problems)


def _problem(problems: list[str], path: str, text: str) -> Any:
    problems.append(f"{path}: {text}" if path else text)
    return _MISSING


def _unknown(value: Any, known: Iterable[str], path: str, problems: list[str]) -> Any:
    # Only text can be a near miss of text.
    hint = near_misses(value if isinstance(value, str) else "", known)
    return _problem(problems, path, f"{show_value(value)} is not known; {hint}")


def show_value(value: Any) -> str:
    """Return `value` for an error text; short, whatever a document holds."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a whole number of thousands of digits, or tables thousands deep
        return "a value too large to show"
    return text if len(text) <= 80 else text[:77] + "..."


_SCALARS = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


def _decode_scalar(hint: Any, value: Any, path: str, problems: list[str]) -> Any:
    # bool is a subclass of int in Python; `width = true` must not become 1.
    if type(value) is int and hint is float:
        if abs(value) > 2**53:
            return _problem(
                problems, path, f"{show_value(value)} is beyond 2**53, where whole numbers stop being exact"
            )
        value = float(value)
    if type(value) is not hint:
        return _problem(problems, path, f"{show_value(value)} is not {_SCALARS[hint]}")
    if hint is float and not math.isfinite(value):
        return _problem(problems, path, f"{show_value(value)} is not a finite number")
    return value


def _decode_tuple(args: tuple[Any, ...], value: Any, path: str, problems: list[str]) -> Any:
    if not isinstance(value, list):
        return _problem(problems, path, f"{show_value(value)} is not a list")
    if len(value) > MAX_ITEMS:
        return _problem(problems, path, f"{len(value):,} items exceed {MAX_ITEMS:,}, the most")
    if args[-1] is Ellipsis:
        args = (args[0],) * len(value)
    if len(args) != len(value):
        return _problem(problems, path, f"{len(value)} items where {len(args)} belong")
    return tuple(decode_part(a, v, f"{path}[{i}]", problems) for i, (a, v) in enumerate(zip(args, value, strict=True)))


def _decode_union(args: tuple[Any, ...], value: Any, path: str, problems: list[str]) -> Any:
    if value is None and type(None) in args:
        return None
    args = tuple(a for a in args if a is not type(None))
    if len(args) == 1:
        return decode_part(args[0], value, path, problems)
    if not any(dataclasses.is_dataclass(a) for a in args):
        own = next((a for a in args if type(value) is a), None)
        if own is None:
            return _problem(problems, path, f"{show_value(value)} is not {' or '.join(_SCALARS[a] for a in args)}")
        return _decode_scalar(own, value, path, problems)
    by_type = {a.type: a for a in args}
    if not isinstance(value, Mapping):
        return _problem(problems, path, f"{show_value(value)} is not a table")
    type_path = f"{path}.type" if path else "type"
    if "type" not in value:
        return _problem(problems, type_path, f"missing; {near_misses('', by_type)}")
    name = value["type"]
    if not isinstance(name, str) or name not in by_type:
        return _unknown(name, by_type, type_path, problems)
    rest = {k: v for k, v in value.items() if k != "type"}
    return decode_part(by_type[name], rest, path, problems)


@functools.cache
def _fields(target: type) -> dict[str, tuple[Any, bool]]:
    """Return name to (type hint, is required) of the fields that a document may set."""
    hints = typing.get_type_hints(target, include_extras=True)
    return {
        f.name: (hints[f.name], f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING)
        for f in dataclasses.fields(target)
    }


def _decode_dataclass(target: type, value: Any, path: str, problems: list[str]) -> Any:
    if not isinstance(value, Mapping):
        return _problem(problems, path, f"{show_value(value)} is not a table")
    before = len(problems)
    fields = _fields(target)
    dot = f"{path}." if path else ""
    for key in value:
        if key not in fields:
            _problem(problems, f"{dot}{key}", f"unknown key; {near_misses(str(key), fields)}")
    arguments = {}
    for name, (hint, required) in fields.items():
        if name in value:
            arguments[name] = decode_part(hint, value[name], f"{dot}{name}", problems)
        elif required:
            _problem(problems, f"{dot}{name}", "missing")
    return _MISSING if len(problems) > before else target(**arguments)


def encode(value: Any, *, with_defaults: bool = True) -> Any:
    """Return the inverse of `decode`: dataclasses to plain dicts, with the `type` key of those told apart by it.

    Without defaults, what `decode` puts in by itself is left out.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        values = ((f, getattr(value, f.name)) for f in dataclasses.fields(value))
        plain = {f.name: encode(v, with_defaults=with_defaults) for f, v in values if with_defaults or v != f.default}
        name = getattr(type(value), "type", None)
        return {"type": name, **plain} if isinstance(name, str) else plain
    if isinstance(value, (tuple, list)):
        return [encode(item, with_defaults=with_defaults) for item in value]
    if isinstance(value, Mapping):
        return {str(k): encode(v, with_defaults=with_defaults) for k, v in value.items()}
    return value
