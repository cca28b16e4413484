"""A search in TensorBoard: a run for each training, with its curves; those of trials also say their genes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from nas.callbacks.callback import Callback, EpochReport, require
from nas.study.records import Confirmation, TrialRecord
from nas.study.settings import StudySettings


class TensorBoard(Callback):
    """Writes event files to `folder`/STUDY/trial-N, and for confirmations to `folder`/STUDY/trial-N-seed-S.

    Raises UsageError where TensorBoard is not installed.
    """

    def __init__(self, folder: str | os.PathLike[str] = "runs") -> None:
        require("tensorboard")
        self._folder = self._study = Path(folder)
        self._writers: dict[tuple[int, int | None], Any] = {}

    def on_start(self, study: str, settings: StudySettings) -> None:
        """Remember the name of the study."""
        self._study = self._folder / study

    def on_epoch(self, report: EpochReport) -> None:
        """Write the accuracy and the loss of an epoch."""
        key = report.trial, report.seed
        if key not in self._writers:
            name = f"trial-{report.trial}" + ("" if report.seed is None else f"-seed-{report.seed}")
            self._writers[key] = _writer(self._study / name)
        part = "validation" if report.seed is None else "test"
        self._writers[key].add_scalar(f"accuracy/{part}", report.accuracy, report.epoch)
        self._writers[key].add_scalar("loss/train", report.train_loss, report.epoch)

    def on_trial(self, record: TrialRecord) -> None:
        """Write the genes of a trial that was trained, its size and its accuracy."""
        if (writer := self._writers.pop((record.number, None), None)) is None:
            return
        found = {"hparam/num_params": record.num_params, "hparam/validation_accuracy": record.validation_accuracy}
        writer.add_hparams({"fate": record.fate, **record.genes}, found, run_name=".")
        writer.close()

    def on_confirmation(self, record: TrialRecord, confirmation: Confirmation) -> None:
        """Close the file of a seed."""
        if writer := self._writers.pop((record.number, confirmation.seed), None):
            writer.close()

    def on_end(self) -> None:
        """Close what is open."""
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()


def _writer(folder: Path) -> Any:
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(folder)
