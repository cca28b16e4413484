"""What a person may have called during a search."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from types import ModuleType

from nas.errors import UsageError
from nas.study.records import Confirmation, TrialRecord
from nas.study.settings import StudySettings


@dataclass(frozen=True, slots=True)
class EpochReport:
    """An epoch that a training has ended."""

    trial: int
    seed: int | None  # of the confirmation that is trained; None for the trial itself
    epoch: int  # from 1
    accuracy: float  # percent of the validation images; of the test images for a confirmation
    train_loss: float  # mean over the epoch's images; nan where it is not known
    seconds: float  # training and evaluation
    num_params: int


class Callback:
    """Hears of a search: override what you want to hear. The search waits for each call.

    One that raises an exception is left out from then on: the search says so and goes on. Ending the search is
    `raise KeyboardInterrupt`: what was found until then is kept, and returned.
    """

    def on_start(self, study: str, settings: StudySettings) -> None:
        """Hear that a run of the search `study` begins. What an earlier run has found is not told again."""

    def on_epoch(self, report: EpochReport) -> None:
        """Hear of an epoch, of a trial or of a seed of a confirmation."""

    def on_trial(self, record: TrialRecord) -> None:
        """Hear that a trial has ended; `record.fate` says how."""

    def on_confirmation(self, record: TrialRecord, confirmation: Confirmation) -> None:
        """Hear that a seed of a trial's confirmation was trained; `record.confirmed` is the figure until now."""

    def on_end(self) -> None:
        """Hear that the run has ended, whatever has ended it."""


def require(name: str) -> ModuleType:
    """Return the module `name`, which an extra of the same name brings.

    Raises:
        UsageError: it cannot be imported; names the extra.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UsageError(
            f"this callback needs {name}, which is missing ({error}); pip install 'nas-budget[{name}]'"
        ) from None
