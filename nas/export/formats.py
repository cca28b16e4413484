"""The formats of exported files: the end of a file's name says which."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from nas.errors import ExportError
from nas.export.c.header import write_c, write_quantized_c
from nas.export.c.load import load_c
from nas.export.int8.network import QuantizedNetwork
from nas.export.int8_weights import load_int8_weights, write_int8_weights
from nas.export.loaded import LoadedExport
from nas.export.onnx import load_onnx, write_onnx
from nas.export.python_module import load_python_module, write_python_module
from nas.export.torch_program import load_torch_program, write_torch_program
from nas.model.trained_network import TrainedNetwork

FORMATS = {
    ".py": "a Python module, weights beside it",
    ".onnx": "ONNX",
    ".pt2": "torch.export",
    ".h": "C99",
    ".int8.h": "C99 in 8 bits",
    ".int8.pt": "8-bit weights for torch",
}
_FLOAT_WRITERS: dict[str, Callable[[TrainedNetwork, Mapping[str, object], Path], None]] = {
    ".onnx": write_onnx,
    ".pt2": write_torch_program,
    ".h": write_c,
}
_INT8_WRITERS: dict[str, Callable[[QuantizedNetwork, Mapping[str, object], Path], None]] = {
    ".int8.h": write_quantized_c,
    ".int8.pt": write_int8_weights,
}
_READERS: dict[str, Callable[[Path], LoadedExport]] = {
    ".py": load_python_module,
    ".onnx": load_onnx,
    ".pt2": load_torch_program,
    ".h": load_c,
    ".int8.h": load_c,
    ".int8.pt": load_int8_weights,
}


def format_of(path: Path) -> str:
    """Return the ending of a file's name that says its format.

    Raises:
        ExportError: it says none.
    """
    for suffix in sorted(FORMATS, key=len, reverse=True):
        if path.name.endswith(suffix) and path.name != suffix:
            return suffix
    known = ", ".join(f"{suffix} ({what})" for suffix, what in FORMATS.items())
    raise ExportError(f"{path}: the name says the format and must end in one of {known}")


def is_int8(path: Path) -> bool:
    """Return whether the format is one in 8 bits. Raises ExportError as `format_of` does."""
    return format_of(path) in _INT8_WRITERS


def write(network: TrainedNetwork, claims: Mapping[str, object], provenance: str, output: Path) -> None:
    """Write a network in one of the formats that hold its weights as they are.

    `provenance` says where the network comes from; only a Python module has a place for it.

    Raises:
        ExportError: the name asks for no such format, or the format needs a package that is missing, or cannot hold
            this network.
        OSError, RuntimeError: the file cannot be written.
    """
    if is_int8(output):
        raise ExportError(f"{output}: an 8-bit network needs images to calibrate with; export it from a study")
    if format_of(output) == ".py":
        write_python_module(network, claims, output, provenance)
    else:
        _FLOAT_WRITERS[format_of(output)](network, claims, output)


def write_int8(network: QuantizedNetwork, claims: Mapping[str, object], output: Path) -> None:
    """Write a network in one of the 8-bit formats.

    Raises:
        ExportError: the name asks for no such format, or the file cannot be written.
    """
    if not is_int8(output):
        raise ExportError(f"{output}: the name must end in one of {', '.join(_INT8_WRITERS)} for a network in 8 bits")
    _INT8_WRITERS[format_of(output)](network, claims, output)


def load(path: Path) -> LoadedExport:
    """Return an exported file of any format. A .py or .pt2 is executed and a .h compiled and run: trust them first.

    Raises:
        VerificationError: the file is missing, damaged, or not one of ours.
        ExportError: the name says no format, or reading it needs a package or a compiler that is missing.
    """
    return _READERS[format_of(path)](path)
