"""Damaged and made-up .npz files."""

from __future__ import annotations

import io
import random
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from fuzzing import fuzz, mutate

from nas.data.load import load_dataset
from nas.data.split import parts_of

_TYPES = [
    *("u1", "u1", "u1", "<i8", ">i4", "<u2", ">u2", "u8", "i1", "f4", ">f8", "f2", "?", "c8", "U3", "S2", "M8[s]"),
    *("V3", "O", [("a", "u1"), ("b", "f4")]),
]
_SHAPES = [(12,), (12, 1), (12, 3), (12, 4, 4), (12, 4, 4, 3), (12, 3, 4, 4), (), (0,), (12, 0, 4), (1,) * 9]
_WORDS = ["train", "Train", "training", "val", "test", "images", "labels", "x", "y", "data", "classes", "a/b", "é", ""]


def _good(rng: random.Random) -> dict[str, np.ndarray]:
    shape = rng.choice([(4, 4), (1, 4, 4), (3, 4, 4), (4, 4, 3)])
    parts = {}
    for part, count in (("train", 12), ("val", 6), ("test", 6))[:: rng.choice([1, 2])]:
        parts[f"{part}_images"] = (np.arange(count * int(np.prod(shape))) % 256).astype(np.uint8).reshape(count, *shape)
        parts[f"{part}_labels"] = np.arange(count) % 3
    return parts


def _array(rng: random.Random) -> np.ndarray:
    """An array of any type, of a shape that may be one of images or labels."""
    type_: Any = np.dtype(rng.choice(_TYPES))
    shape = rng.choice(
        [(12,), (12, 1), (12, 3), (12, 4, 4), (12, 4, 4, 3), (12, 3, 4, 4), (), (0,), (12, 0, 4), (1,) * 9]
    )
    values = np.frombuffer(rng.randbytes(int(np.prod(shape)) * 8), np.int64).reshape(shape)
    values = values.astype(np.float64) / 2**63 if rng.random() < 0.2 else values % rng.choice([1, 2, 3, 10, 256, 2**40])
    if type_.kind in "OV":
        return np.empty(shape, type_)
    with np.errstate(all="ignore"):
        return values.astype(np.int64).astype(type_) if type_.kind == "M" else values.astype(type_)


def _packed(members: dict[str, bytes], rng: random.Random) -> bytes:
    file = io.BytesIO()
    method = rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
    if rng.random() < 0.02:
        method = rng.choice([zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])  # these take long to begin
    with zipfile.ZipFile(file, "w", method) as packed:
        for name, content in members.items():
            packed.writestr(name, content)
    return file.getvalue()


def _npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def _make(rng: random.Random) -> bytes:
    arrays = _good(rng)
    for name in list(arrays):
        if rng.random() < 0.15:
            arrays[name] = _array(rng)
        if rng.random() < 0.05:
            arrays["_".join(rng.sample(_WORDS, 2))] = arrays.pop(name)
    if rng.random() < 0.1:
        arrays["classes"] = _array(rng)
    members = {f"{name}.npy": _npy(array) for name, array in arrays.items()}
    match rng.randrange(4):
        case 0:  # a damaged archive
            return mutate(_packed(members, rng), rng)
        case 1:  # an archive that is sound, with a damaged array
            name = rng.choice(list(members))
            return _packed(members | {name: mutate(members[name], rng, list(members.values()))}, rng)
        case 2:  # damaged where it says what it holds
            name = rng.choice(list(members))
            return _packed(members | {name: mutate(members[name][:128], rng) + members[name][128:]}, rng)
        case _:
            return _packed(members, rng)


def test_a_file_is_read_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.npz"

    def read(content: bytes) -> None:
        parts_of(load_dataset(str(path)), 0)

    fuzz(read, _make, 100, path)
