"""A network in 8 bits: integer arithmetic from the pixels to the logits; the exported C computes the same numbers.

Weights are symmetric with a scale for each output channel, maps affine with one scale and zero point (Jacob et al.
2018, Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference, section 2). Batch
norm is folded into convolutions, ReLU into the range of the layer before it; other activations are tables of 256
entries.

Shape legend: N images, C channels, H and W pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from nas.arch import IMAGE, Architecture, Layer, digest_of, lower
from nas.arch.operations import Activation, AdaptiveAvgPool2d, Add, AvgPool2d, Conv2d, MaxPool2d
from nas.costs import Int8Layers, costs_of, int8_arrays, merge_relu
from nas.model.exported_file import LoadedExport, run_in_batches
from nas.model.fold_batch_norm import fold
from nas.model.metadata import Metadata

BATCH = 100  # images run at once; maps of 64-bit numbers then stay in cache, which is five times as fast
LOGIT_ONE = 4096  # logits are whole numbers of this part of 1
_MOST_LOGIT = 2**24 - 1  # in those units
IMAGE_SHIFT = 20  # a pixel becomes (pixel * multiplier + offset) / 2^20
TensorTypes = dict[str, tuple[torch.dtype, tuple[int, ...]]]  # by the name of a tensor, its dtype and shape
_DTYPES = {
    **{"weight": torch.int8, "bias": torch.int32, "table": torch.int8},
    **{"multiplier": torch.int32, "shift": torch.uint8, "scale": torch.float32},
}


def int8_layers(architecture: Architecture) -> Int8Layers:
    """Return the layers that the 8-bit network runs; layer i has the parameters 'i.…'."""
    return merge_relu(fold(lower(architecture)).layers)


class LogitScaling(NamedTuple):
    """How the sums of the last layer become logits: sum * multiplier / 2^shift, in units of 1 / LOGIT_ONE."""

    multiplier: Tensor  # int32, (classes,) or (1,)
    shift: int


@dataclass(frozen=True)
class QuantizedNetwork(LoadedExport):
    """A network in 8 bits.

    `parameters` holds, with `map 0` the image and `map i + 1` the output of layer i of `int8_layers`: 'zeros', the
    zero point of each map; 'image.multiplier' and 'image.offset' for each channel; 'NAME.weight' of convolutions, once
    where weights run again; 'i.bias', 'i.multiplier' and 'i.shift' of what a layer sums; 'i.table' of an activation;
    'i.scale' of the last layer, whose sums times this are the logits.

    `scales` holds, in float32, what its whole numbers stand for, which it takes no part of to run: 'maps', the scale of
    each map; 'NAME.weight' of convolutions, the scale of each output channel's weights; 'NAME.weight' of PReLU, what it
    scales numbers below 0 by.
    """

    architecture: Architecture
    metadata: Metadata
    parameters: Mapping[str, Tensor]
    scales: Mapping[str, Tensor]  # empty in files of earlier versions

    @property
    def num_bytes(self) -> int:
        """Bytes that must be stored to run it: weights, biases, multipliers, shifts, tables, scales and zero points."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self.parameters.values())

    @property
    def num_weights(self) -> int:
        """Weights and biases, after batch norm was folded."""
        return sum(t.numel() for name, t in self.parameters.items() if name.endswith((".weight", ".bias")))

    def logit_scaling(self) -> LogitScaling:
        """Return the scales of the last layer as whole numbers: of 31 bits for the largest."""
        (scale,) = (t.double() * LOGIT_ONE for name, t in self.parameters.items() if name.endswith(".scale"))
        shift = int(choose_shift(scale.max()))
        return LogitScaling(torch.ldexp(scale, torch.tensor(shift)).round().clamp(max=2**31 - 1).int(), shift)

    def _logits(self, images: Tensor) -> Tensor:
        """Return the logits (N, classes) of raw uint8 images (N, C, H, W), by integer arithmetic.

        They are whole multiples of 1 / LOGIT_ONE below 4,096, which float32 holds exactly.
        """
        layers = int8_layers(self.architecture).layers
        return run_in_batches(lambda batch: self._run(layers, batch), images, BATCH)

    def _derive(self) -> dict[str, object]:
        return derived_claims(self.architecture)

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
                scaling = self.logit_scaling()
                product = sums * scaling.multiplier.long().view(-1, 1, 1)
                units = _shift_right(product, torch.tensor(scaling.shift)).clamp_(-_MOST_LOGIT, _MOST_LOGIT)
                return units.flatten(1).float() / LOGIT_ONE
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
    return _shift_right(product, shift).add_(zero).clamp_(-128, 127)


def _shift_right(product: Tensor, shift: Tensor) -> Tensor:
    """Return int64 `product` / 2^shift, rounded half up, in its memory."""
    shift = shift.long()
    return product.add_(1 << (shift - 1)).bitwise_right_shift_(shift)


def choose_shift(factors: Tensor) -> Tensor:
    """Return the shift, 1 to 60, by which factors become multipliers of 31 bits."""
    _, exponent = torch.frexp(factors)  # factor = mantissa * 2^exponent with a mantissa of 0.5 to 1
    return (30 - exponent).clamp(1, 60)


def derived_claims(architecture: Architecture) -> dict[str, object]:
    """Return the claims of a network in 8 bits that its description shows: counts as before norms were folded."""
    layers = lower(architecture)
    num_bytes = sum(dtype.itemsize * prod(shape) for dtype, shape in parameter_types(architecture).values())
    return {**costs_of(layers).counts(), "digest": digest_of(layers), "num_bytes": num_bytes}


def parameter_types(architecture: Architecture) -> TensorTypes:
    """Return the dtype and shape of each of `QuantizedNetwork.parameters`."""
    layers = int8_layers(architecture).layers
    channels = architecture.input.channels
    result: TensorTypes = {
        "zeros": (torch.int8, (len(layers) + 1,)),
        "image.multiplier": (torch.int32, (channels,)),
        "image.offset": (torch.int32, (channels,)),
    }
    for index, layer in enumerate(layers):
        for part, _, shape in int8_arrays(layer, index == len(layers) - 1):
            result[f"{layer.group if part == 'weight' else index}.{part}"] = (_DTYPES[part], shape)
    return result


def scale_types(architecture: Architecture) -> TensorTypes:
    """Return the dtype and shape of each of `QuantizedNetwork.scales`."""
    layers = int8_layers(architecture).layers
    result: TensorTypes = {"maps": (torch.float32, (len(layers) + 1,))}
    for layer in layers:
        if layer.operation.num_params:
            count = layer.operation.out_channels if isinstance(layer.operation, Conv2d) else 1
            result[f"{layer.group}.weight"] = torch.float32, (count,)
    return result
