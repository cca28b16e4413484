"""The coordinator: owns the study, hands jobs to workers, stops weak trials, confirms likely ones."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence

from nas.coordinator.attempts import describe, next_attempt
from nas.coordinator.confirmations import Confirmations, confirmation_seeds
from nas.coordinator.snapshot import RunningJob, Snapshot, Watcher
from nas.coordinator.timekeeper import Timekeeper
from nas.coordinator.trials import Trials
from nas.errors import MachineError, StudyError
from nas.storage.search_store import SearchStore
from nas.strategy.beliefs import goal_of
from nas.strategy.confirming import (
    CONFIRMED_OF_FRONT,
    Progress,
    comes_before_trials,
    is_hopeless,
    next_of_front,
    next_seed,
)
from nas.strategy.observations import observation_of
from nas.strategy.optuna_sampler import BudgetSampler
from nas.study.answer import smallest_met, target_met_text
from nas.study.folder import StudyImages
from nas.study.ledger import num_finished
from nas.study.networks import keep_network
from nas.study.recipe import study_epochs
from nas.study.records import TrialRecord, last_epochs_mean
from nas.study.settings import StudySettings
from nas.train.epoch import Epoch
from nas.workers.interrupt import Interrupts
from nas.workers.messages import Finished, Job, JobEvent, JobKey
from nas.workers.pool import WorkerPool
from nas.workers.worker import Worker

MOST_DEATHS_IN_A_ROW = 10  # of one worker, after which no training can be to blame
REFRESH_SECONDS = 0.5
STORAGE_PATIENCE = 600.0  # seconds that a search waits for a storage that cannot be written


class Coordinator:
    """One run of a search: `step` after `step` to its end or to a signal, then `close`."""

    def __init__(
        self,
        store: SearchStore,
        sampler: BudgetSampler,
        settings: StudySettings,
        images: StudyImages,
        pool: WorkerPool,
        watchers: Sequence[Watcher],
        interrupts: Interrupts,
        clock: Callable[[], float] = time.monotonic,
        seconds_before: float = 0.0,  # of the time that `max_seconds` bounds
    ) -> None:
        self.store = store
        self.space = sampler.space
        self.sampler = sampler
        self.settings = settings
        self.pool = pool
        self.watchers = watchers
        self._interrupts = interrupts
        self._clock = clock
        num_workers = max(len(pool.workers), 1)
        self._epochs = study_epochs(self.space, settings)
        self._time = Timekeeper(
            settings, images, self._epochs, self._most_confirmed, num_workers, clock, seconds_before
        )
        self._running: dict[JobKey, RunningJob] = {}
        self._ended: list[RunningJob] = []  # since the last snapshot
        self._again: deque[RunningJob] = deque()  # their workers died, or ran out of memory
        self._trials = Trials(store, sampler, settings, self._say)
        self._confirmations = Confirmations(self.space, settings)
        self._only_confirms = False
        self._images = 0
        self._sharing = 1  # most trainings that a worker had at once
        self._noted = {""}  # of workers' devices
        self._storage_failed: float | None = None  # when, by the clock
        store.try_again = self._wait_for_storage
        self._trials_at_start = self._finished_trials()
        self._beliefs = sampler.history.beliefs
        for record in self._records:
            self._beliefs.learn_confirmation(record.number, tuple(c.figure for c in record.confirmations))
        self._met = smallest_met(self._records, settings)

    def run(self) -> None:
        """Search until the trials, the time or, where that is asked for, the first network that meets the target."""
        if opening := self._time.opening(self._records):
            self._say(opening)
        self.resume_confirmations()
        self._loop()
        if closing := self._time.closing():
            self._say(closing)

    @property
    def _most_confirmed(self) -> int:
        """The number of networks for which time is kept: the next one, or those of the front."""
        return CONFIRMED_OF_FRONT if self.settings.target is None else 1

    def confirm(self, number: int) -> None:
        """Train what the confirmation of trial `number` still needs, and nothing else.

        Raises:
            StudyError: the trial was cut off before its first epoch, failed there, or stands for another.
        """
        record = self.store.record(number)
        if not record.validation_curve:
            why = f": {record.reason}" if record.reason else ""
            raise StudyError(f"trial {number} ({record.fate}) was never trained{why}; confirm another trial")
        self._only_confirms = True
        self._begin_confirmation(record)
        self._loop()

    def _loop(self) -> None:
        try:
            while not self._interrupts.requested and self.step():
                pass
        except KeyboardInterrupt:
            pass  # the signal is remembered in `interrupts`
        finally:
            self.close()

    def resume_confirmations(self) -> None:
        """Queue the seeds that the study owes: a run was interrupted, or `num_seeds` was raised.

        With a target they are trained where they are worth it, as all others are.
        """
        for record in self._records:
            if self.settings.target is None and self._confirmations.owes_seeds(record):
                self._begin_confirmation(record)

    def step(self) -> bool:
        """Hand out jobs, wait for events and handle them; return False where the search has ended."""
        self._hand_out()
        if not self._running or (self._time.is_over and not self._only_confirms):
            return False
        for worker, event in self.pool.events(REFRESH_SECONDS):
            self._handle(worker, event)
            if worker.deaths >= MOST_DEATHS_IN_A_ROW:
                assert isinstance(event.what, Finished)
                raise MachineError(
                    f"a worker has died {worker.deaths} times and trained nothing in between, the last time of this: "
                    f"{event.what.reason}; see what `nas doctor` says of this machine, and resume with the same command"
                )
        self._storage_failed = None
        for note in {worker.note: None for worker in self.pool.workers if worker.note not in self._noted}:
            self._noted.add(note)
            self._say(note)
        snapshot = self.snapshot()
        self._ended.clear()
        for watcher in self.watchers:
            watcher.update(snapshot)
        return self._only_confirms or not self._target_ends_search()

    def close(self) -> None:
        """Stop all workers. Trials that they were training wait until the study is resumed."""
        self.pool.close()
        self.store.interrupt_all({r.job.key[0]: r.seconds for r in self._unfinished() if not r.job.confirms})

    def _say(self, text: str) -> None:
        for watcher in self.watchers:
            watcher.say(text)

    @property
    def _records(self) -> list[TrialRecord]:
        return self.store.records()

    def _wait_for_storage(self, problem: str) -> bool:
        """Return whether to try again to write what could not be written; wait a moment first.

        The time is that of this machine, which passes while this waits; a simulated clock stands still.
        """
        if self._storage_failed is None:
            self._storage_failed = time.monotonic()
            self._say(f"{problem}; trying again for {STORAGE_PATIENCE / 60:g} minutes")
        if self._interrupts.requested or time.monotonic() - self._storage_failed >= STORAGE_PATIENCE:
            return False
        time.sleep(1.0)
        return True

    def snapshot(self) -> Snapshot:
        """Return the search as it is now."""
        return Snapshot(
            records=self._records,
            running=list(self._running.values()),
            ended=tuple(self._ended),
            settings=self.settings,
            seconds=self._time.seconds,
            seconds_before=self._time.seconds_before,
            images=self._images,
            trials_at_start=self._trials_at_start,
            over_budget=self._trials.refused,
            most_on_a_device=self._sharing,
        )

    # What to do next

    def _hand_out(self) -> None:
        """Give the workers what they have room for, the least busy first."""
        workers = sorted((w for w in self.pool.workers if w.has_started), key=lambda worker: len(worker.jobs))
        # The least busy worker gets nothing else before what must run alone.
        while workers and (alone := next((r for r in self._again if r.job.alone), None)):
            worker = workers.pop(0)
            if worker.jobs:
                break
            self._again.remove(alone)
            self._submit(worker, alone)
        while with_room := [worker for worker in workers if worker.room]:
            worker = min(with_room, key=lambda worker: len(worker.jobs))
            job = self._next_job()
            if job is None:
                break
            self._submit(worker, job)
        if (most := max(len(worker.jobs) for worker in self.pool.workers)) > self._sharing:
            self._sharing = most
            self._say(f"up to {most} trainings share a device")

    def _submit(self, worker: Worker, running: RunningJob) -> None:
        self._running[running.job.key] = running
        worker.submit(running.job)

    def _unfinished(self) -> list[RunningJob]:
        """Return the jobs that workers have, and those that wait to be trained again."""
        return [*self._running.values(), *self._again]

    def _next_job(self) -> RunningJob | None:
        """Return the next job; None if there is nothing to do."""
        for again in self._again:
            if not again.job.alone:
                self._again.remove(again)
                return again
        while self._only_confirms or not self._target_ends_search():
            if job := self._next_confirmation():
                record = self.store.record(job.key[0])
                return RunningJob(job, record.num_params, [], record.deployed_params)
            if self._only_confirms or not self._may_start_trial():
                break
            # A trial that ends at once may be the last one, after which there are confirmations to plan.
            if started := self._start_trial():
                return started
        return None

    def _next_confirmation(self) -> Job | None:
        """Return the next seed of a confirmation that ends in time."""
        if not self._only_confirms:
            if not self._time.admits_confirmation(self._records):
                return None
            self._plan_confirmations()
        return self._confirmations.next_job()

    def _may_start_trial(self) -> bool:
        if self._trials.are_exhausted or not self._time.admits_trial(self._records):
            return False
        trials = self.settings.trials_limit
        training = sum(not r.job.confirms for r in self._unfinished())
        return trials is None or self._finished_trials() + training < trials

    def _finished_trials(self) -> int:
        return num_finished(self.store.fates)

    def _target_ends_search(self) -> bool:
        return self.settings.stop_at_first and self._met is not None

    def _start_trial(self) -> RunningJob | None:
        """Return the next trial; None where it ended at once."""
        self._aim()
        return self._trials.start(self._met is not None)

    # Confirmations

    def _plan_confirmations(self) -> None:
        """Queue the next seed of a confirmation, if that is what is worth the most."""
        if self._confirmations.is_waiting:
            return
        if self.settings.target is not None:
            self._race_confirmations()
        elif not self._unfinished() and not self._may_start_trial():
            chosen = next_of_front(self._records, self._confirmations.given_up)
            if chosen is not None:
                self._begin_confirmation(chosen)

    def _race_confirmations(self) -> None:
        self._aim()
        history, s = self.sampler.history, self.settings
        assert history.goal is not None
        history.update(self.store.copy)
        done = [n for n in history.goal.confirming if not self._seeds_left(n)]
        seed = next_seed(self._beliefs, history.goal, s.max_params, {*self._confirmations.given_up, *done})
        if seed is None:
            return
        if not self._may_start_trial() or comes_before_trials(seed, history.goal, self._progress(), self._next_worth):
            self._begin_confirmation(self.store.record(seed.trial), 1)

    def _progress(self) -> Progress:
        records = self._records
        seeds = sum(len(r.confirmations) for r in records) + sum(r.job.confirms for r in self._unfinished())
        return Progress(sum(len(r.validation_curve) for r in records) / self._epochs, seeds)

    def _next_worth(self) -> float:
        return self.sampler.next_worth(self.store.copy, len(self.store.copy.get_trials(deepcopy=False)))

    def _seeds_left(self, number: int) -> int:
        """Return how many seeds of a trial's confirmation are neither trained nor under way."""
        under_way = sum(r.job.confirms and r.job.key[0] == number for r in self._unfinished())
        return self.settings.num_seeds - len(self.store.record(number).confirmations) - under_way

    def _aim(self) -> None:
        """Tell the sampler and the pruner how far the search has come."""
        confirming = {r.job.key[0] for r in self._unfinished() if r.job.confirms}
        self.sampler.history.goal = goal_of(self.settings, self._met.size if self._met else None, tuple(confirming))

    def _begin_confirmation(self, record: TrialRecord, count: int | None = None) -> None:
        before = self._seeds_left(record.number)
        self._confirmations.begin(record, {r.job.key for r in self._unfinished()}, count)
        if before < self.settings.num_seeds:
            return  # it was said when the first of its seeds began
        self._say(
            f"confirming trial {record.number}: {record.size_text}, validation {record.validation_accuracy:.2f} %"
        )

    # What workers report

    def _handle(self, worker: Worker, event: JobEvent) -> None:
        running = self._running.get(event.key)
        if running is None:
            return  # it went on until it heard that it was stopped
        number, seed = event.key
        if isinstance(event.what, Epoch):
            running.epochs.append(event.what)
            self._images += event.what.images
            if seed is None and self.store.report(number, event.what.number, event.what.accuracy):
                worker.stop(event.key)
                self._ended.append(self._running.pop(event.key))
                self.store.finish(number, "stopped", running.seconds)
            elif seed is not None and self._is_hopeless(running, number):
                worker.stop(event.key)
                self._ended.append(self._running.pop(event.key))
                self._confirmations.give_up(number)
                self._say(f"confirmation of trial {number} stopped: it would not meet the target")
            return
        if event.what.network:
            keep_network(self.store.folder, number, seed, event.what.network)
        self._ended.append(self._running.pop(event.key))
        if event.what.reason and self._retry(running, event.what):
            return
        if seed is None:
            self._finish_trial(running, event.what)
        else:
            self._finish_confirmation(running, event.what, seed)

    def _is_hopeless(self, running: RunningJob, number: int) -> bool:
        goal = goal_of(self.settings)
        if goal is None or self._only_confirms or self._seeds_left(number) < 0:
            return False
        trial = observation_of(self.store.record(number))
        return is_hopeless(self._beliefs, trial, goal, running.accuracies, self._epochs)

    def _retry(self, running: RunningJob, end: Finished) -> bool:
        """Return whether a job that has failed is trained again."""
        again = next_attempt(running, end)
        if again is not None:
            how = "again, alone" if again.job.alone else "again"
            self._say(f"{describe(running.job)} is trained {how}: {end.reason}")
            self._again.append(again)
        return again is not None

    def _finish_trial(self, running: RunningJob, end: Finished) -> None:
        number = running.job.key[0]
        if end.reason:
            self._say(f"trial {number} failed: {end.reason}")
            self.store.finish(number, "failed", running.seconds, reason=end.reason)
        else:
            self.store.finish(number, "completed", running.seconds, last_epochs_mean(running.accuracies))

    def _finish_confirmation(self, running: RunningJob, end: Finished, seed: int) -> None:
        number, s = running.job.key[0], self.settings
        if end.reason:
            self._confirmations.give_up(number)
            self._say(f"confirmation of trial {number} failed: {end.reason}")
            return
        place = confirmation_seeds(s, number).index(seed)
        self.store.add_confirmation(number, running.confirmation(seed, place))
        record = self.store.record(number)
        figure = record.confirmed
        assert figure is not None
        seeds = f"{figure.num_seeds} of {s.num_seeds} seeds"
        self._say(f"trial {number}, {record.size_text}: test {figure} over {seeds}")
        self._beliefs.learn_confirmation(number, tuple(c.figure for c in record.confirmations))
        before = self._met
        self._met = smallest_met(self._records, s)
        self._aim()
        if self._met and self._met.digest != (before and before.digest):
            goes_on = not self._only_confirms and (bool(self._unfinished()) or self._may_start_trial())
            self._say(target_met_text(self._met, s, goes_on))
