"""Trials as numbers."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from nas.space import Choice, Domain, FloatRange, IntRange
from nas.strategy.observations import gene_inputs, log_odds, model_inputs, observation_of
from nas.study.records import TrialRecord

DOMAINS: dict[str, Domain] = {
    "kind": Choice(("plain", "separable", "other")),
    "width": IntRange(4, 16, step=4),
    "channels": IntRange(4, 64, log=True),
    "rate": FloatRange(0.001, 0.1, log=True),
    "part": FloatRange(0.5, 1.5),
    "bias": Choice((False, True)),
}
GENES = {"kind": "separable", "width": 8, "channels": 16, "rate": 0.01, "part": 0.75, "bias": True, "unknown": 5}
RECORD = TrialRecord(3, "completed", 500, 0, 0, "abc", GENES, 0, (10.0, 90.0, 91.0, 92.0), 1.0)


def test_genes_are_numbers() -> None:
    assert gene_inputs(GENES, DOMAINS) == pytest.approx([1.0, 0.0, 1 / 3, 0.5, 0.5, 0.25, 1.0])
    assert model_inputs(observation_of(RECORD), DOMAINS)[0] == math.log(500)


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
