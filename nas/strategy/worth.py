"""What a training is worth: the gain that it promises for its cost.

With a target, the gain is the log saving of parameters over the smallest network that has met it, times the chance that
a confirmation meets it: the expected improvement under an unknown constraint (Gelbart et al. 2014, Bayesian
Optimization with Unknown Constraints; the size itself is known exactly). Without one, it is the hypervolume that the
front of parameters and accuracy is expected to gain (Emmerich et al. 2006).

Costs are times, in no unit: a training takes as long as a power of the MACs of its network says. What took how long on
this machine is not asked, so that a decision can be derived again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import ndtr

from nas.strategy.accuracy_model import Array

# An answer of any size is worth as much as this log saving of parameters.
FIRST_ANSWER = 4.0
LEAST_GAIN = 0.001  # log saving of parameters, below which a proposal is not worth a training
# Of the MACs, that the time of a training goes by. In our trainings on a CPU it went by powers of 0.3 to 0.6. A lower
# one, since cheap networks look better than they are where little is known.
COST_POWER = 0.25
SEED_COST = 1.2  # of a training on the whole training set
BEYOND = 1.25  # Sizes up to this multiple of the largest on the front count, so that the largest have something to win.

Point = tuple[float, float]  # parameters, log-odds of the accuracy


def saving(sizes: Array, below: int | None, budget: int, pending: Sequence[tuple[int, float]] = ()) -> Array:
    """Return the log saving of parameters (networks,) that networks of `sizes` bring if they meet the target.

    Args:
        sizes: parameters (networks,).
        below: parameters of the smallest network that met the target; None where none has.
        budget: in parameters.
        pending: parameters of networks that are being trained, and the chance of each to meet the target.
    """
    rest, total = 1.0, np.zeros(len(sizes))
    for size, chance in sorted(pending):  # the smallest of those that will have met it
        total += rest * chance * np.maximum(math.log(size) - np.log(sizes), 0.0)
        rest *= 1 - chance
    before = math.log(budget) + FIRST_ANSWER if below is None else math.log(below)
    return np.asarray(total + rest * np.maximum(before - np.log(sizes), 0.0))


def trial_cost(chances: Array, num_macs: Array, left: float, seeds: int) -> Array:
    """Return the time that an answer is expected to take: what is `left` of a trial, then seeds if it goes well."""
    return np.asarray(num_macs**COST_POWER * (left + chances * seeds * SEED_COST))


def confirmation_cost(chance: float, num_macs: float, seeds: int) -> float:
    """Return the time that the `seeds` that a confirmation needs are expected to take: the first may end it."""
    return float(num_macs**COST_POWER * SEED_COST * (1 + (seeds - 1) * chance))


def hypervolume_gain(front: Sequence[Point], sizes: Array, means: Array, deviations: Array) -> Array:
    """Return what networks are expected to add to the hypervolume of a front over log parameters, as shares of it.

    Args:
        front: parameters and log-odds of the accuracy, ascending in both; its first accuracy is the reference.
        sizes: parameters of each network (networks,).
        means: of the log-odds of its accuracy, normally distributed.
        deviations: their standard deviations, above 0.

    Returns:
        The expected shares (networks,), to first order in the log-odds; infinite where the front is a single point.
    """
    front_sizes, levels = zip(*front, strict=True)
    least = front_sizes[0]
    sizes_on = np.maximum(sizes, least)
    gain, hypervolume = np.zeros(len(sizes)), 0.0
    ends = [*front_sizes[1:], BEYOND * max(front_sizes[-1], float(sizes.max()))]
    for first, level, last in zip(front_sizes, levels, ends, strict=True):
        hypervolume += math.log(last / first) * (_share(level) - _share(levels[0]))
        z = (means - level) / deviations
        density = np.exp(-z * z / 2) / math.sqrt(2 * math.pi)
        rise = deviations * (density + z * ndtr(z))  # expected improvement (Jones et al. 1998)
        slope = _share(level) * (1 - _share(level))  # from log-odds to shares
        width = np.maximum(np.log(last / np.maximum(first, sizes_on)), 0.0)
        gain += width * rise * slope
    return np.asarray(gain / hypervolume if hypervolume else np.full(len(sizes), math.inf))


def _share(log_odds_: float) -> float:
    return 1 / (1 + math.exp(-log_odds_))
