"""The confirmed fronts of several studies, laid over each other (plotly)."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import plotly.graph_objects as go

from nas.report import palette
from nas.report.axes import counted, error_of, front_axes
from nas.report.plotly_axes import empty_figure, show_errors, show_sizes
from nas.study.comparison import ComparedStudy
from nas.study.front import confirmed_front, validation_front
from nas.study.records import TrialRecord

_COLORS = (palette.BLUE, palette.ORANGE, palette.TEAL, palette.PURPLE, palette.RED, palette.GRAY)


def comparison_figure(studies: Sequence[ComparedStudy]) -> go.Figure:
    """Return size against accuracy: what each study has confirmed, and its front by validation."""
    figure = empty_figure("accuracy, %")
    for at, study in enumerate(studies):
        color = _COLORS[at % len(_COLORS)]
        confirmed, validated = confirmed_front(study.records), validation_front(study.records)
        tests = [r.confirmed.mean for r in confirmed if r.confirmed]
        shown = {"mode": "lines+markers", "legendgroup": study.name}
        dotted = {"color": color, "width": 1, "dash": "dot", "shape": "hv"}
        line = {"color": color, "width": 2, "shape": "hv"}
        name = f"{escape(study.name)}, validation"
        accuracies = [r.validation_accuracy for r in validated]
        figure.add_trace(_stairs(validated, accuracies, name, line=dotted, marker={"size": 4, "color": color}, **shown))
        name = f"{escape(study.name)}, confirmed on the test set"
        figure.add_trace(_stairs(confirmed, tests, name, line=line, marker={"size": 9, "color": color}, **shown))
    largest = max((study.settings for study in studies), key=lambda settings: settings.max_params)
    axes = front_axes([record for study in studies for record in study.records], largest, counted(largest))
    show_sizes(figure, axes.sizes, counted(largest).title)
    show_errors(figure, axes.errors)
    # A page of its own, unlike a figure of the report, has no colors of its own around it.
    return figure.update_layout(paper_bgcolor="white", plot_bgcolor="white", font_color="#333a40")


def _stairs(records: Sequence[TrialRecord], accuracies: Sequence[float], name: str, **style: object) -> go.Scatter:
    return go.Scatter(
        x=[record.size for record in records],
        y=[error_of(accuracy) for accuracy in accuracies],
        name=name,
        text=[
            f"<b>trial {r.number}</b>, {r.size_text}<br>{escape(r.network)}<br>{accuracy:.2f} %"
            for r, accuracy in zip(records, accuracies, strict=True)
        ],
        hovertemplate="%{text}<extra></extra>",
        **style,
    )
