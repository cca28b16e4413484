"""Several networks of one architecture joined into one: horizontally fused training (Wang et al. 2021, HFTA).

The channels of all seeds lie side by side, seed by seed, so that convolutions become grouped ones and norms,
activations and pools stay as they are. Each parameter and buffer is the seeds' own, joined along its first dimension,
and what one seed computes depends on no other. Shape legend: N images, S seeds, C channels, H and W pixels, F features.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from nas.model.scalar_norm import ScalarNorm
from nas.train.device_interface import Device

# Layers that work element by element, or channel by channel without weights.
_UNCHANGED = (
    nn.ReLU,
    nn.LeakyReLU,
    nn.SiLU,
    nn.GELU,
    nn.Hardswish,
    nn.MaxPool2d,
    nn.AvgPool2d,
    nn.AdaptiveAvgPool2d,
    nn.Flatten,
)


def join_networks(networks: Sequence[nn.Module], dropout: Sequence[torch.Generator], device: Device) -> nn.Module:
    """Return one module that runs all `networks`: inputs (N, S*C, H, W) to logits (N, S*classes), seed by seed.

    It has weights of its own, copied from the networks; `write_back` returns them. Dropout draws for each seed from
    its own generator what a single network would draw if that generator were torch's default one.

    Raises:
        NotImplementedError: a layer whose form for several seeds is not known.
    """
    batch = copy.deepcopy(networks[0])
    norms = [f"{name}." for name, module in batch.named_modules() if isinstance(module, ScalarNorm)]
    leaves = [
        name
        for name, module in batch.named_modules()
        if (isinstance(module, ScalarNorm) or not list(module.children())) and not name.startswith(tuple(norms))
    ]
    for name in leaves:
        batch.set_submodule(name, _join_layers([network.get_submodule(name) for network in networks], dropout, device))
    return batch


def write_back(batch: nn.Module, networks: Sequence[nn.Module]) -> None:
    """Copy each seed's part of the parameters and buffers of `batch` to its network."""
    parts = {
        name: joined.chunk(len(networks)) if joined.ndim else [joined] * len(networks)
        for name, joined in batch.state_dict().items()
    }
    for seed, network in enumerate(networks):
        own = network.state_dict()
        network.load_state_dict({name: parts[name][seed].view_as(own[name]) for name in own})


def _join_layers(layers: list[nn.Module], dropout: Sequence[torch.Generator], device: Device) -> nn.Module:
    first, count = layers[0], len(layers)
    if isinstance(first, nn.Dropout | nn.Dropout2d):
        return _SeedDropout(first, dropout, device)
    if isinstance(first, nn.Linear):
        joined: nn.Module = _SeedLinear(first, count)
    elif isinstance(first, nn.PReLU):
        joined = _SeedPReLU()
    elif isinstance(first, ScalarNorm):
        joined = _SeedScalarNorm(first.norm.num_features * count)
    else:
        joined = copy.deepcopy(first)
    if isinstance(joined, nn.Conv2d):
        joined.groups *= count
        joined.in_channels *= count
        joined.out_channels *= count
    elif isinstance(joined, nn.BatchNorm2d):
        joined.num_features *= count
    elif not isinstance(joined, (_SeedLinear, _SeedPReLU, _SeedScalarNorm, *_UNCHANGED)):
        raise NotImplementedError(f"{type(first).__name__} is not known for several seeds; train them one by one")
    for name, parameter in first.named_parameters():
        parts = [layer.get_parameter(name).detach() for layer in layers]
        joined.register_parameter(name, nn.Parameter(torch.cat(parts), parameter.requires_grad))
    for name, buffer in first.named_buffers():
        if buffer.ndim:  # the number of batches is one for all
            path, _, last = name.rpartition(".")
            joined.get_submodule(path).register_buffer(last, torch.cat([layer.get_buffer(name) for layer in layers]))
    return joined


class _SeedLinear(nn.Module):
    """(N, S*F) to (N, S*F'); weight (S*F', F), bias (S*F')."""

    weight: Tensor
    bias: Tensor | None

    def __init__(self, layer: nn.Linear, seeds: int) -> None:
        super().__init__()
        self._seeds = seeds
        self.register_parameter("bias", None)

    def forward(self, x: Tensor) -> Tensor:
        """Multiply each seed's features by its own weights."""
        inputs = x.view(len(x), self._seeds, -1).transpose(0, 1)
        outputs = torch.bmm(inputs, self.weight.view(self._seeds, -1, inputs.shape[2]).mT)
        joined = outputs.transpose(0, 1).reshape(len(x), -1)
        return joined if self.bias is None else joined + self.bias


class _SeedPReLU(nn.Module):
    """(N, S*C, H, W) to the same; one slope a seed, weight (S,)."""

    weight: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """Apply each seed's slope to all its channels."""
        return functional.prelu(x, self.weight.repeat_interleave(x.shape[1] // len(self.weight)))


class _SeedScalarNorm(ScalarNorm):
    """(N, S*C, H, W) to the same; one weight and one bias a seed, both (S,)."""

    def forward(self, x: Tensor) -> Tensor:
        """Apply each seed's weight and bias to all its channels."""
        channels = self.norm.num_features // len(self.weight)
        weight, bias = (t.repeat_interleave(channels).view(-1, 1, 1) for t in (self.weight, self.bias))
        joined: Tensor = self.norm(x) * weight + bias
        return joined


class _SeedDropout(nn.Module):
    """(N, S*C, H, W) to the same; masks drawn seed by seed."""

    def __init__(self, layer: nn.Dropout | nn.Dropout2d, generators: Sequence[torch.Generator], device: Device) -> None:
        super().__init__()
        self._layer = layer
        self._generators = generators
        self._device = device

    def forward(self, x: Tensor) -> Tensor:
        """Draw the masks of all seeds, then multiply once."""
        if not self.training:
            return x
        # Ones in the layout of a single network's maps: the same draws then land on the same elements.
        own = x[:, : x.shape[1] // len(self._generators)]
        layout = torch.channels_last if x.is_contiguous(memory_format=torch.channels_last) else torch.contiguous_format
        ones = torch.ones(own.shape, dtype=x.dtype, device=x.device).contiguous(memory_format=layout)
        masks = []
        for generator in self._generators:
            with self._device.default_generator(generator):
                masks.append(self._layer(ones))
        return x * torch.cat(masks, dim=1)
