from __future__ import annotations

from nas.coordinator.snapshot import Snapshot
from nas.study.records import TrialRecord
from nas.study.settings import StudySettings
from nas.terminal.live_view import status_line


def clock(settings: StudySettings, seconds: float, finished: int = 0, at_start: int = 0) -> str:
    """The last part of the line, for a search with `finished` trials, `at_start` of them before this run."""
    records = [TrialRecord(number, "stopped", 100, 0, 0, "", {}, 0, (50.0,), 1.0) for number in range(finished)]
    line = status_line(Snapshot(records, [], settings, seconds, 0, at_start, 0))
    return line.rpartition("  |  ")[2]


def test_time_left_is_of_whichever_limit_comes_first() -> None:
    assert clock(StudySettings(max_params=1000), 5) == "5s"  # nothing is known of how long a trial takes
    assert clock(StudySettings(max_params=1000, max_trials=12), 60, finished=5, at_start=2) == "1m00s, about 2m20s left"
    timed = StudySettings(max_params=1000, max_trials=12, max_seconds=90)
    assert clock(timed, 60, finished=5, at_start=2) == "1m00s, about 30s left"


def test_time_left_is_the_most_where_a_good_network_ends_the_search() -> None:
    first = StudySettings(max_params=1000, target=99, stop_at_first=True, max_seconds=90)
    assert clock(first, 60) == "1m00s, at most 30s left"


def test_what_goes_on_after_the_last_trial_has_no_time_left_to_tell() -> None:
    text = "no new trials: ends with what runs and what is left to confirm"
    assert clock(StudySettings(max_params=1000, max_seconds=90), 120) == f"2m00s, {text}"
    assert clock(StudySettings(max_params=1000, max_trials=5), 120, finished=5) == f"2m00s, {text}"
