"""A watcher of searches under test."""

from __future__ import annotations

from collections.abc import Callable

from nas.coordinator.snapshot import Snapshot


class Watching:
    """Keeps all that it is told; `do` is called with each snapshot."""

    def __init__(self, do: Callable[[Snapshot], object] = lambda _: None) -> None:
        self.said: list[str] = []
        self.snapshots: list[Snapshot] = []
        self._do = do

    def say(self, text: str) -> None:
        self.said.append(text)

    def update(self, snapshot: Snapshot) -> None:
        self.snapshots.append(snapshot)
        self._do(snapshot)

    def end(self) -> None: ...
