"""A study's trials in Optuna storage, written by the one coordinator that searches it."""

from __future__ import annotations

import bisect
import contextlib
import copy
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState

from nas.arch import outline
from nas.decode import encode
from nas.errors import StudyError
from nas.space import Candidate
from nas.storage.address import Storage, address_of
from nas.storage.locks import StorageError
from nas.storage.optuna_records import CONFIRMATION, FATES, NO_END, confirmations_of, read_trials, records_of
from nas.storage.study_store import Store, require_study
from nas.study.decision_log import Asked, Began, Confirmed, Ended, Interrupted, Note, Reported, Waiting
from nas.study.folder import StudyFolder
from nas.study.networks import has_networks
from nas.study.records import Confirmation, Fate, TrialRecord


@dataclass
class _Running:
    """A trial between `ask` and `finish`."""

    trial: optuna.Trial  # in memory
    seconds_before: float  # of training, in attempts that were cut off
    written: bool  # the storage may hold it
    id: int = -1  # in the storage; none before it is described
    epochs: int = 0  # reported by this attempt


class SearchStore(Store):
    """The study as the coordinator uses it: asks for trials and records what became of them.

    Only the coordinator writes trials, so it keeps all of them in memory, where a read needs no I/O, and writes every
    change through to the storage before it returns. A described trial appears there whole, by one transaction, and a
    trial's state is written after all else of its end. So whatever ends this process, the storage holds every finished
    trial, and the state of the others says that they were running: they wait, by their number, genes and seed, until
    the study is resumed.
    """

    def __init__(
        self,
        folder: StudyFolder,
        distributions: Mapping[str, BaseDistribution],
        sampler: BaseSampler,
        pruner: BasePruner,
        storage: Storage | None = None,
        note: Note = lambda _: None,
        target: float | None = None,
        num_seeds: int = 0,
        versions: str = "",
    ) -> None:
        """Create the study, or resume it; `note` is told of all that happens, as it happens, first of `versions`.

        Every trial has the genes of `distributions`, as `sampler` proposes them; `pruner` decides after each epoch.

        It lies in `storage` where one is given, such as `optuna.storages.InMemoryStorage()`, else where `folder` says.

        Raises:
            StudyError: the storage cannot be written, or it holds a study of that name from another folder.
        """
        self.folder = folder
        self._note = note
        self._began = partial(
            Began, has_target=target is not None, target=target, num_seeds=num_seeds, versions=versions
        )
        # Asked while the storage cannot be written, with what is wrong: whether to try again, after a little wait.
        self.try_again: Callable[[str], bool] = lambda _: False
        self._address = address_of(folder)
        self.storage = storage or self._address.open(folder.name)
        self._inode = self._address.inode
        self._count = folder.count
        self._distributions = dict(distributions)
        self._running: dict[int, _Running] = {}
        self._memory = InMemoryStorage()
        self.copy = optuna.create_study(
            study_name=folder.name, storage=self._memory, sampler=sampler, pruner=pruner, direction="maximize"
        )
        with self._address.errors(folder.name):
            began = self._open()
            self._confirmations = confirmations_of(self._attributes)
            self._records = records_of(self.copy.get_trials(deepcopy=False), self._confirmations, self._count)
        self.fates = Counter(record.fate for record in self._records)
        note(began)

    def _open(self) -> Began:
        name = self.folder.stored_name
        identity = self.folder.document().identity if self.folder.exists else ""
        if has_networks(self.folder):
            require_study(self.storage, self.folder)
        # Made here, before any worker starts: four processes that create one new SQLite file at once lose three.
        self.study = optuna.create_study(
            study_name=name, storage=self.storage, direction="maximize", load_if_exists=True
        )
        trials, self._attributes = read_trials(self.study), self.study.user_attrs
        if trials and self._attributes.get("folder", identity) != identity:
            raise StudyError(
                f"{self._address} holds another study {name!r}, made in another folder; copy that folder to "
                f"{self.folder.path} to go on with it, or give this search another `name`"
            )
        self.study.set_user_attr("folder", identity)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self.study.set_metric_names(["validation accuracy (%)"])
        self.study_id = self.storage.get_study_id_from_name(name)
        for trial in trials:
            self.copy.add_trial(self._mend(trial) if trial.state == TrialState.RUNNING else trial)
        waiting = tuple(_waiting(t) for t in self.copy.get_trials(deepcopy=False) if t.state == TrialState.WAITING)
        confirmed = [(number, c.seed) for number, those in confirmations_of(self._attributes).items() for c in those]
        return self._began(len(trials), waiting, confirmed=tuple(confirmed))

    def _mend(self, trial: FrozenTrial) -> FrozenTrial:
        """Let a trial wait that ran under a coordinator that was killed, perhaps while it wrote how the trial ended."""
        found = self.storage.get_trial_id_from_study_id_trial_number(self.study_id, trial.number)
        trial = copy.copy(trial)
        trial.state, trial.user_attrs = TrialState.WAITING, {**trial.user_attrs}
        for name in NO_END.keys() & trial.user_attrs.keys():
            trial.user_attrs[name] = NO_END[name]
            self.storage.set_trial_user_attr(found, name, NO_END[name])
        self.storage.set_trial_state_values(found, TrialState.WAITING)
        return trial

    def records(self) -> list[TrialRecord]:
        """Return every trial that was described, by number, as it is now."""
        return self._records.copy()

    def trials(self) -> list[FrozenTrial]:
        """Return Optuna's own trials, by number, as they are now."""
        return self.copy.get_trials(deepcopy=False)

    def record(self, number: int) -> TrialRecord:
        """Return one trial.

        Raises:
            StudyError: there is no such trial, or it was not described yet.
        """
        index = self._index(number)
        found = self._records[index : index + 1]
        return found[0] if found and found[0].number == number else super().record(number)

    def _index(self, number: int) -> int:
        return bisect.bisect_left(self._records, number, key=lambda record: record.number)

    def _refresh(self, number: int) -> None:
        """Make the trial's record anew."""
        trial = self._trial(number)
        if "num_params" in trial.user_attrs:
            index = self._index(number)
            before = [record for record in self._records[index : index + 1] if record.number == number]
            now = records_of([trial], self._confirmations, self._count)
            self._records[index : index + len(before)] = now
            self.fates.subtract(record.fate for record in before)
            self.fates.update(record.fate for record in now)

    def _trial(self, number: int) -> FrozenTrial:
        return self._memory.get_trial(self._memory_id(number))

    def _memory_id(self, number: int) -> int:
        study_id = self._memory.get_study_id_from_name(self.folder.name)
        return self._memory.get_trial_id_from_study_id_trial_number(study_id, number)

    def _find(self, number: int) -> int | None:
        """Return the id of a trial in the storage, or None where it has none."""
        try:
            return self.storage.get_trial_id_from_study_id_trial_number(self.study_id, number)
        except KeyError:
            return None

    def ask(self, below: int | None = None, confirming: tuple[int, ...] = ()) -> tuple[int, dict[str, Any]]:
        """Return the next trial's number and genes, every gene suggested; first those that were cut off, or enqueued.

        The arguments are for the log, what the sampler was told: the parameters of what met the target, and the trials
        whose confirmations are under way.

        Raises:
            StudyError: the next one was given a value that the space has not.
        """
        self._write(self._adopt_enqueued)
        known = len(self.copy.get_trials(deepcopy=False))
        try:
            trial = self.copy.ask(self._distributions)
        except ValueError as error:
            asked = {t.number for t in self.copy.get_trials(deepcopy=False) if t.state == TrialState.RUNNING}
            raise StudyError(
                f"trial {min(asked - self._running.keys())} of study {self.folder.name!r} was given a gene that the "
                f"space has not: {error}; set its state to RUNNING and to FAIL, by Optuna's storage, and resume"
            ) from None
        begun = self._trial(trial.number)  # `trial` itself would copy all that it is asked for
        seconds_before = begun.user_attrs.get("train_seconds", 0.0)
        self._running[trial.number] = _Running(trial, seconds_before, written=trial.number < known)
        self._note(Asked(trial.number, below, confirming))
        return trial.number, dict(begun.params)

    def describe(self, number: int, candidate: Candidate, seed: int, draw: Mapping[str, Any] | None = None) -> None:
        """Record what is known before training. Ahead of the first report, since the pruner compares by size.

        `draw` has what it took to draw the network, by the names that `TrialRecord` has for it.
        """
        costs = candidate.costs.counts() | candidate.costs.device_bytes()
        known = {"digest": candidate.digest, "network": outline(candidate.architecture), "seed": seed}
        for name, value in {**(draw or {}), **costs, **known}.items():
            self._running[number].trial.set_user_attr(name, value)
        self._write(lambda: self._begin(self._running[number]))
        self._refresh(number)

    def report(self, number: int, epoch: int, accuracy: float) -> bool:
        """Record an epoch's validation accuracy (percent); return whether the trial should stop."""
        running = self._running[number]
        running.epochs = epoch
        self._memory.set_trial_intermediate_value(self._memory_id(number), epoch, accuracy)
        self._write(lambda: self.storage.set_trial_intermediate_value(running.id, epoch, accuracy))
        self._refresh(number)
        # Without what an attempt that was cut off has reported. `Trial.should_prune` would copy the trial whole.
        trial = copy.copy(self._trial(number))
        trial.intermediate_values = {step: value for step, value in trial.intermediate_values.items() if step <= epoch}
        stop = self.copy.pruner.prune(self.copy, trial)
        self._note(Reported(number, epoch, accuracy, stop))
        return stop

    def finish(
        self, number: int, fate: Fate, train_seconds: float, value: float | None = None, reason: str = ""
    ) -> None:
        """Record what became of a trial.

        Raises:
            StorageError: it cannot be written; there the trial goes on running, and is trained again on resume.
        """
        running = self._running.pop(number)
        states = {fate: state for state, fate in FATES.items()}
        state = states.get(fate, TrialState.FAIL)
        if fate == "duplicate" and value is not None:
            state = TrialState.COMPLETE
        attributes: dict[str, Any] = {"train_seconds": round(running.seconds_before + train_seconds, 3)}
        if fate != FATES.get(state):
            attributes["fate"] = fate
        if reason:
            attributes["reason"] = reason
        if len(self._trial(number).intermediate_values) > running.epochs:
            attributes["epochs"] = running.epochs
        for name, attribute in attributes.items():
            running.trial.set_user_attr(name, attribute)
        told = self.copy.tell(running.trial, value if state == TrialState.COMPLETE else None, state=state)
        self._write(lambda: self._end(running, attributes, state, told.values))
        self._refresh(number)
        self._note(Ended(number, fate, value))

    def interrupt_all(self, train_seconds: dict[int, float]) -> None:
        """Let every running trial wait: it is trained again when the study is resumed.

        A storage that cannot be written keeps them as running, which comes to the same when the study is resumed; only
        their seconds of training are lost.
        """
        if self._running:
            self._note(Interrupted(tuple(sorted(self._running))))
        writes = []
        for number, running in sorted(self._running.items()):
            seconds = round(running.seconds_before + train_seconds.get(number, 0.0), 3)
            running.trial.set_user_attr("train_seconds", seconds)
            self._memory.set_trial_state_values(self._memory_id(number), TrialState.WAITING)
            self._refresh(number)
            writes.append(partial(self._end, running, {"train_seconds": seconds}, TrialState.WAITING, None))
        self._running.clear()
        with contextlib.suppress(StorageError):
            for write in writes:
                self._write(write)

    def add_confirmation(self, number: int, confirmation: Confirmation) -> None:
        """Records one seed's training. On the study, since Optuna does not let a finished trial be written to."""
        key, value = f"{CONFIRMATION}{number}:{confirmation.seed}", encode(confirmation)
        self._write(lambda: self.storage.set_study_user_attr(self.study_id, key, value))
        self._attributes[key] = value
        self._confirmations = confirmations_of(self._attributes)
        self._refresh(number)
        self._note(Confirmed(number, confirmation.seed))

    # Changes in the storage. Each may be made again, as the answer to it may be lost while the change is not.

    def _write(self, change: Callable[[], None]) -> None:
        while True:
            try:
                with self._address.errors(self.folder.name):
                    if self._address.inode != self._inode:
                        raise StorageError(f"{self._address} is gone, or another file than when this search began")
                    return change()
            except StorageError as error:
                if not self.try_again(str(error)):
                    raise

    def _adopt_enqueued(self) -> None:
        """Take over what somebody has enqueued in the storage meanwhile."""
        known = len(self.copy.get_trials(deepcopy=False))
        if self._find(known) is None:
            return  # nothing is new; to read all that is there would cost more than the trial
        for trial in read_trials(self.study)[known:]:
            if trial.state == TrialState.WAITING:
                self.copy.add_trial(trial)

    def _begin(self, running: _Running) -> None:
        number = running.trial.number
        trial = self._trial(number)
        found = self._find(number) if running.written else None
        if found is None:
            running.written = True
            running.id = self.storage.create_new_trial(self.study_id, trial)
            if self._find(number) != running.id:
                made = self.storage.get_trial_number_from_id(running.id)
                raise StudyError(
                    f"trial {number} of study {self.folder.name!r} came out as {made}: another program writes to the "
                    f"study, or an answer of the storage was lost; end that program, and resume this search"
                )
            return
        running.id = found
        stored = self.storage.get_trial(running.id)
        for name in trial.params.keys() - stored.params.keys():  # of a trial that was enqueued
            gene = trial.distributions[name]
            self.storage.set_trial_param(running.id, name, gene.to_internal_repr(trial.params[name]), gene)
        for name, value in trial.user_attrs.items():
            if stored.user_attrs.get(name) != value:
                self.storage.set_trial_user_attr(running.id, name, value)
        self.storage.set_trial_state_values(running.id, TrialState.RUNNING)

    def _end(
        self, running: _Running, attributes: dict[str, Any], state: TrialState, values: list[float] | None
    ) -> None:
        """Write the state last: killed before that, the trial is one that ran, and `_mend` forgets its end."""
        try:
            if running.id < 0:
                self._begin(running)
            for name, value in attributes.items():
                self.storage.set_trial_user_attr(running.id, name, value)
            self.storage.set_trial_state_values(running.id, state, values)
        except optuna.exceptions.UpdateFinishedTrialError:
            pass  # it has ended already: the answer to the change that did it was lost


def _waiting(trial: FrozenTrial) -> Waiting:
    begun = "digest" in trial.user_attrs
    return Waiting(trial.number, tuple(v for _, v in sorted(trial.intermediate_values.items())) if begun else None)
