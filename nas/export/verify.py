"""Which claims of an exported file hold when they are derived again."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from nas.export.loaded import LoadedExport


@dataclass(frozen=True, slots=True)
class Check:
    """One claim beside what was derived; `claimed` is None where the file does not claim it."""

    claim: str
    claimed: object
    derived: object
    holds: bool


def verify_structure(loaded: LoadedExport) -> list[Check]:
    """Return the claims that need no data set to derive; accuracy is not among them.

    A claim that the file does not make does not hold. The number of classes is claimed by the class names.

    Raises:
        VerificationError: the file holds a network that cannot be read; the text says why.
    """
    claims, derived = dict(loaded.claims), loaded.derive()
    if loaded.class_names:
        claims["num_classes"] = len(loaded.class_names)
        image = torch.zeros(1, *loaded.input_shape, dtype=torch.uint8)
        derived["num_classes"] = loaded.logits(image).shape[1]
    return [Check(name, claims.get(name), value, claims.get(name) == value) for name, value in derived.items()]
