"""Post-training quantization: calibration on images, then scales, 8-bit weights and multipliers.

Shape legend: N images, C channels, H and W pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from nas.arch import IMAGE, Layer, lower
from nas.arch.operations import Activation, Add, Conv2d, MaxPool2d
from nas.costs import Int8Layers
from nas.errors import ExportError
from nas.int8.network import IMAGE_SHIFT, QuantizedNetwork, choose_shift, convolve, int8_layers, window
from nas.model.exported_file import check_images, finite_module
from nas.model.fold_batch_norm import fold, fold_weights
from nas.model.image_network import normalize
from nas.model.metadata import Metadata, metadata_of
from nas.model.trained_network import TrainedNetwork

_INT32 = 2**31 - 1


class _Quantization(NamedTuple):
    """What the 8-bit numbers of a map stand for: value = scale * (number - zero)."""

    scale: float
    zero: int


def _quantization_of(low: float, high: float) -> _Quantization:
    """Return the quantization of a map with values from `low` to `high`."""
    low, high = min(low, 0.0), max(high, 0.0)  # 0 is exact: it is what convolutions pad with
    scale = (high - low) / 255 or 1.0
    return _Quantization(scale, min(max(round(-128 - low / scale), -128), 127))


@torch.inference_mode()
def quantize(network: TrainedNetwork, calibration_images: Tensor) -> QuantizedNetwork:
    """Return the trained network in 8 bits.

    Args:
        network: the network.
        calibration_images: raw uint8 (N, C, H, W), a few hundred images of the training set, which set the ranges of
            all maps. Never the test set: its accuracy would flatter then.

    Raises:
        ExportError: there are no images, the weights do not fit or are not finite, or a sum could leave 32 bits.
    """
    about, architecture = metadata_of(network, {}), network.architecture
    if not len(calibration_images):
        raise ExportError("no images to calibrate with; give a few hundred of the training set")
    weights = fold_weights(fold(lower(architecture)), finite_module(network).state_dict())
    images = check_images(calibration_images, about.input_shape)
    network_in_8_bits = int8_layers(architecture)
    layers = network_in_8_bits.layers
    ranges = _calibrate(network_in_8_bits, weights, about, images)
    scales = _weight_scales(layers, weights, ranges)
    parameters = _parameters(layers, weights, about, ranges, scales)
    return QuantizedNetwork(architecture, about, parameters, _all_scales(layers, weights, ranges, scales))


def _calibrate(
    network: Int8Layers, weights: Mapping[str, Tensor], about: Metadata, images: Tensor
) -> dict[int, _Quantization]:
    """Return the quantization of the image and of each layer's output."""
    low: dict[int, float] = {}
    high: dict[int, float] = {}
    for batch in torch.split(images, 256):
        maps = {IMAGE: normalize(batch, about.mean, about.std).double()}
        for index, layer in enumerate(network.layers):
            maps[index] = _output(layer, [maps[s] for s in layer.sources], weights)
            if index in network.with_relu:
                maps[index] = maps[index].relu()
            low[index] = min(low.get(index, 0.0), maps[index].min().item())
            high[index] = max(high.get(index, 0.0), maps[index].max().item())
    pixels = [(v - m) / s for m, s in zip(about.mean, about.std, strict=True) for v in (0.0, 1.0)]
    ranges = {IMAGE: _quantization_of(min(pixels), max(pixels))}
    for index, layer in enumerate(network.layers):
        is_max = isinstance(layer.operation, MaxPool2d)  # its numbers are some of those that it reads
        ranges[index] = ranges[layer.sources[0]] if is_max else _quantization_of(low[index], high[index])
    return ranges


def _output(layer: Layer, sources: list[Tensor], weights: Mapping[str, Tensor]) -> Tensor:
    """Return the output of a folded layer, in float64 (N, C, H, W)."""
    x = sources[0]
    match layer.operation:
        case Conv2d() as operation:
            if operation.in_channels != x.shape[1]:
                x = x.reshape(len(x), -1, 1, 1)
            result = convolve(x, weights[f"{layer.group}.weight"], operation)
            bias = weights.get(f"{layer.group}.bias")
            return result if bias is None else result + bias.view(-1, 1, 1)
        case Activation(name):
            return _activate(name, x, weights.get(f"{layer.group}.weight"))
        case Add():
            return x + sources[1]
        case MaxPool2d(size, stride):
            return functional.max_pool2d(x, size, stride)
        case _:
            rows, columns, stride = window(layer)
            return functional.avg_pool2d(x, (rows, columns), stride)


def _activate(name: str, x: Tensor, slope: Tensor | None) -> Tensor:
    if slope is not None:
        return functional.prelu(x, slope)
    result: Tensor = getattr(functional, name)(x)
    return result


def _all_scales(
    layers: list[Layer],
    weights: Mapping[str, Tensor],
    ranges: Mapping[int, _Quantization],
    weight_scales: Mapping[str, Tensor],
) -> dict[str, Tensor]:
    maps = torch.tensor([ranges[i].scale for i in range(IMAGE, len(layers))])
    slopes = {layer.group for layer in layers if isinstance(layer.operation, Activation)}
    return {
        "maps": maps,
        **{f"{name}.weight": scale.float() for name, scale in weight_scales.items()},
        **{key: weights[key].float() for key in (f"{name}.weight" for name in slopes) if key in weights},
    }


def _parameters(
    layers: list[Layer],
    weights: Mapping[str, Tensor],
    about: Metadata,
    ranges: Mapping[int, _Quantization],
    scales: Mapping[str, Tensor],
) -> dict[str, Tensor]:
    image = ranges[IMAGE]
    std = torch.tensor(about.std, dtype=torch.float64) * image.scale
    offset = image.zero - torch.tensor(about.mean, dtype=torch.float64) / std
    result = {
        "zeros": torch.tensor([ranges[i].zero for i in range(IMAGE, len(layers))], dtype=torch.int8),
        "image.multiplier": (2**IMAGE_SHIFT / (255 * std)).round().int(),
        "image.offset": (2**IMAGE_SHIFT * offset).round().int(),
    }
    for index, layer in enumerate(layers):
        x, y, operation = ranges[layer.sources[0]], ranges[index], layer.operation
        is_last = index == len(layers) - 1
        if isinstance(operation, Activation):
            values = (torch.arange(-128, 128, dtype=torch.float64) - x.zero) * x.scale
            made = _activate(operation.name, values, weights.get(f"{layer.group}.weight")) / y.scale
            result[f"{index}.table"] = (made.round() + y.zero).clamp(-128, 127).to(torch.int8)
        elif isinstance(operation, Add):
            factors = torch.tensor([ranges[s].scale / y.scale for s in layer.sources], dtype=torch.float64)
            shift = choose_shift(factors.max())
            result[f"{index}.multiplier"] = torch.ldexp(factors, shift).round().int()
            result[f"{index}.shift"] = shift.view(1).to(torch.uint8)
        elif not isinstance(operation, MaxPool2d):
            if isinstance(operation, Conv2d):
                scale = scales[layer.group]
                whole = (weights[f"{layer.group}.weight"] / scale.view(-1, 1, 1, 1)).round().to(torch.int8)
                bias = weights.get(f"{layer.group}.bias", torch.zeros_like(scale)) / (scale * x.scale)
                result[f"{layer.group}.weight"], result[f"{index}.bias"] = whole, bias.round().int()
                _check_sums(layer, whole, result[f"{index}.bias"])
                factors = scale * x.scale
            else:
                rows, columns, _ = window(layer)
                factors = torch.tensor([x.scale / (rows * columns)], dtype=torch.float64)
            if is_last:
                result[f"{index}.scale"] = factors.float()
            else:
                factors = factors / y.scale
                shift = choose_shift(factors)
                result[f"{index}.multiplier"] = torch.ldexp(factors, shift).round().int()
                result[f"{index}.shift"] = shift.to(torch.uint8)
    return result


def _weight_scales(
    layers: list[Layer], weights: Mapping[str, Tensor], ranges: Mapping[int, _Quantization]
) -> dict[str, Tensor]:
    """Return for each convolution the scale of each output channel's weights (out,): the largest weight becomes 127.

    A channel of nearly dead weights gets a larger one, so that its bias stays within 32 bits at the smallest scale
    that any run of these weights reads.
    """
    scales: dict[str, Tensor] = {}
    for layer in layers:
        if isinstance(layer.operation, Conv2d):
            name = layer.group
            own = weights[f"{name}.weight"].flatten(1).abs().amax(1) / 127
            bias = weights.get(f"{name}.bias", torch.zeros_like(own))
            least = bias.abs() / (ranges[layer.sources[0]].scale * 2**28)
            scales[name] = torch.maximum(scales.get(name, own), least).clamp(min=1e-30)
    return scales


def _check_sums(layer: Layer, weight: Tensor, bias: Tensor) -> None:
    most = int((weight.long().abs().flatten(1).sum(1) * 255 + bias.long().abs()).max())
    if most > _INT32:
        raise ExportError(f"{layer.group}: its sums may reach {most:,}, beyond 32 bits; use a smaller layer there")
