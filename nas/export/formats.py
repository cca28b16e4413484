"""The formats of exported files: the end of a file's name says which."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from nas.errors import ExportError
from nas.export.c.header import write_c
from nas.export.c.load import load_c
from nas.export.int8.network import load_quantized
from nas.export.metadata import LoadedExport
from nas.export.onnx import load_onnx, write_onnx
from nas.export.python_module import module_source
from nas.export.torch_program import load_exported_program, write_exported_program
from nas.model.image_network import state_dict_of
from nas.model.trained_network import TrainedNetwork

FORMATS = {
    ".py": "a Python module, weights beside it",
    ".onnx": "ONNX",
    ".pt2": "torch.export",
    ".h": "C99",
    ".int8.h": "C99 in 8 bits",
    ".int8.pt": "8-bit weights for torch",
}
_FLOAT_WRITERS = {".onnx": write_onnx, ".pt2": write_exported_program, ".h": write_c}
READERS: dict[str, Callable[[Path], LoadedExport]] = {
    ".onnx": load_onnx,
    ".pt2": load_exported_program,
    ".h": load_c,
    ".int8.h": load_c,
    ".int8.pt": load_quantized,
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


def write(network: TrainedNetwork, claims: Mapping[str, object], provenance: str, output: Path) -> None:
    """Write a network in one of the formats that hold its weights as they are.

    Raises:
        ExportError: the format needs a package that is missing, or cannot hold this network.
        OSError, RuntimeError: the file cannot be written.
    """
    kind, weights = format_of(output), state_dict_of(network)
    if kind == ".py":
        source = module_source(
            network.architecture,
            provenance=provenance,
            claims=claims,
            weights_name=output.with_suffix(".pt").name,
            mean=network.mean,
            std=network.std,
        )
        torch.save(weights, output.with_suffix(".pt"))
        output.write_text(source)
    else:
        _FLOAT_WRITERS[kind](network.architecture, weights, network.mean, network.std, claims, output)
