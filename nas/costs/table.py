"""A network to look at: its layers as rows, as the table that torchsummary prints, and as a sketch in text."""

from __future__ import annotations

from typing import Any

from nas.arch.lowering import IMAGE, Call, Layer, calls
from nas.arch.operations import Activation, Shape
from nas.costs.counting import costs_of

COLUMNS = 80  # of the sketch and the table; what a terminal shows without wrapping
_ROW = "{:>21} {:>22} {:>18} {:>15}"


def layer_rows(layers: list[Layer]) -> list[dict[str, Any]]:
    """Return one plain dict (JSON) a module that runs, numbered as torchsummary does.

    Keys: `name` ('Conv2d-1'), `kind`, `output_shape` of one image ([C, H, W] or [F]), `num_params`, `num_macs`. A
    module that runs again with the same weights has `num_params` 0 and names its first run in `shared_with`. A
    function (F.relu, an addition) is no module: it stands in `then` of the row that it follows.
    """
    rows: list[dict[str, Any]] = []
    row_of = {IMAGE: "image"}  # layer to the name of the row that shows it
    first_runs: dict[tuple[str, int], str] = {}  # (submodule, place within it) to the row of its first run
    places: dict[tuple[str, int], int] = {}
    for index, layer in enumerate(layers):
        if not layer.group:
            row = rows[-1]
            row_of[index] = row["name"]
            others = [row_of[source] for source in layer.sources if source != index - 1]
            row.setdefault("then", []).append(_function(layer, others))
            continue
        name = row_of[index] = f"{layer.operation.kind}-{len(rows) + 1}"
        row = {
            "name": name,
            "kind": layer.operation.kind,
            "output_shape": list(layer.output_shape),
            "num_params": layer.num_params,
            "num_macs": layer.num_macs,
        }
        place = places[layer.group, layer.use] = places.get((layer.group, layer.use), -1) + 1
        first_run = first_runs.setdefault((layer.group, place), name)
        if first_run != name and layer.operation.num_params:
            row["shared_with"] = first_run
        rows.append(row)
    return rows


def _function(layer: Layer, others: list[str]) -> str:
    """Return what a function does, where `others` are the maps that it reads besides the one made just before it."""
    return layer.operation.name if isinstance(layer.operation, Activation) else f"add {' and '.join(others)}"


def layer_table(layers: list[Layer]) -> str:
    """Return the rows of `layer_rows` and the totals as text, for 80 columns.

    A function has a line of its own without a number, and shared weights show whose they are.
    """
    lines = [_ROW.format("Layer (type)", "Output Shape", "Param #", "MACs"), "=" * (COLUMNS - 1)]
    for row in layer_rows(layers):
        shape = str([-1, *row["output_shape"]])
        shared = row.get("shared_with")
        num_params = f"as {shared}" if shared else f"{row['num_params']:,}"
        lines.append(_ROW.format(row["name"], shape, num_params, f"{row['num_macs']:,}"))
        lines.extend(_ROW.format(f"({function})", shape, "", "").rstrip() for function in row.get("then", []))
    costs = costs_of(layers)
    lines += [
        "=" * (COLUMNS - 1),
        f"Total params: {costs.num_params:,}",
        f"Deployed params (norms folded): {costs.deployed_params:,}",
        f"Total MACs: {costs.num_macs:,}",
        f"Peak activation bytes: {costs.peak_activation_bytes:,}",
    ]
    return "\n".join(lines)


def sketch(layers: list[Layer]) -> str:
    """Return one line a call of `forward`: its name, its output, and a bar as long as its share of the parameters."""
    steps = calls(layers)
    names = [step.group or _function_call(index, steps) for index, step in enumerate(steps)]
    shapes = [_channels_by_map(step.layers[-1].output_shape) for step in steps]
    counts = [sum(layer.num_params for layer in step.layers) for step in steps]
    labels = [_params_of_call(step, count) for step, count in zip(steps, counts, strict=True)]
    name_width, shape_width = max(map(len, names)), max(map(len, shapes))
    most = max(1, *counts)
    room = COLUMNS - name_width - shape_width - len(f"{most:,}") - 5
    lines = []
    for name, shape, count, label in zip(names, shapes, counts, labels, strict=True):
        bar = "▇" * max(1, round(room * count / most)) + " " if count else ""
        lines.append(f"{name:<{name_width}}  {shape:>{shape_width}}  {bar}{label}".rstrip())
    return "\n".join(lines)


def _params_of_call(step: Call, count: int) -> str:
    if step.use and any(layer.operation.num_params for layer in step.layers):
        return f"same weights, run {step.use + 1}"
    return f"{count:,}" if count else ""


def _function_call(index: int, steps: list[Call]) -> str:
    operation = steps[index].layers[0].operation
    if isinstance(operation, Activation):
        return f"  {operation.name}"
    others = [source for source in steps[index].sources if source != index - 1]
    return "  add " + " and ".join(_name_of_map(other, steps) for other in others)


def _name_of_map(index: int, steps: list[Call]) -> str:
    while index != IMAGE and not steps[index].group:  # what a function made goes by the submodule that it follows
        index -= 1
    return "image" if index == IMAGE else steps[index].group


def _channels_by_map(shape: Shape) -> str:
    return f"{shape[0]}" if len(shape) == 1 else f"{shape[0]} x {shape[1]}x{shape[2]}"
