"""The best of a study as its trials go on, as an interactive figure (plotly). A click finds its trial."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import plotly.graph_objects as go

from nas.report import palette
from nas.report.axes import LogRange, error_of
from nas.report.plotly_axes import empty_figure, show_errors
from nas.study.answer import meets_target
from nas.study.records import TrialRecord
from nas.study.settings import StudySettings


def progress_figure(records: Sequence[TrialRecord], settings: StudySettings) -> go.Figure:
    """Return the smallest network so far that reaches the target or, without a target, the highest accuracy so far.

    One line goes by validation and one by the confirmed figures. From left to right lie the trials by number: when a
    confirmation ended is not kept.
    """
    target = settings.target
    completed = [r for r in records if r.fate == "completed"]
    confirmed = [r for r in records if r.confirmed]
    if target is None:
        figure = empty_figure("best accuracy so far, %")
        lines = [
            _best(completed, lambda r: error_of(r.validation_accuracy)),
            _best(confirmed, lambda r: error_of(r.confirmed.mean) if r.confirmed else 100.0),
        ]
        errors = [y for _, line in lines for y in line] or [1.0, 10.0]
        show_errors(figure, LogRange(0.85 * min(errors), 1.1 * max(errors)))
    else:
        figure = empty_figure(f"{settings.budget.unit} of the smallest so far")
        lines = [
            _best([r for r in completed if r.validation_accuracy >= target], lambda r: r.size),
            _best([r for r in confirmed if r.confirmed and meets_target(r.confirmed, settings)], lambda r: r.size),
        ]
        figure.update_yaxes(type="linear", rangemode="tozero", tickformat="~s")
    last = max((r.number for r in records), default=0)
    figure.add_trace(_stairs(*lines[0], last, "by validation", palette.VALIDATION_FRONT, "dot"))
    figure.add_trace(_stairs(*lines[1], last, "confirmed on the test set", palette.CONFIRMED, "solid"))
    figure.update_xaxes(title="trial", range=[-0.5, last + 0.5], nticks=12, tickformat="d")
    return figure


def _best(
    records: Sequence[TrialRecord], value: Callable[[TrialRecord], float]
) -> tuple[list[TrialRecord], list[float]]:
    """Return the trials that were better (lower in `value`) than all before them, and their values."""
    found: tuple[list[TrialRecord], list[float]] = [], []
    for record in sorted(records, key=lambda r: r.number):
        if not found[1] or value(record) < found[1][-1]:
            found[0].append(record)
            found[1].append(value(record))
    return found


def _stairs(
    records: Sequence[TrialRecord], values: Sequence[float], last: int, name: str, color: str, dash: str
) -> go.Scatter:
    numbers: list[int | None] = [r.number for r in records]
    texts = [f"<b>trial {r.number}</b>, {r.size_text}<br>{_accuracies(r)}" for r in records]
    return go.Scatter(
        x=[*numbers, last] if numbers else [],  # level to the last trial
        y=[*values, *values[-1:]],
        name=name,
        mode="lines+markers",
        line={"color": color, "width": 2, "dash": dash, "shape": "hv"},
        marker={"size": [7] * len(numbers) + [0], "color": color},
        customdata=[*numbers, *numbers[-1:]],
        text=[*texts, *texts[-1:]],
        hovertemplate="%{text}<extra></extra>",
    )


def _accuracies(record: TrialRecord) -> str:
    test = f", test {record.confirmed}" if record.confirmed else ""
    return f"validation {record.validation_accuracy:.2f} %{test}"
