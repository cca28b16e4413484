"""The figures to be moved about in: the front and the learning curves, in plotly.

Both draw the error (100 minus accuracy) on a log axis that points down, so that 99.0 and 99.4 stand apart, and label
it with the accuracy. Their colors can be read on white and on black. A click finds the trial in `customdata`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from math import log10

import plotly.graph_objects as go

from nas.study.front import confirmed_front, validation_front
from nas.study.landmarks import Reference
from nas.study.records import TrialRecord

BLUE, GRAY, TEAL, ORANGE, RED, PURPLE = "#3b82f6", "#8b949e", "#12a594", "#d9822b", "#e5484d", "#a371e8"
LEAST_ERROR = 0.01  # points; 100 % has no place on a log axis
_GRID = "rgba(128,136,144,.22)"
_ERRORS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 7, 10, 15, 20, 30, 50, 70, 90)
_COARSE_ERRORS = (0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 90)
_SIZES = tuple(digit * 10**e for e in range(1, 9) for digit in (1, 2, 5))


def front_figure(
    records: Sequence[TrialRecord],
    max_params: int,
    target: float | None,
    landmarks: Sequence[Reference],
    outlines: Mapping[int, str] | None = None,
) -> go.Figure:
    """Parameters against accuracy: every trial, both fronts, the budget, the target and the reference networks.

    `outlines` names the network of a trial in one line, shown where one hovers.
    """
    named = outlines or {}
    confirmed = [(r, r.confirmed) for r in records if r.confirmed]
    completed = [r for r in records if r.fate == "completed"]
    stopped = [r for r in records if r.fate == "stopped" and r.validation_curve]
    figure = go.Figure(layout=_layout("accuracy, %"))
    figure.add_trace(_trials(stopped, "stopped early, validation", {"symbol": "x-thin", "size": 5, "opacity": 0.45,
                             "line": {"width": 1, "color": GRAY}}, named))  # fmt: skip
    figure.add_trace(_trials(completed, "trials, validation", {"size": 6, "opacity": 0.45, "color": GRAY}, named))
    steps = validation_front(records)
    figure.add_trace(_trials(steps, "front by validation", {"size": 6, "color": TEAL}, named, line=TEAL))
    figure.add_trace(
        go.Scatter(
            x=[m.num_params for m in landmarks],
            y=[_error(m.best_test_accuracy) for m in landmarks],
            name="reference networks, best epoch",
            mode="markers",
            marker={"symbol": "diamond", "size": 9, "color": ORANGE},
            text=[f"<b>{escape(m.name)}</b>, published<br>{m.num_params:,} parameters<br>best epoch "
                  f"{m.best_test_accuracy:.2f} %" for m in landmarks],
            hovertemplate="%{text}<extra></extra>",
        )
    )  # fmt: skip
    front = [(r, r.confirmed) for r in confirmed_front(records) if r.confirmed]
    figure.add_trace(
        go.Scatter(
            x=[r.num_params for r, _ in front],
            y=[_error(f.mean) for _, f in front],
            mode="lines",
            line={"color": BLUE, "width": 2, "shape": "hv"},
            hoverinfo="skip",
            showlegend=False,
            legendgroup="confirmed",
        )
    )
    figure.add_trace(
        go.Scatter(
            x=[r.num_params for r, _ in confirmed],
            y=[_error(f.mean) for _, f in confirmed],
            error_y={"type": "data", "array": [round(f.spread, 3) for _, f in confirmed], "color": BLUE, "width": 4,
                     "arrayminus": [round(min(f.spread, _error(f.mean) - LEAST_ERROR), 3) for _, f in confirmed]},
            name="confirmed on the test set",
            legendgroup="confirmed",
            mode="markers",
            marker={"size": 10, "color": BLUE, "line": {"width": 1, "color": "white"}},
            customdata=[r.number for r, _ in confirmed],
            text=[f"{_hover(r, named)}<br>test {f.mean:.2f} % ± {f.spread:.2f} over {f.num_seeds} seeds"
                  for r, f in confirmed],
            hovertemplate="%{text}<extra></extra>",
        )
    )  # fmt: skip
    _limits(figure, max_params, target)
    shown = [r.validation_accuracy for r in steps] + [f.mean for _, f in confirmed]
    shown += [m.best_test_accuracy for m in landmarks] + ([target] if target is not None else [])
    floor = 100 - 5 * _error(max(shown, default=99.0))
    # What is near the fronts: a few weak trials must not flatten everything else. A double click shows all.
    shown += [a for _, f in confirmed for a in (f.mean - f.spread, min(f.mean + f.spread, 100 - _error(f.mean) / 3))]
    near = [_error(a) for a in shown if a >= floor] or [1.0, 10.0]
    sizes = [max_params, *(r.num_params for r in [*completed, *stopped]), *(m.num_params for m in landmarks)]
    x_range = [log10(min(sizes) * 0.85), log10(max(sizes) * 1.15)]
    figure.update_xaxes(title="parameters", type="log", tickvals=_SIZES, ticktext=[f"{s:,}" for s in _SIZES],
                        range=x_range)  # fmt: skip
    _error_axis(figure, min(near) * 0.75, max(near) * 1.25)
    return figure


def curves_figure(records: Sequence[TrialRecord], front: Iterable[int]) -> go.Figure:
    """Validation accuracy by epoch, a line a trial; a mark ends each trial that was stopped, the front stands out."""
    chosen = set(front)
    figure = go.Figure(layout=_layout("validation accuracy, %"))
    stopped = [r for r in records if r.fate == "stopped" and r.validation_curve]
    kept = [r for r in records if r.fate == "completed"]
    figure.add_trace(_lines(stopped, "stopped early", PURPLE, 1, 0.35))
    figure.add_trace(_lines([r for r in kept if r.number not in chosen], "completed", GRAY, 1, 0.5))
    figure.add_trace(_lines([r for r in kept if r.number in chosen], "on the front", BLUE, 2, 1.0))
    figure.add_trace(
        go.Scatter(
            x=[len(r.validation_curve) for r in stopped],
            y=[_error(r.validation_curve[-1]) for r in stopped],
            name="where it was stopped",
            mode="markers",
            marker={"symbol": "x", "size": 6, "color": PURPLE, "opacity": 0.8},
            customdata=[r.number for r in stopped],
            text=[f"trial {r.number} was stopped after epoch {len(r.validation_curve)}<br>{r.num_params:,} parameters, "
                  f"{r.validation_curve[-1]:.2f} %" for r in stopped],
            hovertemplate="%{text}<extra></extra>",
        )
    )  # fmt: skip
    figure.update_xaxes(title="epoch", rangemode="tozero", nticks=12, tickformat="d")
    errors = [_error(a) for r in [*stopped, *kept] for a in r.validation_curve] or [1.0, 10.0]
    _error_axis(figure, min(errors) * 0.85, max(errors) * 1.1)
    return figure


def _lines(records: Sequence[TrialRecord], name: str, color: str, width: float, opacity: float) -> go.Scatter:
    """All curves as one trace, a gap between two of them: a thousand traces would take seconds to draw."""
    x: list[int | None] = []
    y: list[float | None] = []
    numbers: list[int | None] = []
    for record in records:
        x += [*range(1, len(record.validation_curve) + 1), None]
        y += [*map(_error, record.validation_curve), None]
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


def _trials(
    records: Sequence[TrialRecord], name: str, marker: dict[str, object], named: Mapping[int, str], line: str = ""
) -> go.Scatter:
    return go.Scatter(
        x=[r.num_params for r in records],
        y=[_error(r.validation_accuracy) for r in records],
        name=name,
        mode="lines+markers" if line else "markers",
        line={"color": line, "width": 1.5, "dash": "dot", "shape": "hv"} if line else None,
        marker=marker,
        customdata=[r.number for r in records],
        text=[_hover(r, named) for r in records],
        hovertemplate="%{text}<extra></extra>",
    )


def _hover(record: TrialRecord, named: Mapping[int, str]) -> str:
    lines = [
        f"<b>trial {record.number}</b>, {record.num_params:,} parameters",
        escape(named.get(record.number, "")),
        f"validation {record.validation_accuracy:.2f} %" if record.validation_curve else "",
    ]
    return "<br>".join(line for line in lines if line)


def _limits(figure: go.Figure, max_params: int, target: float | None) -> None:
    line = {"color": RED, "width": 1.2, "dash": "dot"}
    text = {"showarrow": False, "font": {"color": RED}, "yanchor": "bottom"}
    figure.add_shape(type="line", x0=max_params, x1=max_params, yref="paper", y0=0, y1=1, line=line)
    budget = f"budget {max_params:,}"
    figure.add_annotation(x=log10(max_params), yref="paper", y=0, xanchor="right", text=budget, **text)
    if target is not None:
        error = _error(target)
        figure.add_shape(type="line", xref="paper", x0=0, x1=1, y0=error, y1=error, line=line)
        figure.add_annotation(xref="paper", x=0, y=log10(error), xanchor="left", text=f"target {target:g} %", **text)


def _error(accuracy: float) -> float:
    return round(max(100 - accuracy, LEAST_ERROR), 3)


def _error_axis(figure: go.Figure, least: float, most: float) -> None:
    """From `most` at the bottom to `least` at the top; labeled more closely where it spans little."""
    wide = log10(most / least) > 1.4
    ticks = [e for e in _ERRORS if not wide or e in _COARSE_ERRORS]
    figure.update_yaxes(range=[log10(most), log10(least)], tickvals=ticks, ticktext=[f"{100 - e:g}" for e in ticks])


def _layout(y_title: str) -> go.Layout:
    axis = {"gridcolor": _GRID, "zeroline": False, "linecolor": _GRID, "automargin": True}
    return go.Layout(
        template="none",
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "system-ui, sans-serif", "size": 12, "color": "#808890"},
        margin={"l": 10, "r": 16, "t": 28, "b": 10},
        hovermode="closest",
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        xaxis=axis,
        yaxis={**axis, "type": "log", "title": y_title},
        modebar={"bgcolor": "rgba(0,0,0,0)", "color": "#808890", "activecolor": BLUE},
    )
