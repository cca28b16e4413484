"""The genes of the completed trials as parallel coordinates (plotly): a line a trial, the most accurate on top.

They are drawn as plain lines: plotly's own parallel coordinates need WebGL, which not every browser has.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from math import log10
from typing import Any

import plotly.graph_objects as go

from nas.report import palette
from nas.report.gene_effects import GeneEffect
from nas.report.plotly_axes import empty_figure
from nas.study.records import TrialRecord

MOST_GENES = 6  # that have an axis, beside parameters and accuracy
_GROUPS = (  # from the least accurate quarter of the trials to the most accurate
    ("least accurate quarter", palette.GRAY, 0.25, 1.0),
    ("third quarter", palette.PURPLE, 0.35, 1.0),
    ("second quarter", palette.TEAL, 0.5, 1.0),
    ("most accurate quarter", palette.BLUE, 0.9, 1.6),
)


def genes_figure(records: Sequence[TrialRecord], effects: Sequence[GeneEffect]) -> go.Figure:
    """Return an axis for the size, one for each of the first genes of `effects`, and one for the accuracy."""
    completed = sorted((r for r in records if r.fate == "completed"), key=lambda r: r.validation_accuracy)
    figure = empty_figure("")
    unit = "parameters deployed" if any(r.count == "deployed" for r in records) else "parameters"
    axes = [
        _axis(unit, completed, lambda r: log10(r.size), lambda r: f"{r.size:,}"),
        *(_gene_axis(effect.name, completed) for effect in effects[:MOST_GENES]),
        _axis("validation, %", completed, lambda r: r.validation_accuracy, lambda r: f"{r.validation_accuracy:.2f}"),
    ]
    for at, (name, color, opacity, width) in enumerate(_GROUPS):
        members = range(len(completed) * at // len(_GROUPS), len(completed) * (at + 1) // len(_GROUPS))
        figure.add_trace(
            go.Scatter(
                x=[*range(len(axes)), None] * len(members),
                y=[place for i in members for place in (*(heights[i] for _, heights, _ in axes), None)],
                customdata=[number for i in members for number in [completed[i].number] * len(axes) + [None]],
                name=name,
                mode="lines",
                connectgaps=False,
                line={"color": color, "width": width},
                opacity=opacity,
                hovertemplate="trial %{customdata}<extra></extra>",
            )
        )
    for at, (_, _, labels) in enumerate(axes):
        for height, text in labels.items():
            anchor = {0.0: "top", 1.0: "bottom"}.get(height, "middle")
            figure.add_annotation(x=at, y=height, yanchor=anchor, text=text, showarrow=False, font={"size": 10})
    names = [name.replace(".", "<br>") for name, _, _ in axes]
    figure.update_xaxes(tickvals=[*range(len(axes))], ticktext=names, range=[-0.4, len(axes) - 0.6])
    return figure.update_yaxes(type="linear", range=[-0.12, 1.12], showticklabels=False, showgrid=False)


_Axis = tuple[str, list[float], dict[float, str]]  # its name, the height (0 to 1) of each trial, and labels by height


def _axis(
    name: str,
    completed: Sequence[TrialRecord],
    value_of: Callable[[TrialRecord], float],
    text_of: Callable[[TrialRecord], str],
) -> _Axis:
    """Return an axis of numbers, labeled at its ends."""
    least, most = min(completed, key=value_of), max(completed, key=value_of)
    low = value_of(least)
    span = value_of(most) - low
    heights = [round((value_of(record) - low) / (span or 1.0), 4) for record in completed]
    return name, heights, {0.0: escape(text_of(least)), **({1.0: escape(text_of(most))} if span else {})}


def _gene_axis(name: str, completed: Sequence[TrialRecord]) -> _Axis:
    """Return the axis of a gene; words, and numbers beside words, stand at even distances."""
    values: list[Any] = [record.genes.get(name) for record in completed]
    if all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values):
        return _axis(name, completed, lambda r: float(r.genes[name]), lambda r: f"{r.genes[name]:.4g}")
    options = sorted({str(value) for value in values})
    heights = {option: place / max(len(options) - 1, 1) for place, option in enumerate(options)}
    return name, [heights[str(value)] for value in values], {h: escape(option) for option, h in heights.items()}
