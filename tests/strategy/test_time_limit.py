"""How the time of a study is divided between trials and confirmations."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nas.arch import Input
from nas.strategy.time_limit import CONFIRMING_SHARE, TimePlan, plan_time
from nas.study.folder import StudyImages
from nas.study.records import Confirmation, Fate, TrialRecord
from nas.study.settings import StudySettings

SETTINGS = StudySettings(8000, max_seconds=600.0, num_seeds=3)
IMAGES = StudyImages(Input(1, 28, 28), tuple("0123456789"), 50_000, 10_000, 10_000)


def trial(number: int, seconds: float, epochs: int = 10, fate: Fate = "completed") -> TrialRecord:
    return TrialRecord(number, fate, 100, 0, 0, "", {}, 0, (50.0,) * epochs, seconds)


def plan(*records: TrialRecord, networks: int = 1, workers: int = 1, settings: StudySettings = SETTINGS) -> TimePlan:
    return plan_time(records, settings, 10, IMAGES, networks, workers)


def test_a_share_is_kept_before_anything_is_known() -> None:
    made = plan()
    assert made == TimePlan(600.0, kept=CONFIRMING_SHARE * 600)
    assert str(made) == "of 10m00s, 3m20s are kept for confirmations"
    assert made.admits_trial(399.9)
    assert not made.admits_trial(400.1)


def test_what_is_kept_is_what_the_confirmations_take() -> None:
    made = plan(trial(0, 20.0))
    assert made.trial == pytest.approx(20.0)
    assert made.confirmation == pytest.approx(20.0 * 60 / 50)  # it trains on the validation images too
    assert made.kept == pytest.approx(3 * 24.0)
    assert plan(trial(0, 20.0), workers=2).kept == pytest.approx(2 * 24.0)  # the third seed alone
    assert plan(trial(0, 20.0), networks=2, workers=2).kept == pytest.approx(3 * 24.0)
    assert plan(trial(0, 200.0)).kept == pytest.approx(CONFIRMING_SHARE * 600)  # at most the share


def test_confirmations_are_known_by_themselves_once_some_have_ended() -> None:
    confirmed = replace(trial(0, 20.0), confirmations=(Confirmation(1, (99.0,) * 10, 50.0),))
    assert plan(confirmed).confirmation == pytest.approx(50.0)


def test_a_stopped_training_tells_what_a_whole_one_takes() -> None:
    assert plan(trial(0, 4.0, epochs=2, fate="stopped")).trial == pytest.approx(20.0)
    # Of a training that was cut off, the seconds are those of several attempts; one that failed may have no epoch.
    assert plan(trial(0, 90.0, fate="interrupted"), trial(1, 3.0, epochs=0, fate="failed")).trial == 0.0


def test_a_trial_is_taken_to_need_what_nine_of_ten_needed() -> None:
    made = plan(*(trial(number, 10.0 + number) for number in range(10)))
    assert made.trial == pytest.approx(18.0)


def test_nothing_begins_that_cannot_end_in_time() -> None:
    made = TimePlan(100.0, kept=30.0, trial=20.0, confirmation=25.0)
    assert made.admits_trial(50.0)
    assert not made.admits_trial(50.1)
    assert made.admits_confirmation(75.0)
    assert not made.admits_confirmation(75.1)
    assert not made.is_over(99.9)
    assert made.is_over(100.0)


def test_no_time_admits_nothing_though_nothing_is_known() -> None:
    made = plan(settings=replace(SETTINGS, max_seconds=0.0))
    assert not made.admits_trial(0.0)
    assert not made.admits_confirmation(0.0)


def test_a_study_without_a_limit_is_never_over() -> None:
    made = plan(trial(0, 20.0), settings=replace(SETTINGS, max_seconds=None))
    assert made.admits_trial(1e12)
    assert made.admits_confirmation(1e12)
    assert not made.is_over(1e12)
    assert not made.is_limited
