"""Values of the wrong type, beyond their bounds or missing, in places where Optuna takes anything."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from simulated_searches import SPACE, rising, run_search

from nas.errors import StudyError
from nas.storage.address import StorageAddress
from nas.storage.past_trials import past_trials
from nas.storage.search_store import SearchStore
from nas.storage.study_store import Store
from nas.strategy.optuna_pruner import ParetoPruner
from nas.strategy.optuna_sampler import BudgetSampler, distributions_of
from nas.study.folder import StudyFolder
from nas.workers.simulated import Simulation


@pytest.fixture
def study(tmp_path: Path) -> StudyFolder:
    """Three trials, one of them confirmed, in SQLite."""
    folder = StudyFolder(tmp_path, "simulated")
    folder.run.mkdir(parents=True)
    run_search(tmp_path, Simulation(rising), storage=StorageAddress.of_file(folder.database_file).open("simulated"))
    return folder


def change(folder: StudyFolder, sql: str, *values: Any) -> None:
    with closing(sqlite3.connect(folder.database_file)) as connection:
        assert connection.execute(sql, values).rowcount
        connection.commit()


def set_attribute(folder: StudyFolder, name: str, value: Any) -> None:
    sql = "update trial_user_attributes set value_json = ? where key = ? and trial_id = 2"
    change(folder, sql, json.dumps(value), name)


ACCURACY = "update trial_intermediate_values set intermediate_value = ? where trial_id = 2 and step = 3"
VALUE = "update trial_values set value = ? where trial_id = 2"
RATE = "update trial_params set param_value = ? where trial_id = 2 and param_name = 'recipe.learning_rate'"


@pytest.mark.parametrize(
    ("sql", "value", "problem"),
    [
        (ACCURACY, "much", r"trial 1: accuracies\[2\]: 'much' is not a number"),
        (ACCURACY, b"\xff", r"trial 1: accuracies\[2\]: b'\\xff' is not a number"),
        (ACCURACY, 101.0, r"trial 1: accuracies\[2\]: 101.0 exceeds 100.0, the most"),
        (VALUE, "much", r"trial 1: value\[0\]: 'much' is not a number"),
        (VALUE, -1.0, r"trial 1: value\[0\]: -1.0 is below 0.0, the least"),
        (RATE, "much", r"trial 1: gene recipe.learning_rate: 'much' is no value of a gene"),
        (RATE.replace("set param_value", "set param_name"), None, "trial 1: None is no name of a gene"),
        ("update trials set number = ? where trial_id = 2", 9, "trial 1: 2 is there in its place"),
        (
            "delete from trial_intermediate_values where trial_id = 2 and step > ?",
            0,
            "trial 1: it was trained, and has",
        ),
    ],
)
def test_a_damaged_column_is_named_with_the_next_step(sql: str, value: Any, problem: str, study: StudyFolder) -> None:
    change(study, sql, value)
    text = rf"the storage of study 'simulated' \(.*study\.db\) is damaged: {problem}.*; restore it from a copy$"
    with pytest.raises(StudyError, match=text):
        Store(study).records()
    if "delete" not in sql:  # what a replay reads, and a search goes on with
        with pytest.raises(StudyError, match=text):
            past_trials(Store(study))
    sampler, pruner = BudgetSampler(SPACE, study.settings().budget), ParetoPruner(SPACE, 1)
    with pytest.raises(StudyError, match=text):
        SearchStore(study, distributions_of(SPACE), sampler, pruner)


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("num_params", "9", "num_params: '9' is not a whole number"),
        ("num_params", 0, "num_params: 0 is below 1, the least"),
        ("num_macs", 2**60, "num_macs: .* exceeds"),
        ("train_seconds", None, "train_seconds: None is not a number"),
        ("digest", ["a"], r"digest: \['a'\] is not text"),
    ],
)
def test_a_damaged_attribute_is_named(name: str, value: Any, problem: str, study: StudyFolder) -> None:
    set_attribute(study, name, value)
    with pytest.raises(StudyError, match=f"is damaged: trial 1: {problem}.*; restore it from a copy"):
        Store(study).records()


def test_a_study_of_deployed_parameters_needs_them(study: StudyFolder) -> None:
    assert all(record.deployed_params for record in Store(study).records())
    settings = study.settings_file
    settings.write_text(settings.read_text().replace('"count": "trained"', '"count": "deployed"'))
    assert [r.size for r in Store(study).records()] == [r.deployed_params for r in Store(study).records()]
    change(study, "update trial_user_attributes set key = ? where key = 'deployed_params'", "other")
    with pytest.raises(StudyError, match=r"trial 0: deployed_params: missing, and the study goes by it; restore it"):
        Store(study).records()


@pytest.mark.parametrize(
    ("test_accuracy", "problem"),
    [
        ([], "test_accuracy: no epoch"),
        (["much"], r"test_accuracy\[0\]: 'much' is not a number"),
        ([1e9], r"test_accuracy\[0\]: .* exceeds 100.0, the most"),
    ],
)
def test_a_damaged_confirmation_is_named(test_accuracy: list[Any], problem: str, study: StudyFolder) -> None:
    sql = "update study_user_attributes set value_json = ? where key like 'confirmation:%'"
    change(study, sql, json.dumps({"seed": 1, "test_accuracy": test_accuracy, "train_seconds": 1.0}))
    with pytest.raises(StudyError, match=rf"is damaged: confirmation:\d+:\d+: {problem}; restore it from a copy"):
        Store(study).records()


def test_a_damaged_journal_is_named(tmp_path: Path) -> None:
    journal = tmp_path / "trials.log"
    address = StorageAddress.parse(f"journal://{journal}")
    run_search(tmp_path, Simulation(rising), storage=address.open("simulated"))
    journal.write_text(journal.read_text().replace('"intermediate_value":30.0', '"intermediate_value":"much"', 1))
    with pytest.raises(StudyError, match=r"is damaged: trial 0: accuracies\[2\]: 'much' is not a number; restore it"):
        Store(StudyFolder(tmp_path, "simulated"), address.open("simulated")).records()


def test_a_gene_that_the_space_has_not_ends_the_search_with_its_trial(tmp_path: Path) -> None:
    storage = optuna.storages.InMemoryStorage()
    study = optuna.create_study(study_name="simulated", storage=storage, direction="maximize")
    study.enqueue_trial({"recipe.learning_rate": "much"})
    text = "trial 0 of study 'simulated' was given a gene that the space has not: .*much.*; set its state .* and resume"
    with pytest.raises(StudyError, match=text):
        run_search(tmp_path, Simulation(rising), storage=storage)
    for state in (TrialState.RUNNING, TrialState.FAIL):
        storage.set_trial_state_values(0, state)
    assert len(run_search(tmp_path, Simulation(rising), storage=storage).records()) == 3
