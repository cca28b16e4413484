"""The front as a plot of characters, for a terminal: parameters (log) against accuracy (log of the error)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from nas.report.axes import counted, far_references, front_axes
from nas.study.front import confirmed_front
from nas.study.landmarks import references
from nas.study.records import TrialRecord
from nas.study.settings import StudySettings

COLUMNS, ROWS = 64, 15  # of the plot without its labels
_MARGIN = 8  # columns of the labels on the left


@dataclass(frozen=True)
class Marks:
    """The characters of a plot."""

    confirmed: str = "●"
    trial: str = "·"
    reference: str = "◆"
    step: str = "─"
    rise: str = "│"
    turn: str = "┘"
    budget: str = "┊"
    target: str = "┄"
    axis: str = "┤"
    corner: str = "└"
    floor: str = "─"


UNICODE = Marks()
ASCII = Marks("O", ".", "*", "-", "|", "+", ":", "~", "|", "+", "-")


def front_plot(records: Sequence[TrialRecord], settings: StudySettings, marks: Marks = UNICODE) -> str:
    """Return the plot, `_MARGIN` + `COLUMNS` wide; empty where no trial has completed."""
    completed = [r for r in records if r.fate == "completed"]
    confirmed = [(r, r.confirmed) for r in records if r.confirmed]
    if not completed and not confirmed:
        return ""
    measure, target, published = counted(settings), settings.target, references(settings.dataset)
    axes = front_axes(records, settings)
    grid = [[" "] * COLUMNS for _ in range(ROWS)]

    def column(size: float) -> int:
        return min(max(round(axes.x(size) * (COLUMNS - 1)), 0), COLUMNS - 1)

    def row(accuracy: float) -> int:
        return round(axes.y(accuracy) * (ROWS - 1))

    def put(size: float, accuracy: float, mark: str) -> None:
        if 0 <= row(accuracy) < ROWS:
            grid[row(accuracy)][column(size)] = mark

    for line in grid:
        line[column(settings.max_params)] = marks.budget
    if target is not None and 0 <= row(target) < ROWS:
        grid[row(target)] = [marks.target] * COLUMNS
    front = [(r.size, r.confirmed.mean) for r in confirmed_front(records) if r.confirmed]
    for (size, accuracy), (next_size, next_accuracy) in itertools.pairwise(front):
        if row(accuracy) < ROWS:
            grid[row(accuracy)][column(size) : column(next_size)] = marks.step * (column(next_size) - column(size))
        for between in range(max(row(next_accuracy), 0), min(row(accuracy) + 1, ROWS)):
            grid[between][column(next_size)] = marks.turn if between == row(accuracy) else marks.rise
    for r in completed:
        put(r.size, r.validation_accuracy, marks.trial)
    for network in published:
        if axes.holds(measure.of(network), network.best_test_accuracy):
            put(measure.of(network), network.best_test_accuracy, marks.reference)
    for r, figure in confirmed:
        put(r.size, figure.mean, marks.confirmed)
    labels = {row(a): f"{a:g}" for a in axes.accuracy_labels()}
    lines = [
        f"{labels.get(i, ''):>{_MARGIN - 2}} {marks.axis}{''.join(cells)}".rstrip() for i, cells in enumerate(grid)
    ]
    lines.append(" " * (_MARGIN - 1) + marks.corner + marks.floor * COLUMNS)
    lines.append(_size_labels([(column(s), f"{s:,}") for s in axes.size_labels()], measure.label))
    legend = [f"{marks.confirmed} confirmed, test %", f"{marks.trial} trial, validation %", f"{marks.budget} budget"]
    if published:
        legend.append(f"{marks.reference} published")
    if target is not None:
        legend.append(f"{marks.target} target")
    lines.append(" " * _MARGIN + "   ".join(legend))
    if far := far_references(axes, settings):
        lines.append(" " * _MARGIN + "outside: " + ", ".join(network.name for network, _ in far))
    return "\n".join(lines)


def _size_labels(labels: Sequence[tuple[int, str]], title: str) -> str:
    """Return the line of labels, each below its column; those that would touch the one before are left out."""
    line = " " * _MARGIN
    for column, text in labels:
        start = _MARGIN + column - len(text) // 2
        if start > len(line.rstrip()) and start + len(text) <= _MARGIN + COLUMNS:
            line = f"{line.rstrip():<{start}}{text}"
    return f"{line}  {title}" if len(line) + 2 + len(title) <= _MARGIN + COLUMNS else line
