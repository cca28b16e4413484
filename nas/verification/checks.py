"""Which claims of an exported file hold when they are derived again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from nas.data.images import ImageSet
from nas.errors import VerificationError
from nas.model.exported_file import LoadedExport, batch_of
from nas.model.metadata import LATER_CLAIMS


@dataclass(frozen=True, slots=True)
class Check:
    """One claim beside what was derived; `claimed` is None where the file does not claim it."""

    claim: str
    claimed: object
    derived: object
    holds: bool


def verify_structure(loaded: LoadedExport) -> list[Check]:
    """Return the claims that need no data set to derive; accuracy is not among them.

    A claim that the file does not make does not hold, unless earlier versions did not make it. The number of classes is
    claimed by the class names.

    Raises:
        VerificationError: the file holds a network that cannot be read or run; the text says why.
    """
    claims, derived = dict(loaded.claims), loaded.derive()
    for claim in LATER_CLAIMS - claims.keys():
        derived.pop(claim, None)
    if loaded.class_names:
        claims["num_classes"] = len(loaded.class_names)
        derived["num_classes"] = count_classes(loaded)
    return [Check(name, claims.get(name), value, claims.get(name) == value) for name, value in derived.items()]


def count_classes(loaded: LoadedExport) -> int:
    """Return the number of logits of one image.

    Raises:
        VerificationError: the network gives something else.
    """
    logits = loaded.logits(torch.zeros(1, *loaded.input_shape, dtype=torch.uint8))
    if logits.ndim != 2 or len(logits) != 1 or logits.dtype != torch.float32:
        raise VerificationError(f"the network gives {logits.dtype} {tuple(logits.shape)} for one image, and no logits")
    return logits.shape[1]


def accuracy(logits: Callable[[Tensor], Tensor], images: ImageSet, report: Callable[[str], None]) -> float:
    """Return the percentage of `images` that a network classifies right; `report` takes how far this is."""
    right, batch = 0, batch_of(images.images)
    for begin in range(0, len(images), batch):
        report(f"measuring the accuracy: {begin:,} of {len(images):,} images")
        part = slice(begin, begin + batch)
        right += int((logits(images.images[part]).argmax(dim=1) == images.labels[part]).sum())
    return 100.0 * right / len(images)
