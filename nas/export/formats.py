"""The formats of exported files: the end of a file's name says which; without one it is a folder of firmware."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from nas.arch import Input
from nas.errors import ExportError, UsageError
from nas.export.c.firmware import Example, write_firmware
from nas.export.c.header import write_c, write_quantized_c
from nas.export.c.load import load_c
from nas.export.int8_weights import load_int8_weights, write_int8_weights
from nas.export.onnx.float32 import load_onnx, write_onnx
from nas.export.onnx.int8 import load_int8_onnx, write_int8_onnx
from nas.export.python_module import load_python_module, write_python_module
from nas.export.torch_program import load_torch_program, write_torch_program
from nas.int8.network import QuantizedNetwork
from nas.model.exported_file import LoadedExport
from nas.model.trained_network import TrainedNetwork

FORMATS = {
    ".py": "a Python module, weights beside it",
    ".onnx": "ONNX",
    ".pt2": "torch.export",
    ".h": "C99",
    ".int8.h": "C99 in 8 bits",
    ".int8.pt": "8-bit weights for torch",
    ".int8.onnx": "ONNX in 8 bits",
}
FIRMWARE = "/"  # the format of a folder
_RAW = "with values 0 to 255 as they are"
_INPUTS = {
    ".py": "images ({many}) as float32, normalized: (image / 255 - MEAN) / STD, which stand in the module",
    ".onnx": f"`images`, float32 ({{many}}), {_RAW}: the graph normalizes them",
    ".pt2": f"images, float32 ({{many}}), {_RAW}: the program normalizes them",
    ".h": f"one image, uint8 ({{one}}), {_RAW}: the code normalizes it",
    ".int8.h": f"one image, uint8 ({{one}}), {_RAW}: the code normalizes it",
    FIRMWARE: f"one image, uint8 ({{one}}), {_RAW}: the code normalizes it",
    ".int8.pt": f"images, uint8 ({{many}}), {_RAW}: the network normalizes them",
    ".int8.onnx": f"`images`, float32 ({{many}}), {_RAW}: the graph normalizes them",
}
_INT8 = (".int8.h", ".int8.pt", ".int8.onnx", FIRMWARE)
_HEADERS = (".h", ".int8.h", FIRMWARE)
_READERS: dict[str, Callable[[Path], LoadedExport]] = {
    ".py": load_python_module,
    ".onnx": load_onnx,
    ".pt2": load_torch_program,
    ".h": load_c,
    ".int8.h": load_c,
    ".int8.pt": load_int8_weights,
    ".int8.onnx": load_int8_onnx,
}


def format_of(path: Path) -> str:
    """Return the ending of a file's name that says its format, or `FIRMWARE` for a folder or a name without an ending.

    Raises:
        ExportError: it says none.
    """
    if path.is_dir() or "." not in path.name:
        return FIRMWARE
    for suffix in sorted(FORMATS, key=len, reverse=True):
        if path.name.endswith(suffix) and path.name != suffix:
            return suffix
    known = ", ".join(f"{suffix} ({what})" for suffix, what in FORMATS.items())
    raise ExportError(
        f"{path}: the name says the format and must end in one of {known}; without an ending it is a "
        "folder of firmware in 8 bits"
    )


def is_int8(path: Path) -> bool:
    """Return whether the format is one in 8 bits. Raises ExportError as `format_of` does."""
    return format_of(path) in _INT8


def input_text(path: Path, shape: Input) -> str:
    """Return what a network in the format of `path` takes."""
    one = f"{shape.channels}, {shape.height}, {shape.width}"
    return _INPUTS[format_of(path)].format(one=one, many=f"N, {one}")


def require_prefix_fits(path: Path, prefix: str | None) -> None:
    """Raise UsageError where a prefix is given for a format without symbols. Raises ExportError as `format_of`."""
    if prefix is not None and format_of(path) not in _HEADERS:
        raise UsageError(f"`prefix` {prefix} is for C headers, and {path} is none; leave it out")


def write(
    network: TrainedNetwork,
    claims: Mapping[str, object],
    provenance: str,
    output: Path,
    prefix: str | None = None,
) -> None:
    """Write a network in one of the formats that hold its weights as they are.

    Args:
        network: the network.
        claims: what the file says of itself.
        provenance: where the network comes from; only a Python module has a place for it.
        output: the file.
        prefix: what the symbols of a C header begin with; by default the file's name.

    Raises:
        ExportError: the name asks for no such format, or the format needs a package that is missing, or cannot hold
            this network.
        OSError, RuntimeError: the file cannot be written.
    """
    if is_int8(output):
        raise ExportError(f"{output}: an 8-bit network needs images to calibrate with; export it from a study")
    require_prefix_fits(output, prefix)
    match format_of(output):
        case ".py":
            write_python_module(network, claims, output, provenance)
        case ".onnx":
            write_onnx(network, claims, output)
        case ".pt2":
            write_torch_program(network, claims, output)
        case _:
            write_c(network, claims, output, prefix)


def write_int8(
    network: QuantizedNetwork,
    claims: Mapping[str, object],
    output: Path,
    prefix: str | None = None,
    example: Example | None = None,
) -> None:
    """Write a network in one of the 8-bit formats; `prefix` as for `write`, `example` for firmware.

    Raises:
        ExportError: the name asks for no such format, or the file cannot be written.
    """
    if not is_int8(output):
        raise ExportError(
            f"{output}: the name must end in one of .int8.h, .int8.pt, .int8.onnx or / for a network in 8 bits"
        )
    require_prefix_fits(output, prefix)
    match format_of(output):
        case ".int8.h":
            write_quantized_c(network, claims, output, prefix)
        case ".int8.pt":
            write_int8_weights(network, claims, output)
        case ".int8.onnx":
            write_int8_onnx(network, claims, output)
        case _:
            if example is None:
                raise ExportError(f"{output}: firmware takes an image to check itself with; export it from a study")
            write_firmware(network, claims, example, output, prefix)


def load(path: Path) -> LoadedExport:
    """Return an exported file of any format. A .py is executed and a .h compiled and run, here: trust them first.

    Raises:
        VerificationError: the file is missing, damaged, or not one of ours.
        ExportError: the name says no format, or reading it needs a package or a compiler that is missing.
    """
    return _READERS[format_of(path)](path)
