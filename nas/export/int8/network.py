"""A network in 8 bits: integer arithmetic from the pixels to the last layer, number by number that of the exported C.

Weights are symmetric with a scale for each output channel, maps affine with one scale and zero point (Jacob et al.
2018, Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference, section 2). Batch
norm is folded into convolutions, ReLU into the range of the layer before it; other activations are tables of 256
entries.

Shape legend: N images, C channels, H and W pixels.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from nas.arch import IMAGE, Architecture, Layer, architecture_from_plain, architecture_to_plain, lower
from nas.arch.operations import Activation, AdaptiveAvgPool2d, Add, AvgPool2d, Conv2d, MaxPool2d
from nas.errors import ExportError, NasError, VerificationError
from nas.export.fold_batch_norm import fold
from nas.export.metadata import LoadedExport, Metadata, checked_images, in_batches, read_metadata

BATCH = 100  # images run at once; maps of 64-bit numbers then stay in cache, which is five times as fast
IMAGE_SHIFT = 20  # a pixel becomes (pixel * multiplier + offset) / 2^20


class Quantizable(NamedTuple):
    """Folded layers without the ReLUs that the range of the layer before them takes over."""

    layers: list[Layer]
    rectified: frozenset[int]  # the layers that took one over


def quantizable(architecture: Architecture) -> Quantizable:
    """What the 8-bit network runs; layer i of it has the parameters 'i.…'."""
    layers = fold(lower(architecture)).layers
    readers = Counter(source for layer in layers for source in layer.sources)
    kept: list[Layer] = []
    rectified = set()
    moved = {IMAGE: IMAGE}
    for index, layer in enumerate(layers):
        source = layer.sources[0]
        if layer.operation in (Activation("relu"), Activation("relu", True)) and readers[source] == 1:
            moved[index] = moved[source]
            rectified.add(moved[source])
            continue
        moved[index] = len(kept)
        kept.append(layer._replace(sources=tuple(moved[s] for s in layer.sources)))
    return Quantizable(kept, frozenset(rectified))


@dataclass(frozen=True)
class QuantizedNetwork(LoadedExport):
    """A network in 8 bits.

    `parameters` holds, with `map 0` the image and `map i + 1` the output of layer i of `quantizable`: 'zeros', the
    zero point of each map; 'image.multiplier' and 'image.offset' for each channel; 'NAME.weight' of convolutions, once
    where weights run again; 'i.bias', 'i.multiplier' and 'i.shift' of what a layer sums; 'i.table' of an activation;
    'i.scale' of the last layer, whose sums times this are the logits.
    """

    architecture: Architecture
    metadata: Metadata
    parameters: Mapping[str, Tensor]

    @property
    def num_bytes(self) -> int:
        """What must be stored to run it: weights, biases, multipliers, shifts, tables, scales and zero points."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self.parameters.values())

    @property
    def num_weights(self) -> int:
        """Weights and biases, after batch norm was folded."""
        return sum(t.numel() for name, t in self.parameters.items() if name.endswith((".weight", ".bias")))

    def logits(self, images: Tensor) -> Tensor:
        """Raw uint8 images (N, C, H, W) to float32 logits (N, classes), by integer arithmetic.

        Raises:
            VerificationError: the images are not uint8 of the network's shape.
        """
        layers = quantizable(self.architecture).layers
        return in_batches(lambda batch: self._run(layers, batch), checked_images(images, self.input_shape), BATCH)

    def _run(self, layers: list[Layer], images: Tensor) -> Tensor:
        p = self.parameters
        zeros = p["zeros"].tolist()
        multiplier, offset = (p[f"image.{part}"].long().view(-1, 1, 1) for part in ("multiplier", "offset"))
        maps = {IMAGE: _shifted(images.long() * multiplier + offset, torch.tensor(IMAGE_SHIFT), 0)}
        for index, layer in enumerate(layers):
            x, zero, x_zero = maps[layer.sources[0]], zeros[index + 1], zeros[layer.sources[0] + 1]
            match layer.operation:
                case Conv2d() as operation:
                    if operation.in_channels != x.shape[1]:
                        x = x.reshape(len(x), -1, 1, 1)  # a linear layer on a map
                    sums = convolved(x - x_zero, p[f"{layer.group}.weight"], operation).long()
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
                    maps[index] = _shifted((x - x_zero) * first + other * second, p[f"{index}.shift"], zero)
                    continue
                case _:
                    rows, columns, stride = window(layer)
                    mean = functional.avg_pool2d((x - x_zero).double(), (rows, columns), stride, divisor_override=1)
                    sums = mean.long()
            if index == len(layers) - 1:
                return (sums.float() * p[f"{index}.scale"].view(-1, 1, 1)).flatten(1)
            factor, shift = (p[f"{index}.{part}"].long().view(-1, 1, 1) for part in ("multiplier", "shift"))
            maps[index] = _shifted(sums * factor, shift, zero)
        raise AssertionError("an architecture has a last layer")


def window(layer: Layer) -> tuple[int, int, int]:
    """Rows, columns and stride of a pool."""
    operation = layer.operation
    if isinstance(operation, AdaptiveAvgPool2d):
        _, rows, columns = layer.input_shape
        return rows, columns, max(rows, columns)
    assert isinstance(operation, (MaxPool2d, AvgPool2d))
    return operation.size, operation.size, operation.stride


def convolved(x: Tensor, weight: Tensor, operation: Conv2d) -> Tensor:
    """x (N, in, H, W) to (N, out, H', W') in float64, without a bias."""
    # In float64 sums of whole numbers below 2^53 are exact in any order.
    return functional.conv2d(
        x.double(),
        weight.double(),
        stride=operation.stride,
        padding=operation.padding,
        groups=operation.groups,
    )


def _shifted(product: Tensor, shift: Tensor, zero: int) -> Tensor:
    """int64 `product` / 2^shift, rounded half up, around `zero`, within 8 bits."""
    shift = shift.long()
    return product.add_(1 << (shift - 1)).bitwise_right_shift_(shift).add_(zero).clamp_(-128, 127)


def write_quantized(network: QuantizedNetwork, claims: Mapping[str, object], path: Path) -> None:
    """Writes the network with its claims to `path`, a file of `torch.save`.

    Raises:
        ExportError: a claim is not plain data, or the file cannot be written.
    """
    about = replace(network.metadata, claims=claims).to_json()
    architecture = json.dumps(architecture_to_plain(network.architecture))
    try:
        torch.save({"nas": about, "architecture": architecture, "parameters": dict(network.parameters)}, path)
    except (OSError, RuntimeError) as error:
        raise ExportError(f"cannot write {path}: {error}; choose another -o") from None


def load_quantized(path: Path) -> QuantizedNetwork:
    """The network that `write_quantized` wrote; the file is read as data and executes nothing.

    Raises:
        VerificationError: the file is missing, damaged, or of another kind.
    """
    if not path.is_file():
        raise VerificationError(f"{path} is not there; give the path of a file that `nas export` wrote")
    try:
        plain: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch says nothing of what a damaged archive raises
        raise VerificationError(f"{path} is not a file of torch.save: {type(error).__name__}: {error}") from error
    plain = plain if isinstance(plain, dict) else {}
    about = read_metadata(plain.get("nas"), path)
    try:
        architecture = architecture_from_plain(json.loads(plain["architecture"]), str(path))
        expected = _expected(architecture)
    except (KeyError, TypeError, ValueError, NasError) as error:
        raise VerificationError(f"{path} does not describe its network: {error}") from None
    parameters = plain.get("parameters")
    stem = architecture.input
    fits = isinstance(parameters, dict) and all(isinstance(t, Tensor) for t in parameters.values())
    fits = fits and about.input_shape == (stem.channels, stem.height, stem.width)
    if not fits or {n: (t.dtype, tuple(t.shape)) for n, t in parameters.items()} != expected:
        raise VerificationError(f"{path}: its parameters are not those of the network that it describes")
    return QuantizedNetwork(architecture, about, parameters)


def _expected(architecture: Architecture) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
    """The type and shape of each parameter of the quantized network."""
    layers = quantizable(architecture).layers
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
