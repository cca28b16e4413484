"""An architecture drawn as SVG: a box a block, to scale of channels (length) and map (height and depth)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from nas.arch import Architecture, Block, Call, calls, lower, outline
from nas.arch.kinds import SHIPPED_KINDS
from nas.arch.operations import AdaptiveAvgPool2d, AvgPool2d, Linear, MaxPool2d, Shape
from nas.costs import costs_of
from nas.report import palette

_COLORS = {
    "input": palette.GRAY,
    "plain": palette.BLUE,
    "separable": palette.TEAL,
    "inverted": palette.RED,
    "transition": palette.PURPLE,
    "classifier": palette.ORANGE,
    "pool": palette.GRAY,
}
_OWN_COLOR = palette.BUTTON  # of blocks of a kind of one's own
_MAP, _LENGTH = 84.0, 58.0  # pixels of the largest map's height and of the most channels' length
_DEPTH = 0.3  # pixels to the right and up that a pixel of depth is drawn with
_BOX_SLOT, _POOL_SLOT, _TEXT = 94.0, 50.0, 54.0  # pixels: widths of a step, height of the text below it


@dataclass(slots=True)
class _Step:
    """One box, or a pool between two boxes."""

    kind: str
    title: str
    shape: Shape
    num_params: int
    uses: int = 1
    shortcut: bool = False

    @property
    def slot(self) -> float:
        return _POOL_SLOT if self.kind == "pool" else _BOX_SLOT


def architecture_svg(architecture: Architecture, width: int = 1140) -> str:
    """Return the drawing, wrapped into rows of at most `width` pixels; text takes the color of its surroundings."""
    layers = lower(architecture)
    stem = architecture.input
    image = _Step("input", "image", (stem.channels, stem.height, stem.width), 0)
    rows = _rows(
        [image, *_steps(calls(layers), [item for item in architecture.body if isinstance(item, Block)])], width
    )
    steps = [step for row in rows for step in row]
    per_pixel = _MAP / max(max(s.shape[1:], default=1) for s in steps)
    per_channel = _LENGTH / max(s.shape[0] for s in steps)
    parts, previous, height = [], image, 0.0
    for row in rows:
        x, base = 4.0, height + max(_size(s, per_pixel, per_channel)[1] for s in (previous, *row)) + 8
        for step in row:
            parts.append(_step_svg(step, previous, x, base, per_pixel, per_channel))
            x, previous = x + step.slot, step
        height = base + _TEXT
    used = max(sum(s.slot for s in row) for row in rows) + 4
    text = f"{outline(architecture)}: {costs_of(layers).num_params:,} parameters"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {used:.0f} {height:.0f}" width="{used:.0f}" '
        f'height="{height:.0f}" role="img" aria-label="{escape(text)}" font-family="system-ui, sans-serif" '
        f'font-size="11.5" fill="currentColor">{"".join(parts)}</svg>'
    )


def _rows(steps: Sequence[_Step], width: int) -> list[list[_Step]]:
    rows: list[list[_Step]] = [[]]
    for step in steps:
        if rows[-1] and sum(s.slot for s in rows[-1]) + step.slot > width - 4:
            rows.append([])
        rows[-1].append(step)
    return rows


def _steps(run: Sequence[Call], blocks: Sequence[Block]) -> list[_Step]:
    """Return a step a block, transition, pool and classifier; tails, shortcuts and functions count to the one before.

    `blocks` are those of the network, in order.
    """
    steps: list[_Step] = []
    drawn: dict[str, _Step] = {}  # by the submodule that begins a block or transition
    for call in run:
        params, layer = sum(layer.num_params for layer in call.layers), call.layers[0]
        first = re.fullmatch(r"(convblock|transition)(\d+)", call.group)
        if call.group in drawn:
            drawn[call.group].uses += 1
        elif first:
            step = _Step("transition", "transition 1×1", call.layers[-1].output_shape, params)
            if first[1] == "convblock":
                block = blocks[int(first[2]) - 1]
                step.kind, step.title, step.shortcut = block.kind, _title(block), block.shortcut != "none"
            drawn[call.group] = step
            steps.append(step)
        elif call.group.startswith("convblock"):  # goes on with a block
            steps[-1].shape, steps[-1].num_params = call.layers[-1].output_shape, steps[-1].num_params + params
        elif isinstance(operation := layer.operation, (MaxPool2d, AvgPool2d, AdaptiveAvgPool2d)):
            size = getattr(operation, "size", 0)
            name = "max" if isinstance(operation, MaxPool2d) else "average"
            title = f"global {name}" if layer.output_shape[1:] in ((), (1, 1)) else f"{name} {size}×{size}"
            steps.append(_Step("pool", title, call.layers[-1].output_shape, 0))
        elif isinstance(operation, Linear) or call.group == "classifier":
            steps.append(_Step("classifier", "classes", call.layers[-1].output_shape, params))
        elif steps:
            steps[-1].num_params += params
    return steps


def _title(block: Block) -> str:
    stride = f" /{block.stride}" if block.stride > 1 else ""
    if block.kind not in SHIPPED_KINDS:
        return f"{block.kind[:14]}{stride}"
    groups = f" in {block.groups}" if block.groups > 1 else ""
    return f"{block.kind} {block.kernel}×{block.kernel}{stride}{groups}"


def _size(step: _Step, per_pixel: float, per_channel: float) -> tuple[float, float, float]:
    """Return length, height (which includes the depth's share) and depth, in pixels."""
    rows, columns = step.shape[1:] if len(step.shape) == 3 else (1, 1)
    depth = max(2.0, columns * per_pixel * _DEPTH)
    return max(3.0, step.shape[0] * per_channel), max(3.0, rows * per_pixel) + depth, depth


def _step_svg(step: _Step, previous: _Step, x: float, base: float, per_pixel: float, per_channel: float) -> str:
    length, height, depth = _size(step, per_pixel, per_channel)
    color, middle = _COLORS.get(step.kind, _OWN_COLOR), x + (step.slot - 8) / 2
    map_text = "×".join(map(str, step.shape[1:])) if len(step.shape) == 3 else ""
    if step.kind == "pool":
        # A funnel from the map before it to the map behind it.
        before, behind = _size(previous, per_pixel, per_channel)[1] * 0.8, height * 0.8
        left, right = middle - 9, middle + 9
        shape = (
            f'<path d="M{left:.1f} {base:.1f}V{base - before:.1f}L{right:.1f} {base - behind:.1f}V{base:.1f}z" '
            f'fill="{color}" fill-opacity=".28"/>'
        )
        return shape + _lines(middle, base, [(step.title.split()[0], False), (step.title.split()[-1], False)])
    front, left = height - depth, middle - (length + depth) / 2
    top, right = base - front, left + length
    faces = (
        f'<path d="M{left:.1f} {base:.1f}V{top:.1f}h{length:.1f}V{base:.1f}z" fill="{color}"/>'
        f'<path d="M{left:.1f} {top:.1f}l{depth:.1f} {-depth:.1f}h{length:.1f}l{-depth:.1f} {depth:.1f}z" '
        f'fill="{color}" fill-opacity=".62"/>'
        f'<path d="M{right:.1f} {base:.1f}V{top:.1f}l{depth:.1f} {-depth:.1f}v{front:.1f}z" '
        f'fill="{color}" fill-opacity=".38"/>'
    )
    if step.shortcut:
        faces += (
            f'<path d="M{x:.1f} {base + 3:.1f}q{(step.slot - 8) / 2:.1f} 9 {step.slot - 8:.1f} 0" fill="none" '
            f'stroke="{color}" stroke-width="1.5"><title>shortcut</title></path>'
        )
    uses = f" ×{step.uses}" if step.uses > 1 else ""
    shape_text = f"{step.shape[0]} of {map_text}" if map_text else str(step.shape[0])
    params = f"{step.num_params:,}" if step.num_params else ""
    return faces + _lines(middle, base, [(step.title + uses, False), (shape_text, False), (params, True)])


def _lines(x: float, base: float, lines: Sequence[tuple[str, bool]]) -> str:
    weights = {True: 'font-weight="600"', False: 'fill-opacity=".85"'}
    return "".join(
        f'<text x="{x:.1f}" y="{base + 20 + 15 * i:.1f}" text-anchor="middle" {weights[bold]}>{escape(text)}</text>'
        for i, (text, bold) in enumerate(lines)
        if text
    )
