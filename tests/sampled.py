"""Sampled architectures as networks that look trained, with what torch makes of some images; the same in each run."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import torch
from hypothesis import HealthCheck, Phase, given, settings
from strategies import architectures
from torch import Tensor, nn

from nas.arch import Architecture, Recipe, digest_of, lower
from nas.model.build import build
from nas.model.image_network import normalize
from nas.model.trained_network import TrainedNetwork

COUNT = 200
IMAGES = 4


@dataclass(frozen=True)
class Sampled:
    architecture: Architecture
    network: nn.Module
    mean: tuple[float, ...]
    std: tuple[float, ...]
    images: Tensor  # uint8 (IMAGES, C, H, W)
    calibration: Tensor  # uint8 (32, C, H, W)
    logits: Tensor  # of the images, in float32
    exact_logits: Tensor  # in float64

    @property
    def weights(self) -> dict[str, Tensor]:
        return self.network.state_dict()

    def trained(self, **change: Any) -> TrainedNetwork:
        """The network as it is exported; `weights` may be tensors."""
        values: dict[str, Any] = {"weights": self.weights, "mean": self.mean, "std": self.std} | change
        values["weights"] = {name: tensor.detach().numpy() for name, tensor in values["weights"].items()}
        names = tuple(f"class {number}" for number in range(self.architecture.classes))
        return TrainedNetwork(**{"architecture": self.architecture, "recipe": Recipe(), "class_names": names} | values)


def distinct_architectures(count: int) -> list[Architecture]:
    """`count` networks of different digests."""
    found: dict[str, Architecture] = {}

    @settings(
        max_examples=2 * count,
        phases=[Phase.generate],
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(architectures())
    def collect(architecture: Architecture) -> None:
        found.setdefault(digest_of(lower(architecture)), architecture)

    collect()
    assert len(found) >= count
    return list(found.values())[:count]


@torch.no_grad()
def sampled_network(architecture: Architecture, seed: int) -> Sampled:
    """Weights far from their initialization, running statistics that the images made."""
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    stem = architecture.input
    mean = tuple(0.2 + 0.1 * channel for channel in range(stem.channels))
    std = tuple(0.35 - 0.05 * channel for channel in range(stem.channels))
    shape = (stem.channels, stem.height, stem.width)
    images = torch.randint(0, 256, (IMAGES, *shape), dtype=torch.uint8, generator=generator)
    calibration = torch.randint(0, 256, (32, *shape), dtype=torch.uint8, generator=generator)
    network = build(architecture)
    for parameter in network.parameters():
        if parameter.ndim > 1:
            parameter.mul_(1.5)
        else:
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    for _ in range(5):
        network(normalize(calibration, mean, std))
    network.eval()
    exact = build(architecture).eval()
    exact.load_state_dict(network.state_dict())
    inputs = normalize(images, mean, std)
    logits, exact_logits = network(inputs), exact.double()(inputs.double())
    return Sampled(architecture, network, mean, std, images, calibration, logits, exact_logits)


@functools.cache
def sampled_networks(count: int = COUNT) -> list[Sampled]:
    return [sampled_network(architecture, seed) for seed, architecture in enumerate(distinct_architectures(count))]


def difference(logits: Tensor, reference: Tensor) -> float:
    """The largest difference, in units of the largest logit where that is above 1."""
    assert logits.shape == reference.shape
    return ((logits.double() - reference.double()).abs().max() / max(1.0, reference.abs().max().item())).item()
