"""The front as an SVG picture, made without a browser: parameters (log) against accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from nas.report.axes import Axes, front_axes
from nas.study.front import confirmed_front, validation_front
from nas.study.landmarks import Reference
from nas.study.records import TrialRecord

WIDTH, HEIGHT = 860, 480  # pixels
LEFT, RIGHT, TOP, BOTTOM = 70, 30, 46, 56
_BLUE, _GRAY, _ORANGE, _RED, _INK = "#1f6feb", "#8b949e", "#d9822b", "#cf222e", "#24292f"


class _Pixels:
    """Where on the picture a network lies."""

    def __init__(self, axes: Axes) -> None:
        self.axes = axes

    def x(self, size: float) -> float:
        return LEFT + self.axes.x(size) * (WIDTH - LEFT - RIGHT)

    def y(self, accuracy: float) -> float:
        return TOP + self.axes.y(accuracy) * (HEIGHT - TOP - BOTTOM)


def front_svg(
    records: Sequence[TrialRecord], max_params: int, target: float | None, landmarks: Sequence[Reference]
) -> str:
    """The picture: every completed trial faint, both fronts, the budget, the target and the reference networks."""
    completed = [r for r in records if r.fate == "completed"]
    confirmed = [(r, r.confirmed) for r in records if r.confirmed]
    axes = _Pixels(front_axes(records, max_params, target, landmarks))
    parts = _lines(axes, max_params, target)
    for r in completed:
        parts.append(_dot(axes.x(r.num_params), axes.y(r.validation_accuracy), 3, _GRAY, 0.45, _trial_text(r)))
    validation = [(axes.x(r.num_params), axes.y(r.validation_accuracy)) for r in validation_front(records)]
    parts.append(_steps(validation, _GRAY, "4 3"))
    front = confirmed_front(records)
    parts.append(_steps([(axes.x(r.num_params), axes.y(r.confirmed.mean)) for r in front if r.confirmed], _BLUE, ""))
    for r, figure in confirmed:
        x, spread = axes.x(r.num_params), figure.spread
        parts.append(_bar(x, axes.y(figure.mean - spread), axes.y(min(figure.mean + spread, 99.99))))
        parts.append(_dot(x, axes.y(figure.mean), 5, _BLUE, 1.0, f"{_trial_text(r)}, test {figure.mean:.2f} %"))
    for m in landmarks:
        x, y = axes.x(m.num_params), axes.y(m.best_test_accuracy)
        text = f"{m.name}: {m.num_params:,} parameters, best epoch {m.best_test_accuracy:.2f} %"
        parts.append(
            f'<path d="M{x:.1f} {y - 6:.1f}l6 6l-6 6l-6 -6z" fill="{_ORANGE}"><title>{escape(text)}</title></path>'
        )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        f'font-family="system-ui, sans-serif" font-size="12" fill="{_INK}">\n'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>\n'
        # What is too weak to be shown lies below the plot.
        f'<clipPath id="plot"><rect width="{WIDTH}" height="{HEIGHT - BOTTOM}"/></clipPath>\n'
        + "\n".join([*_grid(axes), '<g clip-path="url(#plot)">', *parts, "</g>", *_legend()])
        + "\n</svg>\n"
    )


def _trial_text(record: TrialRecord) -> str:
    return f"trial {record.number}: {record.num_params:,} parameters, validation {record.validation_accuracy:.2f} %"


def _grid(axes: _Pixels) -> list[str]:
    parts = []
    for size in axes.axes.sizes():
        x = axes.x(size)
        parts.append(f'<path d="M{x:.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="#eaeef2"/>')
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{size:,}</text>')
    for accuracy in axes.axes.accuracies():
        y = axes.y(accuracy)
        parts.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#eaeef2"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{accuracy:g}</text>')
    parts.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 14}" text-anchor="middle">parameters</text>')
    middle = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(
        f'<text transform="translate(18 {middle}) rotate(-90)" text-anchor="middle">'
        "accuracy, % (log of the error)</text>"
    )
    return parts


def _lines(axes: _Pixels, max_params: int, target: float | None) -> list[str]:
    x = axes.x(max_params)
    parts = [
        f'<path d="M{x:.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="{_RED}" stroke-dasharray="2 3"/>',
        f'<text x="{x - 5:.1f}" y="{HEIGHT - BOTTOM - 8}" text-anchor="end" fill="{_RED}">budget {max_params:,}</text>',
    ]
    if target is not None:
        y = axes.y(target)
        parts.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="{_RED}" stroke-dasharray="2 3"/>')
        parts.append(f'<text x="{LEFT + 6}" y="{y - 5:.1f}" fill="{_RED}">target {target:g} %</text>')
    return parts


def _dot(x: float, y: float, radius: float, color: str, opacity: float, text: str) -> str:
    return (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{color}" fill-opacity="{opacity}">'
        f"<title>{escape(text)}</title></circle>"
    )


def _bar(x: float, low: float, high: float) -> str:
    return (
        f'<path d="M{x:.1f} {low:.1f}V{high:.1f}M{x - 4:.1f} {low:.1f}h8M{x - 4:.1f} {high:.1f}h8" stroke="{_BLUE}"/>'
    )


def _steps(points: Sequence[tuple[float, float]], color: str, dashes: str) -> str:
    """The front as stairs: what a network of some size is known to reach holds until the next one."""
    if not points:
        return ""
    (x, y), *rest = points
    path = f"M{x:.1f} {y:.1f}" + "".join(f"H{px:.1f}V{py:.1f}" for px, py in rest)
    return f'<path d="{path}" fill="none" stroke="{color}" stroke-width="1.5" stroke-dasharray="{dashes}"/>'


def _legend() -> list[str]:
    entries = [
        (_BLUE, "confirmed on the test set: mean ± deviation over seeds"),
        (_GRAY, "trials, validation"),
        (_ORANGE, "published, best epoch"),
    ]
    parts, x = [], float(LEFT)
    for color, text in entries:
        parts.append(f'<circle cx="{x:.1f}" cy="24" r="5" fill="{color}"/><text x="{x + 10:.1f}" y="28">{text}</text>')
        x += 34 + 6.1 * len(text)
    return parts
