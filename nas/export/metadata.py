"""What the exported files of all formats have in common: what they say of themselves, and how images enter them.

Shape legend: N images, C channels, H and W pixels.
"""

from __future__ import annotations

import abc
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nas.arch import Architecture
from nas.errors import ExportError, VerificationError
from nas.model.build import build

BATCH = 1_000  # images that a reader runs at once


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a file carries beside its weights; network inputs are (image / 255 - mean) / std."""

    claims: Mapping[str, object]
    input_shape: tuple[int, int, int]  # channels, height, width
    mean: tuple[float, ...]  # for each channel
    std: tuple[float, ...]  # for each channel

    def to_json(self) -> str:
        """One line of JSON, the inverse of `read_metadata`.

        Raises:
            ExportError: a claim is not plain data, or is not finite.
        """
        plain = {"claims": dict(self.claims), "input_shape": self.input_shape, "mean": self.mean, "std": self.std}
        try:
            return json.dumps(plain, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ExportError(f"the claims cannot be written as JSON: {error}; give finite numbers and text") from None


class LoadedExport(abc.ABC):
    """An exported file that was read back: what it claims, and what it computes."""

    __slots__ = ()
    metadata: Metadata

    @property
    def claims(self) -> Mapping[str, object]:
        """What the file says of itself."""
        return self.metadata.claims

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Channels, height, width of one image."""
        return self.metadata.input_shape

    @abc.abstractmethod
    def logits(self, images: Tensor) -> Tensor:
        """Raw uint8 images (N, C, H, W) to float32 logits (N, classes), computed by the file itself."""


def metadata(
    claims: Mapping[str, object], input_shape: tuple[int, int, int], mean: Sequence[float], std: Sequence[float]
) -> Metadata:
    """The metadata of a network to be written.

    Raises:
        ExportError: `mean` or `std` does not have one usable number for each channel.
    """
    for name, numbers in (("mean", mean), ("std", std)):
        if not _usable(numbers, input_shape[0], name):
            raise ExportError(f"{name} is {list(numbers)} and must be {input_shape[0]} finite numbers, std above 0")
    return Metadata(claims, input_shape, tuple(mean), tuple(std))


def read_metadata(text: object, path: Path) -> Metadata:
    """The metadata in the JSON `text` found in the file at `path`.

    Raises:
        VerificationError: the text is missing or is not what `Metadata.to_json` writes.
    """
    unusable = f"{path} does not say what it is; give a file that `nas export` wrote"
    try:
        plain: Any = json.loads(text) if isinstance(text, str) else None
    except ValueError:
        plain = None
    if not isinstance(plain, dict) or not isinstance(plain.get("claims"), dict):
        raise VerificationError(unusable)
    shape, mean, std = (plain.get(key, []) for key in ("input_shape", "mean", "std"))
    if not isinstance(shape, list) or len(shape) != 3 or any(type(size) is not int or size < 1 for size in shape):
        raise VerificationError(unusable)
    if not _usable(mean, shape[0], "mean") or not _usable(std, shape[0], "std"):
        raise VerificationError(unusable)
    return Metadata(plain["claims"], (shape[0], shape[1], shape[2]), tuple(mean), tuple(std))


def _usable(numbers: Any, channels: int, name: str) -> bool:
    return (
        isinstance(numbers, (list, tuple))
        and len(numbers) == channels
        and all(type(n) in (int, float) and math.isfinite(n) and (n > 0 or name == "mean") for n in numbers)
    )


def loaded_network(architecture: Architecture, state_dict: Mapping[str, Tensor]) -> nn.Module:
    """The network of `nas.model.build` with these weights, in eval mode.

    Raises:
        ExportError: a tensor is missing, unknown, of another shape, or not finite.
    """
    network = build(architecture)
    try:
        network.load_state_dict(state_dict)
    except RuntimeError as error:
        raise ExportError(f"the weights do not fit the architecture, give those of this network: {error}") from None
    if not all(torch.isfinite(tensor).all() for tensor in network.state_dict().values()):
        raise ExportError("the weights are not finite numbers; train the network again")
    return network.eval()


def normalized(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Raw uint8 images (N, C, H, W) to network inputs, float32 (N, C, H, W): (image / 255 - mean) / std."""
    shape = (-1, 1, 1)
    return (images.float().div_(255) - torch.tensor(mean).view(shape)) / torch.tensor(std).view(shape)


def checked_images(images: Tensor, input_shape: tuple[int, int, int]) -> Tensor:
    """`images`, contiguous and on the CPU.

    Raises:
        VerificationError: they are not uint8 (N, *input_shape).
    """
    if images.dtype != torch.uint8 or tuple(images.shape[1:]) != input_shape:
        raise VerificationError(
            f"images are {images.dtype} {tuple(images.shape)}, and the network takes uint8 {('N', *input_shape)}"
        )
    return images.cpu().contiguous()


@torch.inference_mode()
def in_batches(run: Callable[[Tensor], Tensor], images: Tensor, batch: int = BATCH) -> Tensor:
    """`run`, which maps (N, …) to (N, classes), over all images, a batch at a time, so that memory stays bounded."""
    return torch.cat([run(part) for part in torch.split(images, batch)])
