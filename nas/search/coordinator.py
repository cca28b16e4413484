"""The coordinator: owns the study, hands trainings to workers, stops the weak ones, confirms the likely ones."""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from nas.arch import Recipe, recipe_digest
from nas.errors import StudyError, TrainingError
from nas.results.front import validation_front
from nas.results.records import Confirmation, TrialRecord, last_epochs_mean
from nas.search.confirm import is_hopeless, next_to_confirm, smallest_met
from nas.search.interrupt import Interrupts
from nas.search.settings import StudySettings
from nas.search.store import SearchStore
from nas.search.workers import Event, Finished, Job, Pool, Worker
from nas.space import Candidate, Genes, Space, candidate, recipe_of
from nas.train.engine import Epoch

DEFAULT_TRIALS = 100  # where neither trials nor time are given
CONFIRMED_OF_FRONT = 5  # networks of the front that are confirmed at the end of a search without a target
MOST_DUPLICATES = 50  # in a row, after which the space counts as exhausted
REFRESH_SECONDS = 0.5
MOST_DEATHS = 3  # of workers under one training, after which it is the training that kills them
STORAGE_PATIENCE = 600.0  # seconds that a search waits for a storage that cannot be written


@dataclass
class Running:
    """A training that a worker is busy with."""

    job: Job
    num_params: int
    epochs: list[Epoch]
    seconds_before: float = 0.0  # of training, under workers that died
    deaths: int = 0  # of workers

    @property
    def accuracies(self) -> tuple[float, ...]:
        """Percent, one an epoch."""
        return tuple(epoch.accuracy for epoch in self.epochs)

    @property
    def seconds(self) -> float:
        """Of training so far."""
        return self.seconds_before + sum(epoch.seconds for epoch in self.epochs)


@dataclass(frozen=True)
class Snapshot:
    """The search at one moment, for whoever watches."""

    records: list[TrialRecord]
    running: list[Running]
    settings: StudySettings
    seconds: float  # since this run of the search began
    images: int  # trained on since then
    trials_at_start: int  # finished before this run
    over_budget: int  # networks that the second gate refused


class Watcher(Protocol):
    """Shows a search while it runs."""

    def update(self, snapshot: Snapshot) -> None:
        """Called often; shows what it likes of it."""

    def say(self, text: str) -> None:
        """A line worth keeping."""


class Coordinator:
    """One run of a search, from the first trial asked to the end or to a signal."""

    def __init__(
        self,
        store: SearchStore,
        space: Space,
        settings: StudySettings,
        pool: Pool,
        watcher: Watcher,
        validation_images: int,
        interrupts: Interrupts,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.store = store
        self.space = space
        self.settings = settings
        self.pool = pool
        self.watcher = watcher
        self._validation_images = validation_images
        self._interrupts = interrupts
        self._clock = clock
        self._started = clock()
        self._running: dict[tuple[int, int | None], Running] = {}
        self._again: deque[Running] = deque()  # their workers died
        self._confirm_jobs: deque[Job] = deque()
        self._given_up: set[int] = set()  # trials whose confirmation failed in this run
        self._only_confirms = False
        self._images = 0
        self._refused = 0
        self._duplicates = 0
        self._storage_failed: float | None = None  # when, by the clock
        store.try_again = self._wait_for_storage
        self._trials_at_start = self._finished_trials()
        self._aim_below_best()
        # Same network and recipe, trained before: (digest, recipe digest) to the trial's number.
        self._known = {(r.digest, recipe_digest(_recipe(space, settings, r.genes))): r.number for r in self._records}

    def run(self) -> None:
        """Searches to the end: the trials, the time or the confirmed target, whichever comes first."""
        self._resume_confirmations()
        self._loop()

    def confirm(self, number: int) -> None:
        """Trains what the confirmation of trial `number` still needs, and nothing else.

        Raises:
            StudyError: the trial was cut off before its first epoch, failed there, or stands for another.
        """
        record = self.store.record(number)
        if not record.validation_curve:
            why = f": {record.reason}" if record.reason else ""
            raise StudyError(f"trial {number} ({record.fate}) was never trained{why}; confirm another trial")
        self._only_confirms = True
        self._queue_confirmation(record)
        self._loop()

    def _loop(self) -> None:
        try:
            while not self._interrupts.requested:
                for worker in self.pool.idle():
                    job = self._next_job()
                    if job is None:
                        break
                    worker.submit(job)
                if not self._running:
                    break
                for worker, event in self.pool.events(REFRESH_SECONDS):
                    self._handle(worker, event)
                self._storage_failed = None
                self.watcher.update(self.snapshot())
                if self._target_ends_search() and not self._only_confirms:
                    break
        except KeyboardInterrupt:
            pass  # the signal is remembered in `interrupts`
        finally:
            self.pool.close()
            trials = {key[0]: r.seconds for key, r in self._running.items() if key[1] is None}
            trials |= {r.job.key[0]: r.seconds for r in self._again if not r.job.confirms}
            self.store.interrupt_all(trials)

    @property
    def _records(self) -> list[TrialRecord]:
        return self.store.records()

    def _wait_for_storage(self, problem: str) -> bool:
        """Whether to try again to write what could not be written; waits a moment before it says so."""
        if self._storage_failed is None:
            self._storage_failed = self._clock()
            self.watcher.say(f"{problem}; trying again for {STORAGE_PATIENCE / 60:g} minutes")
        if self._interrupts.requested or self._clock() - self._storage_failed >= STORAGE_PATIENCE:
            return False
        time.sleep(1.0)
        return True

    def snapshot(self) -> Snapshot:
        """The search as it stands."""
        return Snapshot(
            records=self._records,
            running=list(self._running.values()),
            settings=self.settings,
            seconds=self._clock() - self._started,
            images=self._images,
            trials_at_start=self._trials_at_start,
            over_budget=self._refused,
        )

    # What to do next

    def _next_job(self) -> Job | None:
        if self._again:
            again = self._again.popleft()
            self._running[again.job.key] = again
            return again.job
        if not self._only_confirms:
            if self._target_ends_search():
                return None
            self._plan_confirmations()
        if self._confirm_jobs:
            job = self._confirm_jobs.popleft()
            record = self.store.record(job.key[0])
            self._running[job.key] = Running(job, record.num_params, [])
            return job
        while not self._only_confirms and self._may_start_trial():
            started = self._start_trial()
            if started is not None:
                return started
        return None

    def _may_start_trial(self) -> bool:
        if self._duplicates >= MOST_DUPLICATES or self._time_is_up():
            return False
        trials = self.settings.trials
        if trials is None and self.settings.time is None:
            trials = DEFAULT_TRIALS
        training = sum(r.job.key[1] is None for r in (*self._running.values(), *self._again))
        return trials is None or self._finished_trials() + training < trials

    def _finished_trials(self) -> int:
        return sum(record.fate in ("completed", "stopped", "failed") for record in self._records)

    def _time_is_up(self) -> bool:
        return self.settings.time is not None and self._clock() - self._started >= self.settings.time

    def _target_ends_search(self) -> bool:
        s = self.settings
        open_ended = s.trials is None and s.time is None
        return open_ended and self._met is not None

    def _start_trial(self) -> Job | None:
        """Asks for a trial; None where it ended at once: over budget, or trained before."""
        number, genes = self.store.ask()
        found = candidate(self.space, genes)
        if found is None or not self.settings.budget.admits(found.costs):
            self._refuse(number, found)
            return None
        recipe, digest = _recipe(self.space, self.settings, genes), found.digest
        seed = _seed(self.settings.seed, number, "trial")
        self.store.describe(number, found, digest, seed)
        twin = self._known.setdefault((digest, recipe_digest(recipe)), number)
        if twin != number and self._is_duplicate_of(twin, number):
            return None
        self._known[digest, recipe_digest(recipe)] = number
        self._duplicates = 0
        job = Job((number, None), found.architecture, recipe, seed, self.store.folder.weights_file(number))
        self._running[job.key] = Running(job, found.costs.num_params, [])
        return job

    def _refuse(self, number: int, found: Candidate | None) -> None:
        """The second gate: whatever proposed it, a network over budget is not built."""
        self._refused += 1
        reason = "its maps shrink to nothing"
        if found is not None:
            self.store.describe(number, found, found.digest, 0)
            reason = "over budget: " + "; ".join(self.settings.budget.excesses(found.costs))
        self.store.finish(number, "failed", 0.0, reason=reason)
        self.watcher.say(f"trial {number} refused: {reason}")

    def _is_duplicate_of(self, twin: int, number: int) -> bool:
        """Ends trial `number` with the result of `twin`, unless that was cut off and has none."""
        known = self.store.record(twin)
        if known.fate == "interrupted":
            return False
        value = known.validation_accuracy if known.fate == "completed" else None
        self.store.finish(number, "duplicate", 0.0, value, reason=f"same network and recipe as trial {twin}")
        self._duplicates += 1
        return True

    # Confirmations

    def _resume_confirmations(self) -> None:
        """Queues the seeds that an interrupted run still owed."""
        for record in self._records:
            figure = record.confirmed
            if figure is None or figure.num_seeds >= self.settings.seeds:
                continue
            if self.settings.target is None or not is_hopeless(figure, self.settings.target):
                self._queue_confirmation(record)

    def _plan_confirmations(self) -> None:
        """Queues the next network to confirm, one at a time."""
        if self._confirm_jobs or any(key[1] is not None for key in self._running):
            return
        open_records = [r for r in self._records if r.number not in self._given_up]
        s = self.settings
        if s.target is not None:
            chosen = next_to_confirm(open_records, s.target, s.seeds, self._validation_images)
        else:
            chosen = None
            if not self._running and not self._may_start_trial():
                front = validation_front(open_records)[-CONFIRMED_OF_FRONT:]
                chosen = next((r for r in front if r.confirmed is None), None)
        if chosen is not None:
            self._queue_confirmation(chosen)

    def _queue_confirmation(self, record: TrialRecord) -> None:
        self.watcher.say(
            f"confirming trial {record.number}: {record.num_params:,} parameters, validation "
            f"{record.validation_accuracy:.2f} %"
        )
        self._confirm_jobs.extend(confirmation_jobs(self.store, self.space, self.settings, record))

    # What workers report

    def _handle(self, worker: Worker, event: Event) -> None:
        running = self._running[event.job.key]
        number, seed = event.job.key
        if isinstance(event.what, Epoch):
            running.epochs.append(event.what)
            self._images += event.what.images
            stop = seed is None and self.store.report(number, event.what.number, event.what.accuracy)
            worker.reply(not stop)
            if stop:
                del self._running[event.job.key]
                self.store.finish(number, "stopped", running.seconds)
        else:
            del self._running[event.job.key]
            if event.what.reason and self._blame_machine(running, event.what):
                return
            if seed is None:
                self._finish_trial(running, event.what)
            else:
                self._finish_confirmation(running, event.what, seed)

    def _blame_machine(self, running: Running, end: Finished) -> bool:
        """Whether it is trained again, since the machine has failed and not the network.

        Raises:
            StudyError: the disk has; the next training would fare no better.
        """
        number, seed = running.job.key
        what = f"trial {number}" if seed is None else f"a confirmation of trial {number}"
        if end.cause == "disk":
            raise StudyError(f"{what} could not be kept: {end.reason}; see to that, then resume with the same command")
        if end.cause == "training" or running.deaths + 1 >= MOST_DEATHS:
            return False
        self.watcher.say(f"{what} is trained again: {end.reason}")
        self._again.append(replace(running, epochs=[], seconds_before=running.seconds, deaths=running.deaths + 1))
        return True

    def _finish_trial(self, running: Running, end: Finished) -> None:
        number = running.job.key[0]
        if end.reason:
            self.watcher.say(f"trial {number} failed: {end.reason}")
            self.store.finish(number, "failed", running.seconds, reason=end.reason)
        else:
            self.store.finish(number, "completed", running.seconds, last_epochs_mean(running.accuracies))

    def _finish_confirmation(self, running: Running, end: Finished, seed: int) -> None:
        number, s = running.job.key[0], self.settings
        if end.reason:
            self._given_up.add(number)
            self._confirm_jobs.clear()
            self.watcher.say(f"confirmation of trial {number} failed: {end.reason}")
            return
        self.store.add_confirmation(number, Confirmation(seed, running.accuracies, running.seconds))
        figure = self.store.record(number).confirmed
        assert figure is not None
        seeds = f"{figure.num_seeds} of {s.seeds} seeds"
        self.watcher.say(f"trial {number}, {running.num_params:,} parameters: test {figure} over {seeds}")
        if s.target is not None and is_hopeless(figure, s.target):
            self._confirm_jobs.clear()
        self._aim_below_best()

    def _aim_below_best(self) -> None:
        s = self.settings
        self._met = smallest_met(self._records, s.target, s.seeds) if s.target is not None else None
        self.store.sampler.below = self._met.num_params if self._met else None


def confirmation_jobs(store: SearchStore, space: Space, settings: StudySettings, record: TrialRecord) -> list[Job]:
    """The trainings that a confirmation of `record` still needs, each with a fresh seed.

    Raises:
        TrainingError: the trial's genes describe no network any more.
    """
    found = candidate(space, record.genes)
    if found is None or not settings.budget.admits(found.costs):
        raise TrainingError(f"trial {record.number} is not a network of this space and budget")
    recipe = _recipe(space, settings, record.genes)
    done = {confirmation.seed for confirmation in record.confirmations}
    seeds = [_seed(settings.seed, record.number, f"confirmation {i}") for i in range(settings.seeds)]
    return [
        Job((record.number, seed), found.architecture, recipe, seed, store.folder.weights_file(record.number, seed))
        for seed in seeds
        if seed not in done
    ]


def _recipe(space: Space, settings: StudySettings, genes: Genes) -> Recipe:
    """The recipe that `genes` describe, with the study's own number of epochs where it has one."""
    recipe = recipe_of(space, genes)
    return replace(recipe, epochs=settings.epochs) if settings.epochs else recipe


def _seed(study_seed: int, number: int, what: str) -> int:
    """A seed of its own for every training of a study, the same on every machine."""
    return random.Random(f"{study_seed}:{number}:{what}").randrange(2**31)
