"""An 8-bit network as a file of `torch.save` that is read as data and executes nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nas.arch import architecture_from_plain, architecture_to_plain
from nas.errors import ExportError, NasError, VerificationError, describe
from nas.int8.network import QuantizedNetwork, TensorTypes, parameter_types, scale_types
from nas.model.exported_file import require_file
from nas.model.metadata import read_metadata


def write_int8_weights(network: QuantizedNetwork, claims: Mapping[str, object], path: Path) -> None:
    """Write the network with its claims to `path`.

    Raises:
        ExportError: a claim is not plain data, or the file cannot be written.
    """
    about = replace(network.metadata, claims=claims).to_json()
    architecture = json.dumps(architecture_to_plain(network.architecture))
    try:
        tensors = {"parameters": dict(network.parameters), "scales": dict(network.scales)}
        torch.save({"nas": about, "architecture": architecture, **tensors}, path)
    except (OSError, RuntimeError) as error:
        raise ExportError(f"cannot write {path}: {error}; choose another `output`") from None


def load_int8_weights(path: Path) -> QuantizedNetwork:
    """Return the network that `write_int8_weights` wrote.

    Raises:
        VerificationError: the file is missing, damaged, or of another kind.
    """
    require_file(path)
    try:
        plain: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch says nothing of what a damaged archive raises
        raise VerificationError(f"{path} is not a file of torch.save: {describe(error)}") from error
    plain = plain if isinstance(plain, dict) else {}
    about = read_metadata(plain.get("nas"), path)
    try:
        architecture = architecture_from_plain(json.loads(plain["architecture"]), str(path))
        expected, of_scales = parameter_types(architecture), scale_types(architecture)
    except (KeyError, TypeError, ValueError, NasError) as error:
        raise VerificationError(f"{path} does not describe its network: {describe(error)}") from None
    parameters, scales = plain.get("parameters"), plain.get("scales", {})
    stem = architecture.input
    fits = about.input_shape == (stem.channels, stem.height, stem.width)
    if not fits or _types(parameters) != expected or _types(scales) not in ({}, of_scales):
        raise VerificationError(f"{path}: its parameters are not those of the network that it describes")
    return QuantizedNetwork(architecture, about, parameters, scales)


def _types(tensors: object) -> TensorTypes | None:
    """Return the dtypes and shapes of what should be a dictionary of tensors; None where it is none."""
    if not isinstance(tensors, dict) or not all(isinstance(tensor, Tensor) for tensor in tensors.values()):
        return None
    return {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items()}
