"""Bayesian linear regression, learned an observation at a time.

Performance prediction from what a network is and how far its training has come: Baker et al. 2017, Accelerating Neural
Architecture Search using Performance Prediction, sections 3 and 4. Linear models are enough for the few dozen trials of
a study, and they say how much they do not know.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import numpy as np

Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


class LinearModel:
    """Bayesian linear regression on standardized inputs.

    Every weight has a normal prior around zero, which few observations hardly move (ridge regression, Hoerl and Kennard
    1970; its posterior: Bishop 2006, section 3.3). The prior is scaled to the noise, which is estimated from the
    residuals.
    """

    LEAST_SCALE = 0.1  # of an input that has hardly varied yet, so that the doubt about its weight is bounded

    def __init__(self, penalties: Sequence[float]) -> None:
        """`penalties` (inputs,) are the precisions of the weights' priors, counted in observations."""
        self.count = 0
        self._penalties = np.array(penalties)
        self._sum = np.zeros(len(penalties) + 1)  # of inputs and outcome
        self._products = np.zeros((len(penalties) + 1,) * 2)
        self._is_fitted = False

    @classmethod
    def of_genes(cls, others: int, num_inputs: int) -> LinearModel:
        """Return a model of `num_inputs` inputs, of which all but the first `others` are of genes.

        The more genes there are, the less each is believed to matter: its precision is their number.
        """
        num_genes = num_inputs - others
        return cls([1.0] * others + [float(num_genes)] * num_genes)

    def learn(self, inputs: Sequence[float], outcome: float) -> None:
        """Take in one observation of `inputs` (inputs,) and their outcome."""
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
        # The noise is estimated too, which makes predictions follow Student's t (Bishop 2006, section 2.3.7).
        self._doubt = math.sqrt(freedom / (freedom - 2)) if freedom > 2 else math.inf
        self._is_fitted = True

    def predict(self, inputs: Sequence[float]) -> tuple[float, float]:
        """Return the mean and the standard deviation of the outcome at `inputs` (inputs,).

        The deviation is infinite while too few observations were learned.
        """
        self._fit()
        z = (np.array(inputs) - self._means) / self._scales
        deviation = self._doubt * self._noise * math.sqrt(1 + 1 / self.count + float(z @ self._posterior @ z))
        return float(self._mean + z @ self._weights), deviation

    @property
    def slopes(self) -> Array:
        """The expected rise of the outcome per unit of each input (inputs,)."""
        self._fit()
        return np.asarray(self._weights / self._scales)

    def draw_weights(self, rng: random.Random) -> Array:
        """Return one draw of the weights (inputs,) from their posterior, per unit of each input.

        To propose what is best by such a draw is to try each input as often as it is likely to be the best (Thompson
        1933).
        """
        self._fit()
        luck = np.array([rng.gauss(0, 1) for _ in self._weights])
        drawn = self._weights + self._noise * np.linalg.cholesky(self._posterior) @ luck
        return np.asarray(drawn / self._scales)
