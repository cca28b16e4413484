"""ONNX in 8 bits: QuantizeLinear and DequantizeLinear pairs (QDQ), with the scales and zero points of `quantize`.

The graph takes the same images as that in float32. Each map is quantized where it is made, to int8 with one scale and
zero point, and dequantized where it is read; the logits are not quantized. Weights are int8 with a scale for each
output channel, biases int32. Batch norm is folded, and a ReLU is the lower end of a map's range.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nas.arch import IMAGE, Architecture, Layer, architecture_from_plain, architecture_to_plain
from nas.arch.operations import Activation, AdaptiveAvgPool2d, Add, AvgPool2d, Conv2d, MaxPool2d
from nas.errors import ExportError, NasError, VerificationError, describe
from nas.export.onnx.graph import INPUT, GraphBuilder, load_graph, write_graph
from nas.int8.network import (
    QuantizedNetwork,
    TensorTypes,
    derived_claims,
    int8_layers,
    parameter_types,
    scale_types,
)
from nas.model.exported_file import LoadedExport, run_in_batches
from nas.model.metadata import Metadata

OPSET = 14  # HardSwish is of it; scales for each channel are of 13
IR_VERSION = 7  # what goes with that opset
_ARCHITECTURE = "architecture"  # the metadata property


def write_int8_onnx(network: QuantizedNetwork, claims: Mapping[str, object], path: Path) -> None:
    """Write the network with its claims to `path`; the same network gives the same bytes.

    Raises:
        ExportError: onnx is not installed, the network was read from a file without scales, or the file cannot be
            written.
    """
    if not network.scales:
        raise ExportError("the 8-bit network is of a version that kept no scales; quantize the network again")
    about = replace(network.metadata, claims=claims)
    architecture = json.dumps(architecture_to_plain(network.architecture))
    graph = _QuantizedGraph(network).make()
    properties = {_ARCHITECTURE: architecture}
    write_graph(graph, about, path, opset=OPSET, ir_version=IR_VERSION, properties=properties)


@dataclass(frozen=True, slots=True)
class Int8OnnxNetwork(LoadedExport):
    """An 8-bit ONNX file that was read back: its graph is that of `architecture`, with numbers of its own."""

    metadata: Metadata
    architecture: Architecture
    _run: Callable[[Any, dict[str, Any]], list[Any]]

    def _logits(self, images: Tensor) -> Tensor:
        return run_in_batches(lambda part: torch.from_numpy(self._run(None, {INPUT: part.float().numpy()})[0]), images)

    def _derive(self) -> dict[str, object]:
        return derived_claims(self.architecture)


def load_int8_onnx(path: Path) -> Int8OnnxNetwork:
    """Return the 8-bit ONNX file at `path`, checked by onnx and loaded into onnxruntime.

    Raises:
        ExportError: onnx or onnxruntime is not installed.
        VerificationError: the file is missing, is not valid ONNX, or was not written by `write_int8_onnx`.
    """
    # Its own kernels round in other places, and those of processors without VNNI may saturate.
    loaded = load_graph(path, (INPUT,), optimize=False)
    try:
        architecture = architecture_from_plain(json.loads(loaded.properties[_ARCHITECTURE]), str(path))
        types, of_scales = parameter_types(architecture), scale_types(architecture)
    except (KeyError, TypeError, ValueError, NasError) as error:
        raise VerificationError(f"{path} does not describe its network: {describe(error)}") from None
    shapes = {t.name: tuple(t.dims) for t in loaded.graph.initializer}
    # First, as a description could ask for more memory than there is.
    fits = all(shapes.get(name) == shape for name, (_, shape) in types.items() if name.endswith((".weight", ".bias")))
    if fits:
        described = QuantizedNetwork(architecture, loaded.about, _zeros(types), _zeros(of_scales))
        fits = _layout(loaded.graph) == _layout(_QuantizedGraph(described).make())
    if not fits:
        raise VerificationError(
            f"{path}: its graph is not the one that this version writes for the network that it describes; export it "
            "again"
        )
    return Int8OnnxNetwork(loaded.about, architecture, loaded.run)


def _zeros(types: TensorTypes) -> dict[str, Tensor]:
    return {name: torch.zeros(shape, dtype=dtype) for name, (dtype, shape) in types.items()}


def _layout(graph: Any) -> tuple[object, ...]:
    """Return all of a graph but the numbers in its initializers."""
    nodes = [node.SerializeToString(deterministic=True) for node in graph.node]
    return nodes, [(t.name, t.data_type, list(t.dims)) for t in graph.initializer]


class _QuantizedGraph(GraphBuilder):
    """Appends nodes layer by layer; a map has the name of its layer's number and kind."""

    def __init__(self, network: QuantizedNetwork) -> None:
        super().__init__(network.metadata)
        self._layers = int8_layers(network.architecture).layers
        self._parameters, self._scales = network.parameters, network.scales
        self._zeros = network.parameters["zeros"]

    def make(self) -> Any:
        """Return the graph as onnx has it."""
        maps = {IMAGE: self._quantize(self.normalized_image(), IMAGE)}
        shapes: dict[int, tuple[int, ...]] = {IMAGE: self._about.input_shape}
        last = len(self._layers) - 1
        for index, layer in enumerate(self._layers):
            sources = [maps[s] for s in layer.sources]
            if layer.input_shape != shapes[layer.sources[0]]:  # a linear layer on a map
                sources = [self._flatten(sources[0], layer.sources[0], f"{index}_flat")]
            output = self._layer(layer, index, sources)
            maps[index] = output if index == last else self._quantize(output, index)
            shapes[index] = layer.output_shape
        return self.finish(maps[last], shapes[last])

    def _layer(self, layer: Layer, index: int, sources: list[str]) -> str:
        output = f"{index}_{layer.operation.kind}"
        match layer.operation:
            case Activation(name) as operation:
                slope = [self._slope(f"{layer.group}.weight")] if operation.num_params else []
                return self.activation(name, sources[0], slope, output)
            case Conv2d() as operation:
                return self.operation(operation, [*sources, *self._weights(layer, index)], output)
            case Add() | MaxPool2d() | AvgPool2d() | AdaptiveAvgPool2d() as operation:
                return self.operation(operation, sources, output)
            case operation:
                raise AssertionError(f"{operation.kind} is folded")

    def _quantize(self, value: str, index: int) -> str:
        """Add the pair by which a value becomes the numbers of map `index`, and these a value."""
        numbers = [
            self.constant(f"{value}.scale", self._scales["maps"][index + 1]),
            self.constant(f"{value}.zero_point", self._zeros[index + 1], np.int8),
        ]
        quantized = self.add("QuantizeLinear", [value, *numbers], f"{value}.quantized")
        return self.add("DequantizeLinear", [quantized, *numbers], f"{value}.dequantized")

    def _flatten(self, value: str, index: int, output: str) -> str:
        """Add what makes map `index` (N, C, H, W) one of single pixels (N, C * H * W, 1, 1), of the same numbers."""
        shape = self.constant("flat_shape", [0, -1, 1, 1], np.int64)
        return self._quantize(self.add("Reshape", [value, shape], output), index)

    def _weights(self, layer: Layer, index: int) -> list[str]:
        """Return the names of a convolution's weights and bias; weights that run again are stored once."""
        weight, bias = f"{layer.group}.weight", f"{index}.bias"
        scale = self._scales[weight]
        return [
            self._dequantize(weight, scale, f"{index}.weight.dequantized"),
            self._dequantize(bias, scale * self._scales["maps"][layer.sources[0] + 1], f"{bias}.dequantized"),
        ]

    def _dequantize(self, name: str, scale: Tensor, output: str) -> str:
        """Add what makes a parameter, with a scale for each output channel, a value."""
        whole = self._parameters[name].numpy()
        inputs = [
            self.constant(name, whole, whole.dtype),
            self.constant(f"{name}.scale", scale),
            self.constant(f"{name}.zero_point", np.zeros(len(scale)), whole.dtype),
        ]
        return self.add("DequantizeLinear", inputs, output, axis=0)

    def _slope(self, name: str) -> str:
        return self.constant(name, self._scales[name])
