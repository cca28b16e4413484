"""Batch norm folded into convolutions, for the C source and the 8-bit network: layers and their weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from nas.arch import Layer, calls
from nas.arch.operations import Activation, Conv2d
from nas.costs import fold_layers
from nas.model.build import submodules

NORM_EPSILON = 1e-5  # torch's default, which `build` leaves as it is


class Folded(NamedTuple):
    """Folded layers; `group` of a layer with weights is the name of its weights in the state dict."""

    layers: list[Layer]
    norms: dict[str, str]  # by the name of a convolution, the name of the norm that was folded into it


def weight_names(layers: list[Layer]) -> list[str]:
    """Return for each layer the name of its parameters in the state dict of `build`, such as 'convblock1.0'."""
    sizes = {name: len(operations) for name, operations in submodules(layers).items()}
    return [
        call.group if not call.group or sizes[call.group] == 1 else f"{call.group}.{place}"
        for call in calls(layers)
        for place in range(len(call.layers))
    ]


def fold(layers: list[Layer]) -> Folded:
    """Return the layers of `nas.arch.lower`, folded."""
    names, folded = weight_names(layers), fold_layers(layers)
    named = [layer._replace(group=names[i]) for layer, i in zip(folded.layers, folded.weights, strict=True)]
    return Folded(named, {names[convolution]: names[norm] for convolution, norm in folded.norms.items()})


def fold_weights(folded: Folded, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of the folded layers in float64.

    They are 'NAME.weight' (out, in / groups, K, K) and 'NAME.bias' (out,) of a convolution, without a bias where it
    has none; and 'NAME.weight' (1,) of PReLU.
    """
    state = {name: tensor.detach().cpu().double() for name, tensor in state_dict.items()}
    weights: dict[str, Tensor] = {}
    for layer in folded.layers:
        operation, name = layer.operation, layer.group
        if isinstance(operation, Activation) and operation.num_params:
            weights[f"{name}.weight"] = state[f"{name}.weight"]
        if not isinstance(operation, Conv2d):
            continue
        shape = (operation.out_channels, operation.in_channels // operation.groups, operation.kernel, operation.kernel)
        if running_statistics(state, name) is not None:
            weight, bias = _scale_and_shift(state, name)
        else:
            weight = state[f"{name}.weight"]
            bias = state.get(f"{name}.bias", torch.zeros(operation.out_channels, dtype=torch.float64))
        if name in folded.norms:
            scale, shift = _scale_and_shift(state, folded.norms[name])
            weight, bias = weight * scale.view(-1, 1, 1, 1), bias * scale + shift
        weights[f"{name}.weight"] = weight.reshape(shape)
        if operation.bias:
            weights[f"{name}.bias"] = bias
    return weights


def _scale_and_shift(state: Mapping[str, Tensor], name: str) -> tuple[Tensor, Tensor]:
    """Return what a norm with running statistics multiplies each channel by, and what it then adds."""
    running = running_statistics(state, name)
    scale = torch.rsqrt(state[f"{running}.running_var"] + NORM_EPSILON)
    if f"{name}.weight" in state:
        scale = state[f"{name}.weight"] * scale
    return scale, state.get(f"{name}.bias", 0.0) - state[f"{running}.running_mean"] * scale


def running_statistics(state: Mapping[str, Tensor], name: str) -> str | None:
    """Return the name of what holds the running mean and variance of a norm; None where `name` is no norm."""
    names = (name, f"{name}.norm")  # ScalarNorm has them one level down
    return next((found for found in names if f"{found}.running_mean" in state), None)
