"""Early stopping, of made-up trainings in a real space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from strategy_trials import EPOCHS, SPACE, trial

from nas.strategy.beliefs import Beliefs, Goal
from nas.strategy.observations import Observation
from nas.strategy.stopping import StoppingRule, rungs_of


@pytest.mark.parametrize(("epochs", "rungs"), [(1, ()), (2, (1,)), (6, (2, 3, 4)), (100, (25, 50, 75))])
def test_rungs(epochs: int, rungs: tuple[int, ...]) -> None:
    assert rungs_of(epochs) == rungs


def _rule(trials: Sequence[Observation]) -> StoppingRule:
    rule = StoppingRule(Beliefs(SPACE, EPOCHS), EPOCHS)
    for seen in trials:
        rule.beliefs.learn(seen)
    return rule


# Of 1,000 to 8,000 parameters; the larger the better.
COMPLETED = [trial(i, 1000 * (i + 1), 8.0 - 0.8 * i) for i in range(8)]


def _stops(seen: Observation, goal: Goal | None = None, learned: Sequence[Observation] = COMPLETED) -> bool:
    rule = _rule(learned)
    rule.beliefs.learn(seen)
    return rule.stops(seen, goal)


@pytest.mark.parametrize(
    ("num_params", "error", "stops"),
    [(8500, 2.0, False), (8500, 20.0, True), (1500, 20.0, True), (900, 20.0, False), (5500, 4.0, False)],
)
def test_without_a_target_a_trial_stops_where_it_stays_below_the_front(
    num_params: int, error: float, stops: bool
) -> None:
    assert _stops(trial(10, num_params, error, epochs=2)) is stops


@pytest.mark.parametrize(("target", "stops"), [(97.5, False), (98.0, False), (99.7, True)])
def test_with_a_target_a_trial_stops_where_it_has_no_chance(target: float, stops: bool) -> None:
    assert _stops(trial(10, 5000, 2.5, epochs=3), Goal(target, 3)) is stops


def test_a_trial_that_is_not_worthwhile_below_the_answer_stops() -> None:
    seen = trial(10, 5000, 1.0, epochs=2)
    assert _stops(seen, Goal(98.0, 3, below=5000))
    assert _stops(seen, Goal(98.0, 3, below=5001))  # a confirmation of it would not begin either
    assert not _stops(seen, Goal(98.0, 3, below=5160))


def test_nothing_is_stopped_between_rungs_at_the_end_or_among_few() -> None:
    bad = trial(10, 8500, 20.0, epochs=2)
    assert _stops(bad)
    assert not _stops(bad, learned=COMPLETED[:2])
    assert not _stops(replace(bad, curve=(20.0, 20.0, 20.0, 20.0)))
    assert not StoppingRule(_rule([*COMPLETED, bad]).beliefs, 40).stops(bad, None)


def test_one_bad_epoch_does_not_stop_a_goodtrial() -> None:
    good = trial(10, 8500, 1.5, epochs=2)
    assert not _stops(replace(good, curve=(*good.curve, 20.0)))
