"""What images are before any network has seen them: how many of each class, and what is right without learning much."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch.nn.functional as F

from nas.data.images import ImageSet
from nas.data.sample import stratified_sample
from nas.data.split import Parts

LINEAR_IMAGES = 2000  # training images that the linear classifier is fitted on
LINEAR_PIXELS = 32  # the side to which larger images are averaged for it
UNEVEN = 3  # times as many images of the most frequent class as of the least, from which on weights are suggested
MOST_TARGET = 99.9  # percent; beyond, hardly a test set tells networks apart
RIDGE = 0.03  # of the mean square of the inputs, for each image


@dataclass(frozen=True, slots=True)
class Overview:
    """How hard a data set is. Accuracies are in percent of the images that are held out for validation."""

    counts: dict[str, int]  # training images, held-out ones included, by class
    num_test: int
    most_frequent: str  # the class with the most training images
    most_frequent_accuracy: float  # of always answering it
    linear_accuracy: float  # of a linear classifier of the pixels

    def lines(self) -> list[str]:
        """Return what a person should know before a search begins."""
        least, most = min(self.counts, key=self.counts.__getitem__), self.most_frequent
        few, many = self.counts[least], self.counts[most]
        each = f"{few:,} each" if few == many else f"from {few:,} ({least!r}) to {many:,} ({most!r}) each"
        return [
            f"{sum(self.counts.values()):,} training images of {len(self.counts)} classes, {each}; {self.num_test:,} "
            f"test images",
            f"of the images held out for validation, guessing gets {100 / len(self.counts):.3g} % right, always "
            f"{most!r} {self.most_frequent_accuracy:.1f} %, a linear classifier {self.linear_accuracy:.1f} %",
        ]

    @property
    def modest_target(self) -> float | None:
        """Return the accuracy, percent, that halves the errors made without a network; None where those are few.

        Nothing is known by it of what networks reach on these images: small convolutional ones mostly do better.
        """
        without = max(self.linear_accuracy, self.most_frequent_accuracy)
        target = math.floor(10 * (100 + without) / 2) / 10
        return target if target < MOST_TARGET else None

    @property
    def advice(self) -> str:
        """Return what may help where the classes have very unequal numbers of images; empty where they do not."""
        few, many = min(self.counts.values()), max(self.counts.values())
        if many < UNEVEN * few:
            return ""
        return (
            f"the classes are uneven, {many / max(few, 1):.0f} to 1: balanced class weights (--class-weights balanced) "
            f"have networks learn rare ones better, and mostly cost some accuracy overall"
        )


def overview_of(parts: Parts) -> Overview:
    """Return what the images of a study are; the test images are counted and not looked at."""
    counts = parts.whole_train.labels.bincount(minlength=len(parts.class_names)).tolist()
    most = max(range(len(counts)), key=counts.__getitem__)
    held_out = parts.validation.labels
    return Overview(
        counts=dict(zip(parts.class_names, counts, strict=True)),
        num_test=len(parts.test),
        most_frequent=parts.class_names[most],
        most_frequent_accuracy=100 * float((held_out == most).float().mean()),
        linear_accuracy=_linear_accuracy(parts),
    )


def _linear_accuracy(parts: Parts) -> float:
    """Return the accuracy of ridge regression on the classes (Hastie et al. 2009, section 4.2)."""
    train, labels = _sample(parts.train)
    judged, expected = _sample(parts.validation)
    mean = train.mean(axis=0)
    train, judged = train - mean, judged - mean
    # By the Gram matrix of the images, which may be fewer than the pixels.
    gram = train @ train.T
    gram[np.diag_indices_from(gram)] += RIDGE * max(float(np.mean(np.diag(gram))), 1e-6)
    targets = np.eye(len(parts.class_names))[labels]
    offset = targets.mean(axis=0)
    weights = train.T @ np.linalg.solve(gram, targets - offset)
    return 100 * float(((judged @ weights + offset).argmax(axis=1) == expected).mean())


def _sample(images: ImageSet) -> tuple[np.ndarray, np.ndarray]:
    """Return pixels from 0 to 1, float64 (N, pixels), and labels (N,), of `LINEAR_IMAGES` images at most."""
    chosen = images.subset(stratified_sample(images.labels, LINEAR_IMAGES, 0))
    pixels = chosen.images.float() / 255
    if max(pixels.shape[2:]) > LINEAR_PIXELS:
        height, width = (min(side, LINEAR_PIXELS) for side in pixels.shape[2:])
        pixels = F.adaptive_avg_pool2d(pixels, (height, width))
    return pixels.flatten(1).double().numpy(), chosen.labels.numpy()
