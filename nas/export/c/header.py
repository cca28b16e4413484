"""A trained network as one C99 header for microcontrollers: constant weights, no malloc, nothing but <math.h>.

`PREFIX_forward(pixels, logits)` takes one raw image, uint8 (channels, height, width), and normalizes it itself. Its
logits are float, or whole numbers where the network is in 8 bits. Batch norm is folded into convolutions. All maps lie
in one static block of memory, so that one thread at a time may call it; include the header in one file. The prefix
comes from the file's name, so that several networks fit in one program.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from math import prod
from pathlib import Path
from string import Template

import torch
from torch import Tensor

from nas.arch import IMAGE, Layer, lower
from nas.arch.operations import Activation, Add, Conv2d, MaxPool2d
from nas.costs import costs_of, plan_memory
from nas.errors import ExportError
from nas.export.c.templates import Functions, read_functions, read_template, with_prefix
from nas.int8.network import IMAGE_SHIFT, LOGIT_ONE, QuantizedNetwork, int8_layers, window
from nas.model.exported_file import finite_module
from nas.model.fold_batch_norm import fold, fold_weights
from nas.model.metadata import Metadata, metadata_of
from nas.model.trained_network import TrainedNetwork

_C_TYPES = {torch.int8: "int8_t", torch.int32: "int32_t", torch.uint8: "uint8_t", torch.float32: "float"}


def prefix_of(path: Path) -> str:
    """Return what the symbols of the header `path` begin with: the file's name, as C takes it."""
    name = re.sub(r"[^a-z0-9]+", "_", path.name.lower().removesuffix(".h")).strip("_")
    # INT8_WIDTH is a macro of C23's <stdint.h>.
    return name if re.match(r"[a-z]", name) and not re.match(r"u?int", name) else f"net_{name}".rstrip("_")


def write_c(network: TrainedNetwork, claims: Mapping[str, object], path: Path, prefix: str | None = None) -> None:
    """Write the network in float32 to the header `path`.

    Args:
        network: the network.
        claims: what the header says of itself: plain data.
        path: the header.
        prefix: what the header's symbols begin with; by default `prefix_of` the path.

    Raises:
        ExportError: the weights do not fit or are not finite, the prefix is no C name, or the file cannot be written.
    """
    layers = lower(network.architecture)
    folded = fold(layers)
    weights = fold_weights(folded, finite_module(network).state_dict())
    about, functions = metadata_of(network, claims), read_functions("float.c")
    header = _Header(prefix_of(path) if prefix is None else prefix, about, folded.layers, "float", functions)
    _add_float_network(header, weights)
    stored = sum(tensor.numel() for tensor in weights.values())
    header.write(path, f"{costs_of(layers).num_params:,} parameters, here {stored:,} numbers of float32")


def write_quantized_c(
    network: QuantizedNetwork, claims: Mapping[str, object], path: Path, prefix: str | None = None
) -> None:
    """Write a network in 8 bits to the header `path`; it computes exactly what `network.logits` does.

    Raises:
        ExportError: a claim is not plain data, the prefix is no C name, or the file cannot be written.
    """
    layers, about = int8_layers(network.architecture).layers, replace(network.metadata, claims=claims)
    prefix = prefix_of(path) if prefix is None else prefix
    header = _Header(prefix, about, layers, "int8_t", read_functions("int8.c"))
    _add_int8_network(header, network)
    num_params = costs_of(lower(network.architecture)).num_params
    stored = f"here {network.num_weights:,} numbers of 8 bits (biases 32), {network.num_bytes:,} bytes with all scales"
    header.write(path, f"{num_params:,} parameters, {stored}")


class _Header:
    """Collects the arrays, the functions and the statements of `forward`.

    Its text has the prefix `nas` until it is written.
    """

    def __init__(
        self, prefix: str, about: Metadata, layers: list[Layer], element_type: str, functions: Functions
    ) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9_]*", prefix):
            raise ExportError(f"`prefix` {prefix!r} must be a lower-case C name, such as 'digits'")
        self.about, self.layers = about, layers
        self.num_classes = layers[-1].output_shape[0]
        self._prefix, self._element_type, self._functions = prefix, element_type, functions
        self._plan = plan_memory(layers)
        self._arrays: list[str] = []
        self._statements: list[str] = []
        self._used: dict[str, str] = {}  # functions that are called, by name, in the order of their first call

    def map_of(self, index: int) -> str:
        """Return the C expression of where layer `index` writes; IMAGE is the network's input."""
        if index == len(self.layers) - 1:
            return "logits"
        offset = self._plan.image if index == IMAGE else self._plan.offsets[index]
        return f"nas_work + {offset}" if offset else "nas_work"

    def map_in_place(self, index: int) -> str:
        """Return `map_of` a layer that overwrites its first source; where that is still needed, it is copied there."""
        place, source = self.map_of(index), self.map_of(self.layers[index].sources[0])
        if place != source:
            self.call("copy", source, place, prod(self.layers[index].output_shape))
        return place

    def name(self, name: str) -> str:
        """Return the C name of an array."""
        return "nas_" + (f"layer{name}" if name[0].isdigit() else name).replace(".", "_")

    def add_array(self, name: str, tensor: Tensor) -> None:
        """Add a constant array of a tensor's elements."""
        values = [_number(value) for value in tensor.flatten().tolist()]
        rows = [", ".join(values[i : i + 8]) for i in range(0, len(values), 8)]
        body = ",\n".join(f"    {row}" for row in rows)
        kind = _C_TYPES[tensor.dtype]
        self._arrays.append(f"NAS_CONST {kind} {self.name(name)}[{len(values)}] = {{\n{body}}};")

    def require(self, function: str) -> None:
        """Add a function that another one calls."""
        self._used.setdefault(function, self._functions.texts[function])

    def call(self, function: str, *arguments: object) -> None:
        """Add a statement to `forward`, and its function."""
        self.require(function)
        self._statements.append(f"    nas_{function}({', '.join(map(str, arguments))});")

    def write(self, path: Path, size: str) -> None:
        """Write the header; `size` says how much it stores."""
        channels, height, width = self.about.input_shape
        values = {
            "size": size,
            # A claim could open or close a comment; in JSON an asterisk may be escaped.
            "metadata": self.about.to_json().replace("*", r"\u002a"),
            "channels": channels,
            "height": height,
            "width": width,
            "classes": self.num_classes,
            "logit": "float" if self._element_type == "float" else f"int32_t in units of 1/{LOGIT_ONE}",
        }
        work_bytes = self._plan.size * (4 if self._element_type == "float" else 1)
        opening = with_prefix(read_template("opening.h"), self._prefix).removesuffix("#endif\n")
        code = [
            self._functions.prelude,
            "",
            *([self._class_names()] if self.about.class_names else []),
            *self._arrays,
            "",
            f"static {self._element_type} nas_work[{self._plan.size}];",
            *(f"\n{text}" for text in self._used.values()),
            "\n/* Raw pixels of one image to logits. */",
            "static inline void nas_forward(const uint8_t *pixels, nas_logit *logits)",
            "{",
            *self._statements,
            "}",
            *(f"\n{text}" for text in read_functions("predict.c").texts.values()),
            "\n#endif\n",
        ]
        text = Template(opening).substitute(values, work_bytes=work_bytes, work_bytes_text=f"{work_bytes:,}")
        try:
            path.write_text(text + with_prefix("\n".join(code), self._prefix), "utf-8")
        except OSError as error:
            raise ExportError(f"cannot write {path}: {error.strerror or error}; choose another `output`") from None

    def _class_names(self) -> str:
        names = ",\n".join(f"    {_string(name)}" for name in self.about.class_names)
        return f"static const char *const nas_class_names[NAS_CLASSES] = {{\n{names}}};"


def _add_float_network(header: _Header, weights: Mapping[str, Tensor]) -> None:
    about, layers = header.about, header.layers
    for name, tensor in weights.items():
        header.add_array(name, tensor.float())
    header.add_array("mean", torch.tensor(about.mean))
    header.add_array("std", torch.tensor(about.std))
    normalization = header.name("mean"), header.name("std")
    channels, height, width = about.input_shape
    header.call("normalize", "pixels", "NAS_HWC", channels, height * width, *normalization, header.map_of(IMAGE))
    for index, layer in enumerate(layers):
        x, y, operation = header.map_of(layer.sources[0]), header.map_of(index), layer.operation
        size = prod(layer.output_shape)
        match operation:
            case Conv2d():
                bias = header.name(f"{layer.group}.bias") if operation.bias else "0"
                weight = header.name(f"{layer.group}.weight")
                shape, geometry = layer.output_shape, _geometry(operation)
                header.call("conv", x, *layer.input_shape, weight, bias, y, *shape, *geometry)
            case Activation(name):
                slope = [header.name(f"{layer.group}.weight")] if operation.num_params else []
                header.call(name, header.map_in_place(index), size, *slope)
            case Add():
                header.call("add", header.map_in_place(index), header.map_of(layer.sources[1]), size)
            case _:
                kind = "max_pool" if isinstance(operation, MaxPool2d) else "average_pool"
                header.call(kind, x, *layer.input_shape, y, *layer.output_shape[1:], *window(layer))


def _add_int8_network(header: _Header, network: QuantizedNetwork) -> None:
    layers, classes = header.layers, header.num_classes
    last = f"{len(layers) - 1}.scale"
    logit_scaling = network.logit_scaling()
    for name, tensor in network.parameters.items():
        if name == last:
            header.add_array(f"{len(layers) - 1}.multiplier", logit_scaling.multiplier)
        elif name != "zeros":  # they stand where they are used
            header.add_array(name, tensor)
    zeros: list[int] = network.parameters["zeros"].tolist()
    header.require("requantize")
    scaling = header.name("image.multiplier"), header.name("image.offset"), IMAGE_SHIFT
    channels, height, width = header.about.input_shape
    header.call("quantize_pixels", "pixels", "NAS_HWC", channels, height * width, *scaling, header.map_of(IMAGE))
    for index, layer in enumerate(layers):
        source, operation, is_last = layer.sources[0], layer.operation, index == len(layers) - 1
        x, x_zero, y, y_zero = header.map_of(source), zeros[source + 1], header.map_of(index), zeros[index + 1]
        bias, multiplier, shift, table = (
            header.name(f"{index}.{part}") for part in ("bias", "multiplier", "shift", "table")
        )
        to_logits = multiplier, logit_scaling.shift, y, classes
        weight = header.name(f"{layer.group}.weight")
        in_shape, out_shape, size = layer.input_shape, layer.output_shape, prod(layer.output_shape)
        match operation:
            case Conv2d() if is_last:
                header.require("scale")
                header.call("conv_logits", x, x_zero, operation.in_channels, weight, bias, *to_logits)
            case Conv2d():
                header.require("window")
                weights = weight, bias, multiplier, shift
                geometry = _geometry(operation)
                header.call("conv", x, x_zero, *in_shape, *weights, y, y_zero, *out_shape, *geometry)
            case Activation():
                header.call("look_up", x, table, y, size)
            case Add():
                other = layer.sources[1]
                terms = header.map_in_place(index), x_zero, header.map_of(other), zeros[other + 1]
                header.call("add", *terms, multiplier, shift, y_zero, size)
            case MaxPool2d():
                header.call("max_pool", x, *in_shape, y, *out_shape[1:], *window(layer))
            case _ if is_last:
                header.require("scale")
                header.call("average_logits", x, x_zero, prod(in_shape[1:]), *to_logits)
            case _:
                scaled = multiplier, shift, y, y_zero
                header.call("average_pool", x, x_zero, *in_shape, *scaled, *out_shape[1:], *window(layer))


def _geometry(operation: Conv2d) -> tuple[int, int, int, int]:
    return operation.kernel, operation.stride, operation.padding, operation.groups


def _number(value: float) -> str:
    if isinstance(value, int):
        return str(value)
    if not math.isfinite(value):
        raise ExportError("the weights are not finite numbers; train the network again")
    text = f"{value:.9g}"  # enough digits for each float32 to come back as itself
    return f"{text}f" if "." in text or "e" in text else f"{text}.0f"


def _string(text: str) -> str:
    """Return `text` as a C string in UTF-8."""
    plain = (
        chr(b) if 32 <= b < 127 and chr(b) not in '"\\?' else f"\\{b:03o}" for b in text.encode()
    )  # ? is a trigraph
    return f'"{"".join(plain)}"'
