"""The linear model behind early stopping and screening, against what is known of linear regression."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from nas.strategy.curve_model import CurveModel
from nas.strategy.linear_model import LinearModel, gene_inputs, log_odds

WEIGHTS = np.array([2.0, -1.0, 0.0])


def _observations(count: int, seed: int, noise: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """Inputs of different scales and places, and an outcome that is linear in them."""
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(count, 3)) * [1.0, 10.0, 0.1] + [5.0, 0.0, -3.0]
    return inputs, inputs @ WEIGHTS + 7.0 + noise * rng.normal(size=count)


def _model(inputs: np.ndarray, outcomes: np.ndarray, penalties: list[float]) -> LinearModel:
    model = LinearModel(penalties)
    for row, outcome in zip(inputs, outcomes, strict=True):
        model.learn(row.tolist(), float(outcome))
    return model


@given(st.integers(2, 40), st.integers(0, 10_000), st.lists(st.floats(0.5, 20), min_size=3, max_size=3))
def test_prediction_is_that_of_ridge_regression(count: int, seed: int, penalties: list[float]) -> None:
    """Which is least squares with one more row a weight, an observation of the prior."""
    inputs, outcomes = _observations(count, seed)
    mean, scale = inputs.mean(axis=0), np.maximum(inputs.std(axis=0), LinearModel.LEAST_SCALE)
    rows = np.vstack([(inputs - mean) / scale, np.diag(np.sqrt(penalties))])
    weights, *_ = np.linalg.lstsq(rows, np.concatenate([outcomes - outcomes.mean(), np.zeros(3)]), rcond=None)
    expected = outcomes.mean() + (inputs[0] - mean) / scale @ weights
    predicted, deviation = _model(inputs, outcomes, penalties).predict(inputs[0].tolist())
    assert predicted == pytest.approx(expected, abs=1e-6)
    assert deviation > 0


def test_it_knows_how_much_it_does_not_know() -> None:
    """Outcomes lie within 1.96 standard deviations 95 times of 100, with few observations and with many."""
    for count in (12, 200):
        within = []
        for seed in range(300):
            inputs, outcomes = _observations(count + 1, seed)
            predicted, deviation = _model(inputs[:-1], outcomes[:-1], [1.0] * 3).predict(inputs[-1].tolist())
            within.append(abs(outcomes[-1] - predicted) < 1.96 * deviation)
        assert 0.9 < statistics.fmean(within) < 0.99
    inputs, outcomes = _observations(50, 0)
    model = _model(inputs, outcomes, [1.0] * 3)
    assert model.predict([5.0, 300.0, -3.0])[1] > 2 * model.predict([5.0, 0.0, -3.0])[1]


def test_drawn_weights_scatter_around_the_true_ones() -> None:
    model = _model(*_observations(400, 1), [1.0] * 3)
    rng = random.Random(0)
    draws = np.array([model.draw_weights(rng) for _ in range(500)])
    deviations = 0.5 / np.sqrt(400) / np.array([1.0, 10.0, 0.1])  # of least squares on independent inputs
    assert draws.std(axis=0) == pytest.approx(deviations, rel=0.2)
    assert np.all(np.abs(draws.mean(axis=0) - WEIGHTS) < 4 * deviations)


def test_what_an_input_does_that_never_varied_is_in_bounded_doubt() -> None:
    inputs, outcomes = _observations(20, 4)
    inputs[:, 2] = 0.0
    model = _model(inputs, outcomes, [1.0, 1.0, 16.0])
    known, unknown = [5.0, 0.0, 0.0], [5.0, 0.0, 1.0]
    assert model.predict(unknown)[0] == pytest.approx(model.predict(known)[0])
    assert 2 < model.predict(unknown)[1] / model.predict(known)[1] < 4


def test_one_observation_and_inputs_that_never_vary_are_no_trouble() -> None:
    model = LinearModel([1.0, 1.0])
    model.learn([1.0, 2.0], 3.0)
    assert model.predict([1.0, 2.0]) == (pytest.approx(3.0), math.inf)
    assert np.isfinite(model.draw_weights(random.Random(0))).all()
    for outcome in (3.5, 4.0, 2.5):
        model.learn([1.0, 2.0], outcome)
    predicted, deviation = model.predict([1.0, 2.0])
    assert predicted == pytest.approx((3.0 + 3.5 + 4.0 + 2.5) / 4)
    # The sample's variance and that of a mean of four; and that of Student's t with three degrees of freedom.
    assert deviation == pytest.approx(math.sqrt((0.25**2 + 0.25**2 + 0.75**2 + 0.75**2) / 3 * (1 + 1 / 4) * 3))


def test_genes_are_numbers() -> None:
    distributions = {
        "kind": CategoricalDistribution(("plain", "separable", "other")),
        "width": IntDistribution(4, 16, step=4),
        "rate": FloatDistribution(0.001, 0.1, log=True),
        "bias": CategoricalDistribution((False, True)),
    }
    genes = {"kind": "separable", "width": 8, "rate": 0.01, "bias": True, "unknown": 5}
    assert gene_inputs(genes, distributions) == pytest.approx([1.0, 0.0, 1 / 3, 0.5, 1.0])
    assert gene_inputs({"width": 8}, {"width": IntDistribution(8, 8)}) == [0.0]


def test_log_odds() -> None:
    assert log_odds(50.0) == 0.0
    assert log_odds(98.0) == pytest.approx(math.log(98 / 2))
    assert log_odds(99.0) - log_odds(98.0) == pytest.approx(log_odds(90.0) - log_odds(80.0), abs=0.12)
    assert (log_odds(0.0), log_odds(100.0)) == pytest.approx((math.log(0.0005 / 0.9995), math.log(0.9995 / 0.0005)))


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
