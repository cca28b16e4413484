"""The one split of a training set, and the parts that a study trains and judges on."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from nas.data.images import Dataset, ImageSet
from nas.data.known import VALIDATION_FRACTION
from nas.data.policy import AugmentationPolicy


@dataclass(frozen=True)
class Parts:
    """The images of a study: what a trial trains and validates on, and what a confirmation trains and tests on."""

    train: ImageSet
    validation: ImageSet
    whole_train: ImageSet
    test: ImageSet
    policy: AugmentationPolicy
    class_names: tuple[str, ...]  # by label


def parts_of(dataset: Dataset, seed: int) -> Parts:
    """Return the one split of the training set by the study's seed, and the test set, which takes no part in it."""
    training, validation = split(dataset.train.labels, VALIDATION_FRACTION, seed)
    return Parts(
        train=dataset.train.subset(training),
        validation=dataset.train.subset(validation),
        whole_train=dataset.train,
        test=dataset.test,
        policy=dataset.policy,
        class_names=dataset.classes,
    )


def split(labels: torch.Tensor, fraction: float, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Splits by class: (indices to train on, indices to validate on), both sorted int64, from `labels`, int64 (N,).

    round(fraction * N) images validate, shared among the classes by largest remainder. A class of two or more images
    has one in each part at least and a class of one image is trained on; where these need it, the total gives way.

    Raises:
        ValueError: `fraction` is not between 0 and 1, both excluded.
    """
    if not 0.0 < fraction < 1.0:
        raise ValueError(f"fraction {fraction} is not between 0 and 1")
    generator = torch.Generator().manual_seed(seed)
    members = [torch.nonzero(labels == c).flatten() for c in torch.unique(labels)]
    taken = _shares([len(m) for m in members], fraction)
    validate = torch.zeros(len(labels), dtype=torch.bool)
    for indices, count in zip(members, taken, strict=True):
        validate[indices[torch.randperm(len(indices), generator=generator)[:count]]] = True
    return torch.nonzero(~validate).flatten(), torch.nonzero(validate).flatten()


def _shares(sizes: list[int], fraction: float) -> list[int]:
    """How many of each class validate: the largest remainders take what rounding down left, within each bound."""
    low = [min(1, size - 1) for size in sizes]
    high = [size - 1 for size in sizes]
    shares = [min(max(math.floor(fraction * n), lo), hi) for n, lo, hi in zip(sizes, low, high, strict=True)]
    missing = round(fraction * sum(sizes)) - sum(shares)
    step = 1 if missing > 0 else -1
    bounds = high if missing > 0 else low
    for _ in range(abs(missing)):
        movable = [i for i in range(len(sizes)) if shares[i] != bounds[i]]
        if not movable:
            break
        shares[max(movable, key=lambda i: step * (fraction * sizes[i] - shares[i]))] += step
    return shares
