"""`nas predict`: what a network of a study takes image files for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from nas.app.old_studies import upgrade
from nas.app.quantize import image_network
from nas.arch import Input
from nas.data.arrays import channels_first
from nas.data.pictures import read_picture, stack
from nas.errors import DataError
from nas.model.exported_file import run_in_batches
from nas.model.image_network import ImageNetwork
from nas.model.trained_network import TrainedNetwork
from nas.study.folder import StudyFolder
from nas.study.networks import require_network
from nas.study.records import TrialRecord

if TYPE_CHECKING:
    import pandas as pd

SHOWN = 3  # classes that a line of text names
LEAST_SHOWN = 0.001  # the probability below which it names none but the likeliest


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a network takes an image for."""

    file: Path
    probabilities: dict[str, float]  # from 0 to 1, by class, the likeliest first

    def __str__(self) -> str:
        first, *others = list(self.probabilities.items())[:SHOWN]
        shown = [first, *((name, p) for name, p in others if p >= LEAST_SHOWN)]
        return ", ".join(f"{name} ({100 * probability:.1f} %)" for name, probability in shown)


def predict_files(folder: StudyFolder, record: TrialRecord, files: Sequence[Path]) -> list[Prediction]:
    """Return what the network of a trial takes each of `files` for.

    A picture is read as the study's own folders of images are, and scaled to the size that the network takes.

    Raises:
        StudyError: the trial has no network.
        DataError: a file is missing or no picture, or its pixels are no bytes.
    """
    network, kept = _load(folder, record)
    predictions = []
    for file in files:
        image = torch.from_numpy(_read(file, kept.architecture.input))
        with torch.inference_mode():
            probabilities = network(image).softmax(1)[0].tolist()
        order = sorted(zip(kept.class_names, probabilities, strict=True), key=lambda pair: -pair[1])
        predictions.append(Prediction(file, dict(order)))
    return predictions


def predict(folder: StudyFolder, record: TrialRecord, images: Any) -> pd.DataFrame:
    """Return the probabilities (0 to 1) of the classes, a column each, for each of `images`, a row each.

    Raises:
        StudyError: the trial has no network.
        DataError: the images are not uint8 of the shape that the network takes.
    """
    import pandas as pd

    network, kept = _load(folder, record)
    array, shape = np.asarray(images), kept.architecture.input
    if array.dtype != np.uint8:
        raise DataError(f"the images are {array.dtype}; give uint8, 0 to 255, as those that the study was trained on")
    array = channels_first(array, "the images")
    if array.shape[1:] != (shape.channels, shape.height, shape.width):
        raise DataError(
            f"the images have the shape {array.shape[1:]}, and the network takes "
            f"{(shape.channels, shape.height, shape.width)}; make them so"
        )
    with torch.inference_mode():
        tensor = torch.from_numpy(np.ascontiguousarray(array))
        probabilities = run_in_batches(lambda batch: network(batch).softmax(1), tensor)
    return pd.DataFrame(probabilities.numpy(), columns=list(kept.class_names))


def _load(folder: StudyFolder, record: TrialRecord) -> tuple[ImageNetwork, TrainedNetwork]:
    upgrade(folder, None)
    kept = require_network(folder, record)
    return image_network(kept), kept


def _read(file: Path, shape: Input) -> np.ndarray:
    """Return the picture in a file as uint8 (1, C, H, W)."""
    if not file.is_file():
        raise DataError(f"there is no file {file}; check the path")
    picture = read_picture(file, shape.height if shape.height == shape.width else None, shape.channels == 3)
    if picture.pixels.dtype != np.uint8:
        raise DataError(
            f"{file} has more than 8 bits a pixel, and which of them the study's images use is not known; save it with "
            f"8 bits a channel"
        )
    if picture.pixels.shape[:2] != (shape.height, shape.width):
        height, width = picture.pixels.shape[:2]
        raise DataError(
            f"{file} has {width}x{height} pixels, and the network takes {shape.width}x{shape.height}; resize it"
        )
    return stack([picture], shape.channels == 3, str(file))
