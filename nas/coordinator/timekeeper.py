"""The clock of a study: how much of its time is spent over all runs, and what may still begin."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from nas.strategy.time_limit import TimePlan, plan_time
from nas.study.duration import format_duration
from nas.study.folder import StudyImages
from nas.study.records import TrialRecord
from nas.study.settings import StudySettings


class Timekeeper:
    """Tells a run of a search by `clock` what `plan_time` makes of the time that is left."""

    def __init__(
        self,
        settings: StudySettings,
        images: StudyImages,
        epochs: int,
        num_networks: int,
        num_workers: int,
        clock: Callable[[], float],
        seconds_before: float = 0.0,
    ) -> None:
        """Start the clock of this run; `seconds_before` have passed before. The others are as for `plan_time`."""
        self._arguments = (settings, epochs, images, num_networks, num_workers)
        self._clock = clock
        self._started = clock()
        self.seconds_before = seconds_before

    @property
    def seconds(self) -> float:
        """Return the seconds of this run."""
        return self._clock() - self._started

    @property
    def spent(self) -> float:
        """Return the seconds of all runs."""
        return self.seconds_before + self.seconds

    def plan(self, records: Sequence[TrialRecord]) -> TimePlan:
        """Return how the time of the study is spent, going by what its trainings took."""
        return plan_time(records, *self._arguments)

    def admits_trial(self, records: Sequence[TrialRecord]) -> bool:
        """Return whether a trial that begins now ends in time."""
        return self.plan(records).admits_trial(self.spent)

    def admits_confirmation(self, records: Sequence[TrialRecord]) -> bool:
        """Return whether a seed of a confirmation that begins now ends in time."""
        return self.plan(records).admits_confirmation(self.spent)

    @property
    def is_over(self) -> bool:
        """Whether the time is used up."""
        return self.plan(()).is_over(self.spent)

    def opening(self, records: Sequence[TrialRecord]) -> str:
        """Return what to say when a run begins; empty where the study has no limit."""
        if not self.plan(()).is_limited:
            return ""
        plan = self.plan(records)
        left = f"; {format_duration(max(plan.limit - self.spent, 0.0))} are left" if self.seconds_before >= 1 else ""
        return f"{plan}{left}"

    def closing(self) -> str:
        """Return what to say when the time is used up; empty before that."""
        if not self.is_over:
            return ""
        return (
            f"the time of {format_duration(self.plan(()).limit)} is used up; a longer `max_seconds` goes on from here"
        )
