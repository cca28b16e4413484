"""The coordinator: owns the study, hands jobs to workers, stops weak trials, confirms likely ones."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace

from nas.arch import recipe_digest
from nas.coordinator.confirmations import Confirmations, confirmation_seeds
from nas.coordinator.snapshot import RunningJob, Snapshot, Watcher
from nas.coordinator.timekeeper import Timekeeper
from nas.errors import MachineError, StudyError
from nas.space import Candidate, candidate
from nas.storage.study_store import SearchStore
from nas.strategy.confirming import next_to_confirm, worthwhile_below
from nas.strategy.optuna_sampler import BudgetSampler
from nas.study.answer import smallest_met, target_met_text
from nas.study.folder import StudyImages
from nas.study.front import validation_front
from nas.study.networks import keep_network
from nas.study.recipe import study_epochs, training_seed, trial_recipe
from nas.study.records import Confirmation, TrialRecord, last_epochs_mean
from nas.study.settings import StudySettings
from nas.train.epoch import Epoch
from nas.workers.interrupt import Interrupts
from nas.workers.messages import Finished, Job, JobEvent, JobKey
from nas.workers.pool import WorkerPool
from nas.workers.worker import Worker

MOST_DEATHS_IN_A_ROW = 10  # of one worker, after which no training can be to blame
CONFIRMED_OF_FRONT = 5  # networks of the front that are confirmed at the end of a search without a target
MOST_DUPLICATES = 50  # in a row, after which the space counts as exhausted
REFRESH_SECONDS = 0.5
MOST_DEATHS = 3  # of workers under one training, after which it is the training that kills them
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
        self._num_validation = images.num_validation
        self._interrupts = interrupts
        self._clock = clock
        epochs, num_workers = study_epochs(self.space, settings), max(len(pool.workers), 1)
        self._time = Timekeeper(settings, images, epochs, self._most_confirmed, num_workers, clock, seconds_before)
        self._running: dict[JobKey, RunningJob] = {}
        self._again: deque[RunningJob] = deque()  # their workers died, or ran out of memory
        self._confirmations = Confirmations(self.space, settings, images.num_test)
        self._may_deserve_confirmation = True  # some trial; not while nothing is new since a look found none
        self._only_confirms = False
        self._images = 0
        self._has_trained = any(r.validation_curve for r in self._records)  # some training ended an epoch
        self._sharing = 1  # most trainings that a worker had at once
        self._noted = {""}  # of workers' devices
        self._refused = 0
        self._duplicates = 0
        self._storage_failed: float | None = None  # when, by the clock
        store.try_again = self._wait_for_storage
        self._trials_at_start = self._finished_trials()
        self._aim_below_best()
        # Same network and recipe, trained before: (digest, recipe digest) to the trial's number.
        self._known = {
            (r.digest, recipe_digest(trial_recipe(self.space, settings, r.genes))): r.number for r in self._records
        }

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
        self._only_confirms = self._confirmations.trains_hopeless = True
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
        """Queue the seeds that the study owes: a run was interrupted, or `num_seeds` was raised."""
        for record in self._records:
            if self._confirmations.owes_seeds(record):
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
                raise StudyError(
                    f"a worker has died {worker.deaths} times and trained nothing in between, the last time of this: "
                    f"{event.what.reason}; see what `nas doctor` says of this machine, and resume with the same command"
                )
        self._storage_failed = None
        for note in {worker.note: None for worker in self.pool.workers if worker.note not in self._noted}:
            self._noted.add(note)
            self._say(note)
        snapshot = self.snapshot()
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
        """Return whether to try again to write what could not be written; wait a moment first."""
        if self._storage_failed is None:
            self._storage_failed = self._clock()
            self._say(f"{problem}; trying again for {STORAGE_PATIENCE / 60:g} minutes")
        if self._interrupts.requested or self._clock() - self._storage_failed >= STORAGE_PATIENCE:
            return False
        time.sleep(1.0)
        return True

    def snapshot(self) -> Snapshot:
        """Return the search as it is now."""
        return Snapshot(
            records=self._records,
            running=list(self._running.values()),
            settings=self.settings,
            seconds=self._time.seconds,
            seconds_before=self._time.seconds_before,
            images=self._images,
            trials_at_start=self._trials_at_start,
            over_budget=self._refused,
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
            jobs = self._next_jobs(worker.joins_seeds)
            if not jobs:
                break
            self._submit(worker, *jobs)
        if (most := max(len(worker.jobs) for worker in self.pool.workers)) > self._sharing:
            self._sharing = most
            self._say(f"up to {most} trainings share a device")

    def _submit(self, worker: Worker, *jobs: RunningJob) -> None:
        self._running |= {running.job.key: running for running in jobs}
        worker.submit(*(running.job for running in jobs))

    def _unfinished(self) -> list[RunningJob]:
        """Return the jobs that workers have, and those that wait to be trained again."""
        return [*self._running.values(), *self._again]

    def _next_jobs(self, joins_seeds: bool) -> list[RunningJob]:
        """Return the next job, or all that a confirmation still needs; none if there is nothing to do."""
        for again in self._again:
            if not again.job.alone:
                self._again.remove(again)
                return [again]
        while self._only_confirms or not self._target_ends_search():
            if jobs := self._next_confirmations(joins_seeds):
                return [RunningJob(job, self.store.record(job.key[0]).num_params, []) for job in jobs]
            if self._only_confirms or not self._may_start_trial():
                break
            # A trial that ends at once may be the last one, after which there are confirmations to plan.
            if started := self._start_trial():
                return [started]
        return []

    def _next_confirmations(self, joins_seeds: bool) -> list[Job]:
        """Return the next seed of a confirmation, or all of one, that end in time."""
        if not self._only_confirms:
            if not self._time.admits_confirmation(self._records):
                return []
            self._plan_confirmations()
        return self._confirmations.next_jobs(joins_seeds)

    def _may_start_trial(self) -> bool:
        if self._duplicates >= MOST_DUPLICATES or not self._time.admits_trial(self._records):
            return False
        trials = self.settings.trials_limit
        training = sum(not r.job.confirms for r in self._unfinished())
        return trials is None or self._finished_trials() + training < trials

    def _finished_trials(self) -> int:
        return sum(self.store.fates[fate] for fate in ("completed", "stopped", "failed"))

    def _target_ends_search(self) -> bool:
        return self.settings.stop_at_first and self._met is not None

    def _start_trial(self) -> RunningJob | None:
        """Ask for a trial; return None where it ended at once: over budget, or trained before."""
        number, genes = self.store.ask(self.sampler.below)
        found = candidate(self.space, genes)
        if found is None or not self.settings.budget.admits(found.costs):
            self._refuse(number, found)
            return None
        recipe, digest = trial_recipe(self.space, self.settings, genes), found.digest
        seed = training_seed(self.settings.seed, number, "trial")
        self.store.describe(number, found, seed, self.sampler.draw_counts(genes))
        twin = self._known.setdefault((digest, recipe_digest(recipe)), number)
        if twin != number and self._is_duplicate_of(twin, number):
            return None
        self._known[digest, recipe_digest(recipe)] = number
        self._duplicates = 0
        return RunningJob(Job((number, None), found.architecture, recipe, seed), found.costs.num_params, [])

    def _refuse(self, number: int, found: Candidate | None) -> None:
        """End a trial whose network is over budget, whatever has proposed it, before it is built."""
        self._refused += 1
        reason = "its maps shrink to nothing"
        if found is not None:
            self.store.describe(number, found, 0)
            reason = "over budget: " + "; ".join(self.settings.budget.excesses(found.costs))
        self.store.finish(number, "failed", 0.0, reason=reason)
        self._say(f"trial {number} refused: {reason}")

    def _is_duplicate_of(self, twin: int, number: int) -> bool:
        """End trial `number` with the result of `twin`; return False where that was cut off and has none."""
        known = self.store.record(twin)
        if known.fate == "interrupted":
            return False
        value = known.validation_accuracy if known.fate == "completed" else None
        self.store.finish(number, "duplicate", 0.0, value, reason=f"same network and recipe as trial {twin}")
        self._duplicates += 1
        return True

    # Confirmations

    def _plan_confirmations(self) -> None:
        """Begin the next confirmation, unless there is one already."""
        if self._is_confirming():
            return
        s, chosen = self.settings, None
        records = [record for record in self._records if record.number not in self._confirmations.given_up]
        if s.target is None:
            if not self._unfinished() and not self._may_start_trial():
                # The most accurate first: it answers the study, and time may end before the others.
                front = reversed(validation_front(records)[-CONFIRMED_OF_FRONT:])
                chosen = next((record for record in front if record.confirmed is None), None)
        elif self._may_deserve_confirmation:
            chosen = next_to_confirm(records, s, s.target, self._num_validation)
            self._may_deserve_confirmation = chosen is not None
        if chosen is not None:
            self._begin_confirmation(chosen)

    def _is_confirming(self) -> bool:
        return self._confirmations.is_waiting or any(r.job.confirms for r in self._unfinished())

    def _begin_confirmation(self, record: TrialRecord) -> None:
        self._confirmations.begin(record)
        self._say(
            f"confirming trial {record.number}: {record.num_params:,} parameters, validation "
            f"{record.validation_accuracy:.2f} %"
        )

    # What workers report

    def _handle(self, worker: Worker, event: JobEvent) -> None:
        running = self._running.get(event.key)
        if running is None:
            return  # it went on until it heard that it was stopped
        number, seed = event.key
        if isinstance(event.what, Epoch):
            running.epochs.append(event.what)
            self._has_trained = True
            self._images += event.what.images
            if seed is None and self.store.report(number, event.what.number, event.what.accuracy):
                worker.stop(event.key)
                del self._running[event.key]
                self.store.finish(number, "stopped", running.seconds)
            return
        if event.what.network:
            keep_network(self.store.folder, number, seed, event.what.network)
        del self._running[event.key]
        if event.what.reason and self._retry(running, event.what):
            return
        if seed is None:
            self._finish_trial(running, event.what)
        else:
            self._finish_confirmation(running, event.what, seed)

    def _retry(self, running: RunningJob, end: Finished) -> bool:
        """Return whether a job that has failed is trained again, since the machine may be to blame.

        Raises:
            MachineError: it is to blame: any training would fail here.
        """
        if end.cause == "machine":
            raise MachineError(f"{end.reason}; nothing was counted against {_describe(running.job)}")
        deaths = running.deaths + (end.cause == "worker")
        # After two deaths it runs alone: it may have been another training on the device that killed the worker.
        if deaths >= MOST_DEATHS and not self._has_trained:
            raise MachineError(f"no training ends its first epoch on this machine: {end.reason}; set `workers` to 1")
        again = {
            "training": False,
            "memory": not running.job.alone,
            "worker": deaths < MOST_DEATHS,
        }[end.cause]
        if again:
            alone = running.job.alone or end.cause == "memory" or deaths == MOST_DEATHS - 1
            how = "again, alone" if alone else "again"
            self._say(f"{_describe(running.job)} is trained {how}: {end.reason}")
            job = replace(running.job, alone=alone)
            self._again.append(replace(running, job=job, epochs=[], seconds_before=running.seconds, deaths=deaths))
        return again

    def _finish_trial(self, running: RunningJob, end: Finished) -> None:
        number = running.job.key[0]
        if end.reason:
            self._say(f"trial {number} failed: {end.reason}")
            self.store.finish(number, "failed", running.seconds, reason=end.reason)
        else:
            self.store.finish(number, "completed", running.seconds, last_epochs_mean(running.accuracies))
            self._may_deserve_confirmation = True

    def _finish_confirmation(self, running: RunningJob, end: Finished, seed: int) -> None:
        number, s = running.job.key[0], self.settings
        self._may_deserve_confirmation = True
        if end.reason:
            self._confirmations.give_up(number)
            self._say(f"confirmation of trial {number} failed: {end.reason}")
            return
        place = confirmation_seeds(s, number).index(seed)
        self.store.add_confirmation(number, Confirmation(seed, running.accuracies, running.seconds, place))
        record = self.store.record(number)
        figure = record.confirmed
        assert figure is not None
        seeds = f"{figure.num_seeds} of {s.num_seeds} seeds"
        self._say(f"trial {number}, {running.num_params:,} parameters: test {figure} over {seeds}")
        self._confirmations.update(record)
        before = self._met
        self._aim_below_best()
        if self._met and self._met.digest != (before and before.digest):
            goes_on = not self._only_confirms and (bool(self._unfinished()) or self._may_start_trial())
            self._say(target_met_text(self._met, s, goes_on))

    def _aim_below_best(self) -> None:
        s = self.settings
        self._met = smallest_met(self._records, s)
        self.sampler.below = worthwhile_below(self._met.num_params) if self._met else None


def _describe(job: Job) -> str:
    return f"a confirmation of trial {job.key[0]}" if job.confirms else f"trial {job.key[0]}"
