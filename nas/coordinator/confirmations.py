"""The confirmations of a search: a queue of seeds for each trial that is being confirmed."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from nas.errors import TrainingError
from nas.space import Space, candidate
from nas.strategy.confirming import is_hopeless
from nas.study.recipe import training_seed, trial_recipe
from nas.study.records import TrialRecord
from nas.study.settings import StudySettings
from nas.workers.messages import Job


@dataclass
class _Queue:
    """The seeds of one trial that no worker has yet."""

    record: TrialRecord  # as it is now
    jobs: deque[Job]


class Confirmations:
    """Which seeds of which trials to train next.

    The trials take their turns in the order in which their confirmations began. A trial waits, and the next one is
    served, for as long as its figure is hopeless: a seed of it that is still being trained may change that. What
    happens to one trial changes nothing for the others.
    """

    def __init__(self, space: Space, settings: StudySettings, test_images: int) -> None:
        self.trains_hopeless = False  # a person who asks for a confirmation gets all of its seeds
        self.given_up: set[int] = set()  # trials of which a seed has failed in this run
        self._space = space
        self._settings = settings
        self._test_images = test_images
        self._queues: dict[int, _Queue] = {}  # by trial

    def owes_seeds(self, record: TrialRecord) -> bool:
        """Return whether the confirmation of a trial has begun and needs further seeds."""
        figure = record.confirmed
        return figure is not None and figure.num_seeds < self._settings.num_seeds and not self._is_hopeless(record)

    def begin(self, record: TrialRecord) -> None:
        """Queue the seeds that the confirmation of a trial still needs.

        Raises:
            TrainingError: the genes of the trial do not describe a network of this space and budget any more.
        """
        self._queues[record.number] = _Queue(record, deque(confirmation_jobs(self._space, self._settings, record)))

    def update(self, record: TrialRecord) -> None:
        """Take in what a trial has become, after one of its seeds was trained."""
        if queue := self._queues.get(record.number):
            queue.record = record

    def give_up(self, number: int) -> None:
        """Drop the seeds of a trial that no worker has yet, and those alone, since one of its seeds has failed."""
        self.given_up.add(number)
        self._queues.pop(number, None)

    @property
    def is_waiting(self) -> bool:
        """Whether some seed is to be trained that no worker has yet."""
        return any(self._is_open(queue) for queue in self._queues.values())

    def next_jobs(self, joins_seeds: bool) -> list[Job]:
        """Take the next seed from the queue or, where `joins_seeds`, all of the same trial; none if there is none."""
        for queue in self._queues.values():
            if self._is_open(queue):
                count = len(queue.jobs) if joins_seeds else 1
                return [queue.jobs.popleft() for _ in range(count)]
        return []

    def _is_open(self, queue: _Queue) -> bool:
        return bool(queue.jobs) and not self._is_hopeless(queue.record)

    def _is_hopeless(self, record: TrialRecord) -> bool:
        """Return whether further seeds of a trial would be trained in vain."""
        figure, target = record.confirmed, self._settings.target
        if figure is None or target is None or self.trains_hopeless:
            return False
        return is_hopeless(figure, target, self._settings.num_seeds, self._test_images)


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
