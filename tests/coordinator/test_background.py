"""A watcher in a thread of its own: the search does not wait for it, and nothing of it is lost."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from simulated_searches import rising, run_search
from watching import Watching

from nas.coordinator.background import BackgroundWatcher
from nas.coordinator.snapshot import Snapshot
from nas.workers.simulated import Simulation


def test_a_search_does_not_wait_for_a_slow_watcher(tmp_path: Path) -> None:
    ended = threading.Event()

    def wait(snapshot: Snapshot) -> None:
        assert ended.wait(60), "the search waits for its watcher"

    slow = Watching(wait)
    background = BackgroundWatcher(slow)
    store = run_search(tmp_path, Simulation(rising), watching=background)
    assert [record.fate for record in store.records()] == ["completed"] * 3
    ended.set()
    background.end()
    assert len(slow.snapshots) == 1  # it was busy with the first
    assert slow.said[0].startswith("confirming trial")


def test_an_error_of_a_watcher_ends_the_search(tmp_path: Path) -> None:
    failed = threading.Event()

    def fail(snapshot: Snapshot) -> None:
        failed.set()
        raise ValueError("nothing to see")

    def wait(now: float) -> None:
        assert now < 2.0 or failed.wait(60)

    background = BackgroundWatcher(Watching(fail))
    with pytest.raises(ValueError, match="nothing to see"):
        run_search(tmp_path, Simulation(rising, on_advance=wait), watching=background)
