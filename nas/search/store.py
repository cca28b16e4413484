"""A study's trials in Optuna storage, read back as trial records. One coordinator writes; anyone may read."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from nas.errors import StudyError
from nas.results.records import Confirmation, Fate, TrialRecord
from nas.search.sampler import BudgetSampler, distributions_of
from nas.search.settings import StudyFolder
from nas.space import Candidate, Space

optuna.logging.set_verbosity(optuna.logging.WARNING)


class Store:
    """The study, opened for reading; `open_for_search` opens it for writing."""

    def __init__(self, folder: StudyFolder) -> None:
        """Opens an existing study.

        Raises:
            StudyError: its storage cannot be opened.
        """
        with _storage_errors(folder):
            self.study = optuna.load_study(study_name=folder.name, storage=folder.storage_url)
        self.folder = folder

    def records(self) -> list[TrialRecord]:
        """Every trial, by number."""
        confirmations = self._confirmations()
        trials = self.study.get_trials(deepcopy=False)
        return [_record(t, confirmations.get(t.number, ())) for t in trials if "num_params" in t.user_attrs]

    def record(self, number: int) -> TrialRecord:
        """One trial.

        Raises:
            StudyError: there is no such trial.
        """
        for record in self.records():
            if record.number == number:
                return record
        raise StudyError(f"study {self.folder.name!r} has no trial {number}; nas status {self.folder.name} lists them")

    def _confirmations(self) -> dict[int, tuple[Confirmation, ...]]:
        found: dict[int, list[Confirmation]] = {}
        for key, value in sorted(self.study.user_attrs.items()):
            if key.startswith("confirmation:"):
                value = {**value, "test_accuracy": tuple(value["test_accuracy"])}
                found.setdefault(int(key.split(":")[1]), []).append(Confirmation(**value))
        return {number: tuple(seeds) for number, seeds in found.items()}

    def add_confirmation(self, number: int, confirmation: Confirmation) -> None:
        """Records one seed's training. On the study, since Optuna does not let a finished trial be written to."""
        with _storage_errors(self.folder):
            self.study.set_user_attr(f"confirmation:{number}:{confirmation.seed}", asdict(confirmation))


class SearchStore(Store):
    """The study as the coordinator uses it: asks for trials and tells what became of them."""

    def __init__(
        self, folder: StudyFolder, space: Space, sampler: BudgetSampler, pruner: optuna.pruners.BasePruner
    ) -> None:
        """Creates the study, or resumes it: trials that were cut off are queued again.

        Raises:
            StudyError: the storage cannot be written.
        """
        self.folder = folder
        self.sampler = sampler
        self._distributions = distributions_of(space)
        with _storage_errors(folder):
            # Made here, before any worker starts: four processes that create one new SQLite file at once lose three.
            self.study = optuna.create_study(
                study_name=folder.name,
                storage=folder.storage_url,
                sampler=sampler,
                pruner=pruner,
                direction="maximize",
                load_if_exists=True,
            )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                self.study.set_metric_names(["validation accuracy (%)"])
            self._requeue()
        self._running: dict[int, optuna.Trial] = {}

    def _requeue(self) -> None:
        """Ends what a coordinator that was killed left running; every interrupted trial runs again, once."""
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            self.study.tell(trial.number, state=TrialState.FAIL)
        queued = set(self.study.user_attrs.get("requeued", []))
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.FAIL,)):
            whole = trial.params.keys() == self._distributions.keys()
            if _fate(trial) == "interrupted" and trial.number not in queued and whole:
                self.study.enqueue_trial(trial.params)
                queued.add(trial.number)
        self.study.set_user_attr("requeued", sorted(queued))

    def ask(self) -> tuple[int, dict[str, Any]]:
        """The next trial's number and genes, every gene suggested."""
        with _storage_errors(self.folder):
            trial = self.study.ask(self._distributions)
        self._running[trial.number] = trial
        draw = self.sampler.last_draw
        if draw is not None and draw.candidate.genes == trial.params:
            trial.set_user_attr("redrawn", draw.redrawn)
            trial.set_user_attr("repaired", draw.repaired)
        return trial.number, trial.params

    def describe(self, number: int, candidate: Candidate, digest: str, seed: int) -> None:
        """What is known before training. Ahead of the first report, since the pruner compares by size."""
        trial = self._running[number]
        for name, value in asdict(candidate.costs).items():
            trial.set_user_attr(name, value)
        trial.set_user_attr("digest", digest)
        trial.set_user_attr("seed", seed)

    def report(self, number: int, epoch: int, accuracy: float) -> bool:
        """Records an epoch's validation accuracy (percent); returns whether the trial should stop."""
        with _storage_errors(self.folder):
            trial = self._running[number]
            trial.report(accuracy, epoch)
            return trial.should_prune()

    def finish(
        self, number: int, fate: Fate, train_seconds: float, value: float | None = None, reason: str = ""
    ) -> None:
        """Tells what became of a trial."""
        states = {"completed": TrialState.COMPLETE, "stopped": TrialState.PRUNED}
        state = states.get(fate, TrialState.FAIL)
        if fate == "duplicate" and value is not None:
            state = TrialState.COMPLETE
        with _storage_errors(self.folder):
            trial = self._running.pop(number)
            trial.set_user_attr("fate", fate)
            trial.set_user_attr("train_seconds", round(train_seconds, 3))
            if reason:
                trial.set_user_attr("reason", reason)
            self.study.tell(trial, value if state == TrialState.COMPLETE else None, state=state)

    def interrupt_all(self, train_seconds: dict[int, float]) -> None:
        """Ends every running trial as interrupted: it is trained again when the study is resumed."""
        for number in sorted(self._running):
            self.finish(number, "interrupted", train_seconds.get(number, 0.0))


def _record(trial: FrozenTrial, confirmations: tuple[Confirmation, ...]) -> TrialRecord:
    attributes = trial.user_attrs
    curve = tuple(trial.intermediate_values[step] for step in sorted(trial.intermediate_values))
    return TrialRecord(
        number=trial.number,
        fate=_fate(trial),
        num_params=attributes["num_params"],
        num_macs=attributes["num_macs"],
        peak_activation_bytes=attributes["peak_activation_bytes"],
        digest=attributes["digest"],
        genes=dict(trial.params),
        seed=attributes["seed"],
        validation_curve=curve,
        train_seconds=attributes.get("train_seconds", 0.0),
        reason=attributes.get("reason", ""),
        redrawn=attributes.get("redrawn", 0),
        repaired=attributes.get("repaired", False),
        confirmations=confirmations,
    )


def _fate(trial: FrozenTrial) -> Fate:
    """The fate that was told; a trial that ended without one was left by a coordinator that was killed."""
    untold: Fate = "running" if trial.state == TrialState.RUNNING else "interrupted"
    fate: Fate = trial.user_attrs.get("fate", untold)
    return fate


@contextlib.contextmanager
def _storage_errors(folder: StudyFolder) -> Iterator[None]:
    try:
        yield
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        cause = str(error.__cause__ or error).splitlines()[0]
        raise StudyError(f"the storage of study {folder.name!r} ({folder.run / 'study.db'}) failed: {cause}") from None
    except KeyError:
        raise StudyError(f"{folder.run} holds no study {folder.name!r}; remove the folder to start anew") from None
