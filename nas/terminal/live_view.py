"""The live view of a search: a table on a terminal, a line now and then elsewhere. All on standard error."""

from __future__ import annotations

import contextlib
import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from nas.study.duration import format_duration
from nas.study.front import front_records
from nas.study.ledger import fates, num_finished
from nas.study.records import FINISHED, TrialRecord
from nas.study.tables import count_text

if TYPE_CHECKING:
    from nas.coordinator.snapshot import RunningJob, Snapshot

LINE_EVERY = 15.0  # seconds between two lines where there is no terminal
DRAW_EVERY = 0.5  # seconds between two tables on one
MOST_OF_TIME = 0.01  # share of its time that a search spends on tables; one of thousands of trials takes a while
FRONT_ROWS = 8
FRONT_HEADS = ("parameters", "deployed", "validation %", "test %", "seeds", "trial")
RUNNING_HEADS = ("trial", "parameters", "deployed", "epoch", "accuracy %", "")


class SearchView:
    """A watcher that shows a search; a context manager, so that the terminal is left in order."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._live = Live(console=self._console, refresh_per_second=2, transient=True)
        self._next = 0.0  # when to show the search again, by the monotonic clock

    def __enter__(self) -> SearchView:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._console.is_terminal:
            with contextlib.suppress(OSError):
                self._live.stop()
                self._console.print()  # apart from the result that follows

    def say(self, text: str) -> None:
        """Print a line that stays, above the table on a terminal."""
        with contextlib.suppress(OSError):  # a terminal that was closed; the search goes on, or hears of it by a signal
            if self._console.is_terminal:
                self._console.print(text, highlight=False)
            else:
                print(text, file=sys.stderr, flush=True)

    def end(self) -> None:
        """Do nothing: the last table stays until the view is left."""

    def update(self, snapshot: Snapshot) -> None:
        """Show the search as it stands, unless it was shown a moment ago."""
        began = time.monotonic()
        if began < self._next:
            return
        with contextlib.suppress(OSError):
            if self._console.is_terminal:
                self._live.update(Group(Text(status_line(snapshot)), _front(snapshot), _running(snapshot.running)))
            else:
                print(status_line(snapshot), file=sys.stderr, flush=True)
        took = time.monotonic() - began
        self._next = began + (max(DRAW_EVERY, took / MOST_OF_TIME) if self._console.is_terminal else LINE_EVERY)


def status_line(snapshot: Snapshot, is_over: bool = False) -> str:
    """Return trials by fate, the best, the speed and the time left, in one line; no time left where it `is_over`."""
    by_fate = fates(snapshot.records)
    counts = ", ".join(f"{by_fate[f]} {f}" for f in (*FINISHED, "duplicate") if f in by_fate)
    completed = [r for r in snapshot.records if r.fate == "completed"]
    parts = [counts or "first trials running"]
    if completed:
        best = max(completed, key=lambda r: r.validation_accuracy)
        parts.append(f"best validation {best.validation_accuracy:.2f} % at {best.size:,}")
    confirmed = [(r.confirmed.mean, r.size) for r in snapshot.records if r.confirmed]
    if confirmed:
        parts.append(f"best test {max(confirmed)[0]:.2f} % at {max(confirmed)[1]:,}")
    if is_over:
        return "  |  ".join([*parts, f"ended after {format_duration(snapshot.seconds)}"])
    if snapshot.seconds > 1 and snapshot.images:
        sharing = f" (up to {snapshot.most_on_a_device} a device)" if snapshot.most_on_a_device > 1 else ""
        parts.append(f"{snapshot.images / snapshot.seconds:,.0f} images/s, {len(snapshot.running)} at once{sharing}")
    parts.append(_clock(snapshot))
    return "  |  ".join(parts)


def _clock(snapshot: Snapshot) -> str:
    """Return the time that has passed, and how much is left where a limit says so."""
    text = format_duration(snapshot.seconds)
    s = snapshot.settings
    left = []
    if s.max_seconds is not None:
        left.append(max(s.max_seconds - snapshot.seconds_before - snapshot.seconds, 0.0))
    done = num_finished(fates(snapshot.records))
    fresh = done - snapshot.trials_at_start
    if s.trials_limit is not None and fresh > 0:
        left.append((s.trials_limit - done) * snapshot.seconds / fresh)
    if not left:
        return text
    if min(left) <= 0:
        return f"{text}, no new trials: ends with what runs and what is left to confirm"
    return f"{text}, {'at most' if s.stop_at_first else 'about'} {format_duration(min(left))} left"


def _front(snapshot: Snapshot) -> Table:
    table = Table(title="front", title_justify="left", box=None, pad_edge=False)
    for column in FRONT_HEADS:
        table.add_column(column, justify="right")
    for record in front_records(snapshot.records)[-FRONT_ROWS:]:
        table.add_row(*front_row(record))
    return table


def front_row(record: TrialRecord) -> tuple[str, ...]:
    """Return a trial of the front, as `FRONT_HEADS` say."""
    figure = record.confirmed
    test = str(figure) if figure else ""
    seeds = str(figure.num_seeds) if figure else ""
    sizes = f"{record.num_params:,}", count_text(record.deployed_params)
    return *sizes, f"{record.validation_accuracy:.2f}", test, seeds, str(record.number)


def _running(running: list[RunningJob]) -> Table:
    table = Table(title="running", title_justify="left", box=None, pad_edge=False)
    for column in RUNNING_HEADS:
        table.add_column(column, justify="right")
    for job in running:
        table.add_row(*running_row(job))
    return table


def running_row(running: RunningJob) -> tuple[str, ...]:
    """Return a training, as `RUNNING_HEADS` say."""
    accuracy = f"{running.accuracies[-1]:.2f}" if running.epochs else ""
    what = "confirming, test" if running.job.confirms else ""
    epochs = f"{len(running.epochs)}/{running.job.recipe.epochs}"
    sizes = f"{running.num_params:,}", count_text(running.deployed_params)
    return str(running.job.key[0]), *sizes, epochs, accuracy, what
