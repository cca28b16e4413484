from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from nas.arch import Budget, Input
from nas.data.known import KNOWN_DATASETS
from nas.space import Candidate, Space, candidate, load_space
from nas.storage.study_store import SearchStore
from nas.strategy.proposing import STARTUP_TRIALS, BudgetSampler, distributions_of
from nas.strategy.stopping import ParetoPruner
from nas.study.folder import StudyFolder

TRIALS = STARTUP_TRIALS + 12


@pytest.fixture(scope="module")
def space() -> Space:
    return load_space("tiny_digits", *KNOWN_DATASETS["digits"].images)


def _larger_wins(found: Candidate) -> float:
    return float(found.costs.num_params)


def _run(
    study: optuna.Study,
    space: Space,
    budget: Budget,
    count: int,
    accuracy: Callable[[Candidate], float] = _larger_wins,
) -> list[dict[str, object]]:
    """Trials with an accuracy that larger networks win, so that the front pushes against the budget."""
    drawn = []
    for _ in range(count):
        trial = study.ask(distributions_of(space))
        found = candidate(space, trial.params)
        assert found is not None, "a network that cannot be built was proposed"
        assert budget.admits(found.costs), budget.excesses(found.costs)
        trial.set_user_attr("num_params", found.costs.num_params)
        trial.set_user_attr("digest", found.digest)
        study.tell(trial, accuracy(found))
        drawn.append(trial.params)
    return drawn


@pytest.mark.parametrize("max_params", [100, 800, 8000])
def test_never_over_budget_and_the_upper_end_is_reached(space: Space, max_params: int) -> None:
    budget = Budget(max_params)
    study = optuna.create_study(direction="maximize", sampler=BudgetSampler(space, budget, seed=1))
    drawn = _run(study, space, budget, TRIALS)
    sizes = [c.costs.num_params for d in drawn if (c := candidate(space, d))]
    assert max(sizes) > 0.85 * max_params
    assert min(sizes) < 0.6 * max_params


def test_same_seed_same_draws_and_another_seed_others(space: Space) -> None:
    def draws(seed: int) -> list[dict[str, object]]:
        study = optuna.create_study(direction="maximize", sampler=BudgetSampler(space, Budget(2000), seed))
        return _run(study, space, Budget(2000), TRIALS)

    first = draws(1)
    assert first == draws(1)
    assert first != draws(2)


def test_a_new_sampler_goes_on_as_the_old_one_would_have(space: Space) -> None:
    whole = optuna.create_study(direction="maximize", sampler=BudgetSampler(space, Budget(2000), seed=5))
    expected = _run(whole, space, Budget(2000), TRIALS)
    parts = optuna.create_study(direction="maximize", sampler=BudgetSampler(space, Budget(2000), seed=5))
    got = _run(parts, space, Budget(2000), STARTUP_TRIALS + 3)
    parts.sampler = BudgetSampler(space, Budget(2000), seed=5)
    got += _run(parts, space, Budget(2000), TRIALS - STARTUP_TRIALS - 3)
    assert got == expected


@pytest.mark.parametrize(("below", "most"), [(None, 8000), (1000, 999)])
def test_with_a_target_draws_stay_in_the_upper_half_of_what_is_left(space: Space, below: int | None, most: int) -> None:
    sampler = BudgetSampler(space, Budget(8000), seed=0, has_target=True)
    sampler.below = below
    study = optuna.create_study(direction="maximize", sampler=sampler)
    sizes = [c.costs.num_params for d in _run(study, space, Budget(most), TRIALS) if (c := candidate(space, d))]
    assert min(sizes) > 0.75 * most / 2 - 20
    assert max(sizes) > 0.9 * most
    assert min(sizes) < 0.75 * most


def test_every_gene_is_always_suggested(space: Space) -> None:
    study = optuna.create_study(direction="maximize", sampler=BudgetSampler(space, Budget(500), seed=0))
    for params in _run(study, space, Budget(500), TRIALS):
        assert params.keys() == space.genes.keys()


def test_draws_after_the_first_are_made_of_the_front(space: Space) -> None:
    def accuracy(found: Candidate) -> float:
        """Hardly depends on size; two genes decide."""
        good = (found.genes["norm_act.activation"] == "hardswish") + (found.genes["head.bias"] is True)
        return 40.0 * good + found.costs.num_params / 1e6

    study = optuna.create_study(direction="maximize", sampler=BudgetSampler(space, Budget(2000), seed=2))
    drawn = _run(study, space, Budget(2000), STARTUP_TRIALS + 30, accuracy)
    good = [d["norm_act.activation"] == "hardswish" and d["head.bias"] is True for d in drawn]
    assert sum(good[:STARTUP_TRIALS]) < 0.6 * STARTUP_TRIALS  # a quarter is expected
    assert sum(good[STARTUP_TRIALS:]) > 0.6 * 30


def test_stopped_and_failed_trials_are_nobodys_parents(space: Space) -> None:
    sampler = BudgetSampler(space, Budget(2000), seed=0)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    for _ in range(STARTUP_TRIALS):
        trial = study.ask(distributions_of(space))
        trial.set_user_attr("num_params", 1)
        trial.report(99.0, 1)
        study.tell(trial, state=TrialState.PRUNED)
    trial = study.ask(distributions_of(space))
    rng = random.Random(0)
    frozen = study.get_trials()[trial.number]
    assert sampler.proposals(study, frozen, rng, 1) is None
    (parent,) = _run(study, space, Budget(2000), 1)
    propose = sampler.proposals(study, frozen, rng, 1)
    assert propose is not None
    differing = [sum(parent[name] != value for name, value in propose().items()) for _ in range(200)]
    assert max(differing) <= 5
    assert 0.8 < sum(differing) / 200 < 1.5  # of 1.5 genes drawn again some come out as they were


def test_screened_mutations_have_the_genes_that_good_networks_had(space: Space) -> None:
    def accuracy(found: Candidate) -> float:
        return 70.0 + 20.0 * (found.genes["norm_act.activation"] == "hardswish")

    def share(screened: int) -> float:
        sampler = BudgetSampler(space, Budget(2000), seed=0)
        study = optuna.create_study(direction="maximize", sampler=sampler)
        _run(study, space, Budget(2000), STARTUP_TRIALS + 10, accuracy)
        propose = sampler.proposals(study, study.get_trials()[-1], random.Random(0), screened)
        assert propose is not None
        return sum(propose()["norm_act.activation"] == "hardswish" for _ in range(100)) / 100

    assert share(1) < 0.97 < share(8)  # some mutations lose what their parent had


def test_no_network_twice_while_there_are_others(space: Space) -> None:
    """With few networks left, and a best one that every proposal resembles."""
    budget = Budget(300)
    study = optuna.create_study(direction="maximize", sampler=BudgetSampler(space, budget, seed=3))
    drawn = _run(study, space, budget, STARTUP_TRIALS + 30)
    recipe = [name for name, key in space.keys.items() if key.startswith("recipe.")]
    networks = {(c.digest, *(d[name] for name in recipe)) for d in drawn if (c := candidate(space, d))}
    assert len(networks) == len(drawn)


def test_store_remembers_what_the_draw_took(space: Space, tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path, "s")
    folder.run.mkdir(parents=True)
    sampler = BudgetSampler(space, Budget(100), 0)
    store = SearchStore(folder, distributions_of(space), sampler, ParetoPruner(6))
    number, genes = store.ask()
    found = candidate(space, genes)
    assert found is not None
    store.describe(number, found, 3, sampler.draw_counts(genes))
    (record,) = store.records()
    assert (record.fate, record.num_params, record.digest) == ("running", found.costs.num_params, found.digest)
    assert record.genes == genes
    store.finish(number, "completed", 1.0, 50.0)
    names, draws = ("redrawn", "over_budget", "repaired", "repeated"), [sampler.last_draw]
    for _ in range(30):
        number, genes = store.ask()
        draws.append(sampler.last_draw)
        found = candidate(space, genes)
        assert found is not None
        store.describe(number, found, 3, sampler.draw_counts(genes))
        store.finish(number, "completed", 1.0, 50.0 if number else 99.0)
    records = store.records()
    counts = [[getattr(r, name) for name in names] for r in records]
    assert counts == [[getattr(draw, name) for name in names] for draw in draws]
    assert all(any(row[i] for row in counts) for i in range(len(names)))


def test_input_shape_is_part_of_the_space() -> None:
    small = load_space("tiny_digits", Input(1, 8, 8), 10)
    assert small.digest != load_space("tiny_digits", Input(1, 9, 9), 10).digest
    assert small.digest == load_space("tiny_digits", Input(1, 8, 8), 10).digest
