"""Layers and trained weights in their smallest form: four kinds of operation, batch norm folded into convolutions.

The C source and the 8-bit network are made from this form. A linear layer is a 1x1 convolution on a 1x1 map; dropout
is gone; a norm that no convolution precedes is a depthwise 1x1 convolution. What is left is Conv2d, Activation, Add
and pools.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from nas.arch import IMAGE, Layer, calls
from nas.arch.operations import (
    Activation,
    BatchNorm2d,
    Conv2d,
    Dropout,
    Dropout2d,
    Linear,
    Operation,
)
from nas.model.build import submodules

NORM_EPSILON = 1e-5  # torch's default, which `build` leaves as it is


class Folded(NamedTuple):
    """The layers in that form; `group` of a layer with weights is the name of its weights in the state dict."""

    layers: list[Layer]
    norms: dict[str, str]  # the name of a convolution to that of the norm folded into it


def weight_names(layers: list[Layer]) -> list[str]:
    """For each layer the name that its parameters have in the state dict of `build`, such as 'convblock1.0'."""
    sizes = {name: len(operations) for name, operations in submodules(layers).items()}
    return [
        call.group if not call.group or sizes[call.group] == 1 else f"{call.group}.{place}"
        for call in calls(layers)
        for place in range(len(call.layers))
    ]


def fold(layers: list[Layer]) -> Folded:
    """The layers of `nas.arch.lower` in their smallest form."""
    names = weight_names(layers)
    readers = Counter(source for layer in layers for source in layer.sources)
    result = Folded([], {})
    moved = {IMAGE: IMAGE}  # index of a layer to that of the folded layer that has its output
    for index, (layer, name) in enumerate(zip(layers, names, strict=True)):
        source, operation = layer.sources[0], layer.operation
        convolution = layers[source].operation if source != IMAGE else None
        if isinstance(operation, (Dropout, Dropout2d)):
            moved[index] = moved[source]
        elif isinstance(operation, BatchNorm2d) and isinstance(convolution, Conv2d) and readers[source] == 1:
            result.norms[names[source]] = name
            moved[index] = moved[source]
            result.layers[moved[source]] = _remade(result.layers[moved[source]], replace(convolution, bias=True))
        else:
            shapes = layer.input_shape, layer.output_shape
            if isinstance(operation, BatchNorm2d):
                channels = operation.channels
                operation = Conv2d(channels, channels, 1, groups=channels, bias=True)
            elif isinstance(operation, Linear):
                shapes = (operation.in_features, 1, 1), (operation.out_features, 1, 1)
                operation = Conv2d(operation.in_features, operation.out_features, 1, bias=operation.bias)
            sources = tuple(moved[s] for s in layer.sources)
            moved[index] = len(result.layers)
            folded = Layer(operation, name, layer.use, sources, *shapes, 0, 0)
            result.layers.append(_remade(folded, operation))
    return result


def _remade(layer: Layer, operation: Operation) -> Layer:
    num_params = 0 if layer.use else operation.num_params
    return layer._replace(operation=operation, num_params=num_params, num_macs=operation.num_macs(layer.output_shape))


def folded_weights(folded: Folded, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of the folded layers in float64: 'NAME.weight' (out, in / groups, K, K) and 'NAME.bias' (out,).

    PReLU has 'NAME.weight' (1,). A convolution without a bias has none here either.
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
        if f"{name}.running_mean" in state:
            weight, bias = _affine(state, name)
        else:
            weight = state[f"{name}.weight"]
            bias = state.get(f"{name}.bias", torch.zeros(operation.out_channels, dtype=torch.float64))
        if name in folded.norms:
            scale, shift = _affine(state, folded.norms[name])
            weight, bias = weight * scale.view(-1, 1, 1, 1), bias * scale + shift
        weights[f"{name}.weight"] = weight.reshape(shape)
        if operation.bias:
            weights[f"{name}.bias"] = bias
    return weights


def _affine(state: Mapping[str, Tensor], name: str) -> tuple[Tensor, Tensor]:
    """What a norm with running statistics multiplies by and then adds."""
    scale = state[f"{name}.weight"] / torch.sqrt(state[f"{name}.running_var"] + NORM_EPSILON)
    return scale, state[f"{name}.bias"] - state[f"{name}.running_mean"] * scale
