"""A network's batch norms as a GPU trains them best."""

from __future__ import annotations

import os
from typing import TypeGuard

import torch
from torch import nn

from nas.errors import describe
from nas.kernels.fuse import copy_around_tensors


def complete_norms(network: nn.Module) -> nn.Module:
    """Return a network with the same tensors in which every batch norm has a weight and a bias, if only of ones and 0.

    On a GPU torch finds no gradient for a norm with a bias and no weight (torch 2.11: "tensor does not have a device").
    """
    completed = copy_around_tensors(network)
    for norm in completed.modules():
        if isinstance(norm, nn.BatchNorm2d):
            _fill(norm, "weight", 1.0)
            _fill(norm, "bias", 0.0)
    return completed


def _fill(norm: nn.BatchNorm2d, name: str, value: float) -> None:
    if getattr(norm, name) is None and norm.running_mean is not None:
        delattr(norm, name)
        norm.register_buffer(name, torch.full_like(norm.running_mean, value), persistent=False)


def fuse_norms(network: nn.Module) -> nn.Module:
    """Replace batch norms in `network`, which has been completed, by ones that the kernels of `gpu_norm` compute."""
    from nas.kernels.gpu_norm import ACTIVATIONS, FusedNorm

    for name, child in list(network.named_children()):
        layers = list(child) if isinstance(child, nn.Sequential) else [child]
        fused: list[nn.Module] = []
        while layers:
            match layers:
                case [norm, activation, *layers] if _keeps_statistics(norm) and type(activation) in ACTIVATIONS:
                    fused.append(FusedNorm(norm, activation, activation_first=False))
                case [activation, norm, *layers] if _keeps_statistics(norm) and type(activation) in ACTIVATIONS:
                    fused.append(FusedNorm(norm, activation, activation_first=True))
                case [norm, *layers] if _keeps_statistics(norm):
                    fused.append(FusedNorm(norm, nn.Identity(), activation_first=False))
                case [other, *layers]:
                    fused.append(fuse_norms(other))
        setattr(network, name, nn.Sequential(*fused) if isinstance(child, nn.Sequential) else fused[0])
    return network


def _keeps_statistics(layer: nn.Module) -> TypeGuard[nn.BatchNorm2d]:
    return isinstance(layer, nn.BatchNorm2d) and layer.running_mean is not None and layer.momentum is not None


def find_kernel_problem(device: torch.device) -> str:
    """Return why the kernels of `gpu_norm` cannot be used on `device`; an empty text if they can. Compiles them."""
    if os.environ.get("NAS_NATIVE") == "0":
        return "NAS_NATIVE=0"
    try:
        from nas.kernels.gpu_norm import FusedNorm

        images = torch.ones(2, 1, 2, 2, device=device, requires_grad=True)
        FusedNorm(nn.BatchNorm2d(1), nn.ReLU(), activation_first=False).to(device)(images).sum().backward()
    except Exception as error:  # whatever a compiler for another machine raises
        return describe(error)
    return ""
