"""A study's history, read as it grows."""

from __future__ import annotations

import functools
import math
import random

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.samplers import RandomSampler
from optuna.trial import TrialState

from nas.costs import Budget, Count
from nas.data.known import KNOWN_DATASETS
from nas.space import FloatRange, Space, candidate, load_space
from nas.strategy.history import History
from nas.strategy.optuna_sampler import BudgetSampler, distributions_of


@functools.cache
def _space() -> Space:
    return load_space("tiny_digits", *KNOWN_DATASETS["digits"].images)


def _study() -> optuna.Study:
    return optuna.create_study(direction="maximize", sampler=RandomSampler(0))


@given(st.lists(st.sampled_from(["ask", "tell", "read"]), max_size=20), st.randoms(use_true_random=False))
def test_each_finished_trial_is_given_once_and_the_others_always(steps: list[str], rng: random.Random) -> None:
    study, history = _study(), History(_space())
    running: list[optuna.Trial] = []
    given_finished: list[int] = []
    for step in [*steps, "read"]:
        if step == "ask":
            running.append(study.ask({} if rng.random() < 0.1 else distributions_of(_space())))
        elif step == "tell" and running:
            study.tell(running.pop(rng.randrange(len(running))), 1.0)
        elif step == "read":
            unread = history.unread(study)
            assert [seen.number for seen in unread] == sorted(seen.number for seen in unread)
            described = {t.number for t in running if t.params and candidate(_space(), t.params)}
            assert {seen.number for seen in unread if seen.fate == "running"} == described
            given_finished += [seen.number for seen in unread if seen.fate == "completed"]
    finished = [t for t in study.trials if t.state == TrialState.COMPLETE and candidate(_space(), t.params)]
    assert sorted(given_finished) == [t.number for t in finished]


def test_size_and_digest_follow_from_the_genes_unless_the_trial_says_them() -> None:
    study, history = _study(), History(_space())
    trial = study.ask(distributions_of(_space()))
    dropout = trial.suggest_float("dropout", 0.0, 0.5)
    found = candidate(_space(), {n: v for n, v in trial.params.items() if n != "dropout"})
    assert found is not None
    (seen,) = history.unread(study)
    assert dropout not in seen.genes.values()
    assert seen.genes == found.genes
    assert (seen.num_params, seen.num_macs, seen.digest) == (
        found.costs.num_params,
        found.costs.num_macs,
        found.digest,
    )
    trial.set_user_attr("num_params", 7)
    trial.set_user_attr("num_macs", 9)
    trial.set_user_attr("digest", "stated")
    (seen,) = history.unread(study)
    assert (seen.num_params, seen.num_macs, seen.digest) == (7, 9, "stated")


def test_genes_outside_their_domains_and_trials_of_other_parameters_are_left_out() -> None:
    study = _study()
    study.add_trial(optuna.create_trial(value=99.0))
    genes = {n: d.high * 10 if isinstance(d, FloatRange) else d.values()[0] for n, d in _space().genes.items()}
    study.enqueue_trial(genes)
    with pytest.warns(UserWarning, match="out of range"):
        trial = study.ask(distributions_of(_space()))
    study.tell(trial, 99.0)
    plain = _space().plain_genes
    study.enqueue_trial(plain)
    study.tell(study.ask(distributions_of(_space())), 99.0)
    (seen,) = History(_space()).unread(study)
    assert seen.genes == plain


def test_a_curve_has_one_accuracy_per_report_and_0_for_no_number() -> None:
    study, history = _study(), History(_space())
    trial = study.ask(distributions_of(_space()))
    for epoch, accuracy in enumerate((50.0, math.nan, 70.0)):  # some count epochs from 0
        trial.report(accuracy, epoch)
    study.tell(trial, 60.0)
    (seen,) = history.unread(study)
    assert seen.curve == (50.0, 0.0, 70.0)
    assert seen.final_accuracy == 60.0


def test_a_study_that_minimizes_and_a_second_study_are_refused() -> None:
    study = optuna.create_study(study_name="errors", sampler=RandomSampler(0))
    study.tell(study.ask(distributions_of(_space())), 1.0)
    history = History(_space())
    with pytest.raises(ValueError, match="the study minimizes; create it with direction='maximize', and return perce"):
        history.unread(study)
    with pytest.raises(ValueError, match=r"has learned from study 'errors', and is now asked about 'no-name.*make a"):
        history.unread(_study())


@pytest.mark.parametrize(("count", "name"), [("trained", "num_params"), ("deployed", "deployed_params")])
def test_the_size_is_what_the_budget_counts(count: Count, name: str) -> None:
    sampler = BudgetSampler(_space(), Budget(900, count=count))
    study = optuna.create_study(direction="maximize", sampler=sampler)
    trial = study.ask(distributions_of(_space()))
    found = candidate(_space(), trial.params)
    assert found is not None
    assert found.costs.deployed_params < found.costs.num_params
    (seen,) = sampler.history.unread(study)
    assert seen.num_params == getattr(found.costs, name)
    for stated, value in {"num_params": 8, "deployed_params": 7, "num_macs": 6, "digest": "stated"}.items():
        trial.set_user_attr(stated, value)
    (seen,) = sampler.history.unread(study)
    assert seen.num_params == {"trained": 8, "deployed": 7}[count]
