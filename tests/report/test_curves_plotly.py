from __future__ import annotations

import json

import pytest
from made_up_studies import EPOCHS, made_up_records

from nas.report.curves_plotly import curves_figure
from nas.study.front import front_records

RECORDS = made_up_records(300)


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
