"""A trained network that takes images as they are.

Shape legend: N images, C channels, H and W pixels, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nas.arch import lower
from nas.model.build import build
from nas.model.trained_network import TrainedNetwork


def normalize(images: Tensor, mean: Tensor | Sequence[float], std: Tensor | Sequence[float]) -> Tensor:
    """Return the network inputs (N, C, H, W) of images (N, C, H, W) with values 0 to 255: (image / 255 - mean) / std.

    `mean` and `std` are those of images scaled to 0..1: a number a channel, or tensors (C, 1, 1). Inputs have the dtype
    of `mean`, float32 where it is plain numbers.
    """
    mean, std = (n if isinstance(n, Tensor) else torch.tensor(n).view(-1, 1, 1) for n in (mean, std))
    return (images.to(mean.dtype) / 255 - mean) / std


class ImageNetwork(nn.Module):
    """Images (N, C, H, W) with values 0 to 255, whatever their dtype, to logits (N, K).

    `net` is the network itself, which takes what `normalize` gives; all parameters are its own.
    """

    mean: Tensor  # (C, 1, 1), of images scaled to 0..1
    std: Tensor  # (C, 1, 1)

    def __init__(self, net: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.net = net
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, K)."""
        logits: Tensor = self.net(normalize(images, self.mean, self.std))
        return logits


def state_dict_of(network: TrainedNetwork) -> dict[str, Tensor]:
    """Return the weights as torch takes them, on the CPU, by name: files give them in any order."""
    return {name: torch.from_numpy(array.copy()) for name, array in sorted(network.weights.items())}


def module_of(network: TrainedNetwork) -> nn.Module:
    """Return the network as `build` makes it, with its weights and in eval mode; it takes what `normalize` gives.

    Raises:
        RuntimeError: the weights do not fit the architecture.
    """
    module = build(lower(network.architecture))
    module.load_state_dict(state_dict_of(network))
    return module.eval()
