"""Whole searches on digits, in this process. Where what happens does not depend on a training, it is simulated."""

from __future__ import annotations

import os
import signal
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
import torch
from watching import Watching

from nas.app import search as search_module
from nas.app.search import Machine, Outcome, _opening_lines, confirm, search
from nas.arch import Input, Recipe
from nas.coordinator.coordinator import Snapshot
from nas.data.known import KNOWN_DATASETS
from nas.data.load import load_dataset
from nas.data.split import parts_of
from nas.errors import BudgetError, StudyError, UsageError
from nas.space import candidate, least_network, load_space, most_network
from nas.storage.address import address_of
from nas.storage.study_store import Store
from nas.strategy.optuna_sampler import distributions_of
from nas.study.answer import smallest_met
from nas.study.folder import StudyFolder
from nas.study.records import TrialRecord
from nas.study.settings import StudySettings
from nas.train import engine
from nas.workers.messages import Job
from nas.workers.simulated import SimulatedTraining, Simulation

SETTINGS = StudySettings(2000, dataset="digits", space="tiny_digits", epochs=3, max_trials=6, num_seeds=2, seed=3)
HERE = Machine(device="cpu", workers=1)


def _search(folder: StudyFolder, settings: StudySettings, watching: Watching | None = None) -> Outcome:
    return search(folder, settings, HERE, [watching or Watching()])


@pytest.fixture
def _simulated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look trainings up in place of training: the higher the seed of one, the better it comes out."""

    def train(job: Job, attempt: int) -> SimulatedTraining:
        return SimulatedTraining(tuple(40.0 + job.seed % 50 + epoch for epoch in range(job.recipe.epochs)), images=100)

    # A new simulation for each search, as the workers of a search are closed with it.
    monkeypatch.setattr(search_module, "local_workers", lambda *_: nullcontext(Simulation(train).workers))


simulated = pytest.mark.usefixtures("_simulated")


def _finished(outcome: Outcome) -> int:
    return sum(r.fate in ("completed", "stopped", "failed") for r in outcome.records)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[StudyFolder, Outcome]:
    folder = StudyFolder(tmp_path_factory.mktemp("studies"), "finished")
    return folder, _search(folder, SETTINGS)


def test_every_trial_is_within_budget_and_has_its_fate(finished: tuple[StudyFolder, Outcome]) -> None:
    folder, outcome = finished
    assert _finished(outcome) == 6
    space = load_space(str(folder.space_file), *KNOWN_DATASETS["digits"].images)
    for record in outcome.records:
        found = candidate(space, record.genes)
        assert found is not None
        assert (found.costs.num_params, found.digest) == (record.num_params, record.digest)
        assert record.num_params <= 2000
        assert len(record.validation_curve) == 3 or record.fate == "stopped"


def test_front_is_confirmed_with_fresh_seeds_on_the_test_set(finished: tuple[StudyFolder, Outcome]) -> None:
    _, outcome = finished
    confirmed = [r for r in outcome.records if r.confirmed]
    assert confirmed
    for record in confirmed:
        seeds = [c.seed for c in record.confirmations]
        assert len(set(seeds)) == 2
        assert record.seed not in seeds
        assert all(len(c.test_accuracy) == 3 for c in record.confirmations)


def test_resume_trains_nothing_that_was_trained(finished: tuple[StudyFolder, Outcome]) -> None:
    folder, outcome = finished
    watching = Watching()
    again = _search(folder, SETTINGS, watching)
    assert again.records == outcome.records
    assert not watching.snapshots or watching.snapshots[-1].images == 0


@simulated
def test_an_enqueued_network_over_budget_is_refused_before_building(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path, "enqueued")
    _search(folder, replace(SETTINGS, max_trials=1))
    space = load_space("tiny_digits", *KNOWN_DATASETS["digits"].images)
    large = most_network(space)
    assert large.costs.num_params > 2000
    optuna.load_study(study_name="enqueued", storage=address_of(folder).url).enqueue_trial(large.genes)
    watching = Watching()
    outcome = _search(folder, replace(SETTINGS, max_trials=3), watching)
    (refused,) = [r for r in outcome.records if r.fate == "failed"]
    assert refused.reason == f"over budget: num_params {large.costs.num_params:,} exceeds 2,000"
    assert refused.validation_curve == ()
    assert any(f"trial {refused.number} refused: over budget" in text for text in watching.said)
    study = optuna.load_study(study_name="enqueued", storage=address_of(folder).url)
    assert study.best_trial.user_attrs["num_params"] <= 2000


@simulated
def test_a_duplicate_is_never_trained_twice(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path, "twice")
    first = _search(folder, replace(SETTINGS, max_trials=1)).records[0]
    study = optuna.load_study(study_name="twice", storage=address_of(folder).url)
    study.enqueue_trial(first.genes)
    outcome = _search(folder, replace(SETTINGS, max_trials=2))
    twin = outcome.records[1]
    assert (twin.fate, twin.reason) == ("duplicate", f"same network and recipe as trial {first.number}")
    assert twin.validation_curve == ()
    assert _finished(outcome) == 2


def test_a_loss_that_is_not_finite_fails_the_trial_and_not_the_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A recipe that blows up: the first trial's learning rate is made absurd, the others are left alone."""
    real, recipes = engine.learning_rate_at, list[Recipe]()

    def explosive(recipe: Recipe, step: int, steps_per_epoch: int) -> float:
        recipes.append(recipe)
        return 1e30 if recipe is recipes[0] else real(recipe, step, steps_per_epoch)

    monkeypatch.setattr(engine, "learning_rate_at", explosive)
    outcome = _search(StudyFolder(tmp_path, "nan"), replace(SETTINGS, max_trials=4, num_seeds=1))
    failed = [r for r in outcome.records if r.fate == "failed"]
    assert len(failed) == 1
    assert "the loss is" in failed[0].reason
    assert _finished(outcome) == 4
    assert any(r.fate == "completed" for r in outcome.records)


def test_a_resumed_study_goes_on_as_if_it_had_not_been_interrupted(
    finished: tuple[StudyFolder, Outcome], tmp_path: Path
) -> None:
    """The same networks in the same order with the same curves: a study follows from its seed and history alone."""
    _, whole = finished
    _interrupt_and_resume(StudyFolder(tmp_path, "cut"), 3, whole)


@simulated
def test_a_study_may_be_interrupted_in_any_trial(tmp_path: Path) -> None:
    whole = _search(StudyFolder(tmp_path, "whole"), SETTINGS)
    for when in (1, 2, 4, 5, 6):
        _interrupt_and_resume(StudyFolder(tmp_path, f"cut{when}"), when, whole)


def _interrupt_and_resume(folder: StudyFolder, when: int, whole: Outcome) -> None:
    def interrupt(snapshot: Snapshot) -> None:
        if len(snapshot.records) >= when:
            os.kill(os.getpid(), signal.SIGINT)

    cut = _search(folder, SETTINGS, Watching(interrupt))
    assert cut.interrupted
    assert [r.fate for r in cut.records].count("interrupted") == 1
    assert "running" not in {r.fate for r in cut.records}
    resumed = _search(folder, SETTINGS)
    assert not resumed.interrupted
    assert [_without_seconds(r) for r in resumed.records] == [_without_seconds(r) for r in whole.records]


def _without_seconds(record: TrialRecord) -> TrialRecord:
    confirmations = tuple(replace(c, train_seconds=0.0) for c in record.confirmations)
    return replace(record, train_seconds=0.0, confirmations=confirmations)


@simulated
def test_the_time_of_an_attempt_that_was_cut_off_counts(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path, "cut")

    def interrupt(snapshot: Snapshot) -> None:
        if len(snapshot.running[0].epochs) == 2:
            os.kill(os.getpid(), signal.SIGINT)

    cut = _search(folder, SETTINGS, Watching(interrupt))
    assert cut.records[0].train_seconds == 2.0
    resumed = _search(folder, replace(SETTINGS, max_trials=1))
    assert resumed.records[0].train_seconds == 5.0
    assert len(resumed.records[0].validation_curve) == 3


@simulated
def test_a_trial_left_running_by_a_killed_coordinator_is_trained_again(tmp_path: Path) -> None:
    """An attempt that got further than the next one leaves no epochs of its own in the curve."""
    folder = StudyFolder(tmp_path, "killed")
    _search(folder, replace(SETTINGS, max_trials=2))
    small = least_network(load_space("tiny_digits", *KNOWN_DATASETS["digits"].images))
    # What kill -9 leaves behind: a trial that was asked for, described and reported, and never told.
    study = optuna.load_study(study_name="killed", storage=address_of(folder).url)
    study.enqueue_trial(small.genes)
    orphan = study.ask(distributions_of(load_space("tiny_digits", *KNOWN_DATASETS["digits"].images)))
    assert orphan.params == small.genes
    described = {"num_params": 42, "num_macs": 1, "peak_activation_bytes": 1, "digest": "x", "seed": 1}
    for name, value in described.items():
        orphan.set_user_attr(name, value)
    for epoch in range(1, 8):
        orphan.report(99.0, epoch)
    assert Store(folder).record(orphan.number).fate == "running"
    outcome = _search(folder, replace(SETTINGS, max_trials=4))
    again = outcome.records[orphan.number]
    assert again.genes == small.genes
    assert again.fate in ("completed", "stopped")
    assert len(again.validation_curve) <= 3
    assert 99.0 not in again.validation_curve
    assert again.digest != "x"
    assert _finished(outcome) == 4 == len(outcome.records)
    assert Store(folder).records() == outcome.records


@simulated
def test_the_search_goes_on_below_the_network_that_met_the_target_unless_told_to_stop(tmp_path: Path) -> None:
    settings = replace(SETTINGS, max_trials=14, target=30.0, num_seeds=1, stop_at_first=True)
    folder, watching = StudyFolder(tmp_path, "target"), Watching()
    outcome = _search(folder, settings, watching)
    first = smallest_met(outcome.records, settings)
    assert first is not None
    assert _finished(outcome) < 14
    met = f"target met by trial {first.number}: {first.size_text} reach 30 %"
    assert f"{met}; the search ends here, as it was asked to" in watching.said
    # Again: it has ended. Without the flag it goes on from there.
    assert _search(folder, settings).records == outcome.records
    watching = Watching()
    further = _search(folder, replace(settings, stop_at_first=False), watching)
    assert _finished(further) == 14
    begun = [r for r in further.records if r.number >= len(outcome.records)]
    assert begun
    assert all(r.num_params < first.num_params for r in begun)
    smallest = smallest_met(further.records, settings)
    assert smallest is not None
    assert smallest.num_params < first.num_params
    assert any(
        line.endswith("reach 30 %; going on for smaller ones (Ctrl-C ends the search and keeps everything)")
        for line in watching.said
    )


def test_a_target_alone_searches_for_a_hundred_trials() -> None:
    assert StudySettings(2000, target=30.0).trials_limit == 100
    assert StudySettings(2000, target=30.0, max_seconds=60.0).trials_limit is None
    assert StudySettings(2000, target=30.0, max_seconds=60.0, max_trials=7).trials_limit == 7


def test_time_starts_no_further_trial(tmp_path: Path) -> None:
    outcome = _search(StudyFolder(tmp_path, "time"), replace(SETTINGS, max_trials=None, max_seconds=0.0))
    assert outcome.records == []


@simulated
def test_confirm_adds_the_missing_seeds_alone(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path, "confirm")
    settings = replace(SETTINGS, max_trials=1, num_seeds=1)
    (record,) = _search(folder, settings).records
    assert len(record.confirmations) == 1
    outcome = confirm(folder, replace(settings, num_seeds=3), record.number, HERE, [Watching()])
    (after,) = outcome.records
    assert len(after.confirmations) == 3
    assert record.confirmations[0] in after.confirmations


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"max_params": 3000}, "max_params was 2000 and is 3000"),
        ({"space": "separable"}, "the space 'separable' is not the one that it was made with"),
        ({"seed": 9}, "seed was 3 and is 9"),
    ],
)
def test_a_study_does_not_change_its_settings(
    finished: tuple[StudyFolder, Outcome], change: dict[str, object], text: str
) -> None:
    folder, _ = finished
    with pytest.raises(StudyError, match=f"study 'finished' exists with other settings: {text}"):
        _search(folder, replace(SETTINGS, **change))  # type: ignore[arg-type]


def test_an_impossible_budget_writes_nothing(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path, "tiny")
    with pytest.raises(BudgetError, match="`max_params` 20: the smallest network of space 'tiny_digits' has 42 param"):
        _search(folder, replace(SETTINGS, max_params=20))
    assert not folder.path.exists()


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "x" * 101, "a b", "-x"])
def test_a_name_cannot_lead_out_of_the_studies(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="a study name has 1 to 100 letters"):
        StudyFolder(tmp_path, name)


def test_a_study_that_does_not_exist_names_those_that_do(finished: tuple[StudyFolder, Outcome]) -> None:
    folder, _ = finished
    studies = folder.path.parent
    with pytest.raises(StudyError, match=r"no study 'finishd'; studies in .*: finished; make one with: nas search"):
        StudyFolder(studies, "finishd").require()


def test_a_damaged_storage_is_a_clear_error(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path, "damaged")
    folder.run.mkdir(parents=True)
    (folder.run / "study.db").write_bytes(b"this is no database" * 1000)
    with pytest.raises(StudyError, match=r"the storage of study 'damaged' \(.*study.db\) failed: .*not a database"):
        Store(folder)


@simulated
def test_what_is_enqueued_while_the_search_runs_is_trained(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path, "enqueued")
    small = least_network(load_space("tiny_digits", *KNOWN_DATASETS["digits"].images))
    done: list[bool] = []

    def enqueue(snapshot: Snapshot) -> None:
        if len(snapshot.records) == 2 and not done:
            done.append(True)
            optuna.load_study(study_name="enqueued", storage=address_of(folder).url).enqueue_trial(small.genes)

    outcome = _search(folder, replace(SETTINGS, max_trials=4), Watching(enqueue))
    assert outcome.records[2].genes == small.genes
    assert outcome.records[2].fate in ("completed", "stopped")
    assert [r.number for r in outcome.records] == [0, 1, 2, 3]
    assert Store(folder).records() == outcome.records


@pytest.mark.parametrize("target", [2.0, 10.0])
def test_a_target_that_guessing_meets_is_refused(target: float, tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path, "chance")
    with pytest.raises(UsageError, match=rf"`target` {target:g} %: to answer 'digits' .* is right in 10\.\d % already"):
        _search(folder, replace(SETTINGS, target=target))
    assert not folder.exists


def test_what_is_said_of_images_before_a_search() -> None:
    parts, space = parts_of(load_dataset("digits"), 0), load_space("tiny_digits", Input(1, 8, 8), 10)
    asked = StudySettings(8000, dataset="digits", target=95.0)
    counts, baselines = _opening_lines(parts, space, asked)
    assert counts.startswith("1,438 training images of 10 classes")
    assert "a linear classifier fitted on 1,198 images 97.9 %" in baselines
    target = _opening_lines(parts, space, replace(asked, target=None))[2]
    assert target.endswith(": 98.9 % halves the errors made without a network, a modest beginning and no promise")
    target = _opening_lines(parts, space, replace(asked, target=None, dataset="mnist"))[2]
    assert target.endswith("published networks within the budget claim up to 99.45 %, at their best epoch")

    labels = parts.whole_train.labels
    kept = torch.nonzero((labels != 8) | (torch.arange(len(labels)) < 200)).flatten()
    rare = replace(parts, whole_train=parts.whole_train.subset(kept))
    assert _opening_lines(rare, space, asked)[2].startswith("the classes are uneven, ")
    assert len(_opening_lines(rare, space, replace(asked, class_weights="balanced"))) == 2
    assert len(_opening_lines(rare, space, replace(asked, class_weights="none"))) == 2
