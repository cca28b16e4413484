"""The confirmations of a search: a queue of seeds for each trial that is being confirmed."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection

from nas.errors import TrainingError
from nas.space import Space, candidate
from nas.study.recipe import training_seed, trial_recipe
from nas.study.records import TrialRecord
from nas.study.settings import StudySettings
from nas.workers.messages import Job, JobKey


class Confirmations:
    """Which seeds of which trials to train next.

    The trials take their turns in the order in which their confirmations began. What happens to one trial changes
    nothing for the others.
    """

    def __init__(self, space: Space, settings: StudySettings) -> None:
        self.given_up: set[int] = set()  # trials of which a seed has failed in this run
        self._space = space
        self._settings = settings
        self._queues: dict[int, deque[Job]] = {}  # seeds that no worker has yet, by trial

    def owes_seeds(self, record: TrialRecord) -> bool:
        """Return whether the confirmation of a trial has begun and needs further seeds."""
        figure = record.confirmed
        return figure is not None and figure.num_seeds < self._settings.num_seeds

    def begin(self, record: TrialRecord, under_way: Collection[JobKey] = (), count: int | None = None) -> None:
        """Queue the seeds that the confirmation of a trial still needs and that are not under way; `count` at most.

        Raises:
            TrainingError: the genes of the trial do not describe a network of this space and budget any more.
        """
        jobs = confirmation_jobs(self._space, self._settings, record)
        self._queues[record.number] = deque([job for job in jobs if job.key not in under_way][:count])

    def give_up(self, number: int) -> None:
        """Drop the seeds of a trial that no worker has yet, and those alone, since one of its seeds has failed."""
        self.given_up.add(number)
        self._queues.pop(number, None)

    @property
    def is_waiting(self) -> bool:
        """Whether some seed is to be trained that no worker has yet."""
        return any(self._queues.values())

    def next_job(self) -> Job | None:
        """Take the next seed from the queue; None if there is none."""
        for queue in self._queues.values():
            if queue:
                return queue.popleft()
        return None


def confirmation_jobs(space: Space, settings: StudySettings, record: TrialRecord) -> list[Job]:
    """Return the trainings that a confirmation of `record` still needs, each with a seed of its own.

    Raises:
        TrainingError: the genes of the trial do not describe a network of this space and budget any more.
    """
    found = candidate(space, record.genes)
    if found is None or not settings.budget.admits(found.costs):
        raise TrainingError(f"trial {record.number} is not a network of this space and budget")
    recipe = trial_recipe(space, settings, record.genes)
    done = {confirmation.seed for confirmation in record.confirmations}
    seeds = confirmation_seeds(settings, record.number)
    return [Job((record.number, seed), found.architecture, recipe, seed) for seed in seeds if seed not in done]


def confirmation_seeds(settings: StudySettings, number: int) -> list[int]:
    """Return the seeds of trial `number`'s confirmation, in the order in which they are trained."""
    return [training_seed(settings.seed, number, f"confirmation {place}") for place in range(settings.num_seeds)]
