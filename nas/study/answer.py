"""What a study answers: the trial, whether the target is met, and all of it as one document."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nas.errors import StudyError
from nas.report.rank_correlation import rank_correlations
from nas.storage.study_store import Store
from nas.strategy.confirming import smallest_met
from nas.strategy.stopping import rungs_of
from nas.study import ledger, tables
from nas.study.front import validation_front
from nas.study.records import TrialRecord, test_readings
from nas.study.settings import StudySettings


def best_record(records: Sequence[TrialRecord], settings: StudySettings) -> TrialRecord | None:
    """The trial that answers: the smallest that met the target, else the best confirmed, else the best by validation.

    None where no trial has completed.
    """
    if settings.target is not None and (met := smallest_met(list(records), settings.target, settings.seeds)):
        return met
    confirmed = [r for r in records if r.confirmed]
    if confirmed:
        return max(confirmed, key=lambda r: (r.confirmed.mean if r.confirmed else 0.0, -r.num_params))
    return next(reversed(validation_front(records)), None)


def best_trial(store: Store) -> TrialRecord:
    """The trial that answers the study, see `best_record`.

    Raises:
        StudyError: no trial has completed.
    """
    best = best_record(store.records(), store.folder.settings())
    if best is None:
        name = store.folder.name
        raise StudyError(f"study {name!r} has no completed trial to export; go on with: nas search --name {name} …")
    return best


def target_met(records: Sequence[TrialRecord], settings: StudySettings) -> bool:
    """Whether a confirmation met the target; without one there is nothing to meet."""
    return settings.target is None or smallest_met(list(records), settings.target, settings.seeds) is not None


def target_met_line(met: TrialRecord, settings: StudySettings, goes_on: bool) -> str:
    """What is said when `met` has just become the smallest network that met the target."""
    text = f"target met: {met.num_params:,} parameters (trial {met.number}) reach {settings.target:g} %"
    if not goes_on:
        return text
    if settings.stop_at_first:
        return f"{text}; the search ends here, as --stop-at-first asks"
    return f"{text}; going on for smaller ones (Ctrl-C ends the search and keeps everything)"


def rungs_reached(records: Sequence[TrialRecord]) -> tuple[int, ...]:
    """The epochs after which the study may stop a trial, going by the longest training that completed."""
    return rungs_of(max((len(r.validation_curve) for r in records if r.fate == "completed"), default=0))


def study_result(name: str, settings: StudySettings, records: Sequence[TrialRecord]) -> dict[str, Any]:
    """The answer, the front and the ledger, ready for JSON. Accuracies in percent, times in seconds."""
    known = ledger.warm_started(records, tables.front_records(records), best_record(records, settings))
    return {
        "study": name,
        "answer": tables.answer(records, settings.max_params, settings.target, settings.seeds),
        "target_confirmed": target_met(records, settings) if settings.target is not None else None,
        "trials": ledger.fates(records),
        "train_seconds": ledger.seconds_by_fate(records),
        "candidates": ledger.candidates(records)._asdict(),
        "warm_start": known._asdict() if known else None,
        "rank_correlations": [c._asdict() for c in rank_correlations(records, rungs_reached(records))],
        "front": tables.front_rows(records, settings.target),
        "references": [
            {"name": r.name, "num_params": r.num_params, "best_epoch": r.best_test_accuracy}
            for r in tables.references(settings.dataset)
        ],
        "test_readings": test_readings(list(records)),
        "test_set": tables.test_set_note(records),
    }
