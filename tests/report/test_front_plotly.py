from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from made_up_studies import SETTINGS, made_up_records

from nas.report.curves_plotly import curves_figure
from nas.report.front_plotly import front_figure
from nas.report.progress_plotly import progress_figure
from nas.study.front import validation_front
from nas.study.records import Confirmation, TrialRecord
from nas.study.settings import StudySettings

RECORDS = made_up_records(300)


def traces(figure: object) -> dict[str, dict[str, list[float]]]:
    return {t.get("name", "line"): t for t in json.loads(figure.to_json())["data"]}  # type: ignore[attr-defined]


def test_every_trial_is_a_point_and_the_fronts_stand_out() -> None:
    records = [replace(RECORDS[0], network="8 s16 | s24 <b>"), *RECORDS[1:]]
    found = traces(front_figure(records, SETTINGS))
    completed = [r for r in RECORDS if r.fate == "completed"]
    points = found["trials, validation"]
    assert points["customdata"] == [r.number for r in completed]
    assert points["x"] == [r.num_params for r in completed]
    assert points["y"] == pytest.approx([100 - r.validation_accuracy for r in completed], abs=1e-3)
    assert len(found["stopped early, validation"]["x"]) == sum(r.fate == "stopped" for r in RECORDS)
    assert found["front by validation"]["x"] == [r.num_params for r in validation_front(RECORDS)]
    confirmed = [r for r in RECORDS if r.confirmed]
    assert confirmed
    assert found["confirmed on the test set"]["customdata"] == [r.number for r in confirmed]
    assert min(found["reference networks, best epoch"]["x"]) == 7788
    text = next(t for trace in found.values() for t in trace.get("text", ()) if "trial 0<" in str(t))
    assert "8 s16 | s24 &lt;b&gt;" in str(text)  # plotly reads a few tags in what it shows


def test_the_axes_hold_the_fronts_the_budget_and_the_target() -> None:
    layout = json.loads(front_figure(RECORDS, SETTINGS).to_json())["layout"]
    most_error, least_error = (10**e for e in layout["yaxis"]["range"])
    assert least_error < 0.55 < 0.6 < most_error  # the best reference network of this size, and the target
    low, high = (10**e for e in layout["xaxis"]["range"])
    assert low < min(r.num_params for r in RECORDS if r.fate == "completed")
    assert 9_914 < high < 19_122
    assert {shape["x0"] for shape in layout["shapes"]} == {8000, 0}
    budget, target, far = (annotation["text"] for annotation in layout["annotations"])
    assert (budget, target) == ("budget 8,000", "target 99.4 %")
    assert far.splitlines() == [  # what is too large for this picture
        "004: 19,122 parameters, 99.55 % →<br>002: 26,314 parameters, 98.83 % →"
    ]


def test_a_button_shows_another_size_with_its_own_fronts() -> None:
    records = [replace(r, num_macs=10_000_000 // r.num_params, peak_activation_bytes=4 * r.num_params) for r in RECORDS]
    figure = json.loads(front_figure(records, replace(SETTINGS, max_macs=20_000)).to_json())
    names = [trace.get("name", "line") for trace in figure["data"]]
    first, _, macs, activations, *_ = buttons = figure["layout"]["updatemenus"][0]["buttons"]
    assert [button["label"] for button in buttons] == ["parameters", "deployed", "MACs", "activations", "flash", "RAM"]
    assert [decoded(x) for x in first["args"][0]["x"]] == [decoded(trace["x"]) for trace in figure["data"]]
    by_size = decoded(macs["args"][0]["x"][names.index("trials, validation")])
    assert by_size == [r.num_macs for r in records if r.fate == "completed"]
    front = validation_front(records, lambda r: r.num_macs)
    assert decoded(macs["args"][0]["x"][names.index("front by validation")]) == [r.num_macs for r in front]
    assert {annotation["text"] for annotation in macs["args"][1]["annotations"]} >= {"budget 20,000", "target 99.4 %"}
    assert not any("budget" in annotation["text"] for annotation in activations["args"][1]["annotations"])


def test_the_buttons_show_what_a_microcontroller_needs_where_all_of_it_is_known() -> None:
    settings = replace(SETTINGS, max_flash=9_000, max_ram=8_500)
    figure = json.loads(front_figure(RECORDS, settings).to_json())
    names = [trace.get("name", "line") for trace in figure["data"]]
    flash, ram = figure["layout"]["updatemenus"][0]["buttons"][-2:]
    confirmed = [r for r in RECORDS if r.confirmed]
    index = names.index("confirmed on the test set")
    assert decoded(flash["args"][0]["x"][index]) == [r.flash_bytes for r in confirmed]
    assert decoded(ram["args"][0]["x"][index]) == [r.ram_bytes for r in confirmed]
    assert "budget 9,000" in {annotation["text"] for annotation in flash["args"][1]["annotations"]}
    assert "budget 8,500" in {annotation["text"] for annotation in ram["args"][1]["annotations"]}
    assert ram["args"][1]["xaxis.title.text"] == "RAM in 8 bits, bytes at most"
    assert any("26,314 parameters" in text for text in _texts(figure["layout"]))
    assert any(re.search(r"002: [\d,]+ bytes of flash, 98.83 % →", text) for text in _texts(flash["args"][1]))

    old = json.loads(front_figure([*RECORDS[:-1], replace(RECORDS[-1], ram_bytes=None)], settings).to_json())
    labels = [button["label"] for button in old["layout"]["updatemenus"][0]["buttons"]]
    assert labels == ["parameters", "deployed", "MACs", "activations", "flash"]


def _texts(layout: dict[str, list[dict[str, str]]]) -> list[str]:
    return [annotation["text"] for annotation in layout["annotations"]]


def decoded(values: object) -> list[float]:
    assert isinstance(values, list)
    return values


@pytest.mark.parametrize("target", [None, 99.0])
def test_the_best_so_far_only_gets_better(target: float | None) -> None:
    found = traces(progress_figure(RECORDS, replace(SETTINGS, target=target)))
    for name in ("by validation", "confirmed on the test set"):
        line = found[name]
        assert len(line["y"]) >= 2
        assert line["y"][:-1] == sorted(line["y"][:-1], reverse=True)
        assert line["x"] == [*line["customdata"][:-1], RECORDS[-1].number]
    completed = [r for r in RECORDS if r.fate == "completed"]
    best = max(r.validation_accuracy for r in completed)
    smallest = min(r.num_params for r in completed if r.validation_accuracy >= 99.0)
    assert found["by validation"]["y"][-1] == pytest.approx(100 - best if target is None else smallest, abs=1e-3)


def test_a_network_with_too_few_seeds_is_not_the_smallest_so_far() -> None:
    seeds = tuple(Confirmation(seed, (99.5,) * 3, 1.0) for seed in range(3))
    for confirmations, sizes in ((seeds, [RECORDS[0].num_params] * 2), (seeds[:1], [])):
        found = traces(
            progress_figure(
                [replace(RECORDS[0], confirmations=confirmations)], replace(SETTINGS, target=99.0, num_seeds=3)
            )
        )
        assert found["confirmed on the test set"]["y"] == sizes


def test_a_bar_that_would_reach_100_stays_on_a_log_axis() -> None:
    sure = replace(RECORDS[0], confirmations=tuple(Confirmation(s, (a,) * 3, 1.0) for s, a in enumerate((99.0, 100.0))))
    trace = traces(front_figure([sure], StudySettings(8000, dataset="digits")))["confirmed on the test set"]
    (error,), (down,) = trace["y"], trace["error_y"]["arrayminus"]  # type: ignore[call-overload]
    assert error == 0.5
    assert 0 < error - down <= 0.011


@pytest.mark.parametrize("records", [[], [replace(RECORDS[0], fate="running", validation_curve=())]])
def test_figures_of_nothing(records: list[TrialRecord]) -> None:
    assert front_figure(records, StudySettings(8000, dataset="digits")).to_json()
    for target in (None, 99.0):
        assert progress_figure(records, StudySettings(8000, dataset="digits", target=target)).to_json()
    assert curves_figure(records).to_json()
