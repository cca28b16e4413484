"""Where a network errs: the confusion matrix of the images that it was judged by, and its most confident errors."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nas.decode import MAX_FILE_BYTES, decode, encode
from nas.errors import NasError
from nas.host import written_whole
from nas.study.folder import StudyFolder
from nas.study.networks import kept_file
from nas.study.records import TrialRecord

KEPT_ERRORS = 12  # the most confident ones
KEPT_EXAMPLES = 4  # images of each class
MOST_CLASSES_WITH_EXAMPLES = 40


@dataclass(frozen=True, slots=True)
class ConfidentError:
    """An image that a network takes for another class, and how sure it is."""

    image: int  # its place in the part
    label: int
    predicted: int
    probability: float  # from 0 to 1, that the network gives to the class that it predicts
    picture: str  # a PNG, base64


@dataclass(frozen=True, slots=True)
class Mistakes:
    """What the network that stands for a trial made of every image that it was judged by."""

    part: Literal["test", "validation"]  # the test set where the trial is confirmed
    made_from: str  # SHA-256 of the network's file
    class_names: tuple[str, ...]  # by label
    confusion: tuple[tuple[int, ...], ...]  # images by their label (rows) and by what they are taken for (columns)
    errors: tuple[ConfidentError, ...]  # the most confident first
    examples: tuple[tuple[str, ...], ...] = ()  # by label, some images of the part as PNG in base64
    accuracy_in_8_bits: float | None = None  # percent of the same images, of the 8-bit network that is exported

    @property
    def accuracy(self) -> float:
        """Percent of the images that are taken for what they are."""
        return _percent(sum(row[label] for label, row in enumerate(self.confusion)), sum(map(sum, self.confusion)))

    @property
    def class_accuracies(self) -> tuple[float, ...]:
        """Percent of each class's images, by label; 0 where there are none."""
        return tuple(_percent(row[label], sum(row)) for label, row in enumerate(self.confusion))

    @property
    def confusions(self) -> list[tuple[int, int, int]]:
        """Label, what it is taken for, and how often, of every pair that occurs, the most frequent first."""
        pairs = [
            (label, predicted, count)
            for label, row in enumerate(self.confusion)
            for predicted, count in enumerate(row)
            if count and label != predicted
        ]
        return sorted(pairs, key=lambda pair: -pair[2])


def _percent(part: int, whole: int) -> float:
    return 100 * part / whole if whole else 0.0


def mistakes_file(folder: StudyFolder, record: TrialRecord) -> Path:
    """Return where the mistakes of the network that stands for a trial lie, if they are kept: beside it."""
    return kept_file(folder, record).with_suffix(".mistakes.json")


def keep_mistakes(folder: StudyFolder, record: TrialRecord, mistakes: Mistakes) -> None:
    """Write the file, whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    with written_whole(mistakes_file(folder, record)) as file:
        file.write_text(json.dumps(encode(mistakes), separators=(",", ":")) + "\n")


def kept_mistakes(folder: StudyFolder, record: TrialRecord, made_from: str) -> Mistakes | None:
    """Return what is kept of the network whose file has the SHA-256 `made_from`; None where nothing whole is."""
    try:
        with mistakes_file(folder, record).open("rb") as file:
            found = decode(Mistakes, json.loads(file.read(MAX_FILE_BYTES)), file.name)
    except (OSError, ValueError, RecursionError, NasError):
        return None  # they are derived again
    return found if found.made_from == made_from else None
