"""The messages between the coordinator and the trainers: plain values, the same for every kind of worker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from nas.arch import Architecture, Recipe
from nas.train.epoch import Epoch

# The coordinator's name for a job: the trial's number; the confirmation's seed, or None for the trial itself.
JobKey = tuple[int, int | None]


@dataclass(frozen=True, slots=True)
class Job:
    """One training."""

    key: JobKey
    architecture: Architecture
    recipe: Recipe
    seed: int
    alone: bool = False  # with nothing beside it, as it has run out of memory beside others

    @property
    def confirms(self) -> bool:
        """Return whether it trains on the whole training set and reads the test set."""
        return self.key[1] is not None


@dataclass(frozen=True, slots=True)
class Finished:
    """The last message about a job: the trained network, or the reason why it failed."""

    reason: str = ""  # empty when it ended well
    # What failed. Memory and workers may be the machine's fault; "machine" surely is, and would fail any training.
    cause: Literal["training", "memory", "worker", "machine"] = "training"
    network: bytes = b""  # what `TrainedNetwork.to_bytes` gives; empty when it failed


@dataclass(frozen=True, slots=True)
class JobEvent:
    """An epoch of a job, or its end."""

    key: JobKey
    what: Epoch | Finished


@dataclass(frozen=True, slots=True)
class Orders:
    """What a trainer is to do: jobs to begin, and jobs to drop, of which it need report nothing more."""

    start: tuple[Job, ...] = ()
    stop: tuple[JobKey, ...] = ()

    def then(self, later: Orders) -> Orders:
        """Return both as one message."""
        return Orders(self.start + later.start, self.stop + later.stop)


@dataclass(frozen=True, slots=True)
class News:
    """What a trainer reports, in the order in which it happened."""

    events: tuple[JobEvent, ...]
    capacity: int  # jobs that the device holds at once, as far as is known by now
    note: str = ""  # what people should know of the device; the same again and again
