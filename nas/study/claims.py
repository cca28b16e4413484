"""What an exported network says of itself; `nas verify` derives it again."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

from nas.study.folder import StudyDocument
from nas.study.records import TrialRecord, last_epochs_text, round_percent
from nas.study.settings import StudySettings


def data_claims(
    dataset: str, data_fingerprint: str, split_seed: int, image_size: int | None = None, color: bool | None = None
) -> dict[str, Any]:
    """Return what a network was measured on: all that it takes to know the same images again, wherever they lie.

    `split_seed` is that of the split into images to train on and to validate on, and of the choice of those that
    calibrate a network in 8 bits. Of a person's own images the last part of the path is named alone: the rest is
    nobody else's business.
    """
    name = PurePath(dataset).name
    found: dict[str, Any] = {"dataset": name, "data_fingerprint": data_fingerprint, "split_seed": split_seed}
    if image_size is not None:
        found["image_size"] = image_size
    if color is not None:
        found["color"] = color
    return found


def claims(study: str, document: StudyDocument, record: TrialRecord) -> dict[str, Any]:
    """Return the name, the counts and the accuracies of a trial's network. Accuracies in percent."""
    settings = document.settings
    found: dict[str, Any] = {
        "name": f"trial {record.number} of study {study}",
        "num_params": record.num_params,
        **({} if record.deployed_params is None else {"deployed_params": record.deployed_params}),
        "num_macs": record.num_macs,
        "peak_activation_bytes": record.peak_activation_bytes,
        "digest": record.digest,
        **data_claims(settings.dataset, document.fingerprints.data, settings.seed, settings.image_size, settings.color),
        **({} if settings.train is None else {"trained_by": settings.train}),
        "validation_accuracy": round_percent(record.validation_accuracy) if record.num_epochs else None,
    }
    if figure := record.confirmed:
        found |= record.test_figures
        if figure.weights_accuracy is not None:
            found["weights_test_accuracy"] = round_percent(figure.weights_accuracy)
    return found


def accuracy_claim(is_test: bool) -> str:
    """Return the claim of how accurate the weights in a file are, on the test or on the validation images."""
    return "weights_test_accuracy" if is_test else "weights_validation_accuracy"


def provenance(study: str, settings: StudySettings, record: TrialRecord) -> str:
    """Return where a trial's network comes from: paragraphs of prose."""
    figure = record.confirmed
    text = f"Trial {record.number} of the nas study '{study}' on {PurePath(settings.dataset).name}."
    if settings.train is not None:
        text += (
            f" It was trained by the function {settings.train}, which has said its accuracy after each epoch; nas has "
            f"measured that of the last one again."
        )
    if figure is None:
        return text + "\n\nNot confirmed: its accuracy is known from the validation images alone."
    epochs = last_epochs_text(figure.num_epochs)
    if figure.spread is None:
        return text + (
            f"\n\nConfirmed by one training from scratch on the whole training set: the figure is the mean of "
            f"{epochs}. The weights beside this file are those after its last epoch."
        )
    return text + (
        f"\n\nConfirmed by {figure.num_seeds} trainings from scratch on the whole training set: the figure is the mean "
        f"over seeds of the mean of {epochs}, with a spread of {figure.spread:.3f} points. The weights beside "
        f"this file are those of the first seed after its last epoch."
    )
