"""A search, decided again from its seed, its space and its log: every draw and every early stop must come out the same.

Each run of the search is decided again by the search's own store, sampler and pruner, on a storage in memory that
holds what the run found when it began. Nothing is trained: the accuracies are those of the log.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from nas.errors import StudyError
from nas.space import Space, candidate, load_space
from nas.storage.address import Storage, address_of
from nas.storage.enqueued_trials import was_enqueued
from nas.storage.optuna_records import fate_of
from nas.storage.past_trials import PastTrial, enqueue_again, past_trials, rebuild_study
from nas.storage.search_store import SearchStore
from nas.storage.study_store import Store
from nas.strategy.beliefs import goal_of
from nas.strategy.fitted_sampler import is_given, sampler_of
from nas.strategy.optuna_pruner import ParetoPruner
from nas.strategy.optuna_sampler import distributions_of
from nas.study.answer import smallest_met
from nas.study.decision_log import Asked, Confirmed, Ended, Reported, Run, read_log
from nas.study.folder import StudyFolder
from nas.study.recipe import study_epochs
from nas.study.records import TrialRecord
from nas.study.settings import StudySettings


@dataclass(frozen=True)
class Difference:
    """The first thing that came out otherwise."""

    trial: int
    what: str
    was: Any
    now: Any
    versions: str  # of the run that decided it

    def __str__(self) -> str:
        return f"trial {self.trial}: {self.what} was {self.was} and is {self.now} (the search ran on {self.versions})"


@dataclass
class Replay:
    """What was decided again."""

    draws: int = 0
    stopping_decisions: int = 0  # at the rungs: elsewhere no trial is stopped
    given: int = 0  # trials that were enqueued, not drawn
    from_python: int = 0  # draws of a sampler that a Python program gave, and that nobody else has
    not_logged: int = 0  # trials whose draw or end the log does not hold
    difference: Difference | None = None

    @property
    def is_same(self) -> bool:
        """Whether all came out the same."""
        return self.difference is None

    def __str__(self) -> str:
        if self.difference:
            return str(self.difference)
        text = f"{self.draws:,} draws and {self.stopping_decisions:,} stopping decisions: all derived again"
        if self.given:
            text += f"; {self.given:,} enqueued trials were taken as given"
        if self.from_python:
            text += f"; {self.from_python:,} draws of a sampler given in Python were taken as given"
        if self.not_logged:
            text += f"; {self.not_logged:,} trials are not in the log, or not to their end, and were taken as given"
        return text


class _DifferenceError(Exception):
    """Ends a replay; its result is a `Difference`."""

    def __init__(self, trial: int, what: str, was: Any, now: Any) -> None:
        self.arguments = trial, what, was, now


def replay(folder: StudyFolder, storage: Storage | None = None) -> Replay:
    """Decide the study again, up to the first difference; it lies in `storage`, or where `folder` says.

    Raises:
        StudyError: it has no log, the log or the storage is damaged, or the images that it is for cannot be found.
    """
    settings = folder.settings()
    images = folder.document().images
    if images is None:
        raise StudyError(
            f"study {folder.name!r} does not say which images it is for; resume it once, which puts that right"
        )
    folder.require_resumable()
    space = load_space(str(folder.space_file), images.shape, images.num_classes)
    runs = read_log(folder.log_file)
    store = Store(folder, storage)
    stored = past_trials(store)
    confirmed = [record for record in store.records() if record.confirmations]
    result = Replay()
    derived: set[int] = set()
    for index, run in enumerate(runs):
        # A storage that lost its last moments, or was put back, has other trials by the later numbers.
        kept = stored[: min((later.began.trials for later in runs[index + 1 :]), default=len(stored))]
        if run.began.trials > len(stored):
            raise StudyError(
                f"the log of study {folder.name!r} knows {run.began.trials} trials, and {address_of(folder)} holds "
                f"{len(stored)}; restore it"
            )
        if run.began.trials > len(kept):
            continue  # it built on trials that are gone
        try:
            derived |= _Again(folder, settings, space, run, kept, confirmed, result).decide()
        except _DifferenceError as difference:
            result.difference = Difference(*difference.arguments, run.began.versions)
            return result
    ended = {event.trial for run in runs for event in run.events if isinstance(event, Ended)}
    result.not_logged = sum(t.state.is_finished() and t.number not in derived & ended for t in stored)
    return result


class _Again:
    """One run of the search, decided again."""

    def __init__(
        self,
        folder: StudyFolder,
        settings: StudySettings,
        space: Space,
        run: Run,
        stored: list[PastTrial],
        confirmed: Sequence[TrialRecord],
        result: Replay,
    ) -> None:
        self._space = space
        self._result = result
        self._stored = dict(enumerate(stored))
        self._events = run.events
        self._waited = {w.trial for w in run.began.waiting}
        self._begun = {w.trial for w in run.began.waiting if w.curve is not None}
        self._settings = replace(settings, target=run.began.target, num_seeds=run.began.num_seeds or settings.num_seeds)
        epochs, goal = study_epochs(space, settings), goal_of(self._settings)
        self._sampler = sampler_of(settings.sampler, space, settings.budget, settings.seed, goal, epochs)
        self._pruner = ParetoPruner(space, epochs, history=self._sampler.history)
        self._confirmed = {record.number: record for record in confirmed}
        self._done: dict[int, set[int]] = {}  # seeds by trial, those that were trained so far
        for number, seed in run.began.confirmed:
            self._confirm(number, seed)
        curves = {waiting.trial: waiting.curve for waiting in run.began.waiting}
        found = rebuild_study(folder.stored_name, stored[: run.began.trials], curves)
        self._store = SearchStore(folder, distributions_of(space), self._sampler, self._pruner, found)
        self._running: set[int] = set()
        self._derived: set[int] = set()

    def decide(self) -> set[int]:
        """Count what comes out the same; return the trials that were drawn or enqueued, and begun in this run.

        Raises:
            _DifferenceError: something does not.
        """
        for event in self._events:
            if isinstance(event, Asked):
                self._ask(event)
            elif isinstance(event, Reported):
                self._require_running(event.trial)
                stop = self._store.report(event.trial, event.epoch, event.accuracy)
                if stop != event.stop:
                    was, now = (("stop" if stops else "go on") for stops in (event.stop, stop))
                    raise _DifferenceError(event.trial, f"the decision after epoch {event.epoch}", was, now)
                self._result.stopping_decisions += event.epoch in self._pruner.rungs
            elif isinstance(event, Ended):
                self._require_running(event.trial)
                self._end(event)
            elif isinstance(event, Confirmed):
                self._confirm(event.trial, event.seed)
        return self._derived

    def _require_running(self, number: int) -> None:
        if number not in self._running:
            raise _DifferenceError(number, "its place in the log", "reported on", "not asked for, or at its end")

    def _ask(self, event: Asked) -> None:
        there = self._stored.get(event.trial)
        enqueued = there is not None and was_enqueued(there)
        from_python = not enqueued and is_given(self._settings.sampler)
        if there is not None and (enqueued or from_python) and event.trial not in self._waited:
            enqueue_again(self._store, there)  # while this run went on
        self._sampler.history.goal = goal_of(self._settings, event.below, event.confirming)
        number, genes = self._store.ask(event.below, event.confirming)
        _compare(event.trial, "its number", event.trial, number)
        self._running.add(number)
        found = candidate(self._space, genes)
        if found is not None:
            self._store.describe(number, found, 0)
        if there is None:
            return
        for name in genes | there.params:
            _compare(number, f"gene {name!r}", there.params.get(name), genes.get(name))
        for name, value in (found.costs.counts() | {"digest": found.digest} if found else {}).items():
            _compare(number, name, there.user_attrs.get(name, value), value)
        if number not in self._begun:
            self._derived.add(number)
            self._result.given += enqueued
            self._result.from_python += from_python
            self._result.draws += not enqueued and not from_python

    def _confirm(self, number: int, seed: int) -> None:
        """Let the sampler and the pruner know the figure of a seed, as the search did."""
        self._done.setdefault(number, set()).add(seed)
        known = [
            replace(record, confirmations=tuple(c for c in record.confirmations if c.seed in self._done[record.number]))
            for record in self._confirmed.values()
            if record.number in self._done
        ]
        history = self._sampler.history
        for record in known:
            history.beliefs.learn_confirmation(record.number, tuple(c.figure for c in record.confirmations))
        met = smallest_met(known, self._settings)
        confirming = history.goal.confirming if history.goal else ()
        history.goal = goal_of(self._settings, met.size if met else None, confirming)

    def _end(self, event: Ended) -> None:
        there = self._stored.get(event.trial)
        if there is not None:
            _compare(event.trial, "its fate", fate_of(there), event.fate)
            if there.state.name == "COMPLETE":
                _compare(event.trial, "its value", there.value, event.value)
        self._store.finish(event.trial, event.fate, 0.0, event.value)
        self._running.remove(event.trial)
        if there is not None:
            now = self._store.copy.get_trials(deepcopy=False)[event.trial].intermediate_values
            for epoch in sorted(there.intermediate_values | now):
                what = f"its accuracy after epoch {epoch}"
                _compare(event.trial, what, there.intermediate_values.get(epoch), now.get(epoch))


def _compare(trial: int, what: str, was: Any, now: Any) -> None:
    if was != now:
        raise _DifferenceError(trial, what, was, now)
