"""Optuna's samplers behind the budget fitting: by Optuna's own conformance tests, and in a study of networks."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler
from optuna.testing.pytest_samplers import BasicSamplerTestCase, RelativeSamplerTestCase, SingleOnlySamplerTestCase
from optuna.trial import FrozenTrial

from nas.costs import Budget
from nas.data.known import KNOWN_DATASETS
from nas.errors import UsageError
from nas.space import candidate, load_space
from nas.strategy.beliefs import Goal
from nas.strategy.fitted_sampler import BY_NAME, FittedSampler, name_given, require_sampler, sampler_of
from nas.strategy.optuna_sampler import BudgetSampler, suggest_genes

SPACE = load_space("tiny_digits", *KNOWN_DATASETS["digits"].images)
NAMES = [*BY_NAME]


class TestConformance(BasicSamplerTestCase, SingleOnlySamplerTestCase):
    """As `BudgetSampler` is tested: the parameters of these tests are no genes."""

    test_trial_relative_params = RelativeSamplerTestCase.test_trial_relative_params

    @pytest.fixture(params=["tpe", "random"])
    def sampler(self, request: pytest.FixtureRequest) -> Callable[[], BaseSampler]:
        return lambda: FittedSampler(SPACE, Budget(2000), BY_NAME[request.param])


def _accuracy(trial: optuna.Trial) -> float:
    found = candidate(SPACE, suggest_genes(trial, SPACE))
    assert found is not None
    trial.set_user_attr("costs", found.costs)
    return 50 + found.costs.num_params / 100 - 10 * (found.genes["recipe.learning_rate"] == 0.02)


def _study(sampler: BaseSampler, trials: int) -> optuna.Study:
    study = optuna.create_study(direction="maximize", sampler=sampler)
    study.optimize(_accuracy, n_trials=trials)
    return study


def _genes(study: optuna.Study) -> list[dict[str, Any]]:
    return [trial.params for trial in study.trials]


@pytest.mark.parametrize("name", [name for name in NAMES if name != "gp"])
@settings(max_examples=8)
@given(max_params=st.integers(60, 3000), max_macs=st.none() | st.integers(3000, 60_000), seed=st.integers(0, 9))
def test_every_trial_is_within_the_budget(name: str, max_params: int, max_macs: int | None, seed: int) -> None:
    budget = Budget(max_params, max_macs)
    for trial in _study(FittedSampler(SPACE, budget, BY_NAME[name], seed), 13).trials:
        assert budget.admits(trial.user_attrs["costs"])
        assert trial.params.keys() == SPACE.genes.keys()


def test_a_model_over_all_genes_stays_within_the_budget(tmp_path: Path) -> None:
    """One proposal, of few genes: Optuna's GP takes seconds."""
    path = tmp_path / "few.toml"
    path.write_text(
        "stages = { count = 1, blocks = 1 }\nblock.width = { low = 2, high = 90 }\nhead.bias = [true, false]\n"
        "recipe = { learning_rate = { low = 0.01, high = 0.1, log = true } }\n"
    )
    space = load_space(str(path), *KNOWN_DATASETS["digits"].images)
    make = partial(GPSampler, n_startup_trials=3)
    study = optuna.create_study(direction="maximize", sampler=FittedSampler(space, Budget(900), make))
    study.optimize(lambda trial: float(suggest_genes(trial, space)["stage1.block1.width"]), n_trials=4)
    found = [candidate(space, trial.params) for trial in study.trials]
    assert all(network is not None and network.costs.num_params <= 900 for network in found)
    assert any("relative" in name for name in study.trials[-1].system_attrs)  # the model has proposed it


@pytest.mark.parametrize("name", ["tpe", "random"])
def test_with_an_answer_every_trial_is_smaller(name: str) -> None:
    sampler = FittedSampler(SPACE, Budget(2000), BY_NAME[name], goal=Goal(90.0, 3, below=300))
    sizes = [trial.user_attrs["costs"].num_params for trial in _study(sampler, 14).trials]
    assert max(sizes) < 300
    assert len(set(sizes)) > 5


@pytest.mark.parametrize("name", [name for name in NAMES if name != "gp"])
def test_a_sampler_that_is_made_anew_goes_on_as_it_would_have(name: str) -> None:
    """Its proposals follow from the seed and the study, not from what it drew before."""
    expected = _genes(_study(sampler_of(name, SPACE, Budget(2000), 5, None, 1), 18))
    study = _study(sampler_of(name, SPACE, Budget(2000), 5, None, 1), 13)
    study.sampler = sampler_of(name, SPACE, Budget(2000), 5, None, 1)
    study.optimize(_accuracy, n_trials=5)
    assert _genes(study) == expected
    assert _genes(_study(sampler_of(name, SPACE, Budget(2000), 6, None, 1), 13)) != expected[:13]


def test_the_genes_of_a_trial_are_drawn_independently() -> None:
    """One generator a trial: if each gene had its own, of one seed, all would be as large."""
    study = _study(FittedSampler(SPACE, Budget(10**6), RandomSampler), 30)
    drawn = {tuple(trial.params[name] for name in SPACE.genes if name.startswith("recipe.")) for trial in study.trials}
    assert len(drawn) > 6


class _Fixed(BaseSampler):
    """Proposes one network, always."""

    def __init__(self, genes: dict[str, Any]) -> None:
        self.genes = genes

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return {}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self.genes[param_name]


def test_what_fits_is_tried_as_it_was_proposed_and_what_does_not_is_made_smaller() -> None:
    smallest = {name: min(domain.values(), key=str) for name, domain in SPACE.genes.items()}
    large = smallest | {name: max(SPACE.genes[name].values()) for name in SPACE.width_genes}
    sampler = FittedSampler(SPACE, Budget(2000), _Fixed(large), seed=1)
    study = _study(sampler, 12)
    kept = [name for name in SPACE.genes if name not in SPACE.width_genes]
    assert all(trial.params[name] == large[name] for trial in study.trials for name in kept)
    assert sampler.last_draw is not None
    whole = candidate(SPACE, large)
    assert whole is not None
    sizes = [trial.user_attrs["costs"].num_params for trial in study.trials]
    assert len(set(sizes)) > 3
    assert any(trial.params == large for trial in study.trials) == (whole.costs.num_params in sizes)
    assert {trial.number for trial in study.trials if trial.params != large} != set()


def test_a_value_that_the_space_does_not_have_is_an_error() -> None:
    genes = {name: domain.values()[0] for name, domain in SPACE.genes.items()}
    (width, *_) = SPACE.width_genes
    study = optuna.create_study(direction="maximize", sampler=FittedSampler(SPACE, Budget(2000), _Fixed(genes)))
    study.sampler._sampler.genes[width] = 10**6  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match=rf"_Fixed proposed {width} = 1000000, which IntDistribution.* does not hold"):
        study.ask({name: optuna.distributions.FloatDistribution(0, 1) for name in SPACE.genes})


def test_names_that_cannot_be_are_refused() -> None:
    for name in ("auto", *NAMES):
        require_sampler(name)
    with pytest.raises(UsageError, match=r"`sampler` 'tpee' is not known; did you mean 'tpe'\?"):
        require_sampler("tpee")
    with pytest.raises(UsageError, match="`sampler` 'bohb' is not known; known: auto, cmaes, gp, nsgaii, random, tpe"):
        require_sampler("bohb")
    with pytest.raises(
        UsageError, match=r"`sampler` <class .*TPESampler'>: give one of auto, tpe.*, or a sampler of O"
    ):
        name_given(TPESampler)
    name = name_given(TPESampler())
    require_sampler(name, TPESampler())
    with pytest.raises(UsageError, match=r"`sampler` TPESampler was given in Python: resume it there, by nas.search"):
        require_sampler(name)


def test_our_own_is_the_default() -> None:
    assert type(sampler_of("auto", SPACE, Budget(2000), 0, None, 1)) is BudgetSampler
    given_one = RandomSampler(0)
    assert type(sampler_of(name_given(given_one), SPACE, Budget(2000), 0, None, 1)) is BudgetSampler
    assert type(sampler_of(name_given(given_one), SPACE, Budget(2000), 0, None, 1, given_one)) is FittedSampler
