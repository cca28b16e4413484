"""Batched augmentation on the device: one random affine map per image, all images of a batch at once.

Shape legend: N images, C channels, H and W pixels.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from nas.data.policy import AugmentationPolicy


def augment(images: Tensor, policy: AugmentationPolicy, strength: float, generator: torch.Generator) -> Tensor:
    """Return each image under a random affine map of its own, mirrored with probability 1/2 where the policy says so.

    Bilinear; pixels from outside the image are 0, so the images must not be normalized yet.

    Args:
        images: float (N, C, H, W).
        policy: the data set's ranges at full strength.
        strength: what the ranges are multiplied by; 0 returns the images as they are.
        generator: on the device of `images`; the only source of randomness.

    Returns:
        float (N, C, H, W).
    """
    if strength == 0.0:
        return images
    # All seven numbers are drawn even where a range is 0: then a seed's images stay the same in all else when a
    # single range changes.
    count = images.shape[0]
    draws = torch.rand(count, 7, generator=generator, device=images.device).to(images.dtype).mul_(2).sub_(1)
    angle = draws[:, 0] * math.radians(policy.rotation * strength)
    shear = torch.tan(draws[:, 1] * math.radians(policy.shear * strength))
    scale_x = 1 + draws[:, 2] * (policy.scale * strength)
    scale_y = 1 + draws[:, 3] * (policy.scale * strength)
    if policy.mirror:
        scale_x = torch.where(draws[:, 6] < 0, -scale_x, scale_x)
    cosine, sine = torch.cos(angle), torch.sin(angle)
    # A map from output to input coordinates in [-1, 1], so a shift by a fraction f of the size is 2 f.
    matrices = torch.stack(
        [
            scale_x * cosine,
            scale_x * (shear * cosine - sine),
            draws[:, 4] * (2 * policy.shift * strength),
            scale_y * sine,
            scale_y * (shear * sine + cosine),
            draws[:, 5] * (2 * policy.shift * strength),
        ],
        dim=1,
    ).view(2 * count, 3)
    # functional.affine_grid, as one matrix product for all images: on a CPU that is several times faster.
    height, width = images.shape[2:]
    xs = (2 * torch.arange(width, dtype=images.dtype, device=images.device) + 1) / width - 1
    ys = (2 * torch.arange(height, dtype=images.dtype, device=images.device) + 1) / height - 1
    pixels = torch.stack([xs.repeat(height), ys.repeat_interleave(width), torch.ones_like(xs).repeat(height)])
    grid = (matrices @ pixels).view(count, 2, height, width).permute(0, 2, 3, 1)
    return functional.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
