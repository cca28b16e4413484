"""A network in 8 bits as a folder to build from: the header, a program that checks it on one image, and a Makefile.

The program runs on the machine at hand and on a Cortex-M in QEMU.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from string import Template

from torch import Tensor

from nas.arch import lower
from nas.costs import costs_of, flash_bytes, plan_memory, ram_bytes
from nas.errors import ExportError
from nas.export.c.header import write_quantized_c
from nas.export.c.templates import read_template, with_prefix
from nas.int8.network import LOGIT_ONE, QuantizedNetwork, int8_layers

DEFAULT_PREFIX = "net"
_FILES = ("README.md", "Makefile", "main.c", "image.h", "cortex_m.c", "cortex_m.ld")
_COLUMNS = 28  # numbers on a line, where an image is wider


@dataclass(frozen=True, slots=True)
class Example:
    """An image for the program to check itself with."""

    pixels: Tensor  # uint8 (C, H, W)
    label: int
    what: str  # such as 'test image 0 of mnist'


def write_firmware(
    network: QuantizedNetwork, claims: Mapping[str, object], example: Example, folder: Path, prefix: str | None = None
) -> Path:
    """Write the folder, over the files of this export that are there, and return its header.

    Args:
        network: the network.
        claims: what the header says of itself.
        example: the image of the program.
        folder: where to write; it is made.
        prefix: what symbols begin with, and what the header is called; by default `DEFAULT_PREFIX`.

    Raises:
        ExportError: the prefix is no C name, or a file cannot be written.
    """
    prefix = DEFAULT_PREFIX if prefix is None else prefix
    values = _values(network, claims, example) | {"prefix": prefix, "header": f"{prefix}.h"}
    texts = {name: Template(read_template(f"firmware/{name}")).safe_substitute(values) for name in _FILES}
    header = folder / f"{prefix}.h"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_quantized_c(network, claims, header, prefix)
        for name, text in texts.items():
            (folder / name).write_text(with_prefix(text, prefix), "utf-8")
    except OSError as error:
        raise ExportError(f"cannot write {folder}: {error.strerror or error}; choose another `output`") from None
    return header


def header_of(folder: Path) -> Path:
    """Return the header of a folder that `write_firmware` wrote; where there is none, the one that it usually has."""
    headers = [path for path in sorted(folder.glob("*.h")) if path.name != "image.h"]
    return headers[0] if len(headers) == 1 else folder / f"{DEFAULT_PREFIX}.h"


def _values(network: QuantizedNetwork, claims: Mapping[str, object], example: Example) -> dict[str, object]:
    about, layers = network.metadata, lower(network.architecture)
    channels, height, width = about.input_shape
    logits = (network.logits(example.pixels.unsqueeze(0))[0] * LOGIT_ONE).int().tolist()
    work = plan_memory(int8_layers(network.architecture).layers).size
    return {
        "name": claims.get("name", "a network"),
        "dataset": claims.get("dataset", "its images"),
        "flash": f"{flash_bytes(layers):,}",
        "stored": f"{network.num_bytes:,}",
        "ram": f"{ram_bytes(layers):,}",
        "work": f"{work:,}",
        "stack": f"{ram_bytes(layers) - work:,}",
        "num_macs": f"{costs_of(layers).num_macs:,}",
        "accuracy": _accuracy(claims),
        "channels": channels,
        "height": height,
        "width": width,
        "size": prod(about.input_shape),
        "classes": len(logits),
        "what": example.what[0].upper() + example.what[1:],
        "class_name": _in_comment(about.class_names[example.label]),
        "pixels": _pixels(example.pixels),
        "expected": ", ".join(map(str, logits)),
        "logit_one": LOGIT_ONE,
    }


def _accuracy(claims: Mapping[str, object]) -> str:
    for images in ("test", "validation"):
        name = f"weights_{images}_accuracy"
        if isinstance(claims.get(name), float):
            return f"{claims[name]:.2f} % of the {images} images, {claims[f'float_{name}']:.2f} % in float32"
    return "not measured"


def _pixels(pixels: Tensor) -> str:
    """Return the numbers of an image, a row on each line where it is narrow enough to be seen."""
    width = pixels.shape[-1]
    columns = width if width <= _COLUMNS else _COLUMNS
    numbers = pixels.flatten().tolist()
    rows = [numbers[i : i + columns] for i in range(0, len(numbers), columns)]
    return ",\n".join("    " + ",".join(f"{n:3d}" for n in row) for row in rows)


def _in_comment(text: str) -> str:
    """Return text that ends no comment."""
    return ascii(text).replace("*/", "* /").replace("?", r"\x3f")
