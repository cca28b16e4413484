"""When a network deserves a confirmation, and whether it met the target.

A confirmation reads the test set, so it is spent only where the validation accuracy makes the target likely. How
validation and confirmed accuracy differ (more images to train on; one set is easier than the other) is not known
beforehand: it is estimated from the confirmations that the study has made.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

from nas.study.answer import smallest_met
from nas.study.records import ConfirmedFigure, TrialRecord
from nas.study.settings import StudySettings

LIKELY = 0.25  # the least chance worth three trainings, and what they teach about the offset
WORTHWHILE = 0.95  # of the parameters of the smallest network so far: one that saves less is not worth its trainings
# What is believed before the first confirmation: a sixth more images to train on help a little.
PRIOR_OFFSET = NormalDist(0.1, 0.2)  # points, confirmed minus validation


def standard_error(accuracy: float, images: int) -> float:
    """Of an accuracy in percent measured on `images` images, in points (binomial)."""
    p = min(max(accuracy / 100, 0.5 / images), 1 - 0.5 / images)
    return 100 * math.sqrt(p * (1 - p) / images)


def offset_belief(records: Sequence[TrialRecord], validation_images: int) -> NormalDist:
    """What confirmed accuracy is believed to add to validation accuracy, in points: the prior, updated by each pair."""
    mean, variance = PRIOR_OFFSET.mean, PRIOR_OFFSET.variance
    for record in records:
        if record.confirmed:
            noise = standard_error(record.validation_accuracy, validation_images) ** 2
            gain = variance / (variance + noise)
            mean += gain * (record.confirmed.mean - record.validation_accuracy - mean)
            variance *= 1 - gain
    return NormalDist(mean, math.sqrt(variance))


def chance(record: TrialRecord, target: float, offset: NormalDist, validation_images: int) -> float:
    """The probability that a confirmation of `record` meets `target` (percent)."""
    noise = standard_error(record.validation_accuracy, validation_images)
    expected = record.validation_accuracy + offset.mean
    return 1 - NormalDist(expected, math.hypot(offset.stdev, noise)).cdf(target)


def is_hopeless(figure: ConfirmedFigure, target: float, seeds: int, test_images: int) -> bool:
    """Whether the seeds that are left are less likely to lift `figure` to the target than a confirmation need be.

    That is `LIKELY` for all `seeds`, and their share of it for those that are left. One training is taken to differ
    from another by the standard error of a reading of the test set.
    """
    done, left = figure.num_seeds, seeds - figure.num_seeds
    if left <= 0:
        return False
    needed = (seeds * target - done * figure.mean) / left  # the mean of those that are left
    spread = standard_error(target, test_images) * math.sqrt(1 / done + 1 / left)
    return 1 - NormalDist(figure.mean, spread).cdf(needed) < LIKELY * left / seeds


def worthwhile_below(num_params: int) -> int:
    """What a network must have fewer parameters than, once one of `num_params` has met the target."""
    return math.ceil(WORTHWHILE * num_params)


def next_to_confirm(
    records: Sequence[TrialRecord], settings: StudySettings, target: float, validation_images: int
) -> TrialRecord | None:
    """The unconfirmed trial that is worth a confirmation most; None if none is.

    Before any network has met the target that is the one most likely to; from then on the one expected to save the
    largest share of the parameters of the smallest that has: chance times log ratio.
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
