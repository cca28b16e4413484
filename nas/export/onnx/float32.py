"""ONNX in float32: the layers as a graph of one node an operation, readable in any viewer; nothing is folded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nas.arch import IMAGE, Layer, lower
from nas.arch.operations import (
    Activation,
    BatchNorm2d,
    Conv2d,
    Dropout,
    Dropout2d,
    Linear,
)
from nas.export.onnx.graph import INPUT, GraphBuilder, load_graph, require_package, write_graph
from nas.model.exported_file import LoadedExport, finite_module, run_in_batches
from nas.model.fold_batch_norm import NORM_EPSILON, running_statistics, weight_names
from nas.model.image_network import normalize
from nas.model.metadata import Metadata, metadata_of
from nas.model.trained_network import TrainedNetwork

OPSET = 15  # the newest operator used, BatchNormalization, is of it; Gelu would need 20 and is written out
IR_VERSION = 8  # what goes with that opset; newer versions of onnx would write one that older runtimes refuse
_NORMALIZED_INPUT = "image"  # the input of files of version 0.1, which take normalized images
# Which inputs of a node are trained parameters; running statistics are not.
_TRAINED_INPUTS = {"Conv": (1, 2), "BatchNormalization": (1, 2), "Gemm": (1, 2), "PRelu": (1,), "Expand": (0,)}


def write_onnx(network: TrainedNetwork, claims: Mapping[str, object], path: Path) -> None:
    """Write the network with its weights to `path`; the same network gives the same bytes.

    Raises:
        ExportError: onnx is not installed, the weights do not fit, or the file cannot be written.
    """
    about = metadata_of(network, claims)
    graph = _FloatGraph(lower(network.architecture), finite_module(network).state_dict(), about).make()
    write_graph(graph, about, path, opset=OPSET, ir_version=IR_VERSION)


@dataclass(frozen=True, slots=True)
class OnnxNetwork(LoadedExport):
    """An ONNX file that was read back."""

    path: Path
    metadata: Metadata
    num_params: int  # elements of the initializers that are trained parameters, each once
    input_name: str
    _run: Callable[[Any, dict[str, Any]], list[Any]]

    def _logits(self, images: Tensor) -> Tensor:
        return run_in_batches(self._run_batch, images)

    def _derive(self) -> dict[str, object]:
        return {"num_params": self.num_params}

    def _run_batch(self, images: Tensor) -> Tensor:
        is_raw = self.input_name == INPUT
        inputs = images.float() if is_raw else normalize(images, self.metadata.mean, self.metadata.std)
        return torch.from_numpy(self._run(None, {self.input_name: inputs.numpy()})[0])


def load_onnx(path: Path) -> OnnxNetwork:
    """Return the ONNX file at `path`, checked by onnx and loaded into onnxruntime.

    Raises:
        ExportError: onnx or onnxruntime is not installed.
        VerificationError: the file is missing, is not valid ONNX, or was not written by `write_onnx`.
    """
    loaded = load_graph(path, (INPUT, _NORMALIZED_INPUT), optimize=True)
    trained = _count_trained(loaded.graph, require_package("onnx").numpy_helper.to_array)
    return OnnxNetwork(path, loaded.about, trained, loaded.input_name, loaded.run)


def _count_trained(graph: Any, to_array: Callable[[Any], Any]) -> int:
    names = {
        node.input[place]
        for node in graph.node
        for place in _TRAINED_INPUTS.get(node.op_type, ())
        if place < len(node.input)
    }
    # A constant of ones or zeros is how a norm without a weight or a bias is written; any other one is counted.
    constants = {node.output[0]: node.attribute[0].t for node in graph.node if node.op_type == "Constant"}
    plain = {name for name, tensor in constants.items() if set(to_array(tensor).flat) in ({0.0}, {1.0})}
    tensors = {tensor.name: tensor for tensor in graph.initializer} | constants
    return sum(torch.Size(tensors[name].dims).numel() for name in (names & tensors.keys()) - plain)


class _FloatGraph(GraphBuilder):
    """Appends nodes layer by layer; a value has the name of the layer's weights, or of its kind and number."""

    def __init__(self, layers: list[Layer], state_dict: Mapping[str, Tensor], about: Metadata) -> None:
        super().__init__(about)
        self._layers, self._state = layers, state_dict

    def make(self) -> Any:
        """Return the graph as onnx has it."""
        values = {IMAGE: self.normalized_image()}
        for index, (layer, name) in enumerate(zip(self._layers, weight_names(self._layers), strict=True)):
            sources = [values[s] for s in layer.sources]
            values[index] = self._layer(layer, name, sources, f"{index}_{layer.operation.kind}")
        return self.finish(values[len(self._layers) - 1], self._layers[-1].output_shape)

    def _layer(self, layer: Layer, name: str, sources: list[str], output: str) -> str:
        match layer.operation:
            case Conv2d(bias=bias) as operation:
                weights = self._weights(name, "weight", *(["bias"] if bias else []))
                return self.operation(operation, sources + weights, output)
            case Linear(_, _, bias):
                if len(layer.input_shape) > 1:
                    sources = [self.add("Flatten", sources, f"{output}_flat", axis=1)]
                return self.add(
                    "Gemm", sources + self._weights(name, "weight", *(["bias"] if bias else [])), output, transB=1
                )
            case BatchNorm2d(channels):
                scale, shift = self._norm_weights(name, channels)
                running = running_statistics(self._state, name) or name
                inputs = [*sources, scale, shift, *self._weights(running, "running_mean", "running_var")]
                return self.add("BatchNormalization", inputs, output, epsilon=NORM_EPSILON)
            case Activation(activation) as operation:
                slope = self._weights(name, "weight") if operation.num_params else []
                return self.activation(activation, sources[0], slope, output)
            case Dropout() | Dropout2d():
                return sources[0]
            case operation:
                return self.operation(operation, sources, output)

    def _weights(self, name: str, *parts: str) -> list[str]:
        """Return the names of a layer's tensors; weights that run again are stored once."""
        return [self.constant(key, self._state[key].cpu().numpy()) for key in (f"{name}.{part}" for part in parts)]

    def _norm_weights(self, name: str, channels: int) -> list[str]:
        """Return the names of a norm's weight and bias; what is not trained is a constant, no initializer."""
        return [self._norm_weight(f"{name}.{part}", channels, one) for part, one in (("weight", 1.0), ("bias", 0.0))]

    def _norm_weight(self, key: str, channels: int, untrained: float) -> str:
        trained = self._state.get(key)
        if trained is None:
            return self.constant_node(key, torch.full((channels,), untrained).numpy())
        self.constant(key, trained.cpu().numpy())
        if len(trained) == channels:
            return key
        shape = self.constant_node(f"{key}_shape", np.array([channels]))
        return self.add_once("Expand", [key, shape], f"{key}_of_each_channel")
