"""A network in 8 bits: integer arithmetic from the pixels to the last layer; the exported C computes the same numbers.

Weights are symmetric with a scale for each output channel, maps affine with one scale and zero point (Jacob et al.
2018, Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference, section 2). Batch
norm is folded into convolutions, ReLU into the range of the layer before it; other activations are tables of 256
entries.

Shape legend: N images, C channels, H and W pixels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from nas.arch import IMAGE, Architecture, Layer, lower
from nas.arch.operations import Activation, AdaptiveAvgPool2d, Add, AvgPool2d, Conv2d, MaxPool2d
from nas.export.loaded import LoadedExport, check_images, run_in_batches
from nas.export.metadata import Metadata
from nas.model.fold_batch_norm import fold

BATCH = 100  # images run at once; maps of 64-bit numbers then stay in cache, which is five times as fast
IMAGE_SHIFT = 20  # a pixel becomes (pixel * multiplier + offset) / 2^20


class Int8Layers(NamedTuple):
    """Folded layers in which a ReLU is part of the layer before it, whose 8-bit range begins at 0 then."""

    layers: list[Layer]
    with_relu: frozenset[int]  # the layers that end in a ReLU


def int8_layers(architecture: Architecture) -> Int8Layers:
    """Return the layers that the 8-bit network runs; layer i has the parameters 'i.…'."""
    layers = fold(lower(architecture)).layers
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


@dataclass(frozen=True)
class QuantizedNetwork(LoadedExport):
    """A network in 8 bits.

    `parameters` holds, with `map 0` the image and `map i + 1` the output of layer i of `int8_layers`: 'zeros', the
    zero point of each map; 'image.multiplier' and 'image.offset' for each channel; 'NAME.weight' of convolutions, once
    where weights run again; 'i.bias', 'i.multiplier' and 'i.shift' of what a layer sums; 'i.table' of an activation;
    'i.scale' of the last layer, whose sums times this are the logits.
    """

    architecture: Architecture
    metadata: Metadata
    parameters: Mapping[str, Tensor]

    @property
    def num_bytes(self) -> int:
        """Bytes that must be stored to run it: weights, biases, multipliers, shifts, tables, scales and zero points."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self.parameters.values())

    @property
    def num_weights(self) -> int:
        """Weights and biases, after batch norm was folded."""
        return sum(t.numel() for name, t in self.parameters.items() if name.endswith((".weight", ".bias")))

    def logits(self, images: Tensor) -> Tensor:
        """Return the logits (N, classes) of raw uint8 images (N, C, H, W), by integer arithmetic."""
        layers = int8_layers(self.architecture).layers
        images = check_images(images, self.input_shape)
        return run_in_batches(lambda batch: self._run(layers, batch), images, BATCH)

    def derive(self) -> dict[str, object]:
        """Return the bytes of all parameters."""
        return {"num_bytes": self.num_bytes}

    def _run(self, layers: list[Layer], images: Tensor) -> Tensor:
        p = self.parameters
        zeros = p["zeros"].tolist()
        multiplier, offset = (p[f"image.{part}"].long().view(-1, 1, 1) for part in ("multiplier", "offset"))
        maps = {IMAGE: _requantize(images.long() * multiplier + offset, torch.tensor(IMAGE_SHIFT), 0)}
        for index, layer in enumerate(layers):
            x, zero, x_zero = maps[layer.sources[0]], zeros[index + 1], zeros[layer.sources[0] + 1]
            match layer.operation:
                case Conv2d() as operation:
                    if operation.in_channels != x.shape[1]:
                        x = x.reshape(len(x), -1, 1, 1)  # a linear layer on a map
                    sums = convolve(x - x_zero, p[f"{layer.group}.weight"], operation).long()
                    sums += p[f"{index}.bias"].long().view(-1, 1, 1)
                case Activation():
                    maps[index] = p[f"{index}.table"].long()[x + 128]
                    continue
                case MaxPool2d(size, stride):
                    maps[index] = functional.max_pool2d(x.double(), size, stride).long()
                    continue
                case Add():
                    first, second = p[f"{index}.multiplier"].tolist()
                    other = maps[layer.sources[1]] - zeros[layer.sources[1] + 1]
                    maps[index] = _requantize((x - x_zero) * first + other * second, p[f"{index}.shift"], zero)
                    continue
                case _:
                    rows, columns, stride = window(layer)
                    mean = functional.avg_pool2d((x - x_zero).double(), (rows, columns), stride, divisor_override=1)
                    sums = mean.long()
            if index == len(layers) - 1:
                return (sums.float() * p[f"{index}.scale"].view(-1, 1, 1)).flatten(1)
            factor, shift = (p[f"{index}.{part}"].long().view(-1, 1, 1) for part in ("multiplier", "shift"))
            maps[index] = _requantize(sums * factor, shift, zero)
        raise AssertionError("an architecture has a last layer")


def window(layer: Layer) -> tuple[int, int, int]:
    """Return the rows, columns and stride of a pool."""
    operation = layer.operation
    if isinstance(operation, AdaptiveAvgPool2d):
        _, rows, columns = layer.input_shape
        return rows, columns, max(rows, columns)
    assert isinstance(operation, (MaxPool2d, AvgPool2d))
    return operation.size, operation.size, operation.stride


def convolve(x: Tensor, weight: Tensor, operation: Conv2d) -> Tensor:
    """Return the convolution of x (N, in, H, W), without a bias: (N, out, H', W') in float64."""
    # In float64 sums of whole numbers below 2^53 are exact in any order.
    return functional.conv2d(
        x.double(),
        weight.double(),
        stride=operation.stride,
        padding=operation.padding,
        groups=operation.groups,
    )


def _requantize(product: Tensor, shift: Tensor, zero: int) -> Tensor:
    """Return int64 `product` / 2^shift, rounded half up, plus `zero`, clamped to 8 bits."""
    shift = shift.long()
    return product.add_(1 << (shift - 1)).bitwise_right_shift_(shift).add_(zero).clamp_(-128, 127)


def parameter_types(architecture: Architecture) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
    """Return the dtype and shape of each of `QuantizedNetwork.parameters`."""
    layers = int8_layers(architecture).layers
    channels = architecture.input.channels
    result: dict[str, tuple[torch.dtype, tuple[int, ...]]] = {
        "zeros": (torch.int8, (len(layers) + 1,)),
        "image.multiplier": (torch.int32, (channels,)),
        "image.offset": (torch.int32, (channels,)),
    }
    for index, layer in enumerate(layers):
        operation, count = layer.operation, 1
        if isinstance(operation, Activation):
            result[f"{index}.table"] = (torch.int8, (256,))
            continue
        if isinstance(operation, MaxPool2d):
            continue
        if isinstance(operation, Conv2d):
            count = operation.out_channels
            shape = (count, operation.in_channels // operation.groups, operation.kernel, operation.kernel)
            result[f"{layer.group}.weight"] = (torch.int8, shape)
            result[f"{index}.bias"] = (torch.int32, (count,))
        if index == len(layers) - 1:
            result[f"{index}.scale"] = (torch.float32, (count,))
        else:
            result[f"{index}.multiplier"] = (torch.int32, (2,) if isinstance(operation, Add) else (count,))
            result[f"{index}.shift"] = (torch.uint8, (count,))
    return result
