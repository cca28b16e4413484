"""The one split of a training set, and the parts that a study trains and evaluates on."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import torch

from nas.data.images import Dataset, ImageSet
from nas.data.known import VALIDATION_FRACTION
from nas.data.policy import AugmentationPolicy
from nas.data.sample import draw, members_of, shares
from nas.errors import DataError

TEST_FRACTION = 1 / 6
TEST_SPLIT_SEED = 0  # fixed: what is test data must not depend on a study's seed
# What the parts of a person's own images may be called, in any case.
PART_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
T = TypeVar("T")

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
    """Return what a study trains and evaluates on; the test set takes no part in it.

    The training set is split once, by the study's seed, unless the images come with a part to validate on.

    Raises:
        DataError: what is to validate on could not tell a good network from a bad one.
    """
    if dataset.validation is not None:
        train, validation, whole = dataset.train, dataset.validation, dataset.train.join(dataset.validation)
    else:
        indices = split(dataset.train.labels, VALIDATION_FRACTION, seed)
        train, validation, whole = (*(dataset.train.subset(part) for part in indices), dataset.train)
    _require_two_classes(dataset, validation)
    return Parts(train, validation, whole, dataset.test, dataset.policy, dataset.classes)


def _require_two_classes(dataset: Dataset, validation: ImageSet) -> None:
    if len(torch.unique(validation.labels)) >= 2:
        return
    if dataset.validation is not None:
        raise DataError(
            f"{dataset.name}: the {len(validation)} images to validate on are of one class, where 2 are the least; add "
            "some of the others, or leave that part out"
        )
    raise DataError(
        f"{dataset.name}: the {len(dataset.train)} training images of {dataset.num_classes} classes leave "
        f"{len(validation)} to validate on, where 2 classes of 1 are the least; give each class at least 2 images to "
        "train on"
    )


def with_test_part(parts: Mapping[str, T], what: str) -> dict[str, T]:
    """Return `parts`, 'train' and maybe 'val' and 'test'; without a test part, the one to validate on becomes it."""
    if "test" in parts or "val" not in parts:
        return dict(parts)
    print(f"{what}: with no test part, the validation part is it; a part of the rest validates", file=sys.stderr)
    return {"test" if part == "val" else part: content for part, content in parts.items()}


def split_off_test(whole: ImageSet) -> tuple[ImageSet, ImageSet]:
    """Return a training part and a test part, always the same, for images that come with no test part."""
    train, test = split(whole.labels, TEST_FRACTION, TEST_SPLIT_SEED)
    return whole.subset(train), whole.subset(test)


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
