"""What the two ONNX formats share: a graph as it is built, its file, and the file read back.

A graph takes `images`, float32 (N, C, H, W), with values 0 to 255, normalizes them, and gives `logits`, float32
(N, classes). N is free. Its claims, shape, mean, std and class names lie in the file as the metadata property 'nas'
(JSON).
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nas.arch.operations import AdaptiveAvgPool2d, Add, AvgPool2d, Conv2d, MaxPool2d, Shape
from nas.errors import ExportError, VerificationError, describe
from nas.model.exported_file import require_file
from nas.model.metadata import Metadata, read_metadata

INPUT = "images"
_PROPERTY = "nas"


def require_package(module: str) -> Any:
    """Return `onnx` or `onnxruntime`. Raises ExportError where it is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError:
        raise ExportError(f"ONNX files need the package {module}: pip install 'nas-budget[onnx]'") from None


class GraphBuilder:
    """Appends nodes; a node has the name of its output."""

    def __init__(self, about: Metadata) -> None:
        self._onnx, self._about = require_package("onnx"), about
        self._nodes: list[Any] = []
        self._initializers: dict[str, Any] = {}

    def add(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Add a node; return the name of its output."""
        self._nodes.append(self._onnx.helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def add_once(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Add a node, unless its output is there; return the name of its output."""
        return output if any(output in n.output for n in self._nodes) else self.add(kind, inputs, output, **attributes)

    def constant(self, name: str, values: Any, dtype: Any = np.float32) -> str:
        """Add an initializer, unless it is there; return its name."""
        if name not in self._initializers:
            array = np.asarray(values, dtype=dtype, order="C")
            self._initializers[name] = self._onnx.numpy_helper.from_array(array, name)
        return name

    def constant_node(self, name: str, values: Any) -> str:
        """Add a constant that is no initializer, as it was not trained, unless it is there; return its name."""
        return self.add_once("Constant", [], name, value=self._onnx.numpy_helper.from_array(values, name))

    def normalized_image(self) -> str:
        """Add the normalization of the input."""
        mean, std = (
            self.constant(name, 255 * np.array(numbers).reshape(-1, 1, 1))
            for name, numbers in (("mean", self._about.mean), ("std", self._about.std))
        )
        return self.add("Div", [self.add("Sub", [INPUT, mean], "centered"), std], "normalized")

    def operation(
        self, operation: Conv2d | Add | MaxPool2d | AvgPool2d | AdaptiveAvgPool2d, inputs: list[str], output: str
    ) -> str:
        """Add an operation that is one node; a convolution's inputs are the map, the weights and the bias, if any."""
        match operation:
            case Conv2d(_, _, kernel, stride, padding, groups):
                window = _square(kernel, stride)
                return self.add("Conv", inputs, output, **window, pads=[padding] * 4, group=groups)
            case Add():
                return self.add("Add", inputs, output)
            case MaxPool2d(size, stride):
                return self.add("MaxPool", inputs, output, **_square(size, stride))
            case AvgPool2d(size, stride):
                return self.add("AveragePool", inputs, output, **_square(size, stride))
            case AdaptiveAvgPool2d():
                return self.add("GlobalAveragePool", inputs, output)

    def activation(self, activation: str, x: str, slope: list[str], output: str) -> str:
        """Add an activation of `x`; `slope` is that of PReLU, and else empty."""
        match activation:
            case "leaky_relu":
                return self.add("LeakyRelu", [x], output, alpha=0.01)
            case "silu":
                return self.add("Mul", [x, self.add("Sigmoid", [x], f"{output}_gate")], output)
            case "gelu":  # x * (1 + erf(x / √2)) / 2
                scaled = self.add("Div", [x, self.constant("sqrt2", math.sqrt(2))], f"{output}_scaled")
                erf = self.add("Erf", [scaled], f"{output}_erf")
                gate = self.add("Add", [erf, self.constant("one", 1)], f"{output}_gate")
                double = self.add("Mul", [x, gate], f"{output}_double")
                return self.add("Div", [double, self.constant("two", 2)], output)
            case _:
                kinds = {"relu": "Relu", "prelu": "PRelu", "hardswish": "HardSwish"}
                return self.add(kinds[activation], [x, *slope], output)

    def finish(self, logits: str, shape: Shape) -> Any:
        """Return the graph as onnx has it; `logits`, of that shape for one image, is what the last node gives."""
        if len(shape) > 1:
            self.add("Flatten", [logits], "flat", axis=1)
        self._nodes[-1].output[0] = "logits"
        helper, float32 = self._onnx.helper, self._onnx.TensorProto.FLOAT
        given = helper.make_tensor_value_info(INPUT, float32, ["N", *self._about.input_shape], "values 0 to 255")
        found = helper.make_tensor_value_info("logits", float32, ["N", shape[0]])
        return helper.make_graph(self._nodes, "network", [given], [found], list(self._initializers.values()))


def _square(size: int, stride: int) -> dict[str, list[int]]:
    return {"kernel_shape": [size] * 2, "strides": [stride] * 2}


def write_graph(
    graph: Any, about: Metadata, path: Path, *, opset: int, ir_version: int, properties: Mapping[str, str] | None = None
) -> None:
    """Write a graph with its claims to `path`; the same graph gives the same bytes.

    Raises:
        ExportError: onnx is not installed, or the file cannot be written.
    """
    onnx, claims = require_package("onnx"), about.claims
    model = onnx.helper.make_model(
        graph,
        opset_imports=[onnx.helper.make_opsetid("", opset)],
        ir_version=ir_version,
        producer_name="nas",
        doc_string=" ".join(str(claims[key]) for key in ("name", "input") if key in claims),
    )
    onnx.helper.set_model_props(model, {_PROPERTY: about.to_json(), **(properties or {})})
    onnx.checker.check_model(model, full_check=True)
    try:
        path.write_bytes(model.SerializeToString(deterministic=True))
    except OSError as error:
        raise ExportError(f"cannot write {path}: {error.strerror or error}; choose another `output`") from None


class LoadedGraph(NamedTuple):
    """An ONNX file that onnx has checked and onnxruntime has loaded."""

    graph: Any
    about: Metadata
    properties: Mapping[str, str]
    input_name: str
    run: Callable[[Any, dict[str, Any]], list[Any]]


def load_graph(path: Path, input_names: tuple[str, ...], *, optimize: bool) -> LoadedGraph:
    """Return the graph in the file at `path`, whose input has one of `input_names`.

    Args:
        path: the file.
        input_names: what its input may be called.
        optimize: let onnxruntime replace operators by others that are faster, and round in another way.

    Raises:
        ExportError: onnx or onnxruntime is not installed.
        VerificationError: the file is missing, is not valid ONNX, or was not written by `write_graph`.
    """
    onnx, runtime = require_package("onnx"), require_package("onnxruntime")
    require_file(path)
    raw = path.read_bytes()
    try:
        model = onnx.load_model_from_string(raw)
        onnx.checker.check_model(model, full_check=True)
        options = runtime.SessionOptions()
        options.intra_op_num_threads = 1  # on networks this small a second thread only waits for the first
        if not optimize:
            options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = runtime.InferenceSession(raw, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # each of the two libraries has errors of its own, some of them private
        raise VerificationError(f"{path} is not a valid ONNX file: {describe(error)}") from error
    properties = {p.key: p.value for p in model.metadata_props}
    about = read_metadata(properties.get(_PROPERTY), path)
    inputs = {i.name: [d.dim_value for d in i.type.tensor_type.shape.dim[1:]] for i in model.graph.input}
    if inputs not in ({name: list(about.input_shape)} for name in input_names):
        raise VerificationError(f"{path} takes {inputs}, and says that it takes images of {about.input_shape}")
    return LoadedGraph(model.graph, about, properties, min(inputs), session.run)
