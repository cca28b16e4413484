"""One rule for what every picture of a front shows, and where it is labeled."""

from __future__ import annotations

import json
import math

import pytest
from made_up_studies import SETTINGS, made_up_records

from nas.report.axes import FrontAxes, LogRange, error_of, front_axes
from nas.report.front_plotly import front_figure
from nas.study.records import Confirmation, TrialRecord
from nas.study.settings import StudySettings

UNPUBLISHED = StudySettings(8000, dataset="digits")


def trial(number: int, num_params: int, validation: float, tests: tuple[float, ...] = ()) -> TrialRecord:
    seeds = tuple(Confirmation(s, (t,) * 3, 1.0) for s, t in enumerate(tests))
    return TrialRecord(number, "completed", num_params, 1, 1, "", {}, 0, (validation,) * 3, 1.0, confirmations=seeds)


def test_what_errs_more_than_five_times_as_often_as_the_best_lies_outside() -> None:
    axes = front_axes([trial(0, 1000, 90.0), trial(1, 2000, 95.5), trial(2, 4000, 99.0)], UNPUBLISHED)
    assert axes.errors.least == pytest.approx(0.8 * 1.0)
    assert axes.errors.most == pytest.approx(1.2 * 4.5)  # of 95.5 %; 90 % errs ten times as often as 99 %
    assert axes.y(90.0) > 1 > axes.y(95.5) > axes.y(99.0) > 0
    assert axes.sizes == LogRange(0.85 * 1000, 1.15 * 8000)


def test_a_bar_that_comes_close_to_100_percent_does_not_flatten_the_rest() -> None:
    axes = front_axes([trial(0, 1000, 98.0, (98.0, 99.98))], UNPUBLISHED)
    mean = (98.0 + 99.98) / 2
    assert axes.errors.least == pytest.approx(0.8 * error_of(mean) / 3, rel=1e-2)
    assert axes.y(mean - 1.4) < 1  # the lower end of the bar, a standard deviation away


def test_places_are_shares_of_a_log_scale() -> None:
    axes = FrontAxes(LogRange(1000, 10_000), LogRange(0.1, 10))
    assert [axes.x(s) for s in (1000, math.sqrt(1e7), 10_000)] == pytest.approx([0, 0.5, 1])
    assert [axes.y(a) for a in (99.9, 99.0, 90.0)] == pytest.approx([0, 0.5, 1])
    assert axes.size_labels() == [1000, 2000, 3000, 5000, 10_000]
    assert axes.accuracy_labels() == [99.9, 99.8, 99.5, 99.0, 98.0, 95.0, 90.0]
    assert FrontAxes(LogRange(1000, 20_000), LogRange(0.3, 1)).size_labels() == [1000, 2000, 5000, 10_000, 20_000]
    assert FrontAxes(LogRange(1000, 20_000), LogRange(0.3, 1)).accuracy_labels() == [99.7, 99.6, 99.5, 99.4, 99.2, 99]


def test_the_interactive_figure_opens_on_the_same_axes() -> None:
    records = made_up_records(300)
    axes, layout = front_axes(records, SETTINGS), json.loads(front_figure(records, SETTINGS).to_json())["layout"]
    assert [10**e for e in layout["xaxis"]["range"]] == pytest.approx([axes.sizes.least, axes.sizes.most])
    assert [10**e for e in layout["yaxis"]["range"]] == pytest.approx([axes.errors.most, axes.errors.least])
    assert set(axes.size_labels()) <= set(layout["xaxis"]["tickvals"])
    assert {f"{a:g}" for a in axes.accuracy_labels()} <= set(layout["yaxis"]["ticktext"])
