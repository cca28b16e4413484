"""How the time of a study is spent: what is kept for confirmations, and which trainings can still end in time.

The time bounds all runs of a study together, confirmations included. How long a training takes is not known before some
have ended; then it is measured. Until then a share of the time is kept for confirmations.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nas.study.duration import format_duration
from nas.study.folder import StudyImages
from nas.study.records import TrialRecord
from nas.study.settings import StudySettings

CONFIRMING_SHARE = 1 / 3  # of the time: the most that is kept for confirmations
CERTAINTY = 0.9  # share of the trainings known so far that took no longer than one is taken to need


@dataclass(frozen=True, slots=True)
class TimePlan:
    """The time of a study, and what its next trainings are taken to need. All in seconds, counted over all runs."""

    limit: float  # infinite where the study has none
    kept: float = 0.0  # of it, for confirmations
    trial: float = 0.0  # that the training of a trial takes; 0 where none has ended yet
    confirmation: float = 0.0  # that one seed of a confirmation takes; 0 likewise

    def admits_trial(self, spent: float) -> bool:
        """Return whether a trial that begins after `spent` seconds ends before the time that confirmations get."""
        return spent < self.limit and spent + self.trial <= self.limit - self.kept

    def admits_confirmation(self, spent: float) -> bool:
        """Return whether a seed of a confirmation that begins after `spent` seconds ends in time."""
        return spent < self.limit and spent + self.confirmation <= self.limit

    def is_over(self, spent: float) -> bool:
        """Return whether the time is used up, so that whatever runs is to end now."""
        return spent >= self.limit

    @property
    def is_limited(self) -> bool:
        """Whether the study has a limit of time."""
        return math.isfinite(self.limit)

    def __str__(self) -> str:
        return f"of {format_duration(self.limit)}, {format_duration(self.kept)} are kept for confirmations"


UNLIMITED = TimePlan(math.inf)


def plan_time(
    records: Sequence[TrialRecord],
    settings: StudySettings,
    epochs: int,
    images: StudyImages,
    num_networks: int,
    num_workers: int,
) -> TimePlan:
    """Return how to spend the time of a study, going by the trainings that have ended.

    Args:
        records: every trial.
        settings: what the study is asked for.
        epochs: of a training.
        images: a confirmation trains on those of the validation part too.
        num_networks: that are to be confirmed at the end.
        num_workers: trainings that run at once.
    """
    if settings.max_seconds is None:
        return UNLIMITED
    kept = CONFIRMING_SHARE * settings.max_seconds
    trial = epochs * _seconds_of_epoch(
        (r.train_seconds, len(r.validation_curve)) for r in records if r.fate in ("completed", "stopped")
    )
    confirmation = epochs * _seconds_of_epoch(
        (c.train_seconds, len(c.test_accuracy)) for r in records for c in r.confirmations
    )
    confirmation = confirmation or trial * (images.num_train + images.num_validation) / images.num_train
    if confirmation:
        rounds = math.ceil(num_networks * settings.num_seeds / num_workers)
        kept = min(kept, rounds * confirmation)
    return TimePlan(settings.max_seconds, kept, trial, confirmation)


def _seconds_of_epoch(trainings: Iterable[tuple[float, int]]) -> float:
    """Return the seconds that an epoch takes in all but the slowest of `trainings` (seconds, epochs); 0 for none."""
    known = sorted(seconds / epochs for seconds, epochs in trainings if epochs)
    return known[math.ceil(CERTAINTY * len(known)) - 1] if known else 0.0
