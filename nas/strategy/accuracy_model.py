"""A Gaussian process of accuracy over networks and over the course of their trainings.

One model answers all questions of the search: how accurate an untried network would be, how a training that has begun
will end, and what the mean of a confirmation will be. It learns from moments of all trainings, stopped ones included,
and so does not know survivors only, as a model of completed trainings would.

An observation is an accuracy in log-odds at a moment of a training. It is the sum of what all networks share at that
moment, a trend in the logarithm of the parameters and one in that of the space's prior, effects of the other inputs, a
smooth function of them and the parameters, what is peculiar to the network, and the luck of the training. All but what
is peculiar changes in the course of a training: what learns slowly may end well. So early moments tell something of the
end, and how much they tell is learned: a product of kernels, as in Swersky et al. 2013, Multi-Task Bayesian
Optimization. For the rest: Rasmussen and Williams 2006, sections 2.2, 2.7 and 5.4.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve, solve_triangular
from scipy.optimize import minimize

Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


@dataclass(frozen=True, slots=True)
class Moment:
    """An accuracy at a moment of a training."""

    network: int  # equal for trainings of one network by one recipe
    training: int  # equal for moments of one training
    progress: float  # share of the training that is over, above 0 to 1
    is_confirmation: bool
    log_odds: float


# What is believed of each hyperparameter before any training was seen: its median. Amplitudes are standard deviations
# in log-odds. The logarithm of each deviates by `DOUBT`. Chosen by hand, not fitted on any table.
PRIOR = {
    "slope": 0.3,  # amplitude of the trend over parameters, per factor of e, around SLOPE
    "prior": 0.3,  # amplitude of the trend over the space's prior, around BELIEF
    "effects": 0.3,  # amplitude of the effects of inputs
    "function": 0.4,  # amplitude of the smooth function
    "network keeps": 0.5,  # progress over which trend, effects and function change
    "peculiar": 0.12,  # amplitude of what is peculiar to a network
    "luck": 0.15,  # amplitude of the luck of a training
    "luck keeps": 0.4,  # progress over which luck changes
    "noise": 0.1,  # amplitude of what passes by the next moment; none at the end
}
SLOPE = 0.7  # log-odds that are expected of e times as many parameters: the front of our trainings on MNIST
BELIEF = 0.2  # log-odds that are expected of a network that is e^10 times as likely by the space's prior
WEIGHT = 0.7  # of a group of inputs: the inverse square of the distance over which the function changes
DOUBT = 0.7
LEVEL = 2.0  # amplitude of the mean accuracy in the beginning
GAIN = 1.5  # amplitude of what is gained on average in a training
CONFIRMED = 0.05  # log-odds that a confirmation is expected to gain, since it trains on more images
CONFIRMED_DOUBT = 0.15
LEAST_NOISE = 1e-6  # variance


class AccuracyModel:
    """Set the hyperparameters by `fit`, condition on moments by `learn`, then ask `predict`.

    `groups` (inputs,) says which inputs share a weight in the smooth function; a negative one, that it has none. The
    first two inputs are the logarithms of the parameters and of the prior.
    """

    def __init__(self, groups: Array) -> None:
        self._masks = [groups == group for group in np.unique(groups) if group >= 0]
        self._prior = np.log([*PRIOR.values(), *[WEIGHT] * len(self._masks)])
        self._logs = self._prior  # of the hyperparameters

    @property
    def luck(self) -> float:
        """Return the standard deviation, in log-odds, of the ends of two trainings of a network from their mean."""
        return math.exp(self._logs[list(PRIOR).index("luck")])

    def fit(self, inputs: Array, moments: Sequence[Moment], steps: int = 20) -> None:
        """Set the hyperparameters to the most probable ones for `moments` of networks with `inputs` (moments, inputs).

        It begins at the prior's medians, so that the result depends on the arguments alone.
        """
        rows = _Rows.of(inputs, moments)
        fixed, identity = _fixed_covariance(rows, rows), np.eye(len(moments))

        def loss(logs: Array) -> tuple[float, Array]:
            varied, gradients = self._covariance_and_gradients(rows, logs)
            factor = cho_factor(fixed + varied + LEAST_NOISE * identity, lower=True)
            alpha = cho_solve(factor, rows.outcomes)
            inner = cho_solve(factor, identity) - np.outer(alpha, alpha)
            off = (logs - self._prior) / DOUBT
            value = 0.5 * rows.outcomes @ alpha + np.log(np.diag(factor[0])).sum() + 0.5 * off @ off
            return float(value), np.array([0.5 * np.vdot(inner, g) for g in gradients]) + off / DOUBT

        bounds = [(median - 4 * DOUBT, median + 4 * DOUBT) for median in self._prior]
        found = minimize(loss, self._prior, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": steps})
        self._logs = np.round(found.x, 3)  # without the last digits, which differ between machines

    def learn(self, inputs: Array, moments: Sequence[Moment]) -> None:
        """Condition on `moments` of networks with `inputs` (moments, inputs), and on nothing else."""
        self._rows = _Rows.of(inputs, moments)
        covariance = self._covariance(self._rows, self._rows)
        self._factor = cho_factor(covariance + LEAST_NOISE * np.eye(len(moments)), lower=True)
        self._alpha = cho_solve(self._factor, self._rows.outcomes)

    def predict(self, inputs: Array, ends: Sequence[Moment]) -> tuple[Array, Array]:
        """Return means and variances of the log-odds of `ends`, moments of networks with `inputs` (ends, inputs)."""
        rows = _Rows.of(inputs, ends)
        means, half = self._condition(rows)
        return means, np.maximum(self._variances(rows) - (half**2).sum(0), LEAST_NOISE)

    def predict_jointly(self, inputs: Array, moments: Sequence[Moment]) -> tuple[Array, Array]:
        """Return the means (moments,) and the covariance (moments, moments) of the log-odds of `moments`."""
        rows = _Rows.of(inputs, moments)
        means, half = self._condition(rows)
        return means, self._covariance(rows, rows) - half.T @ half

    def _condition(self, rows: _Rows) -> tuple[Array, Array]:
        """Return the means of `rows`, and a root of what is subtracted from their covariance (learned, rows)."""
        across = self._covariance(self._rows, rows)
        half = solve_triangular(self._factor[0], across, lower=True)
        return across.T @ self._alpha + rows.expected, half

    def _variances(self, rows: _Rows) -> Array:
        """Return the prior variances of `rows`, the diagonal of their covariance."""
        p = dict(zip(PRIOR, np.exp(2 * self._logs), strict=False))
        squares = rows.inputs**2
        of_inputs = p["slope"] * squares[:, 0] + p["prior"] * squares[:, 1] + p["effects"] * squares[:, 2:].sum(1)
        levels = LEVEL**2 + GAIN**2 * rows.progress + CONFIRMED_DOUBT**2 * rows.confirms
        return np.asarray(
            of_inputs + levels + p["function"] + p["peculiar"] + p["luck"] + p["noise"] * (rows.progress < 1)
        )

    def _covariance(self, one: _Rows, two: _Rows) -> Array:
        return _fixed_covariance(one, two) + self._varied(one, two, self._logs)[0]

    def _varied(self, one: _Rows, two: _Rows, logs: Array) -> tuple[Array, dict[str, Array], Array, list[Array]]:
        """Return the covariance that hyperparameters make, its parts by their names, and what gradients need."""
        p = dict(zip(PRIOR, np.exp(logs), strict=False))
        weights = np.exp(logs[len(PRIOR) :])
        apart = np.abs(one.progress[:, None] - two.progress)
        same_training = (one.training[:, None] == two.training).astype(float)
        squares = [_squared_distances(one.inputs[:, mask], two.inputs[:, mask]) for mask in self._masks]
        distance = np.sqrt(5 * sum(w * s for w, s in zip(weights, squares, strict=True)) + 1e-12)
        kept = np.exp(-apart / p["network keeps"])
        smooth = p["function"] ** 2 * kept * np.exp(-distance)
        parts = {
            "slope": p["slope"] ** 2 * kept * np.outer(one.inputs[:, 0], two.inputs[:, 0]),
            "prior": p["prior"] ** 2 * kept * np.outer(one.inputs[:, 1], two.inputs[:, 1]),
            "effects": p["effects"] ** 2 * kept * (one.inputs[:, 2:] @ two.inputs[:, 2:].T),
            "function": smooth * (1 + distance + distance**2 / 3),  # Matern 5/2
            "peculiar": p["peculiar"] ** 2 * (one.network[:, None] == two.network),
            "luck": p["luck"] ** 2 * same_training * np.exp(-apart / p["luck keeps"]),
            "noise": p["noise"] ** 2 * same_training * ((apart == 0) & (one.progress[:, None] < 1)),
        }
        total = np.asarray(sum(parts.values()))
        return total, {**parts, "apart": apart}, 5 / 6 * smooth * (1 + distance), squares

    def _covariance_and_gradients(self, rows: _Rows, logs: Array) -> tuple[Array, list[Array]]:
        """Return the covariance that hyperparameters make, and its derivative by the logarithm of each."""
        total, parts, by_square, squares = self._varied(rows, rows, logs)
        gradients = []
        for name, log in zip(PRIOR, logs, strict=False):
            if name.endswith(" keeps"):
                changing = ("luck",) if name == "luck keeps" else ("slope", "prior", "effects", "function")
                changes = np.asarray(sum(parts[part] for part in changing))
                gradients.append(changes * parts["apart"] / math.exp(log))
            else:
                gradients.append(2 * parts[name])
        weights = np.exp(logs[len(PRIOR) :])
        return total, gradients + [-w * by_square * s for w, s in zip(weights, squares, strict=True)]


@dataclass(frozen=True, slots=True)
class _Rows:
    """Moments as columns."""

    inputs: Array
    network: Array
    training: Array
    progress: Array
    confirms: Array
    expected: Array  # log-odds, before anything was seen, but for what all share
    outcomes: Array  # less what is expected

    @classmethod
    def of(cls, inputs: Array, moments: Sequence[Moment]) -> _Rows:
        columns = [(m.network, m.training, m.progress, m.is_confirmation, m.log_odds) for m in moments]
        network, training, progress, confirms, outcomes = np.array(columns, dtype=float).T
        expected = SLOPE * inputs[:, 0] + BELIEF * inputs[:, 1] + CONFIRMED * confirms
        return cls(inputs, network, training, progress, confirms, expected, outcomes - expected)


def _fixed_covariance(one: _Rows, two: _Rows) -> Array:
    """Return the covariance that has no hyperparameters: of the level at each moment and of confirmations."""
    levels = LEVEL**2 + GAIN**2 * np.minimum(one.progress[:, None], two.progress)
    return np.asarray(levels + CONFIRMED_DOUBT**2 * np.outer(one.confirms, two.confirms))


def _squared_distances(one: Array, two: Array) -> Array:
    squares = (one**2).sum(1)[:, None] + (two**2).sum(1) - 2 * one @ two.T
    return np.asarray(np.maximum(squares, 0))
