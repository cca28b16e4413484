"""A trained network that takes images as they are.

Shape legend: N images, C channels, H and W pixels, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from nas.arch import lower
from nas.model.build import build
from nas.model.trained_network import TrainedNetwork


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


def state_dict_of(network: TrainedNetwork) -> dict[str, torch.Tensor]:
    """Return the weights as torch takes them, on the CPU."""
    return {name: torch.from_numpy(array.copy()) for name, array in network.weights.items()}


def image_network(network: TrainedNetwork) -> ImageNetwork:
    """Return the network as a module in eval mode, with its weights.

    Raises:
        RuntimeError: the weights do not fit the architecture.
    """
    net = build(lower(network.architecture))
    net.load_state_dict(state_dict_of(network))
    return ImageNetwork(net, network.mean, network.std).eval()
