"""A trial as strategies see it, and the scale on which models learn its accuracy."""

from __future__ import annotations

import math
from dataclasses import dataclass

from nas.space import Genes
from nas.study.records import Fate, TrialRecord


@dataclass(frozen=True, slots=True)
class Observation:
    """What is known of one trial."""

    number: int
    genes: Genes  # a value for every gene of the space
    num_params: int  # those that the budget counts
    num_macs: int
    digest: str  # of the network
    fate: Fate
    curve: tuple[float, ...] = ()  # validation accuracy in percent, one per epoch so far
    final_accuracy: float | None = None  # percent; None unless the trial was trained to its end

    @property
    def was_trained(self) -> bool:
        """Whether its training is over: it was completed, or stopped early."""
        return self.fate in ("completed", "stopped")


def observation_of(record: TrialRecord) -> Observation:
    """Return what strategies need to know of `record`."""
    final = record.validation_accuracy if record.fate == "completed" else None
    size = record.size, record.num_macs
    return Observation(record.number, record.genes, *size, record.digest, record.fate, record.validation_curve, final)


def log_odds(accuracy: float) -> float:
    """Return the log-odds of an accuracy in percent.

    On this scale errors of 2 % and 1 % are as far apart as 20 % and 10 %. It ends at
    0.05 % and 99.95 %, since 2,000 images could tell no more.
    """
    share = min(max(accuracy / 100, 0.0005), 0.9995)
    return math.log(share / (1 - share))
