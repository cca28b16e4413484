from __future__ import annotations

import math

import pytest

from nas.strategy.confirming import (
    LIKELY,
    PRIOR_OFFSET,
    chance,
    is_hopeless,
    next_to_confirm,
    offset_belief,
    worthwhile_below,
)
from nas.study.answer import meets_target, smallest_met
from nas.study.records import Confirmation, ConfirmedFigure, TrialRecord, standard_error
from nas.study.settings import StudySettings


def asked(target: float) -> StudySettings:
    return StudySettings(8000, target=target)


def trial(
    number: int, num_params: int, validation: float, tests: tuple[float, ...] = (), fate: str = "completed"
) -> TrialRecord:
    return TrialRecord(
        number=number,
        fate=fate,  # type: ignore[arg-type]
        num_params=num_params,
        num_macs=0,
        peak_activation_bytes=0,
        digest=f"digest{number}",
        genes={},
        seed=0,
        validation_curve=(10.0, validation, validation, validation),
        train_seconds=1.0,
        confirmations=tuple(Confirmation(seed, (0.0, t, t, t), 1.0) for seed, t in enumerate(tests)),
    )


def test_standard_error_is_the_protocols() -> None:
    assert standard_error(99.4, 10_000) == pytest.approx(100 * math.sqrt(0.994 * 0.006 / 10_000))
    assert standard_error(99.4, 10_000) == pytest.approx(0.077, abs=0.001)
    assert standard_error(100.0, 10_000) > 0


def test_figure_is_the_mean_over_seeds_of_the_last_three_epochs() -> None:
    curves = [(90.0, 99.1, 99.2, 99.3), (95.0, 99.4, 99.5, 99.6)]
    figure = ConfirmedFigure(tuple(Confirmation(i, c, 1.0) for i, c in enumerate(curves)))
    assert figure.mean == pytest.approx(((99.1 + 99.2 + 99.3) / 3 + (99.4 + 99.5 + 99.6) / 3) / 2)
    assert figure.spread == pytest.approx(0.3 / math.sqrt(2))
    assert figure.best_epoch == 99.6
    assert figure.consistent(99.1)
    assert not figure.consistent(99.15)


def test_fewer_seeds_than_asked_for_never_meet_the_target() -> None:
    two, three = trial(0, 1, 99.0, (99.6, 99.6)), trial(0, 1, 99.0, (99.6, 99.6, 99.6))
    assert two.confirmed is not None
    assert three.confirmed is not None
    assert not meets_target(two.confirmed, asked(99.4))
    assert meets_target(three.confirmed, asked(99.4))
    assert not meets_target(three.confirmed, asked(99.61))


def test_best_epoch_decides_nothing() -> None:
    lucky = Confirmation(0, (99.9, 99.0, 99.0, 99.0), 1.0)
    assert not meets_target(ConfirmedFigure((lucky,) * 3), asked(99.4))


def _figure(*tests: float) -> ConfirmedFigure:
    return ConfirmedFigure(tuple(Confirmation(seed, (test,) * 3, 1.0) for seed, test in enumerate(tests)))


def test_seeds_are_hopeless_where_those_left_would_have_to_be_much_better() -> None:
    def hopeless(*tests: float) -> bool:
        return is_hopeless(_figure(*tests), 99.4, 3, 10_000)

    # A training differs from another by sqrt(0.994 * 0.006 / 10,000) = 0.077 points, so what is needed of those left
    # from what is known of those done by 0.077 * sqrt(1/1 + 1/2) = 0.077 * sqrt(1/2 + 1/1) = 0.094 points.
    assert hopeless(99.2)  # 99.5 of two: 3.2 deviations away
    assert not hopeless(99.35)  # 99.425 of two: 0.8 deviations, a chance of 21 %, where two thirds of LIKELY are 17
    assert hopeless(99.34, 99.36)  # 99.5 of one: 1.6 deviations, a chance of 6 %, where a third of LIKELY is 8
    assert not hopeless(99.34, 99.42)  # 99.44 of one: 0.6 deviations, a chance of 26 %
    assert not hopeless(99.0, 99.0, 99.0)  # nothing is left that could be in vain
    # 359 images tell less: one of them is 0.28 points.
    assert [is_hopeless(_figure(test), 95.0, 3, 359) for test in (92.0, 94.6)] == [True, False]


def test_offset_is_learnt_from_confirmations() -> None:
    assert offset_belief([trial(0, 1, 99.0)], 10_000) == PRIOR_OFFSET
    one = offset_belief([trial(0, 1, 99.1, (99.4,) * 3)], 10_000)
    assert PRIOR_OFFSET.mean < one.mean < 0.3
    assert one.stdev < PRIOR_OFFSET.stdev
    many = offset_belief([trial(i, 1, 99.1, (99.4,) * 3) for i in range(50)], 10_000)
    assert many.mean == pytest.approx(0.3, abs=0.01)


def test_chance_rises_with_validation_accuracy_and_is_half_where_the_target_is_expected() -> None:
    belief = PRIOR_OFFSET
    assert chance(trial(0, 1, 99.3), 99.3 + belief.mean, belief, 10_000) == pytest.approx(0.5)
    chances = [chance(trial(0, 1, v), 99.4, belief, 10_000) for v in (98.0, 99.0, 99.2, 99.4)]
    assert chances == sorted(chances)
    assert chances[0] < 0.001
    assert chances[-1] > LIKELY


def test_only_a_likely_completed_smaller_network_is_confirmed() -> None:
    weak, strong, stopped = trial(0, 2000, 98.0), trial(1, 5000, 99.4), trial(2, 3000, 99.6, fate="stopped")
    assert next_to_confirm([weak], asked(99.4), 99.4, 10_000) is None
    assert next_to_confirm([weak, strong, stopped], asked(99.4), 99.4, 10_000) == strong
    met = trial(3, 4000, 99.4, (99.5,) * 3)
    assert (
        next_to_confirm([weak, strong, met], asked(99.4), 99.4, 10_000) is None
    )  # strong is larger than what met the target
    smaller = trial(4, 3500, 99.35)
    assert next_to_confirm([strong, met, smaller], asked(99.4), 99.4, 10_000) == smaller


def test_network_that_would_save_next_to_nothing_is_not_confirmed() -> None:
    met = trial(0, 4000, 99.4, (99.5,) * 3)
    assert worthwhile_below(4000) == 3800
    assert next_to_confirm([met, trial(1, 3800, 99.5)], asked(99.4), 99.4, 10_000) is None
    assert next_to_confirm([met, trial(1, 3799, 99.5)], asked(99.4), 99.4, 10_000) is not None
    assert all(worthwhile_below(n) <= n for n in range(1, 100))


def test_what_may_save_most_is_confirmed_first_once_the_target_is_met() -> None:
    sure, small = trial(1, 3700, 99.5), trial(2, 2000, 99.3)
    assert next_to_confirm([sure, small], asked(99.4), 99.4, 10_000) == sure
    assert next_to_confirm([trial(0, 4000, 99.4, (99.5,) * 3), sure, small], asked(99.4), 99.4, 10_000) == small


def test_smallest_that_met_the_target_is_the_answer() -> None:
    met = [trial(0, 4000, 99.4, (99.5,) * 3), trial(1, 3000, 99.4, (99.41,) * 3), trial(2, 1000, 99.4, (99.3,) * 3)]
    assert smallest_met(met, asked(99.4)) == met[1]
    assert smallest_met(met, asked(99.6)) is None
