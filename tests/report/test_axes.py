"""One rule for what every picture of a front shows, and where it is labeled."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
from made_up_studies import FACTS, SETTINGS, made_up_records

from nas.report.axes import FrontAxes, LogRange, error_of, far_references, front_axes
from nas.report.front_plotly import front_figure
from nas.report.front_svg import front_svg
from nas.report.page import report_html
from nas.study.records import Confirmation, TrialRecord
from nas.study.settings import StudySettings
from nas.terminal.front_plot import front_plot

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


def test_the_target_and_the_confirmed_front_are_in_the_picture_however_good_the_best() -> None:
    records = [trial(0, 500, 90.0, (94.0,)), trial(1, 1500, 96.5, (98.5,)), trial(2, 1900, 96.8, (100.0,))]
    axes = front_axes(records, replace(UNPUBLISHED, target=96.0))
    assert all(axes.holds(r.num_params, r.confirmed.mean) for r in records if r.confirmed)
    assert 0 < axes.y(96.0) < 1


def test_a_bar_that_comes_close_to_100_percent_does_not_flatten_the_rest() -> None:
    axes = front_axes([trial(0, 1000, 98.0, (98.0, 99.98))], UNPUBLISHED)
    mean = (98.0 + 99.98) / 2
    assert axes.errors.least == pytest.approx(0.8 * error_of(mean) / 3, rel=1e-2)
    assert axes.y(mean - 1.4) < 1  # the lower end of the bar, a standard deviation away


@pytest.mark.parametrize(
    ("validation", "num_params", "arrow"), [(51.0, 9_048, "↑"), (99.3, 400, "→"), (70.0, 400, "↗")]
)
def test_the_first_view_is_of_the_studys_own_networks(validation: float, num_params: int, arrow: str) -> None:
    """Published networks that lie far off would leave a corner of the picture to them; they are named at its edge."""
    settings = StudySettings(round(1.1 * num_params))
    own = [trial(0, num_params // 3, validation - 1), trial(1, num_params, validation)]
    axes = front_axes(own, settings)
    assert all(axes.holds(r.num_params, r.validation_accuracy) for r in own)
    assert axes.y(validation - 1) - axes.y(validation) > 0.04
    assert axes.x(num_params) - axes.x(num_params // 3) > 0.5
    far = far_references(axes, settings)
    assert far
    assert arrow in {direction for _, direction in far}
    assert not any(axes.holds(network.num_params, network.best_test_accuracy) for network, _ in far)
    picture, plot = front_svg(own, settings), front_plot(own, settings)
    assert all(f"{network.name}: {network.num_params:,} parameters" in picture for network, _ in far)
    assert "outside: " in plot
    assert all(network.name in plot for network, _ in far)


def test_published_networks_near_the_studys_own_are_in_the_picture() -> None:
    axes = front_axes(made_up_records(300), SETTINGS)
    assert axes.holds(7_788, 99.45)
    assert axes.holds(9_596, 99.32)


def test_before_any_trial_the_picture_is_of_the_published_networks() -> None:
    assert far_references(front_axes([], SETTINGS), SETTINGS) == []


def test_a_single_seed_has_neither_bar_nor_deviation() -> None:
    record = trial(0, 1000, 98.0, (98.5,))
    figure = front_figure([record], UNPUBLISHED).to_json()
    assert "over 1 seed" in figure
    assert "±" not in figure
    page = report_html(replace(FACTS, document=replace(FACTS.document, settings=UNPUBLISHED)), [record], {})
    assert "98.50" in page
    assert "± 0.00" not in page
    assert "1 seed" in page
    assert front_svg([record], UNPUBLISHED).count("h8M") == 0  # the ends of a bar


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


def test_a_study_of_deployed_parameters_is_drawn_over_them() -> None:
    settings = replace(SETTINGS, count="deployed")
    records = [replace(r, count="deployed", deployed_params=r.num_params // 2) for r in made_up_records(300)]
    axes = front_axes(records, settings)
    figure = json.loads(front_figure(records, settings).to_json())
    assert 10 ** figure["layout"]["xaxis"]["range"][0] == pytest.approx(axes.sizes.least)
    assert figure["layout"]["xaxis"]["title"]["text"] == "parameters deployed"
    (menu,) = figure["layout"]["updatemenus"]
    assert menu["buttons"][menu["active"]]["label"] == "deployed"
    # The budget is about them, and about no other size.
    limits = [[s["x0"] for s in b["args"][1]["shapes"] if s.get("yref") == "paper"] for b in menu["buttons"]]
    assert limits == [[], [settings.max_params], [], [], [], []]
    assert ">parameters deployed</text>" in front_svg(records, settings)
    page = report_html(replace(FACTS, document=replace(FACTS.document, settings=settings)), records, {})
    assert "at most 8,000 parameters deployed" in page
