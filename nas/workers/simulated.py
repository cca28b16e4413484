"""Workers that look trainings up where others train, on a simulated clock: a search of hours is over in a second.

They are to the coordinator what the workers of this machine or of a cluster are, and need no torch:

    simulation = Simulation(lambda job, attempt: SimulatedTraining(table[digest_of(lower(job.architecture))]), 2)
    Coordinator(..., WorkerPool(simulation.workers), ..., simulation.interrupts, simulation.clock).run()

What a job comes to is a function of the job and of its attempt, so that a test can script deaths and failures.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Self

from nas.train.epoch import Epoch
from nas.workers.interrupt import Interrupts
from nas.workers.messages import Finished, Job, JobEvent, JobKey, News, Orders
from nas.workers.worker import Worker, WorkerDied

ENDED_WELL = Finished()


@dataclass(frozen=True, slots=True)
class SimulatedTraining:
    """What a training comes to.

    It ends well by default. `end=Finished(reason, "worker")` is the death of its worker, with all that it trains;
    `Finished(reason, "memory")` too little memory, and `Finished(reason)` a failure of its own. These come after the
    epochs of `accuracies`, each of which is reported.
    """

    accuracies: tuple[float, ...]  # percent of the validation images, or of the test images for a job that confirms
    seconds: float | tuple[float, ...] = 1.0  # of an epoch, or of each
    end: Finished = ENDED_WELL
    images: int = 0  # trained on in an epoch

    def seconds_of(self, epoch: int) -> float:
        """Return the simulated seconds that an epoch takes, from 1; there is none after the last."""
        if epoch > len(self.accuracies):
            return 0.0
        return self.seconds[epoch - 1] if isinstance(self.seconds, tuple) else self.seconds


# From a job and the times that it was begun before to what it comes to. `job.confirms` says which images evaluate it.
LookUp = Callable[[Job, int], SimulatedTraining]


@dataclass
class SimulatedRun:
    """One attempt at a job: how far it has come."""

    job: Job
    attempt: int  # from 0
    training: SimulatedTraining
    next: float  # when its next event happens, in simulated seconds
    epochs: int = 0  # reported
    ended: float = math.nan  # in simulated seconds; nan while it runs
    is_complete: bool = False  # trained to its end; neither stopped nor failed
    beside: set[JobKey] = field(default_factory=set)  # what its worker trained too when it ended

    @property
    def seconds(self) -> float:
        """Simulated seconds of the epochs that were reported."""
        return sum(self.training.seconds_of(epoch) for epoch in range(1, self.epochs + 1))


class Simulation:
    """Simulated workers and the clock that they share.

    An epoch takes as long however many jobs share a worker. Events happen in the order of the clock, one step of a
    worker at a time; at the same moment, the first worker comes first.
    """

    def __init__(
        self,
        look_up: LookUp,
        workers: int = 1,
        trials_per_device: int = 1,
        seconds: float = math.inf,
        on_advance: Callable[[float], None] = lambda now: None,
    ) -> None:
        """Set the clock to 0.

        Args:
            look_up: what each job comes to.
            workers: how many there are.
            trials_per_device: jobs that a worker trains at once.
            seconds: simulated time after which `interrupts` ends the search, as a signal would.
            on_advance: called with each time that the clock is about to be set to.
        """
        self.now = 0.0
        self.seconds = seconds
        self.runs: list[SimulatedRun] = []  # all, in the order in which they began
        self.ended: list[SimulatedRun] = []  # in the order in which they ended
        self.interrupts = Interrupts()
        self._look_up = look_up
        self._on_advance = on_advance
        self._attempts: Counter[JobKey] = Counter()
        self.workers = [SimulatedWorker(self, trials_per_device) for _ in range(workers)]

    def clock(self) -> float:
        """Return the simulated seconds since the beginning."""
        return self.now

    def begin(self, job: Job) -> SimulatedRun:
        """Return a new attempt at `job`."""
        attempt = self._attempts[job.key]
        self._attempts[job.key] += 1
        training = self._look_up(job, attempt)
        run = SimulatedRun(job, attempt, training, self.now + training.seconds_of(1))
        self.runs.append(run)
        return run

    def end(self, run: SimulatedRun, beside: set[JobKey], is_complete: bool = False) -> None:
        """Keep `run` as one that has ended now."""
        run.ended, run.is_complete, run.beside = self.now, is_complete, beside - {run.job.key}
        self.ended.append(run)

    def is_over(self, next_event: float) -> bool:
        """Return whether the search is to end before something happens at `next_event`."""
        self._on_advance(next_event)
        if next_event > self.seconds:
            self.interrupts.requested = True
        return self.interrupts.requested


class SimulatedWorker(Worker):
    """Looks trainings up; see `Simulation`."""

    def __init__(self, simulation: Simulation, trials_per_device: int) -> None:
        super().__init__(trials_per_device)
        self._simulation = simulation
        self._runs: dict[JobKey, SimulatedRun] = {}

    @property
    def next(self) -> float:
        """When its next event happens, in simulated seconds; infinite where it does nothing."""
        return min((run.next for run in self._runs.values()), default=math.inf)

    @classmethod
    def ready(cls, workers: Sequence[Self], timeout: float) -> Sequence[Self]:
        """Return the worker whose event comes next; none when the search is to end."""
        worker = min(workers, key=lambda worker: worker.next)
        return [] if worker._simulation.is_over(worker.next) else [worker]

    def close(self) -> None:
        """Do nothing: nothing runs."""

    def _send(self, orders: Orders) -> None:
        for job in orders.start:
            self._runs[job.key] = self._simulation.begin(job)
        for key in orders.stop:
            if run := self._runs.get(key):
                self._end(run)

    def _receive(self) -> News:
        self._simulation.now = max(self._simulation.now, self.next)
        due = [run for run in self._runs.values() if run.next <= self._simulation.now]
        ending = [run for run in due if run.epochs == len(run.training.accuracies)]
        if died := next((run for run in ending if run.training.end.cause == "worker"), None):
            beside = set(self._runs)
            for run in self._runs.values():
                self._simulation.end(run, beside)
            raise WorkerDied(died.training.end.reason)
        return News(tuple(self._step(run) for run in due), self._capacity)

    def _step(self, run: SimulatedRun) -> JobEvent:
        """Return the next event of `run`: an epoch, or at the same moment as the last one, but after it, the end."""
        if run.epochs == len(run.training.accuracies):
            end = run.training.end
            if end.cause == "memory" and len(self._runs) > 1:
                self._capacity = min(self._capacity, len(self._runs) - 1)
            self._end(run, is_complete=not end.reason)
            return JobEvent(run.job.key, end)
        run.epochs += 1
        run.next += run.training.seconds_of(run.epochs + 1)
        accuracy, seconds = run.training.accuracies[run.epochs - 1], run.training.seconds_of(run.epochs)
        return JobEvent(run.job.key, Epoch(run.epochs, 0.0, accuracy, seconds, run.training.images))

    def _end(self, run: SimulatedRun, is_complete: bool = False) -> None:
        self._simulation.end(run, set(self._runs), is_complete)
        del self._runs[run.job.key]

    def _restart(self) -> None:
        self._runs = {}
