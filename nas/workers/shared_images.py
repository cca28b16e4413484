"""The images of a study, once in memory for all processes of this machine that train on them.

They lie in shared memory or, where that is too small (a container has 64 MiB unless told otherwise), in a file without
a name, which the system keeps in memory as long as there is room.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from nas.data.images import ImageSet
from nas.data.split import IMAGE_SETS, Parts, tensors_of
from nas.errors import MachineError
from nas.host import shared_memory

LEAST_LEFT = 16 << 20  # bytes of shared memory that others may need


@dataclass(frozen=True)
class _Place:
    """Where in the file a tensor lies."""

    offset: int  # elements of its own type
    shape: tuple[int, ...]
    dtype: torch.dtype


@dataclass(frozen=True)
class ImagesInFile:
    """Parts whose tensors lie in a file, which is gone when the process that has written it ends, or closes it."""

    descriptor: int  # of the file, in that process
    file: Path  # by which other processes find it
    bare: Parts  # without images
    places: tuple[tuple[_Place, _Place], ...]  # images and labels of each part

    def open(self) -> Parts:
        """Return the parts, mapped into this process."""
        sets = [ImageSet(self._tensor(images), self._tensor(labels)) for images, labels in self.places]
        found: dict[str, Any] = dict(zip(_image_sets(self.bare), sets, strict=True))
        return replace(self.bare, **found)

    def _tensor(self, place: _Place) -> torch.Tensor:
        count = math.prod(place.shape)
        whole = torch.from_file(str(self.file), shared=True, size=place.offset + count, dtype=place.dtype)
        return whole[place.offset :].view(place.shape)

    def close(self) -> None:
        """Give the file up; those who have opened it keep it. For the process that has written it."""
        os.close(self.descriptor)


def share(parts: Parts, say: Callable[[str], None]) -> Parts | ImagesInFile:
    """Return the images as they are to be sent to processes.

    Raises:
        MachineError: there is no room for them.
    """
    tensors = [t for s in _image_sets(parts).values() for t in tensors_of(s)]
    needed, memory = sum(t.nbytes for t in tensors), shared_memory()
    if memory is None or needed + LEAST_LEFT <= memory.free:
        for tensor in tensors:
            tensor.share_memory_()  # type: ignore[no-untyped-call]
        return parts
    free = memory.free >> 20
    say(f"the images take {_mebibytes(needed)} and shared memory has {free:,} MiB free: they go into a file")
    try:
        return _in_file(parts)
    except OSError as error:
        raise MachineError(
            f"neither /dev/shm nor {tempfile.gettempdir()} has room for {_mebibytes(needed)} of images "
            f"({error.strerror}); use one of the `workers`, which shares with none, or make room "
            f"(docker run --shm-size=1g)"
        ) from None


def _mebibytes(size: int) -> str:
    return f"{-(-size >> 20):,} MiB"


def _image_sets(parts: Parts) -> dict[str, ImageSet]:
    return {name: getattr(parts, name) for name in IMAGE_SETS}


def _empty(sets: dict[str, ImageSet]) -> dict[str, Any]:
    # New tensors: a view of none of the images would be sent with all of them.
    return {key: ImageSet(torch.empty_like(s.images[:0]), torch.empty_like(s.labels[:0])) for key, s in sets.items()}


def _in_file(parts: Parts) -> ImagesInFile:
    """Write the labels first: what is of 8 bytes begins at a multiple of 8."""
    sets, places = _image_sets(parts), {}
    descriptor, name = tempfile.mkstemp(prefix="nas-images-")
    os.unlink(name)  # at once: a process that is killed leaves nothing behind
    try:
        with os.fdopen(descriptor, "wb", closefd=False) as file:
            for tensor in sorted((t for s in sets.values() for t in (s.labels, s.images)), key=lambda t: -t.itemsize):
                file.write(b"\0" * (-file.tell() % tensor.itemsize))
                places[id(tensor)] = _Place(file.tell() // tensor.itemsize, tuple(tensor.shape), tensor.dtype)
                file.write(tensor.contiguous().numpy().data)
    except OSError:
        os.close(descriptor)
        raise
    bare = replace(parts, **_empty(sets))
    path = Path(f"/proc/{os.getpid()}/fd/{descriptor}")  # Linux has it, and only there is shared memory limited
    laid = tuple((places[id(s.images)], places[id(s.labels)]) for s in sets.values())
    return ImagesInFile(descriptor, path, bare, laid)
