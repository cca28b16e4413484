"""The state of a search at one moment, and the interface of what shows it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from nas.study.records import Confirmation, TrialRecord
from nas.study.settings import StudySettings
from nas.train.epoch import Epoch
from nas.workers.messages import Job


@dataclass
class RunningJob:
    """A job that a worker has, and what it has reported of it."""

    job: Job
    num_params: int
    epochs: list[Epoch]
    deployed_params: int | None = None  # None in older studies
    seconds_before: float = 0.0  # of training, under workers that died
    deaths: int = 0  # of workers

    @property
    def accuracies(self) -> tuple[float, ...]:
        """Return the accuracies of the epochs so far, percent."""
        return tuple(epoch.accuracy for epoch in self.epochs)

    @property
    def seconds(self) -> float:
        """Return the seconds of training so far."""
        return self.seconds_before + sum(epoch.seconds for epoch in self.epochs)

    def confirmation(self, seed: int, place: int) -> Confirmation:
        """Return what was trained as a confirmation of its trial by `seed`, at that place in the order of seeds."""
        losses = tuple(epoch.train_loss for epoch in self.epochs)
        known = losses if all(map(math.isfinite, losses)) else ()
        return Confirmation(seed, self.accuracies, self.seconds, place, known, self.epochs[-1].train_accuracy)


@dataclass(frozen=True)
class Snapshot:
    """The search at one moment."""

    records: list[TrialRecord]
    running: list[RunningJob]
    settings: StudySettings
    seconds: float  # since this run of the search began
    images: int  # trained on since then
    trials_at_start: int  # finished before this run
    over_budget: int  # networks that the second gate refused
    ended: tuple[RunningJob, ...] = ()  # jobs that have ended since the snapshot before, in this order
    most_on_a_device: int = 1  # trainings that have shared one
    seconds_before: float = 0.0  # of the time that `max_seconds` bounds, used by earlier runs


class Watcher(Protocol):
    """Shows a search while it runs."""

    def update(self, snapshot: Snapshot) -> None:
        """Show the search as it is now. Called often, and the search waits for it."""

    def say(self, text: str) -> None:
        """Show a line that is worth keeping."""

    def end(self) -> None:
        """Show the end. Called once, when the search has ended."""
