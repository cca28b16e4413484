"""A search in Weights & Biases: one run for the study, since beginning a run takes longer than many a training."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from nas.callbacks.callback import Callback, EpochReport, require
from nas.study.records import Confirmation, TrialRecord
from nas.study.settings import StudySettings


class WandB(Callback):
    """Logs the study to `project`. `init` goes to `wandb.init`, such as `mode="offline"`, `entity` or `dir`.

    Curves are under `validation/trial N` and `test/trial N`, over `epoch`; what became of trials is under `trial/`,
    over `trial`. Raises UsageError where W&B is not installed.
    """

    def __init__(self, project: str = "nas", **init: Any) -> None:
        self._wandb = require("wandb")
        self._init = {"project": project, **init}
        self._run: Any = None

    def on_start(self, study: str, settings: StudySettings) -> None:
        """Begin the run; its config are the settings of the study."""
        self._run = self._wandb.init(**{"name": study, "config": asdict(settings), **self._init})
        for metrics, step in (("validation/*", "epoch"), ("test/*", "epoch"), ("trial/*", "trial")):
            self._run.define_metric(step, hidden=True)
            self._run.define_metric(metrics, step_metric=step)

    def on_epoch(self, report: EpochReport) -> None:
        """Log the accuracy of an epoch."""
        name = f"validation/trial {report.trial}"
        if report.seed is not None:
            name = f"test/trial {report.trial} seed {report.seed}"
        self._run.log({"epoch": report.epoch, name: report.accuracy})

    def on_trial(self, record: TrialRecord) -> None:
        """Log the size of a trial that was trained, its accuracy and its genes."""
        if record.validation_curve:
            values = {
                "num_params": record.num_params,
                "deployed_params": record.deployed_params,
                "validation_accuracy": record.validation_accuracy,
                "train_seconds": record.train_seconds,
                "fate": record.fate,
                **record.genes,
            }
            self._run.log({"trial": record.number, **{f"trial/{name}": value for name, value in values.items()}})

    def on_confirmation(self, record: TrialRecord, confirmation: Confirmation) -> None:
        """Log the figure of a trial over the seeds until now."""
        figure = record.confirmed
        if figure is not None:
            self._run.log({"trial": record.number, "trial/test_accuracy": figure.mean, "trial/seeds": figure.num_seeds})

    def on_end(self) -> None:
        """End the run."""
        if self._run is not None:
            self._run.finish()
