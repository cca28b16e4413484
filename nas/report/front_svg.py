"""The front as an SVG picture, made without a browser: parameters (log) against accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from nas.report import palette
from nas.report.axes import FrontAxes, Measure, counted, far_references, front_axes
from nas.study.front import confirmed_front, validation_front
from nas.study.landmarks import Reference, references
from nas.study.records import TrialRecord
from nas.study.settings import StudySettings

WIDTH, HEIGHT = 860, 480  # pixels
LEFT, RIGHT, TOP, BOTTOM = 70, 30, 46, 56
_INK, _GRID = "#24292f", "#eaeef2"  # on white
_INLINE_INK, _INLINE_GRID = "currentColor", "rgba(128,136,144,.22)"  # on whatever is around


class _Pixels:
    """Where on the picture a network lies."""

    def __init__(self, axes: FrontAxes) -> None:
        self.axes = axes

    def x(self, size: float) -> float:
        return LEFT + self.axes.x(size) * (WIDTH - LEFT - RIGHT)

    def y(self, accuracy: float) -> float:
        return TOP + self.axes.y(accuracy) * (HEIGHT - TOP - BOTTOM)


def front_svg(records: Sequence[TrialRecord], settings: StudySettings, inline: bool = False) -> str:
    """Return the picture: completed trials (faint), both fronts, budget, target and the reference networks.

    It is a file, on white. `inline` is for a page: it has the color of the text around it, no ground of its own, and is
    no wider than its place.
    """
    ink, grid = (_INLINE_INK, _INLINE_GRID) if inline else (_INK, _GRID)
    fit = ' style="max-width:100%;height:auto"' if inline else ""
    ground = "" if inline else f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>\n'
    measure = counted(settings)
    pixels = _Pixels(front_axes(records, settings))
    parts = _limits(pixels, settings)
    for r in records:
        if r.fate == "completed":
            place = pixels.x(r.size), pixels.y(r.validation_accuracy)
            parts.append(_dot(*place, 3, palette.TRIAL, 0.45, _trial_text(r)))
    steps = [(pixels.x(r.size), pixels.y(r.validation_accuracy)) for r in validation_front(records)]
    parts.append(_stairs(steps, palette.VALIDATION_FRONT, "4 3"))
    front = [(r.size, r.confirmed.mean) for r in confirmed_front(records) if r.confirmed]
    parts.append(_stairs([(pixels.x(size), pixels.y(mean)) for size, mean in front], palette.CONFIRMED, ""))
    for r in records:
        if figure := r.confirmed:
            x = pixels.x(r.size)
            if spread := figure.spread:
                parts.append(_bar(x, pixels.y(figure.mean - spread), pixels.y(figure.mean + spread)))
            text = f"{_trial_text(r)}, test {figure.mean:.2f} %"
            parts.append(_dot(x, pixels.y(figure.mean), 5, palette.CONFIRMED, 1.0, text))
    published = references(settings.dataset)
    parts += [_diamond(pixels, reference, measure) for reference in published]
    far, lines = far_references(pixels.axes, settings), _grid(pixels, grid, measure.title)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        f'font-family="system-ui, sans-serif" font-size="12" fill="{ink}"{fit}>\n{ground}'
        # What is too weak to be shown lies below the plot; a bar that comes close to 100 % goes on above it.
        f'<clipPath id="plot"><rect y="{TOP}" width="{WIDTH}" height="{HEIGHT - TOP - BOTTOM}"/></clipPath>\n'
        + "\n".join([*lines, '<g clip-path="url(#plot)">', *parts, "</g>", *_legend(bool(published)), *_far(far)])
        + "\n</svg>\n"
    )


def _trial_text(record: TrialRecord) -> str:
    return f"trial {record.number}: {record.size_text}, validation {record.validation_accuracy:.2f} %"


def _grid(pixels: _Pixels, color: str, title: str) -> list[str]:
    """Return the lines and labels of both axes."""
    parts = []
    for size in pixels.axes.size_labels():
        x = pixels.x(size)
        parts.append(f'<path d="M{x:.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="{color}"/>')
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{size:,}</text>')
    for accuracy in pixels.axes.accuracy_labels():
        y = pixels.y(accuracy)
        parts.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="{color}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{accuracy:g}</text>')
    parts.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 14}" text-anchor="middle">{title}</text>')
    middle = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(
        f'<text transform="translate(18 {middle}) rotate(-90)" text-anchor="middle">'
        "accuracy, % (log of the error)</text>"
    )
    return parts


def _limits(pixels: _Pixels, settings: StudySettings) -> list[str]:
    """Return the budget as an upright line, and the target as a level one."""
    x, stroke = pixels.x(settings.max_params), f'stroke="{palette.LIMIT}" stroke-dasharray="2 3"'
    parts = [
        f'<path d="M{x:.1f} {TOP}V{HEIGHT - BOTTOM}" {stroke}/>',
        f'<text x="{x - 5:.1f}" y="{HEIGHT - BOTTOM - 8}" text-anchor="end" fill="{palette.LIMIT}">'
        f"budget {settings.max_params:,}</text>",
    ]
    if settings.target is not None:
        y = pixels.y(settings.target)
        parts.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" {stroke}/>')
        parts.append(f'<text x="{LEFT + 6}" y="{y - 5:.1f}" fill="{palette.LIMIT}">target {settings.target:g} %</text>')
    return parts


def _dot(x: float, y: float, radius: float, color: str, opacity: float, text: str) -> str:
    return (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{color}" fill-opacity="{opacity}">'
        f"<title>{escape(text)}</title></circle>"
    )


def _bar(x: float, low: float, high: float) -> str:
    lines = f"M{x:.1f} {low:.1f}V{high:.1f}M{x - 4:.1f} {low:.1f}h8M{x - 4:.1f} {high:.1f}h8"
    return f'<path d="{lines}" stroke="{palette.CONFIRMED}"/>'


def _diamond(pixels: _Pixels, reference: Reference, measure: Measure) -> str:
    x, y = pixels.x(measure.of(reference)), pixels.y(reference.best_test_accuracy)
    text = f"{reference.name}: {reference.size_text}, best epoch {reference.best_test_accuracy:.2f} %"
    shape = f"M{x:.1f} {y - 6:.1f}l6 6l-6 6l-6 -6z"
    return f'<path d="{shape}" fill="{palette.REFERENCE}"><title>{escape(text)}</title></path>'


def _stairs(points: Sequence[tuple[float, float]], color: str, dashes: str) -> str:
    """Return a front as stairs: what a network of some size is known to reach holds until the next one."""
    if not points:
        return ""
    (x, y), *rest = points
    path = f"M{x:.1f} {y:.1f}" + "".join(f"H{px:.1f}V{py:.1f}" for px, py in rest)
    return f'<path d="{path}" fill="none" stroke="{color}" stroke-width="1.5" stroke-dasharray="{dashes}"/>'


def _far(networks: Sequence[tuple[Reference, str]]) -> list[str]:
    """Return the names of networks outside the plot, in its upper right corner, with arrows towards them."""
    return [
        f'<text x="{WIDTH - RIGHT - 6}" y="{TOP + 14 * (line + 1)}" text-anchor="end" font-size="10" '
        f'fill="{palette.REFERENCE}">{escape(_far_text(network))} {arrow}</text>'
        for line, (network, arrow) in enumerate(networks)
    ]


def _far_text(network: Reference) -> str:
    return f"{network.name}: {network.size_text}, {network.best_test_accuracy:.2f} %"


def _legend(has_published: bool) -> list[str]:
    entries = [
        (palette.CONFIRMED, "confirmed on the test set, ± deviation over seeds"),
        (palette.TRIAL, "trials, validation"),
        (palette.VALIDATION_FRONT, "front by validation"),
    ]
    entries += [(palette.REFERENCE, "published, best epoch")] if has_published else []
    parts, x = [], float(LEFT)
    for color, text in entries:
        parts.append(f'<circle cx="{x:.1f}" cy="24" r="5" fill="{color}"/><text x="{x + 10:.1f}" y="28">{text}</text>')
        x += 34 + 6.1 * len(text)
    return parts
