"""Layers as devices run them: batch norm folded into convolutions, and in 8 bits ReLU into the layer before it.

Folded layers are Conv2d, Activation, Add and pools alone: a linear layer becomes a 1x1 convolution on a 1x1 map, a norm
that no convolution of its submodule precedes a depthwise 1x1 convolution, and dropout is left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Literal, NamedTuple

from nas.arch.lowering import IMAGE, Layer
from nas.arch.operations import (
    Activation,
    Add,
    BatchNorm2d,
    Conv2d,
    Dropout,
    Dropout2d,
    Linear,
    MaxPool2d,
    Operation,
    Shape,
)


class Folded(NamedTuple):
    """Folded layers, and where their weights come from: indices of the layers before they were folded."""

    layers: list[Layer]
    weights: list[int]  # of each folded layer, the layer that has its weights
    norms: dict[int, int]  # by a convolution, the norm that was folded into it


class Int8Layers(NamedTuple):
    """Folded layers in which a ReLU is part of the layer before it, whose 8-bit range begins at 0 then."""

    layers: list[Layer]
    with_relu: frozenset[int]  # the layers that end in a ReLU


class Int8Array(NamedTuple):
    """An array that a layer in 8 bits stores."""

    part: Literal["weight", "bias", "multiplier", "shift", "scale", "table"]
    bytes_each: int
    shape: Shape


def fold_layers(layers: list[Layer]) -> Folded:
    """Return the layers of `lower`, folded."""
    readers = Counter(source for layer in layers for source in layer.sources)
    result = Folded([], [], {})
    folded_index = {IMAGE: IMAGE}  # by the index of a layer, that of the folded layer that has its output
    for index, layer in enumerate(layers):
        source, operation = layer.sources[0], layer.operation
        convolution = layers[source].operation if source != IMAGE else None
        if isinstance(operation, (Dropout, Dropout2d)):
            folded_index[index] = folded_index[source]
        elif (
            isinstance(operation, BatchNorm2d)
            and isinstance(convolution, Conv2d)
            and readers[source] == 1
            # Else one of them may run again with the same weights beside another layer.
            and (layer.group, layer.use) == (layers[source].group, layers[source].use)
        ):
            result.norms[source] = index
            folded_index[index] = folded_index[source]
            result.layers[folded_index[source]] = _with_operation(
                result.layers[folded_index[source]], replace(convolution, bias=True)
            )
        else:
            shapes = layer.input_shape, layer.output_shape
            if isinstance(operation, BatchNorm2d):
                channels = operation.channels
                operation = Conv2d(channels, channels, 1, groups=channels, bias=True)
            elif isinstance(operation, Linear):
                shapes = (operation.in_features, 1, 1), (operation.out_features, 1, 1)
                operation = Conv2d(operation.in_features, operation.out_features, 1, bias=operation.bias)
            sources = tuple(folded_index[s] for s in layer.sources)
            folded_index[index] = len(result.layers)
            folded = Layer(operation, layer.group, layer.use, sources, *shapes, 0, 0)
            result.layers.append(_with_operation(folded, operation))
            result.weights.append(index)
    return result


def merge_relu(layers: list[Layer]) -> Int8Layers:
    """Return folded layers without the ReLU that are part of the layer before them."""
    readers = Counter(source for layer in layers for source in layer.sources)
    kept: list[Layer] = []
    with_relu = set()
    kept_index = {IMAGE: IMAGE}  # by the index of a folded layer, that of the kept layer that has its output
    for index, layer in enumerate(layers):
        source = layer.sources[0]
        if layer.operation in (Activation("relu"), Activation("relu", True)) and readers[source] == 1:
            kept_index[index] = kept_index[source]
            with_relu.add(kept_index[source])
            continue
        kept_index[index] = len(kept)
        kept.append(layer._replace(sources=tuple(kept_index[s] for s in layer.sources)))
    return Int8Layers(kept, frozenset(with_relu))


def int8_arrays(layer: Layer, is_last: bool) -> Iterator[Int8Array]:
    """Yield what a layer of `merge_relu` stores. Weights that run again are yielded each time."""
    operation, count = layer.operation, 1
    if isinstance(operation, Activation):
        yield Int8Array("table", 1, (256,))
        return
    if isinstance(operation, MaxPool2d):
        return
    if isinstance(operation, Conv2d):
        count = operation.out_channels
        shape = (count, operation.in_channels // operation.groups, operation.kernel, operation.kernel)
        yield Int8Array("weight", 1, shape)
        yield Int8Array("bias", 4, (count,))
    if is_last:
        yield Int8Array("scale", 4, (count,))
    else:
        yield Int8Array("multiplier", 4, (2,) if isinstance(operation, Add) else (count,))
        yield Int8Array("shift", 1, (count,))


def _with_operation(layer: Layer, operation: Operation) -> Layer:
    """Return the layer with another operation, counted again."""
    num_params = 0 if layer.use else operation.num_params
    return layer._replace(operation=operation, num_params=num_params, num_macs=operation.num_macs(layer.output_shape))
