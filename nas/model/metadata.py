"""What a network says of itself in a file of any format, as one line of JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.errors import ExportError, VerificationError
from nas.model.trained_network import TrainedNetwork

MAX_NUMBERS = 2**26  # of one image: 4,096 by 4,096 pixels of three colors


LATER_CLAIMS = frozenset({"deployed_params"})  # that files of earlier versions do not make


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a file carries beside its weights; network inputs are (image / 255 - mean) / std."""

    claims: Mapping[str, object]
    input_shape: tuple[int, int, int]  # channels, height, width
    mean: tuple[float, ...]  # for each channel
    std: tuple[float, ...]  # for each channel
    class_names: tuple[str, ...] = ()  # by logit; empty in files of version 0.1

    def to_json(self) -> str:
        """Return one line of JSON, the inverse of `read_metadata`.

        Raises:
            ExportError: a claim is not plain data, or is not finite.
        """
        plain = {"claims": dict(self.claims), "input_shape": self.input_shape, "mean": self.mean, "std": self.std}
        try:
            return json.dumps(plain | {"classes": self.class_names}, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ExportError(f"the claims cannot be written as JSON: {error}; give finite numbers and text") from None


def metadata_of(network: TrainedNetwork, claims: Mapping[str, object]) -> Metadata:
    """Return the metadata of a network to be written.

    Raises:
        ExportError: `mean` or `std` does not have one usable number for each channel, or a class has no name.
    """
    stem, classes = network.architecture.input, network.architecture.classes
    for name, numbers in (("mean", network.mean), ("std", network.std)):
        if not _is_usable(numbers, stem.channels, name):
            raise ExportError(f"{name} is {list(numbers)} and must be {stem.channels} finite numbers, std above 0")
    if len(network.class_names) != classes:
        raise ExportError(f"there are {len(network.class_names)} class names for {classes} logits; give one for each")
    shape = (stem.channels, stem.height, stem.width)
    return Metadata(claims, shape, tuple(network.mean), tuple(network.std), tuple(network.class_names))


def read_metadata(text: object, path: Path) -> Metadata:
    """Return the metadata in the JSON `text` found in the file at `path`.

    Raises:
        VerificationError: the text is missing or is not what `Metadata.to_json` writes.
    """
    try:
        plain: Any = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        plain = None
    if not isinstance(plain, dict) or not isinstance(plain.get("claims"), dict):
        plain = {"claims": {}}  # without a shape, which is refused below
    shape, mean, std, names = (plain.get(key, []) for key in ("input_shape", "mean", "std", "classes"))
    if (
        not is_input_shape(shape)
        or not _is_usable(mean, shape[0], "mean")
        or not _is_usable(std, shape[0], "std")
        or not isinstance(names, list)
        or any(not isinstance(name, str) for name in names)
    ):
        raise VerificationError(f"{path} does not say what it is; give a file that `nas export` wrote")
    return Metadata(plain["claims"], (shape[0], shape[1], shape[2]), tuple(mean), tuple(std), tuple(names))


def is_input_shape(shape: Any) -> bool:
    """Return whether `shape` is (channels, height, width) of an image that a reader can hold."""
    is_triple = isinstance(shape, (list, tuple)) and len(shape) == 3
    return is_triple and all(type(n) is int and n > 0 for n in shape) and math.prod(shape) <= MAX_NUMBERS


def _is_usable(numbers: Any, channels: int, name: str) -> bool:
    return (
        isinstance(numbers, (list, tuple))
        and len(numbers) == channels
        and all(type(n) in (int, float) and math.isfinite(n) and (n > 0 or name == "mean") for n in numbers)
    )
