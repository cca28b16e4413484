"""ONNX: the layers as a graph of one node an operation, readable in any viewer; nothing is folded.

The graph takes `images`, float32 (N, C, H, W), with values 0 to 255, normalizes them, and gives `logits`, float32
(N, classes). N is free. Its claims, shape, mean, std and class names lie in the file as the metadata property 'nas'
(JSON). Needs the extra: pip install 'nas-budget[onnx]'.
"""

from __future__ import annotations

import importlib
import math
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
from nas.errors import ExportError, VerificationError, describe
from nas.export.loaded import LoadedExport, finite_module, require_file, run_in_batches
from nas.export.metadata import Metadata, metadata_of, read_metadata
from nas.model.fold_batch_norm import NORM_EPSILON, running_statistics, weight_names
from nas.model.image_network import normalize
from nas.model.trained_network import TrainedNetwork

OPSET = 15  # the newest operator used, BatchNormalization, is of it; Gelu would need 20 and is written out
IR_VERSION = 8  # what goes with that opset; newer versions of onnx would write one that older runtimes refuse
_PROPERTY = "nas"
_INPUT = "images"
_NORMALIZED_INPUT = "image"  # the input of files of version 0.1, which take normalized images
# Which inputs of a node are trained parameters; running statistics are not.
_TRAINED_INPUTS = {"Conv": (1, 2), "BatchNormalization": (1, 2), "Gemm": (1, 2), "PRelu": (1,), "Expand": (0,)}


def write_onnx(network: TrainedNetwork, claims: Mapping[str, object], path: Path) -> None:
    """Write the network with its weights to `path`; the same network gives the same bytes.

    Raises:
        ExportError: onnx is not installed, the weights do not fit, or the file cannot be written.
    """
    onnx = _require_package("onnx")
    about = metadata_of(network, claims)
    layers = lower(network.architecture)
    model = onnx.helper.make_model(
        _Graph(onnx, layers, finite_module(network).state_dict(), about).make(),
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="nas",
        doc_string=" ".join(str(claims[key]) for key in ("name", "input") if key in claims),
    )
    onnx.helper.set_model_props(model, {_PROPERTY: about.to_json()})
    onnx.checker.check_model(model, full_check=True)
    try:
        path.write_bytes(model.SerializeToString(deterministic=True))
    except OSError as error:
        raise ExportError(f"cannot write {path}: {error.strerror or error}; choose another `output`") from None


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
        is_raw = self.input_name == _INPUT
        inputs = images.float() if is_raw else normalize(images, self.metadata.mean, self.metadata.std)
        return torch.from_numpy(self._run(None, {self.input_name: inputs.numpy()})[0])


def load_onnx(path: Path) -> OnnxNetwork:
    """Return the ONNX file at `path`, checked by onnx and loaded into onnxruntime.

    Raises:
        ExportError: onnx or onnxruntime is not installed.
        VerificationError: the file is missing, is not valid ONNX, or was not written by `write_onnx`.
    """
    onnx, runtime = _require_package("onnx"), _require_package("onnxruntime")
    require_file(path)
    raw = path.read_bytes()
    try:
        model = onnx.load_model_from_string(raw)
        onnx.checker.check_model(model, full_check=True)
        options = runtime.SessionOptions()
        options.intra_op_num_threads = 1  # on networks this small a second thread only waits for the first
        session = runtime.InferenceSession(raw, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # each of the two libraries has errors of its own, some of them private
        raise VerificationError(f"{path} is not a valid ONNX file: {describe(error)}") from error
    about = read_metadata({p.key: p.value for p in model.metadata_props}.get(_PROPERTY), path)
    inputs = {i.name: [d.dim_value for d in i.type.tensor_type.shape.dim[1:]] for i in model.graph.input}
    if inputs not in ({name: list(about.input_shape)} for name in (_INPUT, _NORMALIZED_INPUT)):
        raise VerificationError(f"{path} takes {inputs}, and says that it takes images of {about.input_shape}")
    trained = _count_trained(model.graph, onnx.numpy_helper.to_array)
    return OnnxNetwork(path, about, trained, min(inputs), session.run)


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


def _require_package(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        raise ExportError(f"ONNX files need the package {module}: pip install 'nas-budget[onnx]'") from None


class _Graph:
    """Appends nodes layer by layer; a value has the name of the layer's weights, or of its kind and number."""

    def __init__(self, onnx: Any, layers: list[Layer], state_dict: Mapping[str, Tensor], about: Metadata) -> None:
        self._onnx, self._layers, self._state, self._about = onnx, layers, state_dict, about
        self._nodes: list[Any] = []
        self._initializers: dict[str, Any] = {}

    def make(self) -> Any:
        """Return the graph as onnx has it."""
        mean, std = (
            self._constant(name, 255 * np.array(numbers).reshape(-1, 1, 1))
            for name, numbers in (("mean", self._about.mean), ("std", self._about.std))
        )
        centered = self._add("Sub", [_INPUT, mean], "centered")
        values = {IMAGE: self._add("Div", [centered, std], "normalized")}
        for index, (layer, name) in enumerate(zip(self._layers, weight_names(self._layers), strict=True)):
            sources = [values[s] for s in layer.sources]
            values[index] = self._layer(layer, name, sources, f"{index}_{layer.operation.kind}")
        output_shape = self._layers[-1].output_shape
        if len(output_shape) > 1:
            self._add("Flatten", [values[len(self._layers) - 1]], "flat", axis=1)
        # The last node writes the graph's output itself.
        self._nodes[-1].output[0] = "logits"
        helper, float32 = self._onnx.helper, self._onnx.TensorProto.FLOAT
        images = helper.make_tensor_value_info(_INPUT, float32, ["N", *self._layers[0].input_shape], "values 0 to 255")
        logits = helper.make_tensor_value_info("logits", float32, ["N", output_shape[0]])
        return helper.make_graph(self._nodes, "network", [images], [logits], list(self._initializers.values()))

    def _layer(self, layer: Layer, name: str, sources: list[str], output: str) -> str:
        match layer.operation:
            case Conv2d(_, _, kernel, stride, padding, groups, bias):
                return self._add(
                    "Conv",
                    sources + self._weights(name, "weight", *(["bias"] if bias else [])),
                    output,
                    kernel_shape=[kernel] * 2,
                    strides=[stride] * 2,
                    pads=[padding] * 4,
                    group=groups,
                )
            case Linear(_, _, bias):
                if len(layer.input_shape) > 1:
                    sources = [self._add("Flatten", sources, f"{output}_flat", axis=1)]
                return self._add(
                    "Gemm", sources + self._weights(name, "weight", *(["bias"] if bias else [])), output, transB=1
                )
            case BatchNorm2d(channels):
                scale, shift = self._norm_weights(name, channels)
                running = running_statistics(self._state, name) or name
                inputs = [*sources, scale, shift, *self._weights(running, "running_mean", "running_var")]
                return self._add("BatchNormalization", inputs, output, epsilon=NORM_EPSILON)
            case Activation(activation):
                return self._activation(activation, name, sources, output)
            case Dropout() | Dropout2d():
                return sources[0]
            case Add():
                return self._add("Add", sources, output)
            case MaxPool2d(size, stride):
                return self._add("MaxPool", sources, output, kernel_shape=[size] * 2, strides=[stride] * 2)
            case AvgPool2d(size, stride):
                return self._add("AveragePool", sources, output, kernel_shape=[size] * 2, strides=[stride] * 2)
            case AdaptiveAvgPool2d():
                return self._add("GlobalAveragePool", sources, output)

    def _activation(self, activation: str, name: str, sources: list[str], output: str) -> str:
        match activation:
            case "leaky_relu":
                return self._add("LeakyRelu", sources, output, alpha=0.01)
            case "prelu":
                return self._add("PRelu", sources + self._weights(name, "weight"), output)
            case "silu":
                gate = self._add("Sigmoid", sources, f"{output}_gate")
                return self._add("Mul", [*sources, gate], output)
            case "gelu":  # x * (1 + erf(x / √2)) / 2
                scaled = self._add("Div", [*sources, self._constant("sqrt2", math.sqrt(2))], f"{output}_scaled")
                erf = self._add("Erf", [scaled], f"{output}_erf")
                gate = self._add("Add", [erf, self._constant("one", 1)], f"{output}_gate")
                double = self._add("Mul", [*sources, gate], f"{output}_double")
                return self._add("Div", [double, self._constant("two", 2)], output)
            case _:
                kinds = {"relu": "Relu", "hardswish": "HardSwish"}
                return self._add(kinds[activation], sources, output)

    def _weights(self, name: str, *parts: str) -> list[str]:
        """Return the names of a layer's tensors; weights that run again are stored once."""
        return [self._constant(key, self._state[key].cpu().numpy()) for key in (f"{name}.{part}" for part in parts)]

    def _constant(self, name: str, values: Any) -> str:
        if name not in self._initializers:
            array = np.asarray(values, dtype=np.float32, order="C")
            self._initializers[name] = self._onnx.numpy_helper.from_array(array, name)
        return name

    def _norm_weights(self, name: str, channels: int) -> list[str]:
        """Return the names of a norm's weight and bias; what is not trained is a constant, no initializer."""
        return [self._norm_weight(f"{name}.{part}", channels, one) for part, one in (("weight", 1.0), ("bias", 0.0))]

    def _norm_weight(self, key: str, channels: int, untrained: float) -> str:
        trained = self._state.get(key)
        if trained is None:
            return self._untrained(key, torch.full((channels,), untrained).numpy())
        self._constant(key, trained.cpu().numpy())
        if len(trained) == channels:
            return key
        repeated = f"{key}_of_each_channel"
        if not self._is_made(repeated):
            self._add("Expand", [key, self._untrained(f"{key}_shape", np.array([channels]))], repeated)
        return repeated

    def _untrained(self, name: str, values: Any) -> str:
        if not self._is_made(name):
            constant = self._onnx.numpy_helper.from_array(values, name)
            self._nodes.append(self._onnx.helper.make_node("Constant", [], [name], name=name, value=constant))
        return name

    def _is_made(self, name: str) -> bool:
        return any(name in node.output for node in self._nodes)

    def _add(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self._nodes.append(self._onnx.helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output
