"""torch.export: the network as a program that torch, AOTInductor and ExecuTorch take, without this project's code.

The program takes float32 (N, C, H, W), already normalized as (image / 255 - mean) / std, and gives float32 logits
(N, classes). N is free. Its claims, shape, mean, std and class names lie in the file as the extra file 'nas.json'.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from nas.errors import ExportError, VerificationError
from nas.export.loaded import LoadedExport, check_images, finite_module, require_file, run_in_batches
from nas.export.metadata import Metadata, metadata_of, read_metadata
from nas.model.image_network import normalize
from nas.model.trained_network import TrainedNetwork

_EXTRA_FILE = "nas.json"


def write_torch_program(network: TrainedNetwork, claims: Mapping[str, object], path: Path) -> None:
    """Write the network with its weights to `path`, which torch wants to end in .pt2.

    Raises:
        ExportError: the weights do not fit, or the file cannot be written.
    """
    about = metadata_of(network, claims)
    example = torch.zeros(2, *about.input_shape)  # one image would be taken for a constant
    batch = torch.export.Dim("N", min=1)
    program = torch.export.export(finite_module(network), (example,), dynamic_shapes={"x": {0: batch}})
    try:
        torch.export.save(program, path, extra_files={_EXTRA_FILE: about.to_json()})
    except (OSError, RuntimeError) as error:
        raise ExportError(f"cannot write {path}: {error}; choose another `output`") from None


@dataclass(frozen=True, slots=True)
class TorchProgram(LoadedExport):
    """A torch.export file that was read back."""

    path: Path
    metadata: Metadata
    num_params: int  # elements of the program's parameters, each tensor once
    net: nn.Module  # normalized float32 (N, C, H, W) to logits (N, classes)

    def logits(self, images: Tensor) -> Tensor:
        """Return the logits (N, classes) of raw uint8 images (N, C, H, W), computed by the program."""
        mean, std = self.metadata.mean, self.metadata.std
        images = check_images(images, self.input_shape)
        return run_in_batches(lambda batch: self.net(normalize(batch, mean, std)), images)

    def derive(self) -> dict[str, object]:
        """Return the number of parameters that the program holds."""
        return {"num_params": self.num_params}


def load_torch_program(path: Path) -> TorchProgram:
    """Return the torch.export file at `path`. Reading it unpickles, which may run code: trust it first.

    Raises:
        VerificationError: the file is missing, is no torch.export program, or was not written by
            `write_torch_program`.
    """
    require_file(path)
    extra_files = {_EXTRA_FILE: ""}
    try:
        program = torch.export.load(path, extra_files=extra_files)
    except Exception as error:  # torch says nothing of what a damaged archive raises
        raise VerificationError(f"{path} is not a torch.export program: {type(error).__name__}: {error}") from error
    about = read_metadata(extra_files[_EXTRA_FILE], path)
    num_params = sum(parameter.numel() for parameter in program.parameters())
    return TorchProgram(path, about, num_params, program.module())
