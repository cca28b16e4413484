"""The linear model behind early stopping and screening, against what is known of linear regression."""

from __future__ import annotations

import math
import random
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.strategy.linear_model import LinearModel

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
