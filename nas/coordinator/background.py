"""A watcher whose work is slow, in a thread of its own, so that the search does not wait for it."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

from nas.coordinator.snapshot import Snapshot, Watcher


class BackgroundWatcher:
    """Passes snapshots and lines on to a watcher in another thread. It is called from that thread alone, but for `end`.

    A snapshot that comes while the watcher is busy is left out: a later one shows more.
    """

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        self._thread = ThreadPoolExecutor(1, "watcher")
        self._work: list[Future[None]] = []  # under way or waiting

    def update(self, snapshot: Snapshot) -> None:
        """Show the search as it is now, unless the watcher is busy. An error of an earlier call is raised here."""
        self._raise_errors()
        if not self._work:
            self._work.append(self._thread.submit(self._watcher.update, snapshot))

    def say(self, text: str) -> None:
        """Show a line that is worth keeping, after what the watcher is doing now."""
        self._work.append(self._thread.submit(self._watcher.say, text))

    def end(self) -> None:
        """Wait until the watcher has done what it was given, and show the end."""
        self._thread.shutdown()
        self._raise_errors()
        self._watcher.end()

    def _raise_errors(self) -> None:
        for work in self._work:
            if work.done():
                work.result()
        self._work = [work for work in self._work if not work.done()]
