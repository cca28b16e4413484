"""An architecture as the text of a Python module that a person would have written and that needs nothing but torch."""

from __future__ import annotations

import inspect
import itertools
import math
import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from nas.arch import IMAGE, Architecture, Call, Layer, Recipe, architecture_to_plain, calls, lower
from nas.arch.operations import Activation, Add, Linear, Operation
from nas.decode import encode
from nas.model.build import constructor, submodules
from nas.model.scalar_norm import ScalarNorm

LINE_LENGTH = 120


def module_source(
    architecture: Architecture,
    *,
    class_name: str = "Net",
    provenance: str,
    claims: Mapping[str, object],
    weights_name: str | None,
    mean: Sequence[float],
    std: Sequence[float],
    class_names: Sequence[str],
    recipe: Recipe,
) -> str:
    """Return the text of a module with the network as a class, its claims and the normalization of its inputs.

    It ends with the architecture and the recipe as plain literals, which are read without running the module.
    Its state dict has the keys of the module that `build` makes. `ruff format --line-length 120` leaves it as it is.

    Args:
        architecture: what the class computes.
        class_name: the name of the class.
        provenance: where the network comes from; paragraphs of prose for the docstring.
        claims: what `CLAIMS` says: numbers, text, True, False, None, and lists, tuples and dicts of them.
        weights_name: the file beside the module that `load_trained` reads: the module's own name with '.pt' for
            '.py'. None leaves `load_trained` out.
        mean: what is subtracted from the pixels in 0 to 1, a number for each channel.
        std: what they are divided by then, a number for each channel.
        class_names: what the logits stand for, in their order.
        recipe: that the network was trained by.

    Raises:
        ArchitectureError: the architecture does not lower.
        TypeError: a claim is not a plain literal.
    """
    layers = lower(architecture)
    stem = architecture.input
    forward = _forward(layers)
    functional = any("F." in line for line in forward)
    lines = [
        _docstring(provenance, claims),
        "",
        "import torch",
        *(["import torch.nn.functional as F"] if functional else []),
        "from torch import nn",
        "",
        "# What this module says of itself, for a machine to derive again.",
        "CLAIMS = " + (_exploded("{", [_entry(k, v, 4) for k, v in claims.items()], "}", 0) if claims else "{}"),
        "",
        f"INPUT_SHAPE = ({stem.channels}, {stem.height}, {stem.width})  # channels, height, width",
        "# Inputs are (image / 255 - MEAN) / STD, with one number for each channel.",
        _assignment("MEAN", tuple(mean)),
        _assignment("STD", tuple(std)),
        _assignment("CLASSES", tuple(class_names)),
        *_classes_of(layers),
        "",
        "",
        f"class {class_name}(nn.Module):",
        f'    """Images (N, {stem.channels}, {stem.height}, {stem.width}) to logits (N, {architecture.classes})."""',
        "",
        "    def __init__(self) -> None:",
        "        super().__init__()",
        *(line for name, operations in submodules(layers).items() for line in _submodule(name, operations)),
        "",
        "    def forward(self, x: torch.Tensor) -> torch.Tensor:",
        *(" " * 8 + line for line in forward),
    ]
    if weights_name is not None:
        where = f"the weights are at `path`, else beside this file in {_escape(weights_name)}"
        lines += [
            "",
            "",
            f"def load_trained(path=None) -> {class_name}:",
            f'    """The trained network in eval mode; {where}."""',
            "    if path is None:",
            '        path = __file__.removesuffix(".py") + ".pt"',
            f"    net = {class_name}()",
            '    net.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))',
            "    return net.eval()",
        ]
    lines += [
        "",
        "",
        "# The same network as data, for `nas export` to write in another format without running this file.",
        _assignment("ARCHITECTURE", architecture_to_plain(architecture, with_defaults=False)),
        "# That it was trained by.",
        _assignment("RECIPE", encode(recipe)),
    ]
    return "\n".join(lines) + "\n"


def _classes_of(layers: list[Layer]) -> list[str]:
    """Return the text of the layers that torch.nn lacks."""
    if any(constructor(layer.operation).name == ScalarNorm.__name__ for layer in layers if layer.group):
        return ["", "", *inspect.getsource(ScalarNorm).rstrip().split("\n")]
    return []


def provenance_in(docstring: str, claims: Mapping[str, object]) -> str:
    """Return the `provenance` that `module_source` was given with these claims, from the docstring that it made."""
    paragraphs, figures = _paragraphs(docstring), _figures(claims)
    return "\n\n".join(paragraphs[:-1] if figures and paragraphs[-1:] == [figures] else paragraphs)


def _paragraphs(text: str) -> list[str]:
    return [" ".join(p.split()) for p in text.split("\n\n") if p.strip()]


def _figures(claims: Mapping[str, object]) -> str:
    """Return the counts and the accuracy that are claimed, as a sentence; nothing where none are."""
    costs = [
        (claims.get("num_params"), "parameters"),
        (claims.get("deployed_params"), "parameters deployed (norms folded)"),
        (claims.get("num_macs"), "multiply-accumulates an image"),
        (claims.get("peak_activation_bytes"), "bytes of activations at most"),
    ]
    figures = ", ".join(f"{value:,} {what}" for value, what in costs if isinstance(value, int))
    accuracy, seeds = claims.get("test_accuracy"), claims.get("seeds")
    if isinstance(accuracy, (int, float)):
        count = len(seeds) if isinstance(seeds, (list, tuple)) else seeds
        figures += f"{'; ' if figures else ''}confirmed test accuracy {accuracy:.3f} %"
        figures += f" on {claims['dataset']}" if "dataset" in claims else ""
        figures += f", the mean over {count} seed{'' if count == 1 else 's'}" if count is not None else ""
    return figures and figures[0].upper() + figures[1:] + "."


def _docstring(provenance: str, claims: Mapping[str, object]) -> str:
    paragraphs = [_escape(p) for p in (*_paragraphs(provenance), _figures(claims)) if p]
    opening = '""" ' if paragraphs and paragraphs[0].startswith('"') else '"""'
    filled = [
        textwrap.fill(
            paragraph,
            LINE_LENGTH,
            initial_indent="" if index else opening,
            break_long_words=False,
            break_on_hyphens=False,  # else a name might come back with a space in it
        )
        for index, paragraph in enumerate(paragraphs)
    ]
    text = "\n\n".join(filled) or opening
    closing = "\n" if "\n" in text else " " if text.endswith('"') else ""
    return f'{text}{closing}"""'


def _escape(text: str) -> str:
    """Return `text` as it stands between triple quotes."""
    return text.replace("\\", "\\\\").replace('"""', r"\"\"\"")


def _submodule(name: str, operations: tuple[Operation, ...]) -> list[str]:
    made = [_construction(operation) for operation in operations]
    if len(made) == 1:
        lines = [f"        self.{name} = {made[0]}"]
    else:
        lines = [f"        self.{name} = nn.Sequential(", *(f"            {m}," for m in made), "        )"]
    for place, operation in enumerate(operations):
        layer = f"self.{name}" if len(made) == 1 else f"self.{name}[{place}]"
        lines += [f"        {layer}.{parameter} = None" for parameter in constructor(operation).removed]
    return lines


def _construction(operation: Operation) -> str:
    made = constructor(operation)
    name = made.name if made.name == ScalarNorm.__name__ else f"nn.{made.name}"
    return f"{name}({', '.join([*map(str, made.args), *(f'{k}={v}' for k, v in made.kwargs.items())])})"


class _Line(NamedTuple):
    text: str
    use: int  # of the weights: 0 the first time that they run


def _forward(layers: list[Layer]) -> list[str]:
    """Return the lines of `forward`: one a submodule, with the additions and functions that only its result enters.

    A map is called `x`, or by another name while an earlier one in `x` is still needed.
    """
    steps = calls(layers)
    parts, final = _parts(steps), len(steps) - 1
    line_of = list(range(len(steps)))  # the last call of the line that a call stands in
    for index in reversed(range(len(steps))):
        for part in parts[index]:
            line_of[part] = line_of[index]
    last_line = {source: line_of[index] for index, call in enumerate(steps) for source in call.sources}
    names = {IMAGE: "x"}  # of the maps that variables hold
    expressions = {IMAGE: "x"}
    lines: list[_Line] = []
    for index, call in enumerate(steps):
        expression = expressions[index] = _expression(call, [expressions[s] for s in _in_order(call, parts[index])])
        if line_of[index] == index != final:
            names = {source: name for source, name in names.items() if last_line[source] > index}
            names[index] = expressions[index] = next(name for name in _variables() if name not in names.values())
            lines.append(_Line(f"{names[index]} = {expression}", call.use))
    flatten = ".flatten(1)" if len(layers[-1].output_shape) > 1 else ""
    return [*_with_loops(lines), f"return {expressions[final]}{flatten}"]


def _parts(steps: list[Call]) -> list[list[int]]:
    """Return for each call the calls that are written inside it: what a function alone reads.

    Those of all its arguments run one behind the other just before it, so that the text runs in the order of the calls.
    """
    readers = Counter(source for call in steps for source in call.sources)
    parts: list[list[int]] = []
    first: list[int] = []  # of each call, the first one that is written inside it, or itself
    for index, call in enumerate(steps):
        parts.append([])
        first.append(index)
        for source in sorted(call.sources, reverse=True) if not call.group else ():
            if source == first[index] - 1 != IMAGE and readers[source] == 1:
                parts[index].insert(0, source)
                first[index] = first[source]
    return parts


def _in_order(call: Call, parts: list[int]) -> list[int]:
    """Return what a call reads; of two maps that are made inside it the earlier one first."""
    return parts if len(parts) == 2 else sorted(call.sources, key=lambda source: source not in parts)


def _variables() -> Iterator[str]:
    yield from ("x", "y", "z")
    yield from (f"x{number}" for number in itertools.count(2))


def _expression(call: Call, sources: list[str]) -> str:
    operation = call.layers[0].operation
    if isinstance(operation, Add):
        return " + ".join(sources)
    if isinstance(operation, Activation) and not call.group:
        return f"F.{operation.name}({sources[0]})"
    flatten = ".flatten(1)" if isinstance(operation, Linear) else ""
    return f"self.{call.group}({sources[0]}{flatten})"


def _with_loops(lines: list[_Line]) -> list[str]:
    """Return the lines with those that run again under a `for`."""
    result: list[str] = []
    for runs_again, group in itertools.groupby(lines, key=lambda line: line.use > 0):
        run = list(group)
        if not runs_again:
            result += [line.text for line in run]
            continue
        # The lines of the first use are the last ones so far, as many as each later use has.
        start = len(result) - sum(line.use == 1 for line in run)
        result[start:] = [f"for _ in range({run[-1].use + 1}):", *("    " + text for text in result[start:])]
    return result


def _assignment(name: str, value: object) -> str:
    return f"{name} = {_literal(value, 0, len(f'{name} = '))}"


def _entry(key: str, value: object, indent: int) -> str:
    text = f"{_string(key)}: "
    return text + _literal(value, indent, len(text))


def _literal(value: object, indent: int, used: int = 0) -> str:
    """Return `value` as ruff formats it: on one line if that has room beside `used` characters, else exploded."""
    if isinstance(value, str):
        return _string(value)
    if value is None or isinstance(value, (bool, int)):
        return repr(value)
    if isinstance(value, float) and math.isfinite(value):
        return repr(value).replace("e+", "e")
    if isinstance(value, Mapping):
        open_, close, flat = "{", "}", [f"{_string(k)}: {_literal(v, 0)}" for k, v in value.items()]
        exploded = [_entry(k, v, indent + 4) for k, v in value.items()]
    elif isinstance(value, (list, tuple)):
        open_, close = "[]" if isinstance(value, list) else "()"
        flat, exploded = [_literal(v, 0) for v in value], [_literal(v, indent + 4) for v in value]
    else:
        raise TypeError(f"a claim must be numbers, text, lists and dicts, not {value!r}")
    one_line = open_ + ", ".join(flat) + ("," if isinstance(value, tuple) and len(flat) == 1 else "") + close
    # One character more for the comma behind it.
    if not flat or indent + used + len(one_line) < LINE_LENGTH:
        return one_line
    return _exploded(open_, exploded, close, indent)


def _exploded(open_: str, items: Iterable[str], close: str, indent: int) -> str:
    return "\n".join([open_, *(f"{' ' * (indent + 4)}{item}," for item in items), " " * indent + close])


def _string(text: str) -> str:
    """Return `text` as ruff quotes it."""
    # Double quotes unless that needs more escapes, as ruff has it.
    quote = "'" if text.count('"') > text.count("'") else '"'
    inside = (c if c in "'\"" else repr(c)[1:-1] for c in text)
    return quote + "".join("\\" + c if c == quote else c for c in inside) + quote
