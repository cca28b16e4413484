"""torch.export: the network as a program that torch, AOTInductor and ExecuTorch take, without this project's code.

The program takes float32 (N, C, H, W), already normalized as (image / 255 - mean) / std, and gives float32 logits
(N, classes). N is free. Its claims, shape, mean and std lie in the file as the extra file 'nas.json'.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from nas.arch import Architecture
from nas.errors import ExportError, VerificationError
from nas.export.metadata import (
    LoadedExport,
    Metadata,
    checked_images,
    in_batches,
    loaded_network,
    metadata,
    normalized,
    read_metadata,
)

_EXTRA_FILE = "nas.json"


def write_exported_program(
    architecture: Architecture,
    state_dict: Mapping[str, Tensor],
    mean: Sequence[float],
    std: Sequence[float],
    claims: Mapping[str, object],
    path: Path,
) -> None:
    """Writes the network with its weights to `path`, which torch wants to end in .pt2.

    `state_dict` has the keys of `nas.model.build`. Inputs of the program are (image / 255 - mean) / std.

    Raises:
        ExportError: the weights do not fit, or the file cannot be written.
    """
    stem = architecture.input
    about = metadata(claims, (stem.channels, stem.height, stem.width), mean, std).to_json()
    network = loaded_network(architecture, state_dict)
    example = torch.zeros(2, *(stem.channels, stem.height, stem.width))  # one image would be taken for a constant
    program = torch.export.export(network, (example,), dynamic_shapes={"x": {0: torch.export.Dim("N", min=1)}})
    try:
        torch.export.save(program, path, extra_files={_EXTRA_FILE: about})
    except (OSError, RuntimeError) as error:
        raise ExportError(f"cannot write {path}: {error}; choose another -o") from None


@dataclass(frozen=True, slots=True)
class ExportedProgram(LoadedExport):
    """A torch.export file that was read back."""

    path: Path
    metadata: Metadata
    num_params: int  # elements of the program's parameters, each tensor once
    net: nn.Module  # normalized float32 (N, C, H, W) to logits (N, classes)

    def logits(self, images: Tensor) -> Tensor:
        """Raw uint8 images (N, C, H, W) to float32 logits (N, classes), computed by the program.

        Raises:
            VerificationError: the images are not uint8 of the file's shape.
        """
        images = checked_images(images, self.input_shape)
        return in_batches(lambda batch: self.net(normalized(batch, self.metadata.mean, self.metadata.std)), images)


def load_exported_program(path: Path) -> ExportedProgram:
    """The torch.export file at `path`.

    Raises:
        VerificationError: the file is missing, is not an exported program, or was not written by
            `write_exported_program`.
    """
    if not path.is_file():
        raise VerificationError(f"{path} is not there; give the path of a file that `nas export` wrote")
    extra_files = {_EXTRA_FILE: ""}
    try:
        program = torch.export.load(path, extra_files=extra_files)
    except Exception as error:  # torch says nothing of what a damaged archive raises
        raise VerificationError(f"{path} is not an exported program: {type(error).__name__}: {error}") from error
    about = read_metadata(extra_files[_EXTRA_FILE], path)
    num_params = sum(parameter.numel() for parameter in program.parameters())
    return ExportedProgram(path, about, num_params, program.module())
