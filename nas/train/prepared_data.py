"""Images on the device, ready to train and evaluate on.

Shape legend: N images, C channels, H and W pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from nas.data.images import ImageSet
from nas.data.policy import AugmentationPolicy
from nas.data.sample import stratified_sample
from nas.train.device import device_of
from nas.train.device_interface import Device
from nas.train.epoch import MOST_TRAIN_IMAGES


@dataclass(frozen=True)
class PreparedData:
    """Images as bytes on the device, and how to make network inputs of them."""

    train: ImageSet
    train_sample: ImageSet  # of `train`, on which the accuracy of training is measured
    evaluation: ImageSet
    mean: Tensor  # (C, 1, 1), of images scaled to 0..1
    std: Tensor  # (C, 1, 1)
    policy: AugmentationPolicy
    device: Device  # of all these

    def scale(self, images: Tensor) -> Tensor:
        """Return uint8 images (N, C, H, W) as floats in 0..1, same shape."""
        return images.to(self.mean.dtype).div_(255)

    def normalize(self, images: Tensor) -> Tensor:
        """Return network inputs (N, C, H, W) of images scaled to 0..1, same shape."""
        return (images - self.mean) / self.std

    def mean_and_std(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return `mean` and `std` as numbers, one a channel, to the six decimals that they have."""
        mean, std = (tuple(round(v, 6) for v in t.flatten().tolist()) for t in (self.mean, self.std))
        return mean, std


def prepare(
    train: ImageSet, evaluation: ImageSet, policy: AugmentationPolicy, device: torch.device | Device
) -> PreparedData:
    """Copy both parts to `device`. The normalization comes from `train` alone."""
    device = device_of(device)
    where = device.torch_device
    mean, std = compute_normalization(train.images)
    shape = (-1, 1, 1)
    sample = train.subset(stratified_sample(train.labels, MOST_TRAIN_IMAGES, 0))

    def move(images: ImageSet) -> ImageSet:
        return ImageSet(images.images.to(where), images.labels.to(where))

    return PreparedData(
        train=move(train),
        train_sample=move(sample),
        evaluation=move(evaluation),
        mean=torch.tensor(mean).view(shape).to(where),
        std=torch.tensor(std).view(shape).to(where),
        policy=policy,
        device=device,
    )


def compute_normalization(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the mean and the standard deviation of each channel of uint8 images (N, C, H, W), scaled to 0..1.

    Both are computed from counts of the 256 values, without rounding errors, and then rounded to six decimals.
    """
    means, stds = [], []
    for channel in range(images.shape[1]):
        counts = torch.bincount(images[:, channel].reshape(-1), minlength=256).double()
        values = torch.arange(256, dtype=torch.float64, device=counts.device) / 255
        mean = (counts * values).sum() / counts.sum()
        variance = (counts * (values - mean) ** 2).sum() / counts.sum()
        means.append(round(mean.item(), 6))
        # A channel of one single value would divide by 0.
        stds.append(round(math.sqrt(variance.item()), 6) or 1.0)
    return tuple(means), tuple(stds)
