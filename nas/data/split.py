"""The one split of a training set, and the parts that a study trains and evaluates on."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from nas.data.images import Dataset, ImageSet
from nas.data.known import VALIDATION_FRACTION
from nas.data.policy import AugmentationPolicy
from nas.data.sample import draw, members_of, shares


@dataclass(frozen=True)
class Parts:
    """The images of a study: a trial trains and validates on two of these parts, a confirmation on the other two."""

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
    members = members_of(labels)
    sizes = [len(indices) for indices in members]
    counts = shares(sizes, fraction, [min(1, n - 1) for n in sizes], [n - 1 for n in sizes])
    validate = torch.zeros(len(labels), dtype=torch.bool)
    validate[torch.cat(draw(members, counts, seed))] = True
    return torch.nonzero(~validate).flatten(), torch.nonzero(validate).flatten()
