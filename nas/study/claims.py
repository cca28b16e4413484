"""What an exported network says of itself; `nas verify` derives it again."""

from __future__ import annotations

from typing import Any

from nas.study.folder import StudyDocument
from nas.study.records import TrialRecord
from nas.study.settings import StudySettings


def claims(document: StudyDocument, record: TrialRecord) -> dict[str, Any]:
    """Return the counts and accuracies of a trial's network. Accuracies in percent."""
    found: dict[str, Any] = {
        "num_params": record.num_params,
        "num_macs": record.num_macs,
        "peak_activation_bytes": record.peak_activation_bytes,
        "digest": record.digest,
        "dataset": document.settings.dataset,
        "data_fingerprint": document.fingerprints.data,
        "validation_accuracy": round(record.validation_accuracy, 4) if record.validation_curve else None,
    }
    if figure := record.confirmed:
        found |= {
            "test_accuracy": round(figure.mean, 4),
            "test_spread": round(figure.spread, 4),
            "seeds": figure.num_seeds,
            "weights_test_accuracy": round(figure.confirmations[0].test_accuracy[-1], 4),
        }
    return found


def provenance(study: str, settings: StudySettings, record: TrialRecord) -> str:
    """Return where a trial's network comes from: paragraphs of prose."""
    figure = record.confirmed
    text = f"Trial {record.number} of the nas study '{study}' on {settings.dataset}."
    if figure is None:
        return text + "\n\nNot confirmed: its accuracy is known from the validation images alone."
    return text + (
        f"\n\nConfirmed by {figure.num_seeds} trainings from scratch on the whole training set: the figure is the mean "
        f"over seeds of the mean of the last 3 epochs, with a spread of {figure.spread:.3f} points. The weights beside "
        f"this file are those of the first seed after its last epoch."
    )
