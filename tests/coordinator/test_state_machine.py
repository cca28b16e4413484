"""Whatever happens to a search, and in whatever order: what must hold of its study after each step, and at its end."""

from __future__ import annotations

import tempfile
from collections import Counter, deque
from dataclasses import replace
from pathlib import Path

import optuna
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState
from simulated_searches import SETTINGS, SPACE, open_search
from watching import Watching

from nas.arch import lower
from nas.coordinator.replay import replay
from nas.costs import costs_of
from nas.space import least_network, most_network
from nas.storage.study_store import Store
from nas.strategy.beliefs import goal_of
from nas.strategy.confirming import CONFIRMED_OF_FRONT, next_seed
from nas.study.answer import best_record, meets_target, smallest_met
from nas.study.front import validation_front
from nas.study.recipe import trial_recipe
from nas.study.records import TrialRecord
from nas.workers.messages import Finished, Job
from nas.workers.simulated import SimulatedTraining, Simulation

EPOCHS = 3
TRAINED = ("completed", "stopped", "failed")
# What a job may come to in place of reaching its end: the worker dies, memory runs out, or it fails by itself.
CAUSES = st.sampled_from(["worker", "memory", "training"])

# Percent: what the even and the odd seeds of a confirmation come to, by the number of the trial.
TEST_ACCURACIES = st.lists(st.sampled_from([(20.0, 20.0), (0.0, 0.0), (15.0, 25.0)]), min_size=1, max_size=3)


class SearchMachine(RuleBasedStateMachine):
    """A search of simulated trainings around the target, in a study in memory."""

    @initialize(
        workers=st.integers(1, 3),
        trials_per_device=st.integers(1, 3),
        max_trials=st.integers(1, 6),
        percent=st.sampled_from([20.0, 20.0, None]),
        validation=st.lists(st.sampled_from([20.0, 10.0, 30.0]), min_size=1, max_size=2),
        test=TEST_ACCURACIES,
    )
    def begin(
        self,
        workers: int,
        trials_per_device: int,
        max_trials: int,
        percent: float | None,
        validation: list[float],
        test: list[tuple[float, float]],
    ) -> None:
        self.machine = workers, trials_per_device
        self.settings = replace(SETTINGS, max_trials=max_trials, target=percent)
        self.validation, self.test = validation, test
        self.folder = tempfile.TemporaryDirectory()
        self.storage = InMemoryStorage()
        self.failures: deque[SimulatedTraining] = deque()  # what the next jobs come to
        self.complete: Counter[tuple[int, int | None]] = Counter()  # jobs that were trained to their end
        self.finished: dict[int, TrialRecord] = {}
        self.open()

    def open(self) -> None:
        """Begin, or resume, as a new program would."""
        self.simulation = Simulation(self.train, *self.machine)
        self.watching, self.has_ended = Watching(), False
        self.search = open_search(
            Path(self.folder.name), self.simulation, self.settings, self.storage, self.watching, EPOCHS
        )
        self.store = self.search.store
        self.search.resume_confirmations()

    def train(self, job: Job, attempt: int) -> SimulatedTraining:
        assert costs_of(lower(job.architecture)).num_params <= self.settings.max_params
        if self.failures:
            return self.failures.popleft()
        validation, test = (of[job.key[0] % len(of)] for of in (self.validation, self.test))
        return SimulatedTraining((test[job.seed % 2] if job.confirms else validation,) * EPOCHS)

    def close(self) -> None:
        self.search.close()
        assert TrialState.RUNNING not in self.states()

    def states(self) -> list[TrialState]:
        return [t.state for t in self.study().get_trials(deepcopy=False)]

    def study(self) -> optuna.Study:
        return optuna.load_study(study_name="simulated", storage=self.storage)

    # What happens

    @precondition(lambda self: not self.has_ended)
    @rule(steps=st.integers(1, 8))
    def go_on(self, steps: int) -> None:
        """Epochs pass and trainings end."""
        for _ in range(steps):
            if not self.has_ended:
                self.step()

    def step(self) -> None:
        before = len(self.simulation.ended)
        self.has_ended = not self.search.step()
        self.complete.update(run.job.key for run in self.simulation.ended[before:] if run.is_complete)
        self.workers_hold_what_they_have_room_for()

    @rule(cause=CAUSES, epochs=st.integers(0, EPOCHS), times=st.integers(1, 3))
    def script_failures(self, cause: str, epochs: int, times: int) -> None:
        end = Finished(f"a failure of the {cause}", cause)  # type: ignore[arg-type]
        self.failures += [SimulatedTraining((20.0,) * epochs, end=end)] * times

    @rule(
        when=st.sampled_from(["at its end", "interrupted", "killed"]),
        more_trials=st.integers(0, 2),
        more_seeds=st.integers(0, 3),
        percent=st.sampled_from([20.0, 22.0, 10.0, None]),
        test=TEST_ACCURACIES,
    )
    def resume(
        self, when: str, more_trials: int, more_seeds: int, percent: float | None, test: list[tuple[float, float]]
    ) -> None:
        """Resume the search at its end, after a signal or after kill -9, perhaps with other settings and luck."""
        if when == "at its end":
            self.go_on_to_the_end()
        if when != "killed":
            self.close()
        s = self.settings
        assert s.max_trials is not None
        max_trials, num_seeds = s.max_trials + more_trials, s.num_seeds + more_seeds
        self.settings = replace(s, max_trials=max_trials, num_seeds=num_seeds, target=percent)
        self.test = test
        self.open()

    @rule(over_budget=st.booleans())
    def enqueue(self, over_budget: bool) -> None:
        self.study().enqueue_trial((most_network if over_budget else least_network)(SPACE).genes)

    @rule()
    def go_on_to_the_end(self) -> None:
        for _ in range(1_000):
            if self.has_ended:
                break
            self.step()
        assert self.has_ended
        self.nothing_is_left_to_do()

    # What must hold

    @invariant()
    def no_trial_is_lost_doubled_or_changed(self) -> None:
        records = {record.number: record for record in self.store.records()}
        assert list(records) == sorted(records)
        assert {number: records[number] for number in self.finished} == self.finished | {
            number: replace(self.finished[number], confirmations=records[number].confirmations)
            for number in self.finished
        }
        assert all(
            set(before.confirmations) <= set(records[number].confirmations) for number, before in self.finished.items()
        )
        self.finished = {number: r for number, r in records.items() if r.fate not in ("running", "interrupted")}
        stored = {record.number: record for record in Store(self.search.store.folder, self.storage).records()}
        assert {number: stored[number] for number in self.finished} == self.finished
        assert max(self.complete.values(), default=1) == 1
        trained = [record for record in records.values() if record.fate in TRAINED and record.validation_curve]
        assert len({(r.digest, trial_recipe(SPACE, self.settings, r.genes)) for r in trained}) == len(trained)
        assert len(self.states()) >= len(records)

    @invariant()
    def nothing_is_over_the_budget_or_the_limit(self) -> None:
        records = self.store.records()
        assert all(r.num_params <= self.settings.max_params for r in records if r.fate != "failed")
        assert all(not r.validation_curve for r in records if r.num_params > self.settings.max_params)
        limit = self.settings.trials_limit
        assert limit is not None
        assert sum(record.fate in (*TRAINED, "running") for record in records) <= limit

    @invariant()
    def the_answer_is_the_smallest_that_met_the_target(self) -> None:
        records, target = self.store.records(), self.settings.target
        sizes = [
            (r.num_params, r.number)
            for r in records
            if target is not None
            and len(r.confirmations) >= self.settings.num_seeds
            and sum(c.figure for c in r.confirmations) / len(r.confirmations) >= target
        ]
        best = best_record(records, self.settings)
        if sizes:
            assert best is not None
            assert (best.num_params, best.number) == min(sizes)
        else:
            assert best is None or not (best.confirmed and meets_target(best.confirmed, self.settings))

    def workers_hold_what_they_have_room_for(self) -> None:
        _, trials_per_device = self.machine
        held = Counter(key for worker in self.simulation.workers for key in worker.jobs)
        assert max(held.values(), default=1) == 1, "a job is with two workers"
        for worker in self.simulation.workers:
            jobs = worker.jobs.values()
            assert len(jobs) <= trials_per_device
            assert len(jobs) == 1 or not any(job.alone for job in jobs)

    def nothing_is_left_to_do(self) -> None:
        assert TrialState.RUNNING not in self.states()
        records, s = self.store.records(), self.settings
        assert not {record.fate for record in records} & {"running", "interrupted"}
        trained = sum(record.fate in TRAINED for record in records)
        assert trained == s.trials_limit or self.search._trials.are_exhausted
        last = {run.job.key: run for run in self.simulation.runs if run.job.confirms}
        failed = {number for (number, _), run in last.items() if not run.is_complete}
        if (goal := goal_of(s, met.num_params if (met := smallest_met(records, s)) else None)) is not None:
            assert next_seed(self.search.sampler.history.beliefs, goal, s.max_params, failed) is None
        else:
            for record in records:
                if (figure := record.confirmed) and record.number not in failed:
                    assert figure.num_seeds >= s.num_seeds, f"trial {record.number} is owed seeds"
        if s.target is None:
            front = validation_front([record for record in records if record.number not in failed])
            assert all(record.confirmations for record in front[-CONFIRMED_OF_FRONT:])

    def every_decision_is_derived_again(self) -> None:
        replayed = replay(self.store.folder, self.storage)
        assert replayed.difference is None, str(replayed)

    def teardown(self) -> None:
        if hasattr(self, "search"):
            self.go_on_to_the_end()
            self.close()
            self.every_decision_is_derived_again()
            self.folder.cleanup()


SearchMachine.TestCase.settings = settings(
    max_examples=25,
    stateful_step_count=10,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
TestSearch = SearchMachine.TestCase
