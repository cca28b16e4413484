"""Several studies of the same images: the networks of their fronts, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nas.study.front import confirmed_front, front_records
from nas.study.records import TrialRecord
from nas.study.settings import StudySettings


@dataclass(frozen=True, slots=True)
class ComparedStudy:
    """One of the studies."""

    name: str
    settings: StudySettings
    records: list[TrialRecord]


@dataclass(frozen=True, slots=True)
class ComparedNetwork:
    """A network of one study's front. Accuracies are in percent."""

    study: str
    trial: int
    num_params: int
    test_accuracy: float | None  # None where it was not confirmed
    test_spread: float | None
    seeds: int
    validation_accuracy: float
    is_on_common_front: bool  # no confirmed network of any of the studies beats it in both size and test accuracy
    network: str


def compared_networks(studies: Sequence[ComparedStudy]) -> list[ComparedNetwork]:
    """Return the networks of the fronts of `studies`, by size."""
    common = confirmed_front(record for study in studies for record in study.records)
    rows = []
    for study in studies:
        for record in front_records(study.records):
            figure = record.confirmed
            rows.append(
                ComparedNetwork(
                    study=study.name,
                    trial=record.number,
                    num_params=record.num_params,
                    test_accuracy=round(figure.mean, 4) if figure else None,
                    test_spread=round(figure.spread, 4) if figure and figure.spread is not None else None,
                    seeds=figure.num_seeds if figure else 0,
                    validation_accuracy=round(record.validation_accuracy, 4),
                    is_on_common_front=any(record is other for other in common),
                    network=record.network,
                )
            )
    return sorted(rows, key=lambda row: (row.num_params, row.study, row.trial))
