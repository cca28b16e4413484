"""What a study has found, as one JSON document."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nas.report.rank_correlation import rank_correlations
from nas.strategy.stopping import rungs_of
from nas.study import ledger, tables
from nas.study.answer import answer_text, best_record, is_target_met
from nas.study.front import front_records
from nas.study.landmarks import references
from nas.study.records import TrialRecord, test_readings
from nas.study.settings import StudySettings


def rungs_reached(records: Sequence[TrialRecord]) -> tuple[int, ...]:
    """Return the epochs after which the study may stop a trial, going by the longest training that completed."""
    return rungs_of(max((len(r.validation_curve) for r in records if r.fate == "completed"), default=0))


def study_document(name: str, settings: StudySettings, records: Sequence[TrialRecord]) -> dict[str, Any]:
    """Return the answer, the front and the ledger, ready for JSON. Accuracies are in percent, times in seconds."""
    known = ledger.warm_started(records, front_records(records), best_record(records, settings))
    return {
        "study": name,
        "answer": answer_text(records, settings),
        "target_confirmed": is_target_met(records, settings) if settings.target is not None else None,
        "trials": ledger.fates(records),
        "train_seconds": ledger.seconds_by_fate(records),
        "candidates": drawn._asdict() if (drawn := ledger.count_draws(records)) else None,
        "warm_start": known._asdict() if known else None,
        "rank_correlations": [c._asdict() for c in rank_correlations(records, rungs_reached(records))],
        "front": tables.front_rows(records, settings.target),
        "references": [
            {
                "name": r.name,
                "num_params": r.num_params,
                "deployed_params": r.deployed_params,
                "best_epoch": r.best_test_accuracy,
            }
            for r in references(settings.dataset)
        ],
        "test_readings": test_readings(list(records)),
        "test_set": tables.test_set_note(records),
    }


def summary_row(name: str, settings: StudySettings, records: Sequence[TrialRecord]) -> dict[str, Any]:
    """Return a study in one row, ready for JSON. Accuracies are in percent; None stands for what is not known yet."""
    best = best_record(records, settings)
    return {
        "study": name,
        "dataset": settings.dataset,
        "max_params": settings.max_params,
        "count": settings.count,
        "target": settings.target,
        "target_confirmed": is_target_met(records, settings) if settings.target is not None else None,
        "trials": ledger.num_finished(ledger.fates(records)),
        "num_params": best.num_params if best else None,
        "deployed_params": best.deployed_params if best else None,
        "test_accuracy": round(best.confirmed.mean, 4) if best and best.confirmed else None,
        "validation_accuracy": round(best.validation_accuracy, 4) if best else None,
    }
