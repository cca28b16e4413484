"""What is confirmed, of made-up trials."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from strategy_trials import NUM_MACS, believe, trial

from nas.strategy.beliefs import Goal
from nas.strategy.confirming import (
    AT_ONCE,
    CONFIRMED_OF_FRONT,
    Progress,
    Seed,
    comes_before_trials,
    is_hopeless,
    leaves_room,
    next_of_front,
    next_seed,
)
from nas.strategy.stopping import rungs_of
from nas.study.records import Confirmation, TrialRecord

GOAL = Goal(97.0, 3)
BUDGET = 8000
# The larger the better: 92 to 97.6 %.
TRIALS = [trial(i, 1000 * (i + 1), 8.0 - 0.8 * i) for i in range(8)]


def test_nothing_is_confirmed_that_is_near_certain_to_fail() -> None:
    assert next_seed(believe(TRIALS), Goal(99.8, 3), BUDGET) is None
    seed = next_seed(believe(TRIALS), GOAL, BUDGET)
    assert seed is not None
    assert seed.chance > 0.3


def test_of_two_that_are_as_likely_the_smaller_is_confirmed() -> None:
    equal = [*TRIALS, trial(8, 5500, 1.5), trial(9, 7500, 1.5)]
    seed = next_seed(believe(equal), GOAL, BUDGET)
    assert seed is not None
    assert seed.trial == 8


def test_of_two_that_save_as_much_the_one_that_trains_faster_is_confirmed() -> None:
    slow, fast = trial(8, 5500, 1.5), replace(trial(9, 5500, 1.5), num_macs=NUM_MACS // 4)
    seed = next_seed(believe([*TRIALS, slow, fast]), GOAL, BUDGET)
    assert seed is not None
    assert seed.trial == 9


def test_before_an_answer_what_is_likely_comes_first() -> None:
    """The other is worth more, since it trains so fast; once there is an answer, it comes first."""
    likely, fast = trial(8, 5500, 1.0), replace(trial(9, 5000, 3.3), num_macs=NUM_MACS // 1000)
    beliefs = believe([*TRIALS, likely, fast])
    seeds = [next_seed(beliefs, replace(GOAL, below=below), BUDGET) for below in (None, 7900)]
    assert [seed and seed.trial for seed in seeds] == [8, 9]


def test_once_one_has_met_it_only_smaller_ones_are_confirmed() -> None:
    good = [*TRIALS, trial(8, 5500, 1.5), trial(9, 7500, 1.5)]
    beliefs = believe(good, {8: (98.0, 98.0, 98.0)})
    assert next_seed(beliefs, Goal(97.0, 3, below=5500), BUDGET) is None
    smaller = [*good, trial(10, 4000, 1.5)]
    seed = next_seed(believe(smaller, {8: (98.0, 98.0, 98.0)}), Goal(97.0, 3, below=5500), BUDGET)
    assert seed is not None
    assert seed.trial == 10


def test_seeds_are_raced() -> None:
    """The first seed of one disappoints, and the next is that of another; it delights, and the next is its own."""
    good = [*TRIALS, trial(8, 5000, 2.0), trial(9, 5200, 2.0)]
    first = next_seed(believe(good), GOAL, BUDGET)
    assert first is not None
    other = {8: 9, 9: 8}[first.trial]
    disappointed = next_seed(believe(good, {first.trial: (96.6,)}), GOAL, BUDGET)
    assert disappointed is None or disappointed.trial == other
    delighted = next_seed(believe(good, {first.trial: (98.5,)}), GOAL, BUDGET)
    assert delighted is not None
    assert delighted.trial == first.trial


def test_trials_that_are_left_out_stopped_or_confirmed_get_no_seed() -> None:
    good = [*TRIALS, trial(8, 5000, 1.5), trial(9, 5200, 1.5, epochs=3, fate="stopped")]
    beliefs = believe(good, {8: (96.0, 96.0, 96.0)})
    chosen = next_seed(beliefs, GOAL, BUDGET)
    assert chosen is None or chosen.trial not in (8, 9)
    fresh = next_seed(believe(good), GOAL, BUDGET)
    assert fresh is not None
    assert fresh.trial == 8
    left = next_seed(believe(good), GOAL, BUDGET, left_out=[8])
    assert left is None or left.trial != 8


def test_a_seed_under_way_loses_hope_by_its_own_curve() -> None:
    good = trial(8, 5000, 2.0)
    beliefs = believe([*TRIALS, good])
    before = beliefs.chance(good, GOAL)
    as_expected, behind = (beliefs.chance_under_way(good, GOAL, curve) for curve in ((92.0, 96.0), (60.0, 70.0)))
    assert behind < 0.1 * before
    assert as_expected > 0.6 * before


def test_a_seed_is_given_up_only_where_trials_are_judged_too() -> None:
    good = trial(8, 5000, 2.0)
    beliefs, behind = believe([*TRIALS, good]), (20.0, 25.0, 28.0, 30.0, 31.0, 31.5)
    hopeless = [n for n in range(1, 7) if is_hopeless(beliefs, good, GOAL, behind[:n], epochs=beliefs.epochs)]
    assert hopeless
    assert set(hopeless) <= set(rungs_of(beliefs.epochs))
    assert not is_hopeless(beliefs, good, GOAL, (92.0, 96.0, 97.5, 97.6, 97.7, 97.8), epochs=beliefs.epochs)


def test_confirmations_take_a_third_in_the_long_run() -> None:
    seed = Seed(8, 0.9, 1.0, has_begun=False)
    assert leaves_room(seed, Progress(4.0, 0))
    assert leaves_room(seed, Progress(100.0, 33))
    assert not leaves_room(seed, Progress(100.0, 42))
    assert not leaves_room(seed, Progress(1000.0, 417))


def test_a_likely_confirmation_that_has_begun_ends_first() -> None:
    assert leaves_room(Seed(8, AT_ONCE, 1.0, has_begun=True), Progress(100.0, 42))
    assert not leaves_room(Seed(8, AT_ONCE - 0.01, 1.0, has_begun=True), Progress(100.0, 42))


ROOM, NO_ROOM = Progress(100.0, 0), Progress(100.0, 42)


@pytest.mark.parametrize(
    ("chance", "worth", "below", "progress", "worth_of_trial", "comes_first"),
    [
        (0.9, 0.1, None, ROOM, None, True),  # before an answer a likely one comes first, whatever it is worth
        (0.9, 0.1, 5000, ROOM, 0.2, False),
        (0.9, 0.2, 5000, ROOM, 0.2, True),
        (0.4, 0.3, None, ROOM, 0.2, True),
        (0.4, 0.1, None, ROOM, 0.2, False),
        (0.9, 0.1, 5000, ROOM, math.nan, True),  # nothing is known of the next trial
        (0.4, 0.1, 5000, ROOM, math.nan, False),
        (0.9, 9.0, None, NO_ROOM, None, False),
    ],
)
def test_a_seed_comes_before_the_next_trial(
    chance: float,
    worth: float,
    below: int | None,
    progress: Progress,
    worth_of_trial: float | None,
    comes_first: bool,
) -> None:
    def find_worth() -> float:
        assert worth_of_trial is not None, "it takes long, and does not decide"
        return worth_of_trial

    seed = Seed(8, chance, worth, has_begun=False)
    assert comes_before_trials(seed, replace(GOAL, below=below), progress, find_worth) is comes_first


def test_without_a_target_the_best_of_the_front_are_confirmed_the_most_accurate_first() -> None:
    records = [made_record(number, 1000 + 100 * number, 90.0 + number) for number in range(8)]
    records.append(made_record(8, 3000, 91.0))  # not on the front
    chosen = []
    while record := next_of_front(records):
        chosen.append(record.number)
        records[record.number] = confirmed(record)
    assert chosen == [7, 6, 5, 4, 3]
    assert len(chosen) == CONFIRMED_OF_FRONT


def test_a_confirmation_that_was_given_up_makes_room_for_another() -> None:
    records = [made_record(number, 1000 + 100 * number, 90.0 + number) for number in range(3)]
    record = next_of_front(records, left_out=[2])
    assert record is not None
    assert record.number == 1


def made_record(number: int, num_params: int, accuracy: float) -> TrialRecord:
    return TrialRecord(number, "completed", num_params, 1, 1, f"{number}", {}, 0, (accuracy,), 1.0)


def confirmed(record: TrialRecord) -> TrialRecord:
    return replace(record, confirmations=(Confirmation(0, (record.validation_accuracy,), 1.0),))
