"""The learning curves as an interactive figure (plotly). A click finds the trial in `customdata`."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from nas.report import palette
from nas.report.axes import LogRange, error_of
from nas.report.plotly_axes import empty_figure, show_errors
from nas.study.front import front_records
from nas.study.records import TrialRecord


def curves_figure(records: Sequence[TrialRecord]) -> go.Figure:
    """Return validation accuracy by epoch, a line a trial; stopped trials end in a mark, and the front stands out."""
    on_front = {r.number for r in front_records(records)}
    stopped = [r for r in records if r.fate == "stopped" and r.validation_curve]
    completed = [r for r in records if r.fate == "completed"]
    figure = empty_figure("validation accuracy, %")
    figure.add_trace(_curves(stopped, "stopped early", palette.STOPPED, 1, 0.35))
    figure.add_trace(_curves([r for r in completed if r.number not in on_front], "completed", palette.TRIAL, 1, 0.5))
    figure.add_trace(_curves([r for r in completed if r.number in on_front], "on the front", palette.BLUE, 2, 1.0))
    figure.add_trace(_ends(stopped))
    figure.update_xaxes(title="epoch", rangemode="tozero", nticks=12, tickformat="d")
    errors = [error_of(a) for r in [*stopped, *completed] for a in r.validation_curve] or [1.0, 10.0]
    show_errors(figure, LogRange(0.85 * min(errors), 1.1 * max(errors)))
    return figure


def _curves(records: Sequence[TrialRecord], name: str, color: str, width: float, opacity: float) -> go.Scatter:
    """Return all curves as one trace with gaps between them: a thousand traces would take seconds to draw."""
    x: list[int | None] = []
    y: list[float | None] = []
    numbers: list[int | None] = []
    for record in records:
        x += [*range(1, len(record.validation_curve) + 1), None]
        y += [*map(error_of, record.validation_curve), None]
        numbers += [record.number] * len(record.validation_curve) + [None]
    return go.Scatter(
        x=x,
        y=y,
        name=name,
        mode="lines",
        line={"color": color, "width": width},
        opacity=opacity,
        connectgaps=False,
        customdata=numbers,
        hovertemplate="trial %{customdata}, epoch %{x}<extra></extra>",
    )


def _ends(stopped: Sequence[TrialRecord]) -> go.Scatter:
    texts = [
        f"trial {r.number} was stopped after epoch {len(r.validation_curve)}<br>{r.size_text}, "
        f"{r.validation_curve[-1]:.2f} %"
        for r in stopped
    ]
    return go.Scatter(
        x=[len(r.validation_curve) for r in stopped],
        y=[error_of(r.validation_curve[-1]) for r in stopped],
        name="where it was stopped",
        mode="markers",
        marker={"symbol": "x", "size": 6, "color": palette.STOPPED, "opacity": 0.8},
        customdata=[r.number for r in stopped],
        text=texts,
        hovertemplate="%{text}<extra></extra>",
    )


def losses_figure(record: TrialRecord) -> go.Figure:
    """Return the training loss and the test accuracy by epoch of a trial's confirmation, a line each for a seed.

    Where the accuracy on training images is known, a mark each shows it at the last epoch.
    """
    figure = empty_figure("accuracy, %")
    errors = [error_of(a) for c in record.confirmations for a in c.test_accuracy] or [1.0, 10.0]
    trained = [(c, a) for c in record.confirmations if (a := c.train_accuracy) is not None]
    errors += [error_of(a) for _, a in trained]
    show_errors(figure, LogRange(0.85 * min(errors), 1.1 * max(errors)))
    for name, color, axis in (("test accuracy", palette.CONFIRMED, "y"), ("training loss", palette.REFERENCE, "y2")):
        x: list[int | None] = []
        y: list[float | None] = []
        for c in record.confirmations:
            values = c.train_loss if axis == "y2" else map(error_of, c.test_accuracy)
            epochs = len(c.train_loss if axis == "y2" else c.test_accuracy)
            x += [*range(1, epochs + 1), None]
            y += [*values, None]
        line = {"color": color, "width": 2}
        figure.add_trace(go.Scatter(x=x, y=y, name=name, mode="lines", line=line, yaxis=axis, hoverinfo="x+name"))
    if trained:
        figure.add_trace(
            go.Scatter(
                x=[len(c.test_accuracy) for c, _ in trained],
                y=[error_of(a) for _, a in trained],
                name="accuracy on training images",
                mode="markers",
                marker={"symbol": "diamond", "size": 9, "color": palette.VALIDATION_FRONT},
                text=[
                    f"{a:.2f} % of training images<br>{c.test_accuracy[-1]:.2f} % of test images" for c, a in trained
                ],
                hovertemplate="%{text}<extra></extra>",
            )
        )
    right = {"title": "training loss", "overlaying": "y", "side": "right", "showgrid": False, "automargin": True}
    figure.update_layout(yaxis2={**right, "rangemode": "tozero", "tickmode": "auto", "nticks": 6})
    return figure.update_xaxes(title="epoch", rangemode="tozero", nticks=12, tickformat="d")
