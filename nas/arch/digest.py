"""The canonical form of a network: two architectures that build the same network have the same digest.

It is made from layers, not from the description, so that every way of writing a network down meets in one form: a
transition and a 1x1 block, an average pool over the whole map and global pooling, a linear layer and the convolution
that covers its whole input, an activation as a layer or as a function. Names do not matter; shared weights do.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from nas.arch.lowering import IMAGE, Layer
from nas.arch.operations import (
    Activation,
    AdaptiveAvgPool2d,
    Add,
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    Dropout,
    Dropout2d,
    Linear,
    MaxPool2d,
)

Entry = list[Any]


def canonical_form(layers: list[Layer]) -> list[Entry]:
    """Return one entry a layer: what it computes, the entries it reads, the entry whose weights it shares (or itself).

    Layers that change nothing (a pool over a 1x1 map) have no entry. Plain lists, numbers and text: JSON.
    """
    entries: list[Entry] = [["image", *layers[0].input_shape]]
    entry_of = {IMAGE: 0}
    weights: dict[tuple[str, int], int] = {}  # (submodule, place within it) to the entry that first used it
    places: dict[tuple[str, int], int] = {}
    for index, layer in enumerate(layers):
        place = places[layer.group, layer.use] = places.get((layer.group, layer.use), -1) + 1
        what = _what(layer)
        if what is None:
            entry_of[index] = entry_of[layer.sources[0]]
            continue
        entry_of[index] = len(entries)
        sources = [entry_of[s] for s in layer.sources]
        owner = len(entries)
        if layer.operation.num_params:
            owner = weights.setdefault((layer.group, place), owner)
        entries.append([*what, sorted(sources), owner])
    return entries


def digest_of(layers: list[Layer]) -> str:
    """Return 16 hexadecimal digits of the SHA-256 of the canonical form."""
    text = json.dumps(canonical_form(layers), separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _what(layer: Layer) -> Entry | None:
    """Return what the layer computes, or None where its output is its input."""
    operation = layer.operation
    one_pixel = layer.input_shape[1:] in ((1, 1), ())
    match operation:
        case Linear():
            return ["dense", operation.in_features, operation.out_features, operation.bias]
        case Conv2d():
            return _convolution(operation, layer)
        case BatchNorm2d():
            # As before there were others, so that digests stay.
            trained = [] if operation.trained == "weight_and_bias" else [operation.trained]
            return ["batch_norm", operation.channels, *trained]
        case Activation():
            return ["activation", operation.name]
        case Dropout():
            return ["dropout", operation.rate]
        case Dropout2d():
            # On a 1x1 map a channel is an element.
            return ["dropout" if one_pixel else "dropout2d", operation.rate]
        case Add():
            return ["add"]
        case AdaptiveAvgPool2d():
            return None if one_pixel else ["global_average"]
        case AvgPool2d() | MaxPool2d():
            return _pool(operation, layer)


def _convolution(operation: Conv2d, layer: Layer) -> Entry:
    covers_all = layer.input_shape[1:] == (operation.kernel, operation.kernel) and operation.padding == 0
    if covers_all and operation.groups == 1:
        features = operation.in_channels * operation.kernel**2
        return ["dense", features, operation.out_channels, operation.bias]
    return [
        "convolution",
        operation.in_channels,
        operation.out_channels,
        operation.kernel,
        _stride(operation, layer),
        operation.padding,
        operation.groups,
        operation.bias,
    ]


def _pool(operation: AvgPool2d | MaxPool2d, layer: Layer) -> Entry | None:
    covers_all = layer.input_shape[1:] == (operation.size, operation.size)
    if operation.size == 1 and (operation.stride == 1 or covers_all):
        return None
    if isinstance(operation, AvgPool2d) and covers_all:
        return ["global_average"]
    # The largest of one pixel is its mean.
    kind = "max" if isinstance(operation, MaxPool2d) or operation.size == 1 else "average"
    return [kind, operation.size, _stride(operation, layer)]


def _stride(operation: Conv2d | AvgPool2d | MaxPool2d, layer: Layer) -> int:
    # A window that is placed only once takes no stride.
    return 0 if layer.output_shape[1:] == (1, 1) else operation.stride
