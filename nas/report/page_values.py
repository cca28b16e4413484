"""What the tables of the report say, as plain values: early stopping, time spent, draws, standard errors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import NamedTuple

from nas.study.folder import StudyImages
from nas.study.ledger import count_draws, fates, seconds_by_fate
from nas.study.records import TrialRecord, standard_error, test_readings

_FATES = {
    "confirmed": "confirmations",
    "completed": "trained to the end",
    "stopped": "stopped early",
    "failed": "failed",
    "duplicate": "the same network and recipe as another trial",
    "interrupted": "interrupted",
    "running": "running when this was written",
}


_READINGS = "trainings after which the test set was read"


class Stops(NamedTuple):
    """The trials that were stopped after one epoch."""

    epoch: int
    stopped: int
    reached: int  # trials that were trained that long
    best: float | None  # percent, of the stopped; None where they were stopped before their first epoch


@dataclass(frozen=True, slots=True)
class EarlyStopping:
    """How many trials were stopped, and when."""

    stopped: int
    completed: int
    epochs: int  # that the stopped trials took
    full_epochs: int  # that they would have taken at most; 0 where no trial was completed
    by_epoch: list[Stops]


def early_stopping(records: Sequence[TrialRecord]) -> EarlyStopping:
    """Return how many trials were stopped early, and after which epochs."""
    stopped = [r for r in records if r.fate == "stopped"]
    completed = [r.num_epochs for r in records if r.fate == "completed"]
    lengths = [*completed, *(r.num_epochs for r in stopped)]
    by_epoch = []
    for epoch, count in sorted(Counter(r.num_epochs for r in stopped).items()):
        best = max((r.validation_curve[-1] for r in stopped if len(r.validation_curve) == epoch > 0), default=None)
        by_epoch.append(Stops(epoch, count, sum(length >= epoch for length in lengths), best))
    full_epochs = max(completed, default=0) * len(stopped)
    return EarlyStopping(len(stopped), len(completed), sum(r.num_epochs for r in stopped), full_epochs, by_epoch)


class Spending(NamedTuple):
    """The training time that went into one fate."""

    label: str
    trainings: int
    share: float  # 0 to 1, of the time of all trainings
    seconds: float


def spending(records: Sequence[TrialRecord]) -> list[Spending]:
    """Return what the training time went into, confirmations first."""
    seconds, readings = seconds_by_fate(records), test_readings(list(records))
    counts: dict[str, int] = {"confirmed": readings, **{str(fate): count for fate, count in fates(records).items()}}
    total = sum(seconds.values()) or 1.0
    return [
        Spending(label, counts[fate], seconds.get(fate, 0.0) / total, seconds.get(fate, 0.0))
        for fate, label in _FATES.items()
        if counts.get(fate)
    ]


def failures(records: Sequence[TrialRecord]) -> list[tuple[str, int]]:
    """Return why trials failed, and how many for each reason, the most frequent first."""
    return Counter(r.reason or "unknown" for r in records if r.fate == "failed").most_common()


def draws(records: Sequence[TrialRecord]) -> dict[str, int]:
    """Return what it took to propose and to judge the candidates, as far as it is known."""
    drawn, readings = count_draws(records), test_readings(list(records))
    if drawn is None:
        return {_READINGS: readings} if readings else {}
    return {
        "draws that exceeded the budget": drawn.over_budget,
        "draws that were thrown away, as they missed the size aimed at": drawn.redrawn,
        "networks whose widths were changed to fit": drawn.repaired,
        "networks passed over, as they had been tried before": drawn.repeated,
        "trials that took the result of another with the same network and recipe": drawn.duplicates,
        _READINGS: readings,
    }


class Gap(NamedTuple):
    """What the networks of a confirmation have right after their last epoch, in percent, means over seeds."""

    train: float  # of training images, without augmentation
    test: float

    @property
    def points(self) -> float:
        """How much more of the training images is right."""
        return self.train - self.test


def gap(record: TrialRecord) -> Gap | None:
    """Return what is known of the gap between training and test of a trial's confirmation; None for nothing."""
    known = [(c.train_accuracy, c.test_accuracy[-1]) for c in record.confirmations if c.train_accuracy is not None]
    return Gap(fmean(train for train, _ in known), fmean(test for _, test in known)) if known else None


class StandardError(NamedTuple):
    """How far a single run is off by the images that it was measured on."""

    part: str  # 'test' or 'validation'
    num_images: int
    accuracy: float  # percent, the best that was measured on them
    points: float


def standard_errors(records: Sequence[TrialRecord], images: StudyImages | None) -> list[StandardError]:
    """Return the standard errors of the best accuracies; none for a study of which no images are known."""
    if images is None:
        return []
    parts = {
        "test": (images.num_test, [r.confirmed.mean for r in records if r.confirmed]),
        "validation": (images.num_validation, [r.validation_accuracy for r in records if r.fate == "completed"]),
    }
    return [
        StandardError(part, num_images, max(accuracies), standard_error(max(accuracies), num_images))
        for part, (num_images, accuracies) in parts.items()
        if accuracies
    ]


def short(count: int) -> str:
    """Return a count for people: '1.43 M', '5 k', '12'."""
    for size, unit, digits in ((10**9, "G", 2), (10**6, "M", 2), (10**3, "k", 0)):
        if count >= size:
            return f"{count / size:.{digits}f} {unit}"
    return str(count)


def gene_value(value: object) -> str:
    """Return the value of a gene for people."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
