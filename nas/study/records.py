"""Trial records: what a study remembers of each trial, free of Optuna and torch."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias

from nas.decode import Bounds

# completed: trained to its end.  stopped: not expected to move the front.  failed: could not be trained, and why.
# interrupted: cut off by the search's end; trained again on resume.  duplicate: same network and recipe as another.
# running: being trained now.
Fate = Literal["completed", "stopped", "failed", "interrupted", "duplicate", "running"]
Percent: TypeAlias = Annotated[float, Bounds(0.0, 100.0)]
LAST_EPOCHS = 3  # what the figure of a training is the mean of


@dataclass(frozen=True, slots=True)
class Confirmation:
    """One training from scratch on the whole training set, its test accuracy read after each epoch."""

    seed: int
    test_accuracy: tuple[Percent, ...]  # one an epoch
    train_seconds: Annotated[float, Bounds(0.0)]
    place: Annotated[int, Bounds(0)] = 0  # of its seed in the order in which those of the confirmation are trained

    @property
    def figure(self) -> float:
        """Mean of the last epochs' test accuracy, percent."""
        return last_epochs_mean(self.test_accuracy)


@dataclass(frozen=True, slots=True)
class TrialRecord:
    """One trial."""

    number: int
    fate: Fate
    num_params: int
    num_macs: int
    peak_activation_bytes: int
    digest: str
    genes: dict[str, Any]
    seed: int
    validation_curve: tuple[Percent, ...]  # one an epoch that was trained
    train_seconds: float
    reason: str = ""  # why it failed
    redrawn: int = 0  # draws that were thrown away before this one
    over_budget: int = 0  # of all those draws, this one included: those that exceeded the budget
    repaired: bool = False  # whether the draw's widths were changed to fit
    repeated: int = 0  # networks that were passed over, as they had been tried before
    origin: str = ""  # where a warm start has it from; empty for what the search proposed
    network: str = ""  # its architecture in one line, for people; empty in studies of version 0.1
    confirmations: tuple[Confirmation, ...] = ()

    @property
    def validation_accuracy(self) -> float:
        """Mean of the last epochs' validation accuracy, percent: what candidates are chosen by."""
        return last_epochs_mean(self.validation_curve)

    @property
    def confirmed(self) -> ConfirmedFigure | None:
        """The figure over seeds, or None before any confirmation."""
        return ConfirmedFigure(self.confirmations) if self.confirmations else None


@dataclass(frozen=True, slots=True)
class ConfirmedFigure:
    """The honest number: over seeds, the mean of each seed's mean over its last epochs."""

    confirmations: tuple[Confirmation, ...]

    @property
    def num_seeds(self) -> int:
        """How many trainings it is the mean of."""
        return len(self.confirmations)

    @property
    def mean(self) -> float:
        """Percent."""
        return statistics.fmean(c.figure for c in self.confirmations)

    @property
    def spread(self) -> float | None:
        """Standard deviation over seeds (n - 1), in points; None for a single seed, which says nothing of it."""
        return statistics.stdev(c.figure for c in self.confirmations) if self.num_seeds > 1 else None

    @property
    def spread_text(self) -> str:
        """' ± 0.03', to be put behind the mean; empty for a single seed."""
        return "" if self.spread is None else f" ± {self.spread:.2f}"

    @property
    def seeds_text(self) -> str:
        """'3 seeds', or '1 seed'."""
        return f"{self.num_seeds} seed{'s' * (self.num_seeds != 1)}"

    @property
    def num_epochs(self) -> int:
        """How many epochs its trainings have."""
        return len(self.confirmations[0].test_accuracy)

    def __str__(self) -> str:
        """'99.48 % ± 0.03'."""
        return f"{self.mean:.2f} %{self.spread_text}"

    @property
    def best_epoch(self) -> float:
        """The best test accuracy of any epoch of any seed: shown because the literature reports it, decides nothing."""
        return max(max(c.test_accuracy) for c in self.confirmations)

    def consistent(self, target: float) -> bool:
        """Return whether each of the last `LAST_EPOCHS` epochs of every seed reaches `target`."""
        return all(min(c.test_accuracy[-LAST_EPOCHS:]) >= target for c in self.confirmations)


def last_epochs_mean(curve: tuple[float, ...]) -> float:
    """Mean of the last epochs of a curve, or of all where there are fewer."""
    return statistics.fmean(curve[-LAST_EPOCHS:])


def last_epochs_text(num_epochs: int) -> str:
    """Return what a training of `num_epochs` is judged by: 'the last 3 epochs', or as many as there are."""
    count = min(num_epochs, LAST_EPOCHS)
    return f"the last {count} epochs" if count > 1 else "the last epoch"


def standard_error(accuracy: float, num_images: int) -> float:
    """Return the standard error, in points, of an accuracy in percent that was measured on `num_images` (binomial)."""
    share = min(max(accuracy / 100, 0.5 / num_images), 1 - 0.5 / num_images)  # all right is no proof of no error
    return 100 * math.sqrt(share * (1 - share) / num_images)


def test_readings(records: list[TrialRecord]) -> int:
    """Return how many trainings have read the test set."""
    return sum(len(record.confirmations) for record in records)
