"""The log of a search's decisions: one line of JSON for each, in the order in which things happened.

With several workers that order is nowhere else: the storage says what became of each trial, not what was known when
it was drawn or stopped. Each run of a search begins with a line that says what it found in the storage, so that the
few lines that a killed run leaves unwritten are missed in that run alone. `nas.coordinator.replay` reads it.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, cast

from nas.decode import decode, encode
from nas.errors import InvalidError, StudyError
from nas.study.records import Fate


@dataclass(frozen=True, slots=True)
class Waiting:
    """A trial that was enqueued or cut off before the run began, and is trained in it."""

    trial: int
    curve: tuple[float, ...] | None  # percent, of the attempts that were cut off; None where there was none


@dataclass(frozen=True, slots=True)
class Began:
    """A run of the search began, or was resumed; all trials below `trials` were in the storage, ended or waiting."""

    type: ClassVar[str] = "began"
    trials: int
    waiting: tuple[Waiting, ...]
    has_target: bool
    versions: str  # of packages, CPU kernels and CPU: what decisions and accuracies depend on beside the seed
    target: float | None = None  # percent
    num_seeds: int = 0  # of a confirmation
    confirmed: tuple[tuple[int, int], ...] = ()  # trials and seeds of the confirmations in the storage


@dataclass(frozen=True, slots=True)
class Asked:
    """A trial was drawn, or taken from those that waited."""

    type: ClassVar[str] = "asked"
    trial: int
    below: int | None  # parameters of the smallest network that had met the target
    confirming: tuple[int, ...] = ()  # trials whose confirmations were under way


@dataclass(frozen=True, slots=True)
class Reported:
    """A trial has trained an epoch, and was told to stop or to go on."""

    type: ClassVar[str] = "reported"
    trial: int
    epoch: int
    accuracy: float  # percent of the validation part
    stop: bool


@dataclass(frozen=True, slots=True)
class Ended:
    """What became of a trial."""

    type: ClassVar[str] = "finished"
    trial: int
    fate: Fate
    value: float | None  # percent; of completed trials and their duplicates


@dataclass(frozen=True, slots=True)
class Confirmed:
    """One seed of a confirmation was trained; its accuracies are in the storage."""

    type: ClassVar[str] = "confirmed"
    trial: int
    seed: int


@dataclass(frozen=True, slots=True)
class Interrupted:
    """The run has ended; these trials were being trained."""

    type: ClassVar[str] = "interrupted"
    trials: tuple[int, ...]


Event = Asked | Reported | Ended | Confirmed | Interrupted
Note = Callable[[Began | Event], None]


class DecisionLog:
    """Appends to a study's log. It holds up no search: what cannot be written now is written with a later line."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._unwritten = b""
        self._is_open = False  # whether this run has written to the file

    def add(self, event: Began | Event) -> None:
        """Write one line; it is with the system, and survives this process, when the call returns."""
        line = json.dumps(encode(event), separators=(",", ":"))
        self._unwritten += f"{line}\n".encode()
        with contextlib.suppress(OSError):
            file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                if not self._is_open and not _ends_its_last_line(self._path):
                    self._unwritten = b"\n" + self._unwritten  # of the run before, which left it half written
                self._is_open = True
                while self._unwritten:
                    self._unwritten = self._unwritten[os.write(file, self._unwritten) :]
            finally:
                os.close(file)


def _ends_its_last_line(path: Path) -> bool:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - 1, 0))
        return file.read(1) in (b"", b"\n")


@dataclass(frozen=True, slots=True)
class Run:
    """What one run of the search has logged."""

    began: Began
    events: list[Event]


def read_log(path: Path) -> list[Run]:
    """Return the runs in the log; the last line of each may be cut, and is left out then.

    Raises:
        StudyError: there is no log, or it is damaged otherwise.
    """
    runs: list[Run] = []
    torn = 0
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                try:
                    hint = cast("type[Began | Event]", Began | Event)
                    event = decode(hint, json.loads(line), "")
                except (InvalidError, ValueError, RecursionError):
                    torn = torn or number
                    continue
                if isinstance(event, Began):
                    runs.append(Run(event, []))
                    torn = 0
                elif torn or not runs:
                    raise StudyError(f"{path} is damaged in line {torn or number}; restore it")
                else:
                    runs[-1].events.append(event)
    except OSError as error:
        raise StudyError(
            f"cannot read {path}: {error.strerror}; a study that was made before there were logs has none"
        ) from None
    return runs
