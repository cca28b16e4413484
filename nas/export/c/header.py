"""A trained network as one C99 header for microcontrollers: constant weights, no malloc, nothing but <math.h>.

`nas_forward(pixels, logits)` takes one raw image, uint8 (channels, height, width), and normalizes it itself. Batch
norm is folded into convolutions. The header keeps all maps in one static block of memory, so that it is for one
thread at a time; include it in one file.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod
from pathlib import Path

import torch
from torch import Tensor

from nas.arch import IMAGE, Architecture, Layer, costs_of, lower
from nas.arch.operations import Activation, Add, Conv2d, MaxPool2d
from nas.errors import ExportError
from nas.export.c.memory_plan import plan_memory
from nas.export.c.templates import FLOAT, INT8, NEEDS_MATH, PREDICT
from nas.export.fold_batch_norm import fold, folded_weights
from nas.export.int8.network import IMAGE_SHIFT, QuantizedNetwork, quantizable, window
from nas.export.metadata import Metadata, loaded_network, metadata

METADATA = "nas: "  # what the line of JSON in the header's comment begins with


def write_c(
    architecture: Architecture,
    state_dict: Mapping[str, Tensor],
    mean: Sequence[float],
    std: Sequence[float],
    claims: Mapping[str, object],
    path: Path,
    *,
    prefix: str = "nas",
) -> None:
    """Writes the network in float32 to the header `path`.

    Args:
        architecture: the network.
        state_dict: its trained weights, with the keys of `nas.model.build`.
        mean: the network's inputs are (image / 255 - mean) / std.
        std: see `mean`.
        claims: what the header says of itself: plain data.
        path: the header.
        prefix: what the header's symbols begin with, so that several networks fit in one program.

    Raises:
        ExportError: the weights do not fit or are not finite, or the file cannot be written.
    """
    stem = architecture.input
    about = metadata(claims, (stem.channels, stem.height, stem.width), mean, std)
    layers = lower(architecture)
    folded = fold(layers)
    weights = folded_weights(folded, loaded_network(architecture, state_dict).state_dict())
    header = _Header(prefix, about, architecture, folded.layers, 4)
    header.floats(weights)
    stored = sum(tensor.numel() for tensor in weights.values())
    header.write(path, f"{costs_of(layers).num_params:,} parameters, here {stored:,} numbers of float32")


def write_quantized_c(
    network: QuantizedNetwork, claims: Mapping[str, object], path: Path, *, prefix: str = "nas"
) -> None:
    """Writes a network in 8 bits to the header `path`; it computes exactly what `network.logits` does.

    Raises:
        ExportError: a claim is not plain data, or the file cannot be written.
    """
    layers = quantizable(network.architecture).layers
    header = _Header(prefix, replace(network.metadata, claims=claims), network.architecture, layers, 1)
    header.whole_numbers(network)
    num_params = costs_of(lower(network.architecture)).num_params
    stored = f"here {network.num_weights:,} numbers of 8 bits (biases 32), {network.num_bytes:,} bytes with all scales"
    header.write(path, f"{num_params:,} parameters, {stored}")


class _Header:
    """Collects the arrays and the statements of `forward`; maps are written as places in `PREFIX_work`."""

    def __init__(
        self, prefix: str, about: Metadata, architecture: Architecture, layers: list[Layer], element_bytes: int
    ) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9_]*", prefix):
            raise ExportError(f"the prefix {prefix!r} must be a lower-case C name, such as 'nas'")
        self._prefix, self._about, self._layers, self._classes = prefix, about, layers, architecture.classes
        self._plan = plan_memory(layers)
        self._element_bytes = element_bytes
        self._arrays: list[str] = []
        self._statements: list[str] = []
        self._used: dict[str, str] = {}  # the functions that are called, in the order of their first call

    def floats(self, weights: Mapping[str, Tensor]) -> None:
        """The network in float32."""
        for name, tensor in weights.items():
            self._array("float", name, tensor.float())
        self._array("float", "mean", torch.tensor(self._about.mean))
        self._array("float", "std", torch.tensor(self._about.std))
        self._pixels("((float)pixels[i] / 255.0f - PREFIX_mean[c]) / PREFIX_std[c]")
        for index, layer in enumerate(self._layers):
            x, y, operation = self._place(layer.sources[0]), self._place(index), layer.operation
            size = prod(layer.output_shape)
            match operation:
                case Conv2d():
                    bias = self._name(f"{layer.group}.bias") if operation.bias else "0"
                    weight = self._name(f"{layer.group}.weight")
                    shape, geometry = layer.output_shape, _geometry(operation)
                    self._call(FLOAT, "conv", x, *layer.input_shape, weight, bias, y, *shape, *geometry)
                case Activation(name):
                    slope = [self._name(f"{layer.group}.weight")] * bool(operation.num_params)
                    self._call(FLOAT, name, self._in_place(index), size, *slope)
                case Add():
                    self._call(FLOAT, "add", self._in_place(index), self._place(layer.sources[1]), size)
                case _:
                    kind = "max_pool" if isinstance(operation, MaxPool2d) else "average_pool"
                    self._call(FLOAT, kind, x, *layer.input_shape, y, *layer.output_shape[1:], *window(layer))

    def whole_numbers(self, network: QuantizedNetwork) -> None:
        """The network in 8 bits."""
        types = {torch.int8: "int8_t", torch.int32: "int32_t", torch.uint8: "uint8_t", torch.float32: "float"}
        for name, tensor in network.parameters.items():
            if name != "zeros":  # they stand where they are used
                self._array(types[tensor.dtype], name, tensor)
        zeros: list[int] = network.parameters["zeros"].tolist()
        self._require(INT8, "requantized")
        product = "(int64_t)pixels[i] * PREFIX_image_multiplier[c] + PREFIX_image_offset[c]"
        self._pixels(f"PREFIX_requantized({product}, {IMAGE_SHIFT}, 0)")
        for index, layer in enumerate(self._layers):
            source, operation, last = layer.sources[0], layer.operation, index == len(self._layers) - 1
            x, x_zero, y, y_zero = self._place(source), zeros[source + 1], self._place(index), zeros[index + 1]
            own = {part: self._name(f"{index}.{part}") for part in ("bias", "multiplier", "shift", "scale", "table")}
            scaling = own["multiplier"], own["shift"]
            weight = self._name(f"{layer.group}.weight")
            classes, size = self._classes, prod(layer.output_shape)
            match operation:
                case Conv2d() if last:
                    self._call(
                        INT8, "conv_logits", x, x_zero, operation.in_channels, weight, own["bias"], own["scale"], y,
                        classes,
                    )  # fmt: skip
                case Conv2d():
                    self._require(INT8, "window")
                    self._call(
                        INT8, "conv", x, x_zero, *layer.input_shape, weight, own["bias"], *scaling, y, y_zero,
                        *layer.output_shape, *_geometry(operation),
                    )  # fmt: skip
                case Activation():
                    self._call(INT8, "look_up", x, own["table"], y, size)
                case Add():
                    other = layer.sources[1]
                    at = self._in_place(index)
                    self._call(INT8, "add", at, x_zero, self._place(other), zeros[other + 1], *scaling, y_zero, size)
                case MaxPool2d():
                    self._call(INT8, "max_pool", x, *layer.input_shape, y, *layer.output_shape[1:], *window(layer))
                case _ if last:
                    count = prod(layer.input_shape[1:])
                    self._call(INT8, "average_logits", x, x_zero, count, own["scale"], y, classes)
                case _:
                    self._call(
                        INT8, "average_pool", x, x_zero, *layer.input_shape, *scaling, y, y_zero,
                        *layer.output_shape[1:], *window(layer),
                    )  # fmt: skip

    def write(self, path: Path, size: str) -> None:
        """Writes the header; `size` says how much it stores."""
        text = self._text(size).replace("PREFIX", self._prefix).replace("MACRO", self._prefix.upper())
        # A claim could open or close a comment; in JSON an asterisk may be escaped.
        about = self._about.to_json().replace("*", r"\u002a")
        try:
            path.write_text(text.replace(f" * {METADATA}", f" * {METADATA}{about}", 1))
        except OSError as error:
            raise ExportError(f"cannot write {path}: {error.strerror or error}; choose another -o") from None

    def _text(self, size: str) -> str:
        channels, height, width = self._about.input_shape
        real = self._element_bytes == 4
        work_bytes = self._plan.size * self._element_bytes
        lines = [
            "/*",
            f" * A network of {size}",
            " * (batch norm is folded into the convolutions ahead of it).",
            f" * Memory: {work_bytes:,} bytes, static. Include this in one file; call it from one thread at a time.",
            " *",
            " *   void PREFIX_forward(const uint8_t *pixels, float *logits);",
            " *   int PREFIX_predict(const uint8_t *pixels);",
            " *",
            f" * One image: {channels} x {height} x {width} bytes, channel by channel, row by row, 0 to 255 as it is.",
            f" * {METADATA}",
            " */",
            "#ifndef MACRO_NETWORK_H",
            "#define MACRO_NETWORK_H",
            "",
            *(["#include <math.h>"] if any(name in self._used for name in NEEDS_MATH) else []),
            "#include <stdint.h>",
            "",
            f"#define MACRO_CHANNELS {channels}",
            f"#define MACRO_HEIGHT {height}",
            f"#define MACRO_WIDTH {width}",
            f"#define MACRO_CLASSES {self._classes}",
            f"#define MACRO_WORK_BYTES {work_bytes}",
            "",
        ]
        if real:
            lines += [
                "/* What sums are kept in; define it as float where double is slow and the last digit may differ. */",
                "#ifndef PREFIX_sum",
                "#define PREFIX_sum double",
                "#endif",
                "",
            ]
        lines += [
            *self._arrays,
            "",
            f"static {'float' if real else 'int8_t'} PREFIX_work[{self._plan.size}];",
            *self._used.values(),
            "/* Raw pixels of one image to logits. */",
            "static inline void PREFIX_forward(const uint8_t *pixels, float *logits)",
            "{",
            *(f"    {statement}" for statement in self._statements),
            "}",
            PREDICT,
            "#endif",
        ]
        return "\n".join(lines) + "\n"

    def _array(self, kind: str, name: str, tensor: Tensor) -> None:
        values = [_number(value) for value in tensor.flatten().tolist()]
        rows = [", ".join(values[i : i + 8]) for i in range(0, len(values), 8)]
        body = ",\n".join(f"    {row}" for row in rows)
        self._arrays.append(f"static const {kind} {self._name(name)}[{len(values)}] = {{\n{body}}};")

    def _name(self, name: str) -> str:
        return "PREFIX_" + (f"layer{name}" if name[0].isdigit() else name).replace(".", "_")

    def _pixels(self, value: str) -> None:
        count = prod(self._about.input_shape[1:])
        place = f"i + {self._plan.image}" if self._plan.image else "i"
        self._statements += [
            "for (int c = 0; c < MACRO_CHANNELS; c++)",
            f"    for (int i = c * {count}; i < (c + 1) * {count}; i++)",
            f"        PREFIX_work[{place}] = {value};",
        ]

    def _place(self, index: int) -> str:
        if index == len(self._layers) - 1:
            return "logits"
        offset = self._plan.image if index == IMAGE else self._plan.offsets[index]
        return f"PREFIX_work + {offset}" if offset else "PREFIX_work"

    def _in_place(self, index: int) -> str:
        place = self._place(index)
        assert place == self._place(self._layers[index].sources[0])
        return place

    def _require(self, templates: Mapping[str, str], name: str) -> None:
        self._used.setdefault(name, templates[name].removesuffix("\n"))

    def _call(self, templates: Mapping[str, str], name: str, *arguments: object) -> None:
        self._require(templates, name)
        self._statements.append(f"PREFIX_{name}({', '.join(map(str, arguments))});")


def _geometry(operation: Conv2d) -> tuple[int, int, int, int]:
    return operation.kernel, operation.stride, operation.padding, operation.groups


def _number(value: float) -> str:
    if isinstance(value, int):
        return str(value)
    if not math.isfinite(value):
        raise ExportError("the weights are not finite numbers; train the network again")
    text = f"{value:.9g}"  # enough digits for each float32 to come back as itself
    return f"{text}f" if "." in text or "e" in text else f"{text}.0f"
