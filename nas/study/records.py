"""Trial records: what a study remembers of each trial, free of Optuna and torch."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias

from nas.costs import COUNTED, Count
from nas.decode import Bounds
from nas.errors import StudyError

# completed: trained to its end.  stopped: not expected to move the front.  failed: could not be trained, and why.
# interrupted: cut off by the search's end; trained again on resume.  duplicate: same network and recipe as another.
# running: being trained now.
Fate = Literal["completed", "stopped", "failed", "interrupted", "duplicate", "running"]
Percent: TypeAlias = Annotated[float, Bounds(0.0, 100.0)]
LAST_EPOCHS = 3  # what the figure of a training is the mean of
FINISHED: tuple[Fate, ...] = ("completed", "stopped", "failed")  # what counts towards the trials of a study
# What there is to know of how large a network is, in the order of tables.
SIZES = ("num_params", "deployed_params", "num_macs", "peak_activation_bytes", "flash_bytes", "ram_bytes")


@dataclass(frozen=True, slots=True)
class Confirmation:
    """One training from scratch on the whole training set, its test accuracy read after each epoch."""

    seed: int
    test_accuracy: tuple[Percent, ...]  # one an epoch
    train_seconds: Annotated[float, Bounds(0.0)]
    place: Annotated[int, Bounds(0)] = 0  # of its seed in the order in which those of the confirmation are trained
    train_loss: tuple[float, ...] = ()  # one an epoch; empty where one is not known, as in studies of earlier versions
    train_accuracy: Percent | None = None  # after the last epoch, of the training images as they are; None likewise

    @property
    def figure(self) -> float:
        """Mean of the last epochs' test accuracy, percent."""
        return last_epochs_mean(self.test_accuracy)


@dataclass(frozen=True, slots=True)
class Summary:
    """What is known of a trial whose epochs were not kept one by one (`nas.study.kept`)."""

    num_epochs: int
    validation_accuracy: Percent | None  # the mean of the last epochs; None where it was not trained
    confirmed: ConfirmedFigure | None
    confirm_seconds: float = 0.0  # its trainings' share of the time that the study spent on confirmations


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
    flash_bytes: int | None = None  # of a microcontroller, in 8 bits, at most; None in older studies
    ram_bytes: int | None = None  # the same of its RAM
    deployed_params: int | None = None  # once batch norms are folded; None in older studies
    count: Count = "trained"  # which parameters its study goes by
    confirmations: tuple[Confirmation, ...] = ()
    summary: Summary | None = None  # in place of curves and confirmations, where these were not kept

    @property
    def size(self) -> int:
        """The parameters that its study goes by: those of the budget, of the front and of the answer."""
        return int(getattr(self, COUNTED[self.count]))

    @property
    def sizes(self) -> dict[str, int | None]:
        """Each of `SIZES` by name."""
        return {name: getattr(self, name) for name in SIZES}

    @property
    def test_figures(self) -> dict[str, float | int | None]:
        """The confirmed figure as tables have it: `test_accuracy`, `test_spread` and `seeds`."""
        figure = self.confirmed
        if figure is None:
            return {"test_accuracy": None, "test_spread": None, "seeds": 0}
        return {
            "test_accuracy": round_percent(figure.mean),
            "test_spread": round_percent(figure.spread),
            "seeds": figure.num_seeds,
        }

    @property
    def size_text(self) -> str:
        """'7,788 parameters (7,588 deployed)', the count that its study goes by first; without what is not known."""
        if self.count == "deployed":
            return f"{self.size:,} parameters deployed ({self.num_params:,} trained)"
        deployed = "" if self.deployed_params is None else f" ({self.deployed_params:,} deployed)"
        return f"{self.num_params:,} parameters{deployed}"

    @property
    def num_epochs(self) -> int:
        """Epochs that were trained."""
        return self.summary.num_epochs if self.summary else len(self.validation_curve)

    @property
    def validation_accuracy(self) -> float:
        """Mean of the last epochs' validation accuracy, percent: what candidates are chosen by."""
        if self.summary and self.summary.validation_accuracy is not None:
            return self.summary.validation_accuracy
        return last_epochs_mean(self.validation_curve)

    @property
    def confirmed(self) -> ConfirmedFigure | None:
        """The figure over seeds, or None before any confirmation."""
        if self.summary:
            return self.summary.confirmed
        return ConfirmedFigure.of(self.confirmations) if self.confirmations else None


@dataclass(frozen=True, slots=True)
class ConfirmedFigure:
    """The honest number: over seeds, the mean of each seed's mean over its last epochs. Accuracies in percent."""

    num_seeds: int  # trainings that it is the mean of
    mean: float
    spread: float | None  # standard deviation over seeds (n - 1), in points; None for one seed, which tells nothing
    num_epochs: int  # of each training
    # None in what follows: it was not kept.
    best_epoch: float | None  # of any seed: shown because the literature reports it, decides nothing
    lowest: float | None  # of the last `LAST_EPOCHS` epochs of all seeds
    weights_accuracy: float | None  # of the first seed after its last epoch, whose weights are exported
    was_consistent: bool | None = None  # what is known in place of `lowest`, with regard to the study's target

    @classmethod
    def of(cls, confirmations: tuple[Confirmation, ...]) -> ConfirmedFigure:
        """Return the figure of one confirmation or more."""
        figures = [c.figure for c in confirmations]
        return cls(
            num_seeds=len(figures),
            mean=statistics.fmean(figures),
            spread=statistics.stdev(figures) if len(figures) > 1 else None,
            num_epochs=len(confirmations[0].test_accuracy),
            best_epoch=max(max(c.test_accuracy) for c in confirmations),
            lowest=min(min(c.test_accuracy[-LAST_EPOCHS:]) for c in confirmations),
            weights_accuracy=confirmations[0].test_accuracy[-1],
        )

    @property
    def spread_text(self) -> str:
        """' ± 0.03', to be put behind the mean; empty for a single seed."""
        return "" if self.spread is None else f" ± {self.spread:.2f}"

    @property
    def seeds_text(self) -> str:
        """'3 seeds', or '1 seed'."""
        return f"{self.num_seeds} seed{'s' * (self.num_seeds != 1)}"

    def __str__(self) -> str:
        """'99.48 % ± 0.03'."""
        return f"{self.mean:.2f} %{self.spread_text}"

    def consistent(self, target: float) -> bool | None:
        """Return whether each of the last `LAST_EPOCHS` epochs of every seed reaches `target`; None if not kept."""
        return self.was_consistent if self.lowest is None else self.lowest >= target


def round_percent(points: float | None) -> float | None:
    """Return an accuracy or a difference of two, in percent, to four digits behind the point."""
    return None if points is None else round(points, 4)


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
    return sum(record.confirmed.num_seeds for record in records if record.confirmed)


def record_of(records: Sequence[TrialRecord], number: int, study: str) -> TrialRecord:
    """Return trial `number` of the study called `study`.

    Raises:
        StudyError: there is no such trial.
    """
    for record in records:
        if record.number == number:
            return record
    its_trials = f"its trials are 0 to {records[-1].number}" if records else "it has none yet"
    raise StudyError(f"study {study!r} has no trial {number}; {its_trials}")
