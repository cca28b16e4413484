"""The pruner in a plain study; `optuna.testing` has conformance tests for samplers and storages, none for pruners."""

from __future__ import annotations

import pickle
from collections.abc import Callable

import optuna
import pytest
from optuna.trial import TrialState

from nas.costs import Budget
from nas.data.known import KNOWN_DATASETS
from nas.space import Candidate, Space, candidate, load_space
from nas.strategy.optuna_pruner import ParetoPruner
from nas.strategy.optuna_sampler import BudgetSampler, suggest_genes

EPOCHS = 4


@pytest.fixture(scope="module")
def space() -> Space:
    return load_space("tiny_digits", *KNOWN_DATASETS["digits"].images)


def _accuracy(found: Candidate, number: int, epoch: int) -> float:
    """Every third network is bad, and is so from its first epoch on."""
    end = 30.0 if number % 3 == 2 else 90.0 + found.costs.num_params / 300
    return end * (1 - 0.5**epoch)


def _search(
    space: Space, objective_first: int = 1, epochs: int = EPOCHS, **attributes: Callable[[Candidate], object]
) -> optuna.Study:
    study = optuna.create_study(
        direction="maximize", sampler=BudgetSampler(space, Budget(2000)), pruner=ParetoPruner(space, EPOCHS)
    )

    def objective(trial: optuna.Trial) -> float:
        found = candidate(space, suggest_genes(trial, space))
        assert found is not None
        for name, value in attributes.items():
            trial.set_user_attr(name, value(found))
        accuracy = 0.0
        for epoch in range(1, epochs + 1):
            accuracy = _accuracy(found, trial.number, epoch)
            trial.report(accuracy, epoch - 1 + objective_first)
            if trial.should_prune():
                raise optuna.TrialPruned
        return accuracy

    study.optimize(objective, n_trials=36)
    return study


def _ends(study: optuna.Study) -> list[tuple[TrialState, int]]:
    return [(trial.state, len(trial.intermediate_values)) for trial in study.trials]


@pytest.fixture(scope="module")
def searched(space: Space) -> optuna.Study:
    return _search(space)


def test_weak_trials_of_a_plain_study_are_stopped_and_no_others(searched: optuna.Study) -> None:
    stopped = [trial.number for trial in searched.trials if trial.state == TrialState.PRUNED]
    assert len(stopped) > 3
    assert {number % 3 for number in stopped} == {2}


def test_the_same_is_stopped_where_a_trial_says_its_size_and_digest(space: Space, searched: optuna.Study) -> None:
    said = _search(space, num_params=lambda f: f.costs.num_params, digest=lambda f: f.digest)
    assert _ends(said) == _ends(searched)


def test_the_same_is_stopped_where_epochs_count_from_0(space: Space, searched: optuna.Study) -> None:
    assert _ends(_search(space, objective_first=0)) == _ends(searched)


def test_reports_beyond_the_last_epoch_stop_nothing(space: Space) -> None:
    study = _search(space, epochs=EPOCHS + 2)
    assert {epochs for state, epochs in _ends(study) if state == TrialState.PRUNED} <= set(range(1, EPOCHS))
    assert any(state == TrialState.PRUNED for state, _ in _ends(study))


def test_a_trial_without_its_genes_is_not_stopped(space: Space, searched: optuna.Study) -> None:
    pruner = pickle.loads(pickle.dumps(searched.pruner))
    trial = searched.ask()
    trial.report(0.0, 1)
    assert not pruner.prune(searched, searched.trials[-1])
    searched.tell(trial, state=TrialState.FAIL)
