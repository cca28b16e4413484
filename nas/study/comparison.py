"""Several studies of the same images: the networks of their fronts, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

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
    deployed_params: int | None  # None in older studies
    test_accuracy: float | None  # None where it was not confirmed
    test_spread: float | None
    seeds: int
    validation_accuracy: float
    is_on_common_front: bool  # no confirmed network of any of the studies beats it in both size and test accuracy
    network: str


def with_one_count(studies: Sequence[ComparedStudy]) -> list[ComparedStudy]:
    """Return studies that all go by the same parameters: those that are trained, where they differ."""
    if len({study.settings.count for study in studies}) == 1:
        return list(studies)
    return [
        ComparedStudy(
            study.name,
            replace(study.settings, count="trained"),
            [replace(record, count="trained") for record in study.records],
        )
        for study in studies
    ]


def compare_networks(studies: Sequence[ComparedStudy]) -> list[ComparedNetwork]:
    """Return the networks of the fronts of `studies`, by size; all of them go by the same count."""
    common = confirmed_front(record for study in studies for record in study.records)
    shown = [(study.name, record) for study in studies for record in front_records(study.records)]
    return [
        ComparedNetwork(
            study=study,
            trial=record.number,
            num_params=record.num_params,
            deployed_params=record.deployed_params,
            **record.test_figures,  # type: ignore[arg-type]
            validation_accuracy=round(record.validation_accuracy, 4),
            is_on_common_front=any(record is other for other in common),
            network=record.network,
        )
        for study, record in sorted(shown, key=lambda one: (one[1].size, one[0], one[1].number))
    ]
