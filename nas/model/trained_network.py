"""A trained network as one value, and the file that a study keeps it in.

The file is in the safetensors format: reading it runs no code, and needs no torch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, numpy

from nas.arch import Architecture, Recipe, architecture_from_plain, architecture_to_plain
from nas.decode import decode, encode
from nas.errors import InvalidError, StudyError, first_line

Weights = Mapping[str, np.ndarray[Any, Any]]
_KEY = "nas"  # of the file's metadata


@dataclass(frozen=True, eq=False)
class TrainedNetwork:
    """All that it takes to use a network: network inputs are (image / 255 - mean) / std."""

    architecture: Architecture
    recipe: Recipe  # that it was trained by
    weights: Weights  # the state dict of `nas.model.build`
    mean: tuple[float, ...]  # a number a channel, of images scaled to 0..1
    std: tuple[float, ...]
    class_names: tuple[str, ...]  # by output

    def to_bytes(self) -> bytes:
        """Return the content of the file."""
        about = encode(_About(self.recipe, self.mean, self.std, self.class_names))
        about["architecture"] = architecture_to_plain(self.architecture)
        # Not `ascontiguousarray`, which makes a number a vector of one.
        arrays = {name: np.asarray(array, order="C") for name, array in self.weights.items()}
        return numpy.save(arrays, {_KEY: json.dumps(about)})


@dataclass(frozen=True, slots=True)
class _About:
    """What the file's metadata hold beside the architecture."""

    recipe: Recipe
    mean: tuple[float, ...]
    std: tuple[float, ...]
    class_names: tuple[str, ...]


def read_trained_network(path: Path) -> TrainedNetwork:
    """Return the network in the file at `path`.

    Raises:
        StudyError: the file cannot be read, or is damaged.
    """
    try:
        content = path.read_bytes()
        about = json.loads(_metadata(content)[_KEY])
        architecture = architecture_from_plain(about.pop("architecture"), str(path))
        rest = decode(_About, about, str(path))
        if not all(len(numbers) == architecture.input.channels for numbers in (rest.mean, rest.std)):
            raise ValueError("mean and std do not have one number a channel")
        if not all(s > 0 for s in rest.std):
            raise ValueError("std has a number that is not above 0")
        if len(rest.class_names) != architecture.classes:
            raise ValueError(f"{len(rest.class_names)} class names for {architecture.classes} outputs")
        weights = numpy.load(content)
    except OSError as error:
        raise StudyError(f"cannot read {path}: {error.strerror}; train the trial again with: nas confirm") from None
    except (InvalidError, SafetensorError, KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        problem = first_line(error)
        raise StudyError(
            f"{path} is damaged: {problem}; restore it, or train the trial again with: nas confirm"
        ) from None
    return TrainedNetwork(architecture, rest.recipe, weights, rest.mean, rest.std, rest.class_names)


def _metadata(content: bytes) -> dict[str, str]:
    """Return the metadata of a safetensors file; `safetensors.numpy.load` leaves them out.

    The format: eight bytes, little-endian, with the length of a JSON header, whose `__metadata__` are text to text.
    """
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    metadata: dict[str, str] = header["__metadata__"]
    return metadata
