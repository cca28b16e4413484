"""Where the network of a trial errs: derived from the images of the study once, and kept beside the network."""

from __future__ import annotations

import base64
import contextlib
import io
from dataclasses import replace
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from nas.app.export import quantize_network
from nas.app.old_studies import upgrade
from nas.app.quantize import Report, image_network
from nas.app.study_data import study_dataset
from nas.data.images import ImageSet
from nas.data.split import Parts, parts_of
from nas.model.exported_file import run_in_batches
from nas.study.claims import accuracy_claim
from nas.study.folder import StudyFolder
from nas.study.mistakes import (
    KEPT_ERRORS,
    KEPT_EXAMPLES,
    MOST_CLASSES_WITH_EXAMPLES,
    ConfidentError,
    Mistakes,
    keep_mistakes,
    kept_mistakes,
)
from nas.study.networks import kept_digest, require_network
from nas.study.records import TrialRecord


def mistakes_of(
    folder: StudyFolder, record: TrialRecord, data_dir: Path | None = None, parts: Parts | None = None
) -> Mistakes:
    """Return where the network that stands for a trial errs; the images are read where that is not kept yet.

    Args:
        folder: the study.
        record: the trial.
        data_dir: where named data sets lie.
        parts: the images of the study, where they are at hand.

    Raises:
        StudyError: the trial has no network.
        DataError: the images of the study are not there.
        ExportError: the network's weights do not fit it.
    """
    upgrade(folder, None, data_dir)
    trained, made_from = require_network(folder, record), kept_digest(folder, record)
    if kept := kept_mistakes(folder, record, made_from):
        return kept
    parts = parts or parts_of(study_dataset(folder, data_dir), folder.settings().seed)
    judged_on = parts.test if record.confirmed else parts.validation
    network = image_network(trained)
    with torch.inference_mode():
        probabilities = run_in_batches(lambda images: network(images).softmax(1), judged_on.images)
    confidence, predicted = probabilities.max(dim=1)
    num_classes = len(parts.class_names)
    pairs = torch.bincount(judged_on.labels * num_classes + predicted, minlength=num_classes**2)
    wrong = (predicted != judged_on.labels).nonzero().flatten()
    worst = wrong[confidence[wrong].argsort(descending=True, stable=True)][:KEPT_ERRORS]
    mistakes = Mistakes(
        part="test" if record.confirmed else "validation",
        made_from=made_from,
        class_names=parts.class_names,
        confusion=tuple(tuple(row) for row in pairs.reshape(num_classes, num_classes).tolist()),
        errors=tuple(
            ConfidentError(
                image=i,
                label=int(judged_on.labels[i]),
                predicted=int(predicted[i]),
                probability=round(float(confidence[i]), 4),
                picture=_png(judged_on.images[i]),
            )
            for i in worst.tolist()
        ),
        examples=_examples(judged_on, num_classes),
    )
    with contextlib.suppress(OSError):  # a study that may only be read
        keep_mistakes(folder, record, mistakes)
    return mistakes


def mistakes_with_8_bits(folder: StudyFolder, record: TrialRecord, data_dir: Path | None, report: Report) -> Mistakes:
    """Return what `mistakes_of` does, with the accuracy of the 8-bit network that `export` writes.

    Quantizing and measuring it takes a while, unless it has been exported before; `report` takes what is being done.

    Raises:
        StudyError: the trial has no network.
        DataError: the images of the study are not there.
        ExportError: the network's weights do not fit it.
    """
    mistakes = mistakes_of(folder, record, data_dir)
    if mistakes.accuracy_in_8_bits is None:
        network = require_network(folder, record)
        _, measured, _ = quantize_network(network, folder, record, data_dir, report)
        accuracy = float(measured[accuracy_claim(is_test=record.confirmed is not None)])
        mistakes = replace(mistakes, accuracy_in_8_bits=accuracy)
        with contextlib.suppress(OSError):  # a study that may only be read
            keep_mistakes(folder, record, mistakes)
    return mistakes


def _examples(images: ImageSet, num_classes: int) -> tuple[tuple[str, ...], ...]:
    """Return the first images of each class; none where there are very many classes."""
    if num_classes > MOST_CLASSES_WITH_EXAMPLES:
        return ()
    chosen = ((images.labels == label).nonzero().flatten()[:KEPT_EXAMPLES] for label in range(num_classes))
    return tuple(tuple(_png(images.images[i]) for i in indices.tolist()) for indices in chosen)


def _png(image: Tensor) -> str:
    """Return an image, uint8 (C, H, W) in gray or colors, as a PNG in base64."""
    pixels = image[0].numpy() if len(image) == 1 else image.permute(1, 2, 0).numpy()
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return base64.b64encode(content.getvalue()).decode("ascii")
