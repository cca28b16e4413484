"""What images are before any network has seen them: how many of each class, and what is right without learning much."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import minimize
from torch import Tensor

from nas.data.images import ImageSet
from nas.data.sample import stratified_sample
from nas.data.split import Parts

# The linear classifier may take about a second of one core.
LINEAR_IMAGES = 20_000  # that it is fitted on, at most, and judged by
LINEAR_WORK = 160_000_000  # images, times pixels, times classes, that it is fitted on, at most ...
LINEAR_LEAST = 2000  # ... but no fewer images than these
LINEAR_PIXELS = 32  # the side to which larger images are averaged for it
LINEAR_STEPS = 30  # further ones add 0.2 points on MNIST, for three times the time
LINEAR_DECAY = 0.01  # of its squared weights
UNEVEN = 3  # times as many images of the most frequent class as of the least, from which on weights are suggested
MOST_TARGET = 99.9  # percent; beyond, hardly a test set tells networks apart


@dataclass(frozen=True, slots=True)
class Overview:
    """How hard a data set is. Accuracies are in percent of the images that are held out for validation."""

    counts: dict[str, int]  # training images, held-out ones included, by class
    num_test: int
    most_frequent: str  # the class with the most training images
    most_frequent_accuracy: float  # of always answering it
    linear_accuracy: float  # of a linear classifier of the pixels
    linear_images: int  # training images that it was fitted on

    def lines(self) -> list[str]:
        """Return what a person should know before a search begins."""
        least, most = min(self.counts, key=self.counts.__getitem__), self.most_frequent
        few, many = self.counts[least], self.counts[most]
        each = f"{few:,} each" if few == many else f"from {few:,} ({least!r}) to {many:,} ({most!r}) each"
        return [
            f"{sum(self.counts.values()):,} training images of {len(self.counts)} classes, {each}; {self.num_test:,} "
            f"test images",
            f"of the images held out for validation, guessing gets {100 / len(self.counts):.3g} % right, always "
            f"{most!r} {self.most_frequent_accuracy:.1f} %, a linear classifier fitted on {self.linear_images:,} "
            f"images {self.linear_accuracy:.1f} %",
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
    linear_accuracy, linear_images = _linear_classifier(parts)
    return Overview(
        counts=dict(zip(parts.class_names, counts, strict=True)),
        num_test=len(parts.test),
        most_frequent=parts.class_names[most],
        most_frequent_accuracy=100 * float((held_out == most).float().mean()),
        linear_accuracy=linear_accuracy,
        linear_images=linear_images,
    )


def _linear_classifier(parts: Parts) -> tuple[float, int]:
    """Return the accuracy of multinomial logistic regression, and how many images it was fitted on."""
    classes = len(parts.class_names)
    train, labels = _sample(parts.train, classes)
    judged, expected = _sample(parts.validation, classes)
    mean = train.mean(dim=0)
    train, judged = train - mean, judged - mean
    scale = max(float(train.square().mean().sqrt()), 1e-6)  # images without any contrast have none
    train, judged = train / scale, judged / scale

    def layer(flat: np.ndarray) -> Tensor:
        return torch.from_numpy(flat).float().view(classes, -1)

    def loss_and_gradient(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights = layer(flat).requires_grad_()
        loss = F.cross_entropy(_scores(train, weights), labels)
        loss = loss + LINEAR_DECAY / 2 * weights[:, :-1].square().sum()
        (gradient,) = torch.autograd.grad(loss, weights)
        return loss.item(), gradient.flatten().double().numpy()

    begin = np.zeros(classes * (train.shape[1] + 1))
    found = minimize(loss_and_gradient, begin, jac=True, method="L-BFGS-B", options={"maxiter": LINEAR_STEPS})
    answers = _scores(judged, layer(found.x)).argmax(dim=1)
    return 100 * float((answers == expected).float().mean()), len(labels)


def _scores(images: Tensor, weights: Tensor) -> Tensor:
    """Return logits (N, classes) of images (N, pixels); the last column of `weights` is the bias."""
    return F.linear(images, weights[:, :-1], weights[:, -1])


def _sample(images: ImageSet, classes: int) -> tuple[Tensor, Tensor]:
    """Return pixels from 0 to 1, float32 (N, pixels), and labels (N,), of as many images as a fit can afford."""
    channels, *sides = images.images.shape[1:]
    height, width = (min(side, LINEAR_PIXELS) for side in sides)
    affordable = LINEAR_WORK // (channels * height * width * classes)
    count = min(max(affordable, LINEAR_LEAST), LINEAR_IMAGES)
    chosen = images.subset(stratified_sample(images.labels, count, 0))
    pixels = chosen.images.float() / 255
    if [height, width] != sides:
        pixels = F.adaptive_avg_pool2d(pixels, (height, width))
    return pixels.flatten(1), chosen.labels
