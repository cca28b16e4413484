"""A search in MLflow: an experiment for the study, and a run for each training."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

from nas.callbacks.callback import Callback, EpochReport, require
from nas.study.records import Confirmation, TrialRecord
from nas.study.settings import StudySettings

MOST_PARAMS = 100  # in one request


class MLflow(Callback):
    """Keeps trainings as runs of the experiment `experiment`, by default one that is named as the study.

    They go to `tracking_uri`, by default where MLflow is set up to write. A run that the program itself has begun is
    left alone. Raises UsageError where MLflow is not installed.
    """

    def __init__(self, experiment: str | None = None, tracking_uri: str | None = None) -> None:
        self._mlflow = require("mlflow")
        self._experiment, self._tracking_uri = experiment, tracking_uri
        self._client: Any = None
        self._experiment_id = ""
        self._runs: dict[tuple[int, int | None], str] = {}  # that are open

    def on_start(self, study: str, settings: StudySettings) -> None:
        """Find the experiment, or make it."""
        self._client, name = self._mlflow.MlflowClient(self._tracking_uri), self._experiment or study
        found = self._client.get_experiment_by_name(name)
        self._experiment_id = found.experiment_id if found else self._client.create_experiment(name)

    def on_epoch(self, report: EpochReport) -> None:
        """Log the accuracy and the loss of an epoch."""
        key, part = (report.trial, report.seed), "validation" if report.seed is None else "test"
        if key not in self._runs:
            name = f"trial {report.trial}" + ("" if report.seed is None else f" seed {report.seed}")
            run = self._client.create_run(self._experiment_id, run_name=name, tags={"nas.trial": str(report.trial)})
            self._runs[key] = run.info.run_id
        self._log(key, {f"{part}_accuracy": report.accuracy, "train_loss": report.train_loss}, report.epoch)

    def on_trial(self, record: TrialRecord) -> None:
        """Log the genes of a trial that was trained, and its size; end its run."""
        key = record.number, None
        if key not in self._runs:
            return
        genes = [self._mlflow.entities.Param(name, str(value)) for name, value in record.genes.items()]
        for first in range(0, len(genes), MOST_PARAMS):
            self._client.log_batch(self._runs[key], params=genes[first : first + MOST_PARAMS])
        self._client.set_tag(self._runs[key], "nas.fate", record.fate)
        names = ("num_params", "deployed_params", "num_macs")
        self._log(key, {name: getattr(record, name) for name in names}, 0)
        self._end(key, "FAILED" if record.fate == "failed" else "FINISHED")

    def on_confirmation(self, record: TrialRecord, confirmation: Confirmation) -> None:
        """Log the figure of a seed, the mean of its last epochs; end its run."""
        key = record.number, confirmation.seed
        if key in self._runs:
            self._log(key, {"figure": confirmation.figure, "num_params": record.num_params}, 0)
            self._end(key, "FINISHED")

    def on_end(self) -> None:
        """End the runs of trainings that were cut off."""
        for key in tuple(self._runs):
            self._end(key, "KILLED")

    def _log(self, key: tuple[int, int | None], values: Mapping[str, float | None], step: int) -> None:
        """Log those that are known."""
        now = time.time_ns() // 1_000_000  # MLflow's unit
        known = {name: value for name, value in values.items() if value is not None and math.isfinite(value)}
        metrics = [self._mlflow.entities.Metric(name, value, now, step) for name, value in known.items()]
        self._client.log_batch(self._runs[key], metrics=metrics)

    def _end(self, key: tuple[int, int | None], status: str) -> None:
        self._client.set_terminated(self._runs.pop(key), status)
