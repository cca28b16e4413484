"""Trials as numbers."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from nas.strategy.observations import log_odds, observation_of
from nas.study.records import TrialRecord

GENES = {"kind": "separable", "width": 8, "channels": 16, "rate": 0.01, "part": 0.75, "bias": True, "unknown": 5}
RECORD = TrialRecord(3, "completed", 500, 0, 0, "abc", GENES, 0, (10.0, 90.0, 91.0, 92.0), 1.0)


def test_only_a_completed_record_has_a_final_accuracy() -> None:
    seen = observation_of(RECORD)
    assert (seen.number, seen.num_params, seen.digest, seen.curve) == (3, 500, "abc", RECORD.validation_curve)
    assert (seen.final_accuracy, seen.was_trained) == (91.0, True)
    stopped = observation_of(replace(RECORD, fate="stopped"))
    assert (stopped.final_accuracy, stopped.was_trained) == (None, True)
    assert not observation_of(replace(RECORD, fate="running")).was_trained


def test_log_odds() -> None:
    assert log_odds(50.0) == 0.0
    assert log_odds(98.0) == pytest.approx(math.log(98 / 2))
    assert log_odds(99.0) - log_odds(98.0) == pytest.approx(log_odds(90.0) - log_odds(80.0), abs=0.12)
    assert (log_odds(0.0), log_odds(100.0)) == pytest.approx((math.log(0.0005 / 0.9995), math.log(0.9995 / 0.0005)))
