"""Architectures as TOML files: an architecture with its recipe, and the lines that a person need not repeat."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from nas.arch.description import Architecture, Block, BodyItem, Channels, Head, Input, NormAct, Pixels, Pool
from nas.arch.kinds import problem_of_kind, with_own_layers
from nas.arch.lowering import lower
from nas.arch.old_names import with_new_names
from nas.arch.recipe import Recipe
from nas.decode import Bounds, decode_part, encode, read_toml, show_value
from nas.errors import ArchitectureError, InvalidError


@dataclass(frozen=True, slots=True)
class ArchitectureFile:
    """What a file holds; `published` is what its source reports, for landmarks beside a front."""

    name: str
    input: tuple[Channels, Pixels, Pixels]
    classes: Annotated[int, Bounds(2, 10_000)]
    body: tuple[BodyItem, ...]
    head: Head = Head()
    recipe: Recipe = Recipe()
    dataset: str = ""
    source: str = ""
    published_best_test_accuracy: Annotated[float, Bounds(0.0, 100.0)] | None = None  # percent, best epoch

    @property
    def architecture(self) -> Architecture:
        """Return the description alone, without what is said about it."""
        return Architecture(Input(*self.input), self.classes, self.body, self.head)


def read_architecture(path: Path) -> ArchitectureFile:
    """Read the architecture file at `path`, checked whole.

    The top-level table `norm_act` is the norm and activation of the file. An item of the body has it with
    `norm_act = true`, has neither norm nor activation with `false`, and changes it key by key with a table of its own.
    A block that says nothing has it; a transition that says nothing has neither. A block of a person's own kind may
    have a table `options`.

    Raises:
        InvalidError: with every problem in the file, each behind its key path.
    """
    plain = with_new_names(read_toml(path))
    problems: list[str] = []
    default = plain.pop("norm_act", {})
    decode_part(NormAct, default, "norm_act", problems)
    if problems:
        default = {}  # said once, not again for every block
    if isinstance(plain.get("body"), list):
        plain["body"] = [
            _with_norm_act(_with_listed_options(item), default, f"body[{i}]", problems)
            for i, item in enumerate(plain["body"])
        ]
        _check_kinds(plain["body"], problems)
    file: ArchitectureFile = decode_part(ArchitectureFile, plain, "", problems)
    if problems:
        raise InvalidError(str(path), problems)
    file = replace(file, body=_with_all_layers(file))
    try:
        lower(file.architecture)
    except ArchitectureError as error:
        raise ArchitectureError(str(path), error.problems) from None
    return file


def _with_norm_act(item: Any, default: Mapping[str, Any], path: str, problems: list[str]) -> Any:
    """Return `item` of the body with its `norm_act` as a table."""
    if not isinstance(item, Mapping) or item.get("type") not in ("block", "transition"):
        return item
    own = item.get("norm_act", item["type"] == "block")
    if isinstance(own, Mapping):
        return {**item, "norm_act": {**default, **own}}
    if isinstance(own, bool):
        return {**item, "norm_act": default if own else {"norm": "none", "activation": "none"}}
    problems.append(f"{path}.norm_act: {show_value(own)} is not true, false or a table")
    return {key: value for key, value in item.items() if key != "norm_act"}


def _with_listed_options(item: Any) -> Any:
    """Return `item` of the body with its table of options as a list of them."""
    if not isinstance(item, Mapping) or not isinstance(options := item.get("options"), Mapping):
        return item
    return {**item, "options": [{"name": name, "value": value} for name, value in options.items()]}


def _check_kinds(body: list[Any], problems: list[str]) -> None:
    """Append what is wrong with the kinds of blocks that do not come with their layers."""
    for index, item in enumerate(body):
        if not isinstance(item, Mapping) or item.get("type") != "block" or item.get("layers") is not None:
            continue
        if isinstance(kind := item.get("kind", "plain"), str) and (problem := problem_of_kind(kind)):
            problems.append(f"body[{index}].kind: {problem}")


def _with_all_layers(file: ArchitectureFile) -> tuple[BodyItem, ...]:
    """Return the body of a file with the layers of blocks of a person's own kinds."""
    body, channels = list[BodyItem](), file.input[0]
    for item in file.body:
        body.append(with_own_layers(item, channels) if isinstance(item, Block) and item.layers is None else item)
        channels = channels if isinstance(item, Pool) else item.width
    return tuple(body)


def architecture_to_plain(architecture: Architecture, *, with_defaults: bool = True) -> dict[str, Any]:
    """Return plain lists and dicts (JSON), the inverse of `architecture_from_plain`, which puts defaults in again."""
    plain: dict[str, Any] = encode(architecture, with_defaults=with_defaults)
    return plain


def architecture_from_plain(plain: Any, what: str = "the architecture") -> Architecture:
    """Return the architecture written by `architecture_to_plain`.

    Raises:
        InvalidError: with every problem found.
    """
    plain, problems = with_new_names(plain), list[str]()
    if isinstance(plain, Mapping) and isinstance(plain.get("body"), list):
        _check_kinds(plain["body"], problems)
    architecture: Architecture = decode_part(Architecture, plain, "", problems)
    if problems:
        raise InvalidError(what, problems)
    return architecture
