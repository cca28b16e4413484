"""What a dashboard shows of a study: the front as a figure, the answer as its note, what was confirmed as artifacts.

Beside it lies a study of two values, for the dashboard's Pareto page. All of it is kept in the study's storage, and so
any optuna-dashboard shows it; a search keeps it fresh while it runs.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from nas.dashboard.artifacts import save_artifacts
from nas.dashboard.two_values import save_two_values
from nas.errors import NasError
from nas.report.front_plotly import front_figure
from nas.storage.address import address_of
from nas.storage.study_store import Store
from nas.study import tables
from nas.study.answer import answer_text
from nas.study.landmarks import references

if TYPE_CHECKING:
    from nas.coordinator.snapshot import Snapshot

REFRESH_EVERY = 10.0  # seconds at the least between two looks at the trials
MOST_OF_TIME = 0.02  # that a search spends on what the dashboard shows
FIGURE = "front"
_HEADING = "### What nas found\n"  # tells our note from a person's, which is left alone


def refresh(store: Store) -> None:
    """Put the front as a figure, the answer as a note and the artifacts into the study, and its two values beside it.

    Raises:
        StudyError: the storage or the files of the artifacts cannot be read or written, or another process does so.
    """
    with address_of(store.folder).errors(store.folder.name):
        _refresh(store)


def _refresh(store: Store) -> None:
    import optuna_dashboard  # a second, which a search can spare until it has something to show

    settings, records = store.folder.settings(), store.records()
    landmarks = references(settings.dataset)
    figure = front_figure(records, settings)
    # What its card there holds, the legend out of the way of the buttons on top.
    figure.update_layout(height=440, margin={"t": 40, "b": 110}, legend={"y": -0.2, "yanchor": "top"})
    _save_figure(store, figure.to_json())
    note = (
        f"{_HEADING}\n**{answer_text(records, settings)}**\n\n"
        f"```\n{tables.front_text(records, settings.target, landmarks)}\n```\n\n{tables.test_set_note(records)}\n"
    )
    before = optuna_dashboard.get_note(store.study)
    if note != before and (not before or before.startswith(_HEADING)):
        optuna_dashboard.save_note(store.study, note)
    save_artifacts(store)
    save_two_values(store)


def _save_figure(store: Store, figure: str) -> None:
    """Put a figure into the study as `optuna_dashboard.save_plotly_graph_object` does, but in one piece.

    That function writes pieces of 2,045 characters in a transaction each: thousands of trials would take seconds, and a
    page that asks meanwhile would get half of the old figure and half of the new, which is no JSON. Nothing public
    writes it whole, so this function alone knows the names of the pieces.
    """
    prefix = f"dashboard:plot_data:{FIGURE}:"
    for key in store.storage.get_study_system_attrs(store.study_id):
        if key.startswith(prefix) and key != f"{prefix}0":
            store.storage.set_study_system_attr(store.study_id, key, "")
    store.storage.set_study_system_attr(store.study_id, f"{prefix}0", figure)


class Refresher:
    """Brings what the dashboard shows up to date where a trial or a confirmation has ended since it last looked."""

    def __init__(self, open_store: Callable[[], Store]) -> None:
        self._open_store = open_store
        self._shown: object = None
        self.next_look = time.monotonic()

    def look(self) -> None:
        """Look, unless it did so a moment ago."""
        began = time.monotonic()
        if began >= self.next_look:
            self.refresh()
            took = time.monotonic() - began
            self.next_look = began + max(REFRESH_EVERY, took / MOST_OF_TIME)

    def refresh(self) -> None:
        """Look at once. A study that is busy or cannot be written to keeps what it shows until the next look."""
        with contextlib.suppress(NasError):
            store = self._open_store()
            state = [(r.number, r.fate, len(r.confirmations)) for r in store.records() if r.fate != "running"]
            if state != self._shown:
                refresh(store)
                self._shown = state


class DashboardWatcher:
    """Keeps what a dashboard shows of a search fresh while it runs."""

    def __init__(self, store: Store) -> None:
        self._refresher = Refresher(lambda: store)
        self._refresher.next_look += REFRESH_EVERY

    def update(self, snapshot: Snapshot) -> None:
        """Look at the study now and then."""
        self._refresher.look()

    def say(self, text: str) -> None:
        """Show no lines."""

    def end(self) -> None:
        """Look once more."""
        self._refresher.refresh()
