from __future__ import annotations

import json
from dataclasses import replace

import pytest
from made_up_studies import EPOCHS, FACTS, made_up_records

from nas.report.curves_plotly import curves_figure, losses_figure
from nas.report.page import report_html
from nas.study.front import front_records
from nas.study.records import Confirmation

RECORDS = made_up_records(300)


def test_a_confirmation_shows_its_losses_where_they_are_kept() -> None:
    seeds = tuple(Confirmation(s, (90.0, 95.0), 1.0, train_loss=(0.5, 0.25 + s)) for s in (0, 1))
    record = replace(next(r for r in made_up_records(100) if r.fate == "completed"), confirmations=seeds)
    test, train = losses_figure(record).data
    assert list(test.y) == [10.0, 5.0, None] * 2
    assert (list(train.x), list(train.y)) == ([1, 2, None] * 2, [0.5, 0.25, None, 0.5, 1.25, None])
    older = replace(record, confirmations=tuple(replace(c, train_loss=()) for c in seeds))
    assert "losses-plot" in report_html(FACTS, [record], {}).partition("<script>")[0]
    assert "losses-plot" not in report_html(FACTS, [older], {}).partition("<script>")[0]


def test_a_confirmation_shows_its_gap_between_training_and_test_where_it_is_known() -> None:
    seeds = tuple(Confirmation(s, (90.0, 95.0 + s), 1.0, 0, (0.5, 0.2), 99.5 - s) for s in (0, 1))
    record = replace(next(r for r in made_up_records(100) if r.fate == "completed"), confirmations=seeds)
    *_, marks = losses_figure(record).data
    assert (marks.name, marks.mode) == ("accuracy on training images", "markers")
    assert (list(marks.x), list(marks.y)) == ([2, 2], [0.5, 1.5])
    page = " ".join(report_html(FACTS, [record], {}).partition("<script>")[0].split())
    assert "99.00 % are right there, and 95.50 % of the test images, a gap of 3.50 points" in page
    older = replace(record, confirmations=tuple(replace(c, train_accuracy=None) for c in seeds))
    assert "No accuracy was measured on the training images" in report_html(FACTS, [older], {})
    assert len(losses_figure(older).data) == 2


def test_a_thousand_curves_are_a_few_lines_with_gaps() -> None:
    figure = curves_figure(RECORDS)
    found = {t["name"]: t for t in json.loads(figure.to_json())["data"]}
    assert len(found) == 4
    completed = sum(r.fate == "completed" for r in RECORDS)
    lines = [found["completed"], found["on the front"]]
    assert sum(line["y"].count(None) for line in lines) == completed
    assert sum(len(line["y"]) for line in lines) == completed * (EPOCHS + 1)
    on_front = {r.number for r in front_records(RECORDS) if r.fate == "completed"}
    assert set(found["on the front"]["customdata"]) - {None} == on_front
    ends = found["where it was stopped"]
    stopped = [r for r in RECORDS if r.fate == "stopped"]
    assert ends["x"] == [len(r.validation_curve) for r in stopped]
    assert ends["y"] == pytest.approx([100 - r.validation_curve[-1] for r in stopped], abs=1e-3)
