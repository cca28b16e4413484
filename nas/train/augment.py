"""Batched augmentation on the device: random affine maps, colors and blanked squares, all images of a batch at once.

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

    Bilinear; pixels from outside the image are 0, so the images must not be normalized yet. Then colors are changed and
    a square is blanked, where the policy says so.

    Args:
        images: float (N, C, H, W), from 0 to 1.
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
    images = functional.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    if policy.color:
        images = _change_colors(images, policy.color * strength, generator)
    if policy.cutout:
        images = _blank_squares(images, policy.cutout * strength, xs, ys, generator)
    return images


def _change_colors(images: Tensor, extent: float, generator: torch.Generator) -> Tensor:
    """Return images (N, C, H, W) with brightness, contrast and saturation each times 1 - `extent` to 1 + `extent`.

    Contrast is the distance from the image's mean, saturation that from each pixel's mean over the channels.
    """
    draws = torch.rand(3, len(images), 1, 1, 1, generator=generator, device=images.device).to(images.dtype)
    brightness, contrast, saturation = (1 + (2 * draws - 1) * extent).unbind()
    images = images * brightness
    for factor, dimensions in ((contrast, (1, 2, 3)), (saturation, (1,))):
        means = images.mean(dimensions, keepdim=True)
        images = means + (images - means) * factor
    return images.clamp(0, 1)


def _blank_squares(images: Tensor, side: float, xs: Tensor, ys: Tensor, generator: torch.Generator) -> Tensor:
    """Return images (N, C, H, W) with a square of `side`, a fraction, around any pixel in the color of its mean.

    `xs` (W,) and `ys` (H,) are the places of the pixels, from -1 to 1.
    """
    x, y = (torch.rand(2, len(images), 1, generator=generator, device=images.device).to(images.dtype) * 2 - 1).unbind()
    inside = ((ys - y).abs() < side).unsqueeze(2) & ((xs - x).abs() < side).unsqueeze(1)
    return torch.where(inside.unsqueeze(1), images.mean((2, 3), True), images)
