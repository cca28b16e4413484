"""What to confirm: the networks whose validation accuracy makes the target likely.

A confirmation costs several trainings and reads the test set, so it is spent on likely networks alone. Confirmed and
validation accuracy differ, since a confirmation trains on more images and the two sets are not equally hard. By how
much is estimated from the confirmations that the study has made.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

from nas.study.answer import smallest_met
from nas.study.records import ConfirmedFigure, TrialRecord, standard_error
from nas.study.settings import StudySettings

LIKELY = 0.25  # the least chance of meeting the target that is worth the trainings; they teach the offset as well
WORTHWHILE = 0.95  # of the parameters of the smallest network so far: one that saves less is not worth its trainings
# The prior of the offset: training on a sixth more images helps a little.
PRIOR_OFFSET = NormalDist(0.1, 0.2)  # points, confirmed minus validation


def offset_belief(records: Sequence[TrialRecord], validation_images: int) -> NormalDist:
    """Return the posterior of the offset, in points, that confirmed accuracy has over validation accuracy.

    Every confirmed trial updates the prior by its two accuracies, as normal observations of known noise.
    """
    mean, variance = PRIOR_OFFSET.mean, PRIOR_OFFSET.variance
    for record in records:
        if record.confirmed:
            noise = standard_error(record.validation_accuracy, validation_images) ** 2
            gain = variance / (variance + noise)
            mean += gain * (record.confirmed.mean - record.validation_accuracy - mean)
            variance *= 1 - gain
    return NormalDist(mean, math.sqrt(variance))


def chance(record: TrialRecord, target: float, offset: NormalDist, validation_images: int) -> float:
    """Return the probability that a confirmation of `record` meets `target` (percent)."""
    noise = standard_error(record.validation_accuracy, validation_images)
    expected = record.validation_accuracy + offset.mean
    return 1 - NormalDist(expected, math.hypot(offset.stdev, noise)).cdf(target)


def is_hopeless(figure: ConfirmedFigure, target: float, seeds: int, test_images: int) -> bool:
    """Return whether the remaining seeds are too unlikely to bring the mean of `figure` up to `target` (percent).

    Too unlikely is a chance below `LIKELY`, scaled by the share of `seeds` left. Trainings with different seeds are
    taken to differ by the standard error of an accuracy on `test_images`.
    """
    done, left = figure.num_seeds, seeds - figure.num_seeds
    if left <= 0:
        return False
    needed = (seeds * target - done * figure.mean) / left  # the mean of the remaining seeds
    spread = standard_error(target, test_images) * math.sqrt(1 / done + 1 / left)
    return 1 - NormalDist(figure.mean, spread).cdf(needed) < LIKELY * left / seeds


def worthwhile_below(num_params: int) -> int:
    """Return the bound that the parameters of a network must stay below, once one of `num_params` met the target."""
    return math.ceil(WORTHWHILE * num_params)


def next_to_confirm(
    records: Sequence[TrialRecord], settings: StudySettings, target: float, validation_images: int
) -> TrialRecord | None:
    """Return the unconfirmed trial that is most worth a confirmation; None if none is worth it.

    Before any network has met the target, it is the trial most likely to. From then on it is the trial with the largest
    expected saving: its chance, times the log ratio of the smallest network's parameters to its own.
    """
    best = smallest_met(records, settings)
    below = worthwhile_below(best.num_params) if best else math.inf
    offset = offset_belief(records, validation_images)
    confirmed = {r.digest for r in records if r.confirmations}
    candidates = []
    for r in records:
        if r.fate == "completed" and r.digest not in confirmed and r.num_params < below:
            likely = chance(r, target, offset, validation_images)
            if likely >= LIKELY:
                worth = likely * math.log(best.num_params / r.num_params) if best else likely
                candidates.append((worth, -r.num_params, r.number, r))
    return max(candidates)[-1] if candidates else None
