from __future__ import annotations

import math
import sys
from pathlib import Path

import curves
import numpy as np
import pytest
from curves import Curve, Table, networks, read_table
from hypothesis import given
from hypothesis import strategies as st
from replay import METHODS, Trained, ranks, replay, typical_seconds
from search_quality import GRID, Measure, first_time, kept, rank_correlations, ratio_of_times, readable, run, saved


@pytest.fixture(scope="module")
def table() -> Table:
    return read_table("digits")


@pytest.mark.parametrize("name", ["digits", "mnist"])
def test_a_table_holds_every_network_within_its_budget(name: str) -> None:
    table = read_table(name)
    s = table.settings
    sizes = {key: network.costs.num_params for key, network in networks(table.space, s.epochs).items()}
    within = {(key, size) for key, size in sizes.items() if size <= s.max_params}
    # Not by ==, whose account of the difference would take minutes.
    assert within.symmetric_difference((key, curve.num_params) for key, curve in table.curves.items()) == set()
    assert all(len(c.accuracy) == len(c.seconds) == s.epochs and min(c.seconds) > 0 for c in table.curves.values())


def _measure(table: Table, *points: tuple[int, float]) -> Measure:
    made = {(str(i), ""): Curve(size, (accuracy,), (1.0,)) for i, (size, accuracy) in enumerate(points)}
    return Measure(Table(table.settings, table.space, made), reference=90.0)


def test_hypervolume_of_steps_on_a_log_scale(table: Table) -> None:
    budget = table.settings.max_params
    measure = _measure(table, (100, 94.0), (1000, 98.0), (1000, 97.0), (50, 80.0))
    whole = math.log(1000 / 100) * 4.0 + math.log(budget / 1000) * 8.0
    assert measure.share([(1000, 98.0), (100, 94.0)]) == pytest.approx(1.0)
    assert measure.share([(100, 94.0), (2000, 93.0)]) == pytest.approx(math.log(budget / 100) * 4.0 / whole)
    assert measure.share([(1000, 90.0)]) == measure.share([]) == 0.0


def test_what_stopping_saves_and_keeps(table: Table) -> None:
    measure = _measure(table, (100, 94.0), (1000, 98.0))
    trained = [Trained(1.0, 1000, 98.0, 1.0, 4.0, completed=False), Trained(5.0, 100, 94.0, 4.0, 4.0, completed=True)]
    assert saved(trained) == 1 - 5 / 8
    assert kept(trained, measure) == pytest.approx(measure.share([(100, 94.0)]))
    assert first_time(trained, lambda t: t.accuracy > 93) == 5.0
    assert first_time(trained, lambda t: t.accuracy > 95) == math.inf


def test_ratio_of_times_reads_the_mean_curve() -> None:
    ramp = np.linspace(0, 1, GRID + 1)[1:]
    ours, rival = np.tile(ramp, (4, 1)), np.tile(ramp / 4, (4, 1))
    result = ratio_of_times(ours, rival)
    assert result["mean"] == pytest.approx(0.25)
    assert result["interval"] == pytest.approx([0.25, 0.25])
    assert ratio_of_times(rival, ours) == {"mean": None, "interval": [None, None]}  # never reached


@pytest.mark.parametrize("name", ["ours", "random", "plain TPE + MedianPruner", "plain NSGA-II"])
def test_a_replay_spends_its_time_and_stays_within_the_budget(table: Table, name: str) -> None:
    seconds, workers = typical_seconds(table, 15, 2), 2
    trained = replay(METHODS[name], table, 1, seconds, workers)
    assert trained == replay(METHODS[name], table, 1, seconds, workers)
    assert max(t.num_params for t in trained) <= table.settings.max_params
    assert [t.ended for t in trained] == sorted(t.ended for t in trained)
    assert trained[-1].ended <= seconds
    longest = max(sum(curve.seconds) for curve in table.curves.values())
    spent = sum(t.seconds for t in trained)
    assert workers * (seconds - longest) <= spent <= workers * seconds
    for t in trained:
        assert t.seconds == t.seconds_to_end if t.completed else t.seconds < t.seconds_to_end
    if name != "ours":  # which stops none of so few, as long as each may still move the front
        assert any(not t.completed for t in trained) == (name == "plain TPE + MedianPruner")


def test_one_run_of_the_benchmark(table: Table) -> None:
    document = run(table, ["ours", "random"], seeds=2, trainings=10, workers=2, reference=80.0, target=90.0)
    volumes = document["methods"]["random"]["hypervolume"]
    assert 0 < volumes["0.25"]["mean"] <= volumes["1.0"]["mean"] <= 1
    low, high = volumes["1.0"]["interval"]
    assert low <= volumes["1.0"]["mean"] <= high
    assert "ours there at" in readable(document)


def test_later_rungs_tell_more(table: Table) -> None:
    correlations = list(rank_correlations(table).values())
    assert correlations == sorted(correlations)
    assert correlations[-1] > 0.9


def test_a_table_goes_on_where_it_was_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def make(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["curves.py", "--folder", str(tmp_path), "--epochs", "1", *arguments])
        curves.main()
        return capsys.readouterr().out

    make("--limit", "2")
    path = tmp_path / "digits.csv"
    first = path.read_text()
    path.write_text(first + "torn,line")
    assert "2 trained" in make("--limit", "1")
    assert path.read_text().startswith(first)
    assert len(read_table("digits", tmp_path).curves) == 3
    with pytest.raises(SystemExit, match=r"was made with .*epochs=1.*; remove it, or give another --name"):
        make("--max-params", "500")


@given(st.lists(st.tuples(st.integers(1, 30), st.integers(0, 30)), max_size=25))
def test_ranks_peel_one_front_after_another(items: list[tuple[int, int]]) -> None:
    found = ranks([(float(a), float(b)) for a, b in items])
    for point, rank in zip(items, found, strict=True):
        better = [r for q, r in zip(items, found, strict=True) if q != point and q[0] <= point[0] and q[1] >= point[1]]
        assert rank == (max(better) + 1 if better else 0)


def test_equal_points_share_a_rank() -> None:
    assert ranks([(1.0, 1.0), (1.0, 1.0), (2.0, 1.0)]) == [0, 0, 1]
