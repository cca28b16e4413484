"""The one split of a training set, and the parts that a study trains and evaluates on."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from nas.data.images import Dataset, ImageSet
from nas.data.known import VALIDATION_FRACTION
from nas.data.policy import AugmentationPolicy

IMAGE_SETS = ("train", "validation", "whole_train", "test")  # the fields of Parts that hold images


@dataclass(frozen=True)
class Parts:
    """The images of a study: a trial trains and validates on two of these parts, a confirmation on the other two."""

    train: ImageSet
    validation: ImageSet
    whole_train: ImageSet
    test: ImageSet
    policy: AugmentationPolicy
    class_names: tuple[str, ...]  # by label


def tensors_of(images: ImageSet) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the images and the labels."""
    return images.images, images.labels


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
    """Return the indices to train on and those to validate on, both sorted, int64, stratified by class.

    round(fraction * N) images validate, shared among the classes by the largest remainder method. A class of two or
    more images has at least one in each part, and a class of one image is trained on; the total gives way to these.

    Args:
        labels: int64 (N,).
        fraction: of the images, to validate on.
        seed: decides which images of a class validate.

    Raises:
        ValueError: `fraction` is not between 0 and 1, both excluded.
    """
    if not 0.0 < fraction < 1.0:
        raise ValueError(f"fraction {fraction} is not between 0 and 1")
    generator = torch.Generator().manual_seed(seed)
    members = [torch.nonzero(labels == c).flatten() for c in torch.unique(labels)]
    counts = _shares([len(m) for m in members], fraction)
    validate = torch.zeros(len(labels), dtype=torch.bool)
    for indices, count in zip(members, counts, strict=True):
        validate[indices[torch.randperm(len(indices), generator=generator)[:count]]] = True
    return torch.nonzero(~validate).flatten(), torch.nonzero(validate).flatten()


def _shares(sizes: list[int], fraction: float) -> list[int]:
    """Return how many of each class validate: the largest remainders take what rounding down left, within bounds."""
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
