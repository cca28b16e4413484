"""The model of learning curves, on curves of known distributions."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import pytest

from nas.strategy.curve_model import CurveModel


def _curves(count: int, seed: int, points: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Random walks that one input drives: (count, points) and (count, 1)."""
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(count, 1))
    steps = 0.5 + 0.3 * inputs + 0.4 * rng.normal(size=(count, points))
    return steps.cumsum(axis=1), inputs


def _curve_model(curves: Iterable[np.ndarray], inputs: np.ndarray, points: int = 5) -> CurveModel:
    model = CurveModel(points, others=0, num_inputs=1)
    for curve, row in zip(curves, inputs, strict=True):
        model.learn(curve.tolist(), row.tolist())
    return model


def test_the_end_of_a_curve_is_predicted_with_the_doubt_of_all_points_to_come() -> None:
    model = _curve_model(*_curves(2000, 0))
    for seen in (1, 2, 4):
        expected, deviation = model.predict([1.0, 1.5, 2.0, 2.5][4 - seen :], [0.5])
        assert expected == pytest.approx(2.5 + (5 - seen) * 0.65, abs=0.1)
        assert deviation == pytest.approx(0.4 * math.sqrt(5 - seen), rel=0.06)


def test_errors_that_the_next_points_take_back_do_not_add_up() -> None:
    """Noise around a constant: the last point is as uncertain from the first as from the last but one."""
    curves = np.random.default_rng(1).normal(size=(3000, 6))
    model = _curve_model(curves, np.zeros((3000, 1)), points=6)
    assert model.predict([0.3], [0.0])[1] == pytest.approx(1.0, rel=0.05)
    assert model.predict([0.3] * 5, [0.0])[1] == pytest.approx(1.0, rel=0.05)


def test_weak_curves_that_were_broken_off_leave_the_prediction_unbiased() -> None:
    curves, inputs = _curves(4000, 2)
    weak = curves[:, 2] < np.median(curves[:, 2])
    broken_off = [curve[:3] if is_weak else curve for curve, is_weak in zip(curves, weak, strict=True)]
    expected, _ = _curve_model(broken_off, inputs).predict([0.5], [0.0])
    survivors, _ = _curve_model(curves[~weak], inputs[~weak]).predict([0.5], [0.0])
    assert expected == pytest.approx(0.5 + 4 * 0.5, abs=0.06)
    assert survivors > expected + 0.2


def test_seven_tenths_of_where_a_curve_stands_persist_until_curves_tell() -> None:
    """Three curves that are all alike tell nothing of what one does that stands elsewhere."""
    model = _curve_model([np.array([1.0, 2.0, 3.0])] * 3, np.zeros((3, 1)), points=3)
    assert model.predict([1.0], [0.0])[0] == pytest.approx(3.0)
    assert model.predict([1.4], [0.0])[0] == pytest.approx(3.0 + 0.4 * 0.7 * 0.7)
    assert model.predict([1.0, 2.4], [0.0])[0] == pytest.approx(3.0 + 0.4 * 0.7)
