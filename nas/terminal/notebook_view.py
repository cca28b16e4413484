"""The live view of a search in a notebook: one output, drawn again, with the front as a table and a picture."""

from __future__ import annotations

import importlib
import sys
import time
from collections import deque
from collections.abc import Iterable
from html import escape
from types import TracebackType
from typing import TYPE_CHECKING, Any

from nas.report.front_svg import front_svg
from nas.study.front import front_records
from nas.terminal.live_view import (
    DRAW_EVERY,
    FRONT_HEADS,
    MOST_OF_TIME,
    RUNNING_HEADS,
    SearchView,
    front_row,
    running_row,
    status_line,
)

if TYPE_CHECKING:
    from nas.coordinator.snapshot import Snapshot

LINES = 6  # of those said last, that are shown


def search_view() -> SearchView | NotebookView:
    """Return what shows a search where it is called: in a notebook, or on standard error."""
    # A kernel has imported it. `kernel` tells a notebook, Colab's too, from IPython on a terminal.
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return SearchView() if getattr(shell, "kernel", None) is None else NotebookView()


class NotebookView:
    """A watcher that shows a search in the output of a notebook's cell; a context manager, as `SearchView` is."""

    def __init__(self) -> None:
        self._ipython: Any = importlib.import_module("IPython.display")
        self._output: Any = None  # the handle of what is shown
        self._said: deque[str] = deque(maxlen=LINES)
        self._snapshot: Snapshot | None = None
        self._is_over = False
        self._next = 0.0  # when to show the search again, by the monotonic clock

    def __enter__(self) -> NotebookView:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._is_over = True
        if self._snapshot or self._said:
            self._draw()  # as it stands at the end: the last update may have come too soon after the one before

    def say(self, text: str) -> None:
        """Show a line below the front; the last `LINES` stay."""
        self._said.append(text)
        self._draw()

    def end(self) -> None:
        """Do nothing: the last state stays."""

    def update(self, snapshot: Snapshot) -> None:
        """Show the search as it stands, unless it was shown a moment ago."""
        self._snapshot = snapshot
        began = time.monotonic()
        if began >= self._next:
            self._draw()
            self._next = began + max(DRAW_EVERY, (time.monotonic() - began) / MOST_OF_TIME)

    def _draw(self) -> None:
        shown = self._ipython.HTML(_html(self._snapshot, self._said, self._is_over))
        if self._output is None:
            self._output = self._ipython.display(shown, display_id=True)
        else:
            self._output.update(shown)


def _html(snapshot: Snapshot | None, said: Iterable[str], is_over: bool) -> str:
    """Return the markup: what comes from a study is escaped."""
    lines = "".join(f"<div>{escape(line)}</div>" for line in said)
    if snapshot is None:
        return lines
    front = [front_row(record) for record in front_records(snapshot.records)]
    running = [] if is_over else [running_row(job) for job in snapshot.running]
    tables = _table("front", FRONT_HEADS, front) + _table("running", RUNNING_HEADS, running)
    picture = front_svg(snapshot.records, snapshot.settings, inline=True)
    return f"<p>{escape(status_line(snapshot, is_over))}</p>{tables}{picture}{lines}"


def _table(title: str, heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    if not rows:
        return ""
    head = "".join(f"<th>{escape(text)}</th>" for text in heads)
    body = "".join(f"<tr>{''.join(f'<td>{escape(text)}</td>' for text in row)}</tr>" for row in rows)
    return f"<table><caption>{title}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
