"""The sampler by Optuna's own conformance tests, in a plain study, and in the store of a search."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from optuna.samplers import BaseSampler
from optuna.testing.pytest_samplers import BasicSamplerTestCase, RelativeSamplerTestCase, SingleOnlySamplerTestCase

from nas.costs import Budget
from nas.data.known import KNOWN_DATASETS
from nas.space import Choice, Space, candidate, load_space
from nas.storage.search_store import SearchStore
from nas.strategy.observations import Observation
from nas.strategy.optuna_pruner import ParetoPruner
from nas.strategy.optuna_sampler import BudgetSampler, distributions_of, suggest_genes
from nas.strategy.proposing import STARTUP_TRIALS, Proposer
from nas.study.folder import StudyFolder


@pytest.fixture(scope="module")
def space() -> Space:
    return load_space("tiny_digits", *KNOWN_DATASETS["digits"].images)


class TestConformance(BasicSamplerTestCase, SingleOnlySamplerTestCase):
    """Every test for samplers of one objective; their parameters are no genes, and are drawn at random.

    Left out are `MultiObjectiveSamplerTestCase`, since the sampler refuses several objectives, and of
    `RelativeSamplerTestCase` the three tests that ask `sample_relative` for a space of their own: this sampler proposes
    networks of its fixed space, whatever else an objective suggests.
    """

    test_trial_relative_params = RelativeSamplerTestCase.test_trial_relative_params

    @pytest.fixture
    def sampler(self, space: Space) -> Callable[[], BaseSampler]:
        return lambda: BudgetSampler(space, Budget(2000))


def _objective(space: Space) -> Callable[[optuna.Trial], float]:
    def objective(trial: optuna.Trial) -> float:
        found = candidate(space, suggest_genes(trial, space))
        assert found is not None
        return found.costs.num_params / 100 - 10 * trial.suggest_float("dropout", 0.0, 0.5)

    return objective


def _draws(study: optuna.Study) -> list[dict[str, object]]:
    return [trial.params for trial in study.trials]


def test_an_objective_gets_every_gene_in_its_domain(space: Space) -> None:
    study = optuna.create_study(direction="maximize", sampler=BudgetSampler(space, Budget(500)))
    study.optimize(_objective(space), n_trials=8)
    for trial in study.trials:
        assert trial.params.keys() - {"dropout"} == space.genes.keys()
        assert {n: d for n, d in trial.distributions.items() if n != "dropout"} == distributions_of(space)
        assert all(domain.contains(trial.params[name]) for name, domain in space.genes.items())
        found = candidate(space, trial.params)
        assert found is not None
        assert found.costs.num_params <= 500
        assert 0 <= trial.params["dropout"] <= 0.5
    assert len({trial.params["dropout"] for trial in study.trials}) == 8


def test_a_plain_study_draws_what_a_proposer_does_that_learns_the_same(space: Space) -> None:
    """Neither the size nor the digest of a network was written into the study, nor has the proposer seen Optuna."""
    study = optuna.create_study(direction="maximize", sampler=BudgetSampler(space, Budget(2000), seed=4))
    study.optimize(_objective(space), n_trials=STARTUP_TRIALS + 8)
    proposer = Proposer(space, Budget(2000), seed=4)
    for trial in study.trials:
        found = proposer.propose(trial.number).draw.candidate
        assert found.genes == {name: trial.params[name] for name in space.genes}
        size = found.costs.num_params, found.costs.num_macs
        proposer.learn(Observation(trial.number, found.genes, *size, found.digest, "completed", (), trial.value))


def test_a_sampler_goes_on_after_it_was_pickled_or_made_anew(space: Space) -> None:
    def draws(change: Callable[[BaseSampler], BaseSampler]) -> list[dict[str, object]]:
        study = optuna.create_study(direction="maximize", sampler=BudgetSampler(space, Budget(2000), seed=5))
        study.optimize(_objective(space), n_trials=STARTUP_TRIALS + 2)
        study.sampler = change(study.sampler)
        study.optimize(_objective(space), n_trials=4)
        return _draws(study)

    expected = draws(lambda sampler: sampler)
    assert draws(lambda sampler: BudgetSampler(space, Budget(2000), seed=5)) == expected
    assert draws(lambda sampler: pickle.loads(pickle.dumps(sampler))) == expected


def test_several_threads_learn_each_trial_once(space: Space) -> None:
    sampler = BudgetSampler(space, Budget(500))
    learned: list[int] = []
    learn = sampler.history.beliefs.learn

    def note(seen: Observation) -> None:
        learned.extend([seen.number] * (seen.fate == "completed"))
        learn(seen)

    sampler.history.beliefs.learn = note  # type: ignore[method-assign]
    study = optuna.create_study(direction="maximize", sampler=sampler)
    study.optimize(_objective(space), n_trials=30, n_jobs=3)
    assert len(learned) == len(set(learned)) >= 27


def test_a_study_that_minimizes_is_refused_once_it_has_results(space: Space) -> None:
    study = optuna.create_study(sampler=BudgetSampler(space, Budget(2000)))
    with pytest.raises(ValueError, match="the study minimizes; create it with direction='maximize', and return percen"):
        study.optimize(_objective(space), n_trials=2)


def test_the_error_about_several_objectives_says_what_to_do(space: Space) -> None:
    study = optuna.create_study(directions=["minimize", "maximize"], sampler=BudgetSampler(space, Budget(2000)))
    with pytest.raises(ValueError, match=r"the study has 2 objectives; .* create the study with direction='maximize'"):
        study.ask(distributions_of(space))


def test_choices_of_a_domain_are_those_of_its_distribution(space: Space) -> None:
    distributions = distributions_of(space)
    for name, domain in space.genes.items():
        if isinstance(domain, Choice):
            assert distributions[name] == optuna.distributions.CategoricalDistribution(domain.options)


def test_store_remembers_what_the_draw_took(space: Space, tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path, "s")
    folder.run.mkdir(parents=True)
    sampler = BudgetSampler(space, Budget(100), 0)
    store = SearchStore(folder, distributions_of(space), sampler, ParetoPruner(space, 6))
    number, genes = store.ask()
    found = candidate(space, genes)
    assert found is not None
    store.describe(number, found, 3, sampler.draw_counts(genes))
    (record,) = store.records()
    assert (record.fate, record.num_params, record.digest) == ("running", found.costs.num_params, found.digest)
    assert (record.flash_bytes, record.ram_bytes) == (found.costs.flash_bytes, found.costs.ram_bytes)
    assert record.genes == genes
    store.report(number, 1, 50.0)
    store.finish(number, "completed", 1.0, 50.0)
    names, draws = ("redrawn", "over_budget", "repaired", "repeated"), [sampler.last_draw]
    for _ in range(30):
        number, genes = store.ask()
        draws.append(sampler.last_draw)
        found = candidate(space, genes)
        assert found is not None
        store.describe(number, found, 3, sampler.draw_counts(genes))
        store.report(number, 1, 50.0)
        store.finish(number, "completed", 1.0, 50.0)
    records = store.records()
    counts = [[getattr(r, name) for name in names] for r in records]
    assert counts == [[getattr(draw, name) for name in names] for draw in draws]
    assert all(any(row[i] for row in counts) for i in range(len(names)))
