from __future__ import annotations

import json
from dataclasses import replace

import pytest
from made_up_studies import EPOCHS, made_up_records

from nas.report.front_plotly import curves_figure, front_figure
from nas.study.front import validation_front
from nas.study.landmarks import references
from nas.study.records import Confirmation, TrialRecord

RECORDS = made_up_records(300)


def traces(figure: object) -> dict[str, dict[str, list[float]]]:
    return {t.get("name", "line"): t for t in json.loads(figure.to_json())["data"]}  # type: ignore[attr-defined]


def test_every_trial_is_a_point_and_the_fronts_stand_out() -> None:
    found = traces(front_figure(RECORDS, 8000, 99.4, references("mnist"), {RECORDS[0].number: "8 s16 | s24 <b>"}))
    completed = [r for r in RECORDS if r.fate == "completed"]
    points = found["trials, validation"]
    assert points["customdata"] == [r.number for r in completed]
    assert points["x"] == [r.num_params for r in completed]
    assert points["y"] == pytest.approx([100 - r.validation_accuracy for r in completed], abs=1e-3)
    assert len(found["stopped early, validation"]["x"]) == sum(r.fate == "stopped" for r in RECORDS)
    assert found["front by validation"]["customdata"] == [r.number for r in validation_front(RECORDS)]
    confirmed = [r for r in RECORDS if r.confirmed]
    assert confirmed
    assert found["confirmed on the test set"]["customdata"] == [r.number for r in confirmed]
    assert min(found["reference networks, best epoch"]["x"]) == 7788
    text = next(t for trace in found.values() for t in trace.get("text", ()) if "trial 0<" in str(t))
    assert "8 s16 | s24 &lt;b&gt;" in str(text)  # plotly reads a few tags in what it shows


def test_the_axes_hold_the_fronts_the_budget_and_the_target() -> None:
    layout = json.loads(front_figure(RECORDS, 8000, 99.4, references("mnist")).to_json())["layout"]
    most_error, least_error = (10**e for e in layout["yaxis"]["range"])
    assert least_error < 0.45 < 0.6 < most_error  # the best reference network, and the target
    low, high = (10**e for e in layout["xaxis"]["range"])
    assert low < min(r.num_params for r in RECORDS)
    assert high > 26_314
    assert {shape["x0"] for shape in layout["shapes"]} == {8000, 0}
    assert {a["text"] for a in layout["annotations"]} == {"budget 8,000", "target 99.4 %"}


def test_a_bar_that_would_reach_100_stays_on_a_log_axis() -> None:
    sure = replace(RECORDS[0], confirmations=tuple(Confirmation(s, (a,) * 3, 1.0) for s, a in enumerate((99.0, 100.0))))
    trace = traces(front_figure([sure], 8000, None, []))["confirmed on the test set"]
    (error,), (down,) = trace["y"], trace["error_y"]["arrayminus"]  # type: ignore[call-overload]
    assert error == 0.5
    assert 0 < error - down <= 0.011


def test_a_thousand_curves_are_a_few_lines_with_gaps() -> None:
    figure = curves_figure(RECORDS, [r.number for r in validation_front(RECORDS)])
    found = traces(figure)
    assert len(found) == 4
    completed = sum(r.fate == "completed" for r in RECORDS)
    lines = [found["completed"], found["on the front"]]
    assert sum(line["y"].count(None) for line in lines) == completed  # type: ignore[arg-type]
    assert sum(len(line["y"]) for line in lines) == completed * (EPOCHS + 1)
    ends = found["where it was stopped"]
    stopped = [r for r in RECORDS if r.fate == "stopped"]
    assert ends["x"] == [len(r.validation_curve) for r in stopped]
    assert ends["y"] == pytest.approx([100 - r.validation_curve[-1] for r in stopped], abs=1e-3)


@pytest.mark.parametrize("records", [[], [replace(RECORDS[0], fate="running", validation_curve=())]])
def test_figures_of_nothing(records: list[TrialRecord]) -> None:
    assert front_figure(records, 8000, None, []).to_json()
    assert curves_figure(records, []).to_json()
