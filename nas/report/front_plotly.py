"""The front as an interactive figure (plotly). A click finds the trial in `customdata`."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from math import log10

import plotly.graph_objects as go

from nas.report import palette
from nas.report.axes import LEAST_ERROR, MEASURES, Measure, counted, error_of, far_references, front_axes
from nas.report.plotly_axes import CLEAR, GRID, empty_figure, show_errors, show_sizes
from nas.study.front import confirmed_front, validation_front
from nas.study.landmarks import Reference, references
from nas.study.records import TrialRecord
from nas.study.settings import StudySettings


def front_figure(records: Sequence[TrialRecord], settings: StudySettings) -> go.Figure:
    """Return size against accuracy: every trial, both fronts, budget, target and the reference networks.

    It opens on what is near the fronts; a double click shows everything. Buttons below it show other sizes from left to
    right, each with its own fronts.
    """
    figures = {measure: _figure(records, settings, measure) for measure in MEASURES if measure.is_known(records)}
    buttons = [{"label": m.label, "method": "update", "args": _changes(f)} for m, f in figures.items()]
    figure = figures[counted(settings)]
    figure.update_layout(
        updatemenus=[
            {
                **{"type": "buttons", "direction": "right", "buttons": buttons, "showactive": True},
                "active": list(figures).index(counted(settings)),
                **{"x": 0, "xanchor": "left", "y": 0, "yanchor": "top", "pad": {"t": 56}},
                **{"bgcolor": CLEAR, "bordercolor": GRID, "font": {"color": palette.BUTTON, "size": 11}},
            }
        ]
    )
    return figure


def _changes(figure: go.Figure) -> list[dict[str, object]]:
    """Return what a button changes to show `figure`: only places, as hovered and clicked points stay what they are."""
    axis, layout = figure.layout.xaxis, figure.layout
    return [
        {"x": [trace.x for trace in figure.data], "y": [trace.y for trace in figure.data]},
        {
            "xaxis.title.text": axis.title.text,
            "xaxis.range": axis.range,
            "xaxis.tickvals": axis.tickvals,
            "shapes": [shape.to_plotly_json() for shape in layout.shapes],
            "annotations": [annotation.to_plotly_json() for annotation in layout.annotations],
        },
    ]


def _figure(records: Sequence[TrialRecord], settings: StudySettings, measure: Measure) -> go.Figure:
    """Return the figure with one size from left to right."""
    stopped = [r for r in records if r.fate == "stopped" and r.num_epochs]
    completed = [r for r in records if r.fate == "completed"]
    cross = {"symbol": "x-thin", "size": 5, "opacity": 0.45, "line": {"width": 1, "color": palette.TRIAL}}
    dot = {"size": 6, "opacity": 0.45, "color": palette.TRIAL}
    figure = empty_figure("accuracy, %")
    figure.add_trace(_trials(stopped, measure, "stopped early, validation", cross))
    figure.add_trace(_trials(completed, measure, "trials, validation", dot))
    figure.add_trace(_validation_front(records, measure))
    figure.add_trace(_published(references(settings.dataset), measure))
    figure.add_traces(_confirmed(records, measure))
    _add_limits(figure, settings, measure)
    axes = front_axes(records, settings, measure)
    show_sizes(figure, axes.sizes, measure.title)
    show_errors(figure, axes.errors)
    if far := far_references(axes, settings, measure):
        sizes = [f"{measure.of(n):,} {measure.unit}" for n, _ in far]
        lines = [
            f"{escape(n.name)}: {s}, {n.best_test_accuracy:.2f} % {a}" for s, (n, a) in zip(sizes, far, strict=True)
        ]
        figure.add_annotation(
            text="<br>".join(lines),
            **{"xref": "paper", "x": 1, "xanchor": "right", "yref": "paper", "y": 1, "yanchor": "top"},
            align="right",
            showarrow=False,
            font={"color": palette.REFERENCE, "size": 10},
        )
    return figure


def _trials(records: Sequence[TrialRecord], measure: Measure, name: str, marker: dict[str, object]) -> go.Scatter:
    return go.Scatter(
        x=[measure.of(r) for r in records],
        y=[error_of(r.validation_accuracy) for r in records],
        name=name,
        mode="markers",
        marker=marker,
        customdata=[r.number for r in records],
        text=[_hover_text(r) for r in records],
        hovertemplate="%{text}<extra></extra>",
    )


def _validation_front(records: Sequence[TrialRecord], measure: Measure) -> go.Scatter:
    """Return the front by validation as stairs. Its points lie on those of trials, which are hovered."""
    front = validation_front(records, measure.of)
    return go.Scatter(
        x=[measure.of(r) for r in front],
        y=[error_of(r.validation_accuracy) for r in front],
        name="front by validation",
        mode="lines+markers",
        line={"color": palette.VALIDATION_FRONT, "width": 1.5, "dash": "dot", "shape": "hv"},
        marker={"size": 6, "color": palette.VALIDATION_FRONT},
        hoverinfo="skip",
    )


def _published(networks: Sequence[Reference], measure: Measure) -> go.Scatter:
    return go.Scatter(
        x=[measure.of(network) for network in networks],
        y=[error_of(network.best_test_accuracy) for network in networks],
        name="reference networks, best epoch",
        mode="markers",
        marker={"symbol": "diamond", "size": 9, "color": palette.REFERENCE},
        text=[
            f"<b>{escape(network.name)}</b>, published<br>{network.size_text}<br>best epoch "
            f"{network.best_test_accuracy:.2f} %"
            for network in networks
        ],
        hovertemplate="%{text}<extra></extra>",
    )


def _confirmed(records: Sequence[TrialRecord], measure: Measure) -> list[go.Scatter]:
    """Return the confirmed front as stairs, and every confirmed network with a bar of its spread over seeds."""
    front = [(r, r.confirmed) for r in confirmed_front(records, measure.of) if r.confirmed]
    confirmed = [(r, r.confirmed) for r in records if r.confirmed]
    stairs = go.Scatter(
        x=[measure.of(r) for r, _ in front],
        y=[error_of(figure.mean) for _, figure in front],
        mode="lines",
        line={"color": palette.CONFIRMED, "width": 2, "shape": "hv"},
        hoverinfo="skip",
        showlegend=False,
        legendgroup="confirmed",
    )
    # A bar that reached 100 % would leave the log scale.
    upward = [round(min(figure.spread or 0.0, error_of(figure.mean) - LEAST_ERROR), 3) for _, figure in confirmed]
    downward = [round(figure.spread or 0.0, 3) for _, figure in confirmed]
    points = go.Scatter(
        x=[measure.of(r) for r, _ in confirmed],
        y=[error_of(figure.mean) for _, figure in confirmed],
        error_y={"array": downward, "arrayminus": upward, "color": palette.CONFIRMED, "width": 4},
        name="confirmed on the test set",
        legendgroup="confirmed",
        mode="markers",
        marker={"size": 10, "color": palette.CONFIRMED, "line": {"width": 1, "color": "white"}},
        customdata=[r.number for r, _ in confirmed],
        text=[f"{_hover_text(r)}<br>test {figure} over {figure.seeds_text}" for r, figure in confirmed],
        hovertemplate="%{text}<extra></extra>",
    )
    return [stairs, points]


def _hover_text(record: TrialRecord) -> str:
    """Return what is shown of a trial where one hovers. Plotly reads a few tags in it, so its network is escaped."""
    lines = [f"<b>trial {record.number}</b>, {record.size_text}", escape(record.network)]
    if record.num_epochs:
        lines.append(f"validation {record.validation_accuracy:.2f} %")
    return "<br>".join(line for line in lines if line)


def _add_limits(figure: go.Figure, settings: StudySettings, measure: Measure) -> None:
    """Add the limit of the size, if it has one, as an upright line, and the target as a level one."""
    line = {"color": palette.LIMIT, "width": 1.2, "dash": "dot"}
    text = {"showarrow": False, "font": {"color": palette.LIMIT}, "yanchor": "bottom"}
    size = measure.most(settings)
    if size is not None:
        figure.add_shape(type="line", x0=size, x1=size, yref="paper", y0=0, y1=1, line=line)
        figure.add_annotation(x=log10(size), yref="paper", y=0, xanchor="right", text=f"budget {size:,}", **text)
    if settings.target is not None:
        error, label = error_of(settings.target), f"target {settings.target:g} %"
        figure.add_shape(type="line", xref="paper", x0=0, x1=1, y0=error, y1=error, line=line)
        figure.add_annotation(xref="paper", x=0, y=log10(error), xanchor="left", text=label, **text)
