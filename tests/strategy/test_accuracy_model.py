"""The Gaussian process of accuracy, on observations that were drawn from known effects."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.optimize import approx_fprime

from nas.strategy import accuracy_model
from nas.strategy.accuracy_model import AccuracyModel, Array, Moment
from nas.strategy.observations import log_odds

GROUPS = np.array([0.0, -1.0, 1.0, 1.0])


def _trainings(count: int, seed: int = 0) -> tuple[Array, list[Moment]]:
    """Two moments of each training: log-odds 1 + size + first gene, a gain of 1 in the second half, and luck."""
    rng = np.random.default_rng(seed)
    networks = rng.uniform(-0.5, 0.5, (count, 3))
    inputs, moments = [], []
    for number, network in enumerate(networks):
        end = 3 + network[0] + network[1] + 0.05 * rng.normal()
        moments += [
            Moment(number, number, 0.5, False, end - 1 + 0.02 * rng.normal()),
            Moment(number, number, 1.0, False, end),
        ]
        inputs += [network, network]
    return _unlike(np.array(inputs)), moments


def _unlike(networks: Array, prior: float = 0.0) -> Array:
    """Return networks of size and two genes (networks, 3) with what the prior says of them (networks, 4)."""
    return np.insert(networks, 1, prior, axis=1)


@pytest.fixture(scope="module")
def model() -> AccuracyModel:
    result = AccuracyModel(GROUPS)
    inputs, moments = _trainings(25)
    result.fit(inputs, moments)
    result.learn(inputs, moments)
    return result


def _end(network: int, training: int, confirms: bool = False) -> Moment:
    return Moment(network, training, 1.0, confirms, 0.0)


def test_new_networks_are_predicted_within_what_it_says(model: AccuracyModel) -> None:
    inputs = _unlike(np.random.default_rng(1).uniform(-0.5, 0.5, (200, 3)))
    mean, variance = model.predict(inputs, [_end(-1 - i, -1) for i in range(200)])
    errors = mean - (3 + inputs[:, 0] + inputs[:, 2])
    assert np.sqrt(np.mean(errors**2)) < 0.1  # the effects make for 0.4
    assert 0.3 < np.sqrt(np.mean(errors**2 / variance)) < 1.5


def test_a_training_that_has_begun_is_predicted_by_its_curve() -> None:
    """One is as far as its network lets expect, and one is 0.5 behind; both have half of their training to come."""
    inputs, moments = _trainings(25)
    model = AccuracyModel(GROUPS)
    model.fit(inputs, moments)
    new = np.zeros((2, 4))
    begun = [Moment(100 + i, 100 + i, 0.5, False, 2.0 - 0.5 * i) for i in range(2)]
    model.learn(np.vstack([inputs, new]), [*moments, *begun])
    mean, _ = model.predict(new, [_end(100, 100), _end(101, 101)])
    assert mean[0] == pytest.approx(3.0, abs=0.1)
    assert 0.3 < mean[0] - mean[1] < 0.6


def test_stopped_trainings_are_learned_from() -> None:
    """All with the second gene high were stopped, far behind the others, which tell nothing of that gene."""
    inputs, moments = _trainings(20)
    inputs[:, 3] = -0.5
    stopped = _unlike(np.column_stack([np.linspace(-0.5, 0.5, 8), np.zeros(8), np.full(8, 0.5)]))
    begun = [Moment(200 + i, 200 + i, 0.5, False, 1.0 + stopped[i, 0]) for i in range(8)]
    asked = np.array([[0.0, 0.0, 0.0, 0.5]])
    ends = []
    for also in (0, 8):
        model = AccuracyModel(GROUPS)
        model.fit(np.vstack([inputs, stopped[:also]]), [*moments, *begun[:also]])
        model.learn(np.vstack([inputs, stopped[:also]]), [*moments, *begun[:also]])
        ends.append(float(model.predict(asked, [_end(-1, -1)])[0][0]))
    assert ends[1] < ends[0] - 0.5


def test_a_network_that_was_trained_is_known_better_than_another(model: AccuracyModel) -> None:
    inputs, _ = _trainings(25)
    _, variance = model.predict(inputs[[0, 0]], [_end(0, -1), _end(-1, -1)])
    assert variance[0] < variance[1]


def test_what_confirmations_gain_is_learned_from_them(model: AccuracyModel) -> None:
    inputs, moments = _trainings(25)
    before, _ = model.predict(inputs[:1], [_end(0, -1, confirms=True)])
    validation, _ = model.predict(inputs[:1], [_end(0, -1)])
    assert before[0] - validation[0] == pytest.approx(accuracy_model.CONFIRMED)
    gained = [Moment(i, -10 - i, 1.0, True, moments[2 * i + 1].log_odds - 0.4) for i in range(5)]
    other = AccuracyModel(GROUPS)
    other.fit(inputs, moments)
    other.learn(np.vstack([inputs, inputs[0:10:2]]), [*moments, *gained])
    after, _ = other.predict(inputs[20:21], [_end(10, -1, confirms=True)])
    plain, _ = other.predict(inputs[20:21], [_end(10, -1)])
    assert -0.45 < after[0] - plain[0] < -0.2


def test_variances_are_the_diagonal_of_the_covariance(model: AccuracyModel) -> None:
    inputs = np.random.default_rng(2).uniform(-0.5, 0.5, (4, 4))
    moments = [_end(-1, -1), _end(-2, -2, confirms=True), Moment(-3, -3, 0.5, False, 0.0), _end(3, 3)]
    mean, variance = model.predict(inputs, moments)
    jointly, covariance = model.predict_jointly(inputs, moments)
    assert mean == pytest.approx(jointly)
    assert variance == pytest.approx(np.diag(covariance), abs=1e-6)


def test_gradients_are_those_of_the_covariance() -> None:
    inputs, moments = _trainings(3)
    inputs[:, 1] = np.linspace(-1, 1, 6)
    model, rows = AccuracyModel(GROUPS), accuracy_model._Rows.of(inputs, moments)
    weights = np.random.default_rng(0).normal(size=(6, 6))

    def total(logs: Array) -> float:
        return float((weights * model._varied(rows, rows, logs)[0]).sum())

    logs = model._prior + 0.3
    _, gradients = model._covariance_and_gradients(rows, logs)
    expected = approx_fprime(logs, total, 1e-6)
    assert [float((weights * g).sum()) for g in gradients] == pytest.approx(expected, rel=1e-3, abs=1e-4)
    assert math.isfinite(model.luck)


def test_what_learns_slowly_may_end_well() -> None:
    """With the second gene high, trainings were 0.5 behind at a quarter, and all were stopped there."""
    rng = np.random.default_rng(3)
    networks = np.column_stack([rng.uniform(-0.5, 0.5, (26, 2)), np.repeat([-0.5, 0.5], (16, 10))])
    inputs, moments = [], []
    for number, network in enumerate(networks):
        moments.append(Moment(number, number, 0.25, False, 2 + network[0] - network[2] + 0.05 * rng.normal()))
        inputs.append(network)
        if number < 16:
            moments.append(Moment(number, number, 1.0, False, 3 + network[0] + 0.05 * rng.normal()))
            inputs.append(network)
    model = AccuracyModel(GROUPS)
    model.fit(_unlike(np.array(inputs)), moments)
    model.learn(_unlike(np.array(inputs)), moments)
    asked = np.array([[0, 0, 0, 0.5], [0, 0, 0, -0.5]])
    (mean, ended), (variance, _) = model.predict(asked, [_end(-1, -1), _end(-2, -2)])
    assert ended == pytest.approx(3.0, abs=0.1)
    assert mean < ended
    assert math.sqrt(variance) > 0.3  # of how these end, nothing was seen


def test_the_prior_is_believed_until_trainings_contradict_it() -> None:
    """Networks are alike but for what the prior says; it is right of none, or the reverse of it is true."""
    asked = _unlike(np.zeros((2, 3)))
    asked[:, 1] = 1.0, -1.0
    differences = []
    for count in (1, 12):
        inputs = _unlike(np.zeros((count, 3)))
        inputs[:, 1] = np.linspace(1, -1, count)
        moments = [Moment(i, i, 1.0, False, 3 - 0.5 * row[1]) for i, row in enumerate(inputs)]
        model = AccuracyModel(GROUPS)
        model.fit(inputs, moments)
        model.learn(inputs, moments)
        (likely, unlikely), _ = model.predict(asked, [_end(-1, -1), _end(-2, -2)])
        differences.append(likely - unlikely)
    assert differences[0] == pytest.approx(2 * accuracy_model.BELIEF, rel=0.5)
    assert differences[1] == pytest.approx(-1.0, abs=0.2)


def test_few_parameters_are_not_taken_to_do_as_well_as_many() -> None:
    """Four networks of 3,000 to 8,000 parameters came to 99.2 to 99.5 %; could one of 30 parameters come to 99.4 %?"""
    sizes = np.log([3.0, 5.0, 8.0, 8.0, 0.03])
    inputs = _unlike(np.column_stack([sizes, np.zeros((5, 2))]))
    moments = [Moment(i, i, 1.0, False, log_odds(a)) for i, a in enumerate((99.15, 99.3, 99.5, 99.4))]
    model = AccuracyModel(GROUPS)
    model.fit(inputs[:4], moments)
    model.learn(inputs[:4], moments)
    (mean,), (variance,) = model.predict(inputs[4:], [_end(-1, -1)])
    assert (mean - log_odds(99.4)) / math.sqrt(variance) < -2.5
