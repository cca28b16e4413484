"""Proposals, with made-up accuracies: nothing is trained, and nothing is stored."""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable
from dataclasses import replace
from itertools import count

import pytest

from nas.arch import Budget, Input
from nas.data.known import KNOWN_DATASETS
from nas.space import Candidate, Choice, IntRange, Space, load_space
from nas.strategy.observations import Observation
from nas.strategy.proposing import MUTATIONS, STARTUP_TRIALS, Proposer

TRIALS = STARTUP_TRIALS + 12


@pytest.fixture(scope="module")
def space() -> Space:
    return load_space("tiny_digits", *KNOWN_DATASETS["digits"].images)


def _larger_wins(found: Candidate) -> float:
    """Return an accuracy that makes the front push against the budget."""
    return found.costs.num_params / 100


def _completed(number: int, found: Candidate, accuracy: float) -> Observation:
    return Observation(number, found.genes, found.costs.num_params, found.digest, "completed", (), accuracy)


def _run(
    proposer: Proposer,
    trials: int,
    accuracy: Callable[[Candidate], float] = _larger_wins,
    first: int = 0,
    below: int | None = None,
) -> list[Observation]:
    """Complete `trials` one after another, from number `first` on."""
    observations = []
    for number in range(first, first + trials):
        found = proposer.propose(number, below).candidate
        assert proposer.budget.admits(found.costs), proposer.budget.excesses(found.costs)
        observations.append(_completed(number, found, accuracy(found)))
        proposer.learn(observations[-1])
    return observations


@pytest.mark.parametrize("max_params", [100, 800, 8000])
def test_never_over_budget_and_all_sizes_come_up(space: Space, max_params: int) -> None:
    """Of 128 draws about 5 in 100 are expected above 0.85 of the budget, and most below 0.6 of it."""
    runs = [_run(Proposer(space, Budget(max_params), seed), TRIALS) for seed in range(8)]
    sizes = [seen.num_params for run in runs for seen in run]
    assert max(sizes) > 0.85 * max_params
    assert min(sizes) < 0.6 * max_params


def test_same_seed_same_draws_and_another_seed_others(space: Space) -> None:
    first = _run(Proposer(space, Budget(2000), 1), TRIALS)
    assert first == _run(Proposer(space, Budget(2000), 1), TRIALS)
    assert first != _run(Proposer(space, Budget(2000), 2), TRIALS)


def test_a_new_proposer_that_learns_the_same_goes_on_as_the_old_one_would_have(space: Space) -> None:
    expected = _run(Proposer(space, Budget(2000), 5), TRIALS)
    half, new = STARTUP_TRIALS + 3, Proposer(space, Budget(2000), 5)
    for seen in reversed(expected[:half]):  # trials end in any order
        new.learn(replace(seen, fate="running", final_accuracy=None))
        new.learn(seen)
    assert [seen.genes for seen in _run(new, 1, first=half)] == [expected[half].genes]


@pytest.mark.parametrize(("below", "most"), [(None, 8000), (1000, 999), (9000, 8000)])
def test_with_a_target_draws_aim_at_the_upper_half_of_what_is_left(space: Space, below: int | None, most: int) -> None:
    proposer = Proposer(space, Budget(8000), 0, has_target=True)
    ceilings = [proposer.ceiling(random.Random(seed), below) for seed in range(1000)]
    assert all(ceiling is not None and most / 2 <= ceiling <= most for ceiling in ceilings)
    # Half of them aim at the most: 500 of 1,000, with a standard deviation of 16.
    assert 400 < ceilings.count(most) < 600
    assert max(seen.num_params for seen in _run(proposer, 6, below=below)) <= most


def test_without_a_target_the_draw_chooses_its_size(space: Space) -> None:
    assert Proposer(space, Budget(8000), 0).ceiling(random.Random(0), None) is None


def test_draws_after_the_first_are_made_of_the_front(space: Space) -> None:
    """At random, a quarter of the networks have both good genes; of the later draws far more do.

    The bounds are those that a binomial count with a chance of a quarter passes once in a million times.
    """

    def is_good(found: Candidate | Observation) -> bool:
        return found.genes["norm_act.activation"] == "hardswish" and found.genes["head.bias"] is True

    def accuracy(found: Candidate) -> float:
        good = (found.genes["norm_act.activation"] == "hardswish") + (found.genes["head.bias"] is True)
        return 40.0 * good + found.costs.num_params / 1e6

    runs = [_run(Proposer(space, Budget(2000), seed), STARTUP_TRIALS + 30, accuracy) for seed in range(5)]
    assert sum(is_good(seen) for run in runs for seen in run[:STARTUP_TRIALS]) <= 15  # of 20
    assert sum(is_good(seen) for run in runs for seen in run[STARTUP_TRIALS:]) > 64  # of 150


def test_stopped_and_failed_trials_are_nobodys_parents(space: Space) -> None:
    proposer, rng = Proposer(space, Budget(2000), 0), random.Random(0)
    weak = [proposer.propose(number).candidate for number in range(STARTUP_TRIALS)]
    for number, found in enumerate(weak):
        proposer.learn(Observation(number, found.genes, 1, found.digest, "stopped", (99.0,)))
        proposer.learn(Observation(number + 10, found.genes, 1, found.digest, "failed", (99.0,)))
    assert proposer.mutations(rng, 1) is None
    (parent,) = _run(proposer, 1, first=20)
    mutate = proposer.mutations(rng, 1)
    assert mutate is not None
    differing = [sum(parent.genes[name] != value for name, value in mutate().items()) for _ in range(2000)]
    genes = len(space.genes)
    drawn_again = 1 / genes + (1 - 1 / genes) * (MUTATIONS - 1) / genes
    others = [1 - 1 / d.size if isinstance(d, Choice | IntRange) else 1.0 for d in space.genes.values()]
    # The number that is drawn again has a variance below 0.5, so that the mean of 2,000 deviates by less than 0.016.
    assert statistics.fmean(differing) == pytest.approx(drawn_again * sum(others), abs=5 * 0.016)


@pytest.mark.parametrize("seed", range(3))
def test_screened_mutations_have_the_genes_that_good_networks_had(space: Space, seed: int) -> None:
    """The only parent has relu. That hardswish is better, networks have shown that are too large for the front.

    One mutation in 40 or so turns to hardswish; of 64 mutations, on average more than one does.
    """
    proposer = Proposer(space, Budget(8000), seed)
    numbers = count()
    relu = next(f for n in numbers if (f := proposer.propose(n).candidate).genes["norm_act.activation"] == "relu")
    proposer.learn(replace(_completed(0, relu, 99.0), num_params=1))
    for number in range(1000, 1040):
        found = Proposer(space, Budget(8000), number).propose(0).candidate
        accuracy = 90.0 if found.genes["norm_act.activation"] == "hardswish" else 50.0
        proposer.learn(_completed(number, found, accuracy))

    def turned(screened: int) -> int:
        mutate = proposer.mutations(random.Random(seed), screened)
        assert mutate is not None
        return sum(mutate()["norm_act.activation"] == "hardswish" for _ in range(200))

    assert turned(1) <= 25  # 5 are expected
    assert turned(64) > 75


def test_no_network_twice_while_there_are_others(space: Space) -> None:
    """With few networks left, and a best one that every proposal resembles."""
    proposer = Proposer(space, Budget(300), 3)
    seen = _run(proposer, STARTUP_TRIALS + 30)
    recipe = [name for name, key in space.keys.items() if key.startswith("recipe.")]
    assert len({(s.digest, *(s.genes[name] for name in recipe)) for s in seen}) == len(seen)


def test_input_shape_is_part_of_the_space() -> None:
    small = load_space("tiny_digits", Input(1, 8, 8), 10)
    assert small.digest != load_space("tiny_digits", Input(1, 9, 9), 10).digest
    assert small.digest == load_space("tiny_digits", Input(1, 8, 8), 10).digest
