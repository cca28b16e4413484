"""A trained network that takes images as they are.

Shape legend: N images, C channels, H and W pixels, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn


class ImageNetwork(nn.Module):
    """Images (N, C, H, W) with values 0 to 255, whatever their dtype, to logits (N, K).

    `net` is the network itself, whose inputs are (image / 255 - mean) / std; all parameters are its own.
    """

    mean: torch.Tensor  # (C, 1, 1), of images scaled to 0..1
    std: torch.Tensor  # (C, 1, 1)

    def __init__(self, net: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.net = net
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits (N, K)."""
        logits: torch.Tensor = self.net((images.to(self.mean.dtype) / 255 - self.mean) / self.std)
        return logits
