"""What trainings promise for their cost, against values by arithmetic."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nas.strategy.worth import (
    BEYOND,
    COST_POWER,
    FIRST_ANSWER,
    SEED_COST,
    confirmation_cost,
    hypervolume_gain,
    saving,
    trial_cost,
)

# Accuracies of a half and of three quarters, in log-odds; the slope of the first is a quarter.
FRONT = [(1000.0, 0.0), (2000.0, math.log(3))]
HYPERVOLUME = math.log(BEYOND) * (0.75 - 0.5)


def _gain(front: list[tuple[float, float]], size: float, mean: float, deviation: float) -> float:
    return float(hypervolume_gain(front, np.array([size]), np.array([mean]), np.array([deviation]))[0])


def test_gain_that_is_certain_is_the_area_between_the_network_and_the_front() -> None:
    until_the_next = math.log(2000 / 1500) * 0.4 * 0.25
    assert _gain(FRONT, 1500, 0.4, 1e-9) == pytest.approx(until_the_next / HYPERVOLUME)
    beyond_it = math.log(BEYOND) * 0.1 * (0.75 * 0.25)
    assert _gain(FRONT, 2000, math.log(3) + 0.1, 1e-9) == pytest.approx(beyond_it / HYPERVOLUME)
    over_both = math.log(2000 / 1500) * (math.log(3) + 0.1) * 0.25 + beyond_it
    assert _gain(FRONT, 1500, math.log(3) + 0.1, 1e-9) == pytest.approx(over_both / HYPERVOLUME)
    assert _gain(FRONT, 1500, -0.4, 1e-9) == pytest.approx(0.0)


def test_gain_of_the_largest_reaches_beyond_the_front() -> None:
    widest = math.log(BEYOND) * 0.1 * (0.75 * 0.25)
    longer = math.log(BEYOND * 4000 / 2000) * (0.75 - 0.5)
    assert _gain(FRONT, 4000, math.log(3) + 0.1, 1e-9) == pytest.approx(widest / longer)


def test_gain_that_is_in_doubt_is_an_expectation() -> None:
    """As far as the front, it rises by half the mean distance from the mean; far below, by next to nothing."""
    mean_rise = 0.2 / math.sqrt(2 * math.pi)
    far = [(1000.0, 0.0), (2000.0, 50.0)]  # out of reach
    certain = _gain(far, 1500, 1.0, 1e-9)
    assert _gain(far, 1500, 0.0, 0.2) / certain == pytest.approx(mean_rise)
    assert 0 < _gain(far, 1500, -1.0, 0.2) / certain < 1e-6


def test_a_single_network_is_no_measure_of_gain() -> None:
    assert _gain(FRONT[:1], 1500, -100.0, 0.1) == math.inf


def test_saving_is_the_logarithm_of_what_is_less() -> None:
    sizes = np.array([1000.0, 2000.0, 4000.0])
    assert saving(sizes, 2000, 8000) == pytest.approx([math.log(2), 0.0, 0.0])
    assert saving(sizes, None, 8000) == pytest.approx(FIRST_ANSWER + np.log([8, 4, 2]))


def test_saving_is_over_what_is_likely_to_be_met_by_then() -> None:
    """One of 1,500 and one of 1,200 are being trained; if both meet the target, the smaller one counts."""
    expected = 0.5 * math.log(1200 / 1000) + 0.5 * (0.8 * math.log(1500 / 1000) + 0.2 * math.log(2000 / 1000))
    assert saving(np.array([1000.0]), 2000, 8000, [(1500, 0.8), (1200, 0.5)]) == pytest.approx([expected])


def test_costs_are_what_is_expected_to_be_trained() -> None:
    assert trial_cost(np.array([0.0, 0.5]), np.array([1.0, 4.0]), 0.7, 3) == pytest.approx(
        [0.7, 4**COST_POWER * (0.7 + 1.5 * SEED_COST)]
    )
    assert confirmation_cost(1.0, 1, 3) == pytest.approx(3 * SEED_COST)
    assert confirmation_cost(0.0, 9, 3) == pytest.approx(9**COST_POWER * SEED_COST)
