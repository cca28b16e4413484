from __future__ import annotations

import pytest
from made_up_studies import SETTINGS, made_up_records

from nas.study.records import Confirmation, TrialRecord
from nas.study.settings import StudySettings
from nas.terminal.front_plot import ASCII, COLUMNS, ROWS, UNICODE, Marks, front_plot

MARGIN = 8


def trial(number: int, num_params: int, validation: float, test: float | None = None) -> TrialRecord:
    confirmations = () if test is None else (Confirmation(0, (test,) * 3, 1.0), Confirmation(1, (test,) * 3, 1.0))
    return TrialRecord(
        number, "completed", num_params, 1, 1, f"{number}", {}, 0, (validation,) * 3, 1.0, confirmations=confirmations
    )


def unpublished(max_params: int, target: float | None) -> StudySettings:
    """A study of data for which no reference network is known."""
    return StudySettings(max_params, dataset="digits", target=target)


def cells(plot: str) -> list[str]:
    return [line[MARGIN:].ljust(COLUMNS) for line in plot.splitlines()[:ROWS]]


def places(plot: str, mark: str) -> list[tuple[int, int]]:
    return [(i, j) for i, line in enumerate(cells(plot)) for j, cell in enumerate(line) if cell == mark]


@pytest.mark.parametrize("marks", [UNICODE, ASCII])
def test_networks_lie_where_their_size_and_accuracy_say(marks: Marks) -> None:
    records = [trial(0, 1000, 98.0, 98.2), trial(1, 2000, 98.8, 99.0), trial(2, 4000, 99.2, 99.5), trial(3, 3000, 98.5)]
    plot = front_plot(records, unpublished(8000, 99.4), marks)
    (small_row, small), (row, column), (large_row, large) = sorted(places(plot, marks.confirmed), key=lambda p: p[1])
    assert small_row > row > large_row  # the more accurate, the higher
    assert column - small == pytest.approx(large - column, abs=1)  # twice the size each: equal steps on a log axis
    (budget,) = {j for _, j in places(plot, marks.budget)}
    assert budget - large == pytest.approx(large - column, abs=1)
    assert len({i for i, _ in places(plot, marks.target)}) == 1
    assert large_row < places(plot, marks.target)[0][0] < row  # 99.5 above 99.4 above 99.0
    assert len(places(plot, marks.trial)) == 4
    assert all(len(line) <= MARGIN + COLUMNS for line in plot.splitlines()[: ROWS + 2])


def test_a_terminal_without_unicode_gets_letters() -> None:
    plot = front_plot(made_up_records(300), SETTINGS, ASCII)
    assert plot.isascii()
    assert "* published" in plot
    assert not front_plot(made_up_records(300), SETTINGS).isascii()


def test_sizes_and_accuracies_are_labeled() -> None:
    lines = front_plot(made_up_records(300), SETTINGS).splitlines()
    assert {"1,000", "2,000", "5,000", "10,000"} <= set(lines[ROWS + 1].split())
    assert {"99.4", "99"} <= {line[:MARGIN].split()[0] for line in lines[:ROWS] if line[: MARGIN - 1].strip()}
    labels = {line[: MARGIN - 1].strip(): i for i, line in enumerate(lines[:ROWS])}
    assert labels["99.4"] < labels["99"]


def test_nothing_completed_is_no_plot() -> None:
    assert front_plot([], SETTINGS) == ""


def test_a_target_far_below_all_that_was_found_has_no_line() -> None:
    plot = front_plot([trial(0, 1000, 99.0, 99.0), trial(1, 2000, 99.3, 99.4)], unpublished(3000, 60.0))
    assert places(plot, UNICODE.target) == []
    assert len(places(plot, UNICODE.confirmed)) == 2
