"""What the interactive figures (plotly) have in common: the layout, and an axis of errors labeled with accuracies."""

from __future__ import annotations

from math import log10

import plotly.graph_objects as go

from nas.report import palette
from nas.report.axes import LogRange, error_ticks, size_ticks

GRID, _INK, CLEAR = "rgba(128,136,144,.22)", "#808890", "rgba(0,0,0,0)"


def empty_figure(y_title: str) -> go.Figure:
    """Return a figure without traces, to be read on white and on black, whose y axis is of errors."""
    axis = {"gridcolor": GRID, "zeroline": False, "linecolor": GRID, "automargin": True}
    layout = go.Layout(
        template="none",
        paper_bgcolor=CLEAR,
        plot_bgcolor=CLEAR,
        font={"family": "system-ui, sans-serif", "size": 12, "color": _INK},
        margin={"l": 10, "r": 16, "t": 28, "b": 10},
        hovermode="closest",
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        xaxis=axis,
        yaxis={**axis, "type": "log", "title": y_title},
        modebar={"bgcolor": CLEAR, "color": _INK, "activecolor": palette.BLUE},
    )
    return go.Figure(layout=layout)


def show_errors(figure: go.Figure, errors: LogRange) -> None:
    """Show `errors` on the y axis, the least at the top, labeled with accuracies in percent."""
    ticks = error_ticks(errors)
    figure.update_yaxes(
        range=[log10(errors.most), log10(errors.least)], tickvals=ticks, ticktext=[f"{100 - e:g}" for e in ticks]
    )


def show_sizes(figure: go.Figure, sizes: LogRange, title: str) -> None:
    """Show `sizes` on the x axis, in thousands (k) and millions (M)."""
    figure.update_xaxes(
        title={"text": title, "standoff": 8},
        type="log",
        tickvals=size_ticks(sizes),
        tickformat="~s",
        range=[log10(sizes.least), log10(sizes.most)],
    )
