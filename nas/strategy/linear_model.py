"""What a trial will come to: linear models of its genes, its size and its learning curve, learnt from other trials.

Performance prediction from what a network is and how far its training has come: Baker et al. 2017, Accelerating Neural
Architecture Search using Performance Prediction, sections 3 and 4. Linear models are enough for the few dozen trials of
a study; and what they do not know, they say.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial

Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
Distributions = Mapping[str, BaseDistribution]


def log_odds(accuracy: float) -> float:
    """Of percent, where errors of 2 % and 1 % are as far apart as 20 % and 10 %.

    Nothing is taken for certain beyond what 2,000 images could show.
    """
    share = min(max(accuracy / 100, 0.0005), 0.9995)
    return math.log(share / (1 - share))


def gene_inputs(genes: Mapping[str, Any], distributions: Distributions) -> list[float]:
    """The genes of `distributions` from 0 to 1: one input for a number, one for each choice but the first."""
    inputs = []
    for name, distribution in distributions.items():
        value = genes[name]
        if isinstance(distribution, CategoricalDistribution):
            inputs += [float(value == choice) for choice in distribution.choices[1:]]
        elif isinstance(distribution, IntDistribution | FloatDistribution):
            inputs.append(_share_of_range(float(value), distribution))
    return inputs


def _share_of_range(value: float, distribution: IntDistribution | FloatDistribution) -> float:
    low, high = float(distribution.low), float(distribution.high)
    if low == high:
        return 0.0
    if distribution.log:
        return math.log(value / low) / math.log(high / low)
    return (value - low) / (high - low)


def trial_inputs(trial: FrozenTrial, distributions: Distributions) -> list[float]:
    """The size of a trial's network, as the logarithm of its parameters, and its genes of `distributions`."""
    return [math.log(trial.user_attrs["num_params"]), *gene_inputs(trial.params, distributions)]


class LinearModel:
    """Bayesian linear regression on standardized inputs, learnt an observation at a time.

    Every weight has a normal prior around zero, so that what few observations cannot tell counts little (ridge
    regression, Hoerl and Kennard 1970; its posterior: Bishop 2006, section 3.3). The prior is scaled to the noise,
    which is estimated from the residuals.
    """

    LEAST_SCALE = 0.1  # of an input that has hardly varied yet: what it does is in doubt, but not without bounds

    def __init__(self, penalties: list[float]) -> None:
        """`penalties` has one for each input: the precision of its weight's prior, in observations."""
        self.count = 0
        self._penalties = np.array(penalties)
        self._sum = np.zeros(len(penalties) + 1)  # of inputs and outcome
        self._products = np.zeros((len(penalties) + 1,) * 2)
        self._is_fitted = False

    @classmethod
    def of_genes(cls, others: int, num_inputs: int) -> LinearModel:
        """For inputs of which all but the first `others` are of genes: the more those are, the less each will tell."""
        num_genes = num_inputs - others
        return cls([1.0] * others + [float(num_genes)] * num_genes)

    def learn(self, inputs: list[float], outcome: float) -> None:
        """Takes in one observation."""
        row = np.array([*inputs, outcome])
        self.count += 1
        self._sum += row
        self._products += np.outer(row, row)
        self._is_fitted = False

    def _fit(self) -> None:
        if self._is_fitted:
            return
        n, mean = self.count, self._sum / self.count
        covariance = self._products / n - np.outer(mean, mean)
        self._means, self._mean = mean[:-1], mean[-1]
        self._scales = np.sqrt(np.maximum(np.diag(covariance)[:-1], self.LEAST_SCALE**2))
        gram = n * covariance[:-1, :-1] / np.outer(self._scales, self._scales)
        moments = n * covariance[:-1, -1] / self._scales
        self._posterior = np.linalg.inv(gram + np.diag(self._penalties))
        self._weights = self._posterior @ moments
        squares = n * covariance[-1, -1] - 2 * self._weights @ moments + self._weights @ gram @ self._weights
        freedom = n - 1 - float(np.trace(self._posterior @ gram))  # what the weights leave (Hastie et al. 2009, 3.4.1)
        self._noise = math.sqrt(max(float(squares), 1e-12) / max(freedom, 1.0))
        # Known from so few, it makes predictions of a Student t distribution (Bishop 2006, section 2.3.7).
        self._doubt = math.sqrt(freedom / (freedom - 2)) if freedom > 2 else math.inf
        self._is_fitted = True

    def predict(self, inputs: list[float]) -> tuple[float, float]:
        """The mean and the standard deviation of the outcome at `inputs`; infinite while too little is known to say."""
        self._fit()
        z = (np.array(inputs) - self._means) / self._scales
        deviation = self._doubt * self._noise * math.sqrt(1 + 1 / self.count + float(z @ self._posterior @ z))
        return float(self._mean + z @ self._weights), deviation

    @property
    def slopes(self) -> Array:
        """How much the outcome is expected to rise with each input, by one of its units."""
        self._fit()
        return np.asarray(self._weights / self._scales)

    def draw_weights(self, rng: random.Random) -> Array:
        """One draw of the weights, for inputs that are not standardized, from what is believed of them.

        To propose what is best by such a draw tries what may be good as often as it may be (Thompson 1933).
        """
        self._fit()
        luck = np.array([rng.gauss(0, 1) for _ in self._weights])
        drawn = self._weights + self._noise * np.linalg.cholesky(self._posterior) @ luck
        return np.asarray(drawn / self._scales)
