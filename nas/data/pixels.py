"""Pixels of any type as bytes. What they range over is learned from the values, not from the type that holds them.

Shape legend: N images, C channels, H and W pixels.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nas.errors import DataError

LEAST_LEVELS = 64  # of the 256: values that would keep fewer, being far from 0, are shifted towards it
_CHUNK_BYTES = 2**24  # converted at a time: an intermediate result takes 8 bytes a pixel


@dataclass(frozen=True)
class PixelScale:
    """How values become bytes: (value - offset) divided by 2**shift, or fractions times 255."""

    low: float  # the least value of all images, and the greatest
    high: float
    offset: int = 0
    shift: int = 0
    is_fraction: bool = False

    def __str__(self) -> str:
        if self.is_fraction:
            return "fractions from 0 to 1, and each byte is the value times 255, rounded"
        value = (
            f"(value - {self.offset})" if self.offset > 0 else f"(value + {-self.offset})" if self.offset else "value"
        )
        return f"values from {self.low:,} to {self.high:,}, and each byte is {value} // {2**self.shift}"

    def to_bytes(self, values: np.ndarray) -> np.ndarray:
        """Return `values` as uint8, same shape, contiguous."""
        found = np.empty(values.shape, np.uint8)
        step = max(_CHUNK_BYTES * len(values) // max(8 * values.size, 1), 1)
        for first in range(0, len(values), step):
            found[first : first + step] = self._to_bytes(values[first : first + step])
        return found

    def _to_bytes(self, values: np.ndarray) -> np.ndarray:
        if self.is_fraction:
            return (values.astype(np.float64) * 255).round().astype(np.uint8)
        if not (self.offset or self.shift):
            return values.astype(np.uint8)
        # Differences of unsigned numbers are right also where those of signed ones would not fit into 64 bits.
        distance = values.astype(np.uint64) - np.array([self.offset % 2**64], np.uint64)
        return (distance >> np.uint64(self.shift)).astype(np.uint8)


def scale_of(parts: Sequence[np.ndarray], what: str) -> PixelScale:
    """Return how the values of all `parts` become bytes, by their least and greatest value.

    Whole numbers of at most 255 stay as they are, greater ones lose their lowest bits, and fractions may go to 1.

    Raises:
        DataError: they are no numbers, or it cannot be told what their range is.
    """
    types = {part.dtype.name: part for part in parts}
    kinds = {part.dtype.kind for part in parts}
    if unknown := [name for name, part in types.items() if part.dtype.kind not in "buif"]:
        raise DataError(f"{what}: images are {unknown[0]} and must be numbers")
    if kinds & {"b", "f"} and len(kinds) > 1:
        raise DataError(f"{what}: images are {' and '.join(types)}; give all of them in one type")
    low, high = min(part.min() for part in parts).item(), max(part.max() for part in parts).item()
    if kinds == {"b"}:
        return PixelScale(int(low), int(high), is_fraction=True)
    if "f" in kinds:
        return _scale_of_floats(parts, low, high, what)
    if low >= 0 and high <= 255:
        return PixelScale(low, high)
    shift = _shift(high)
    if low < 0 or (high >> shift) - (low >> shift) < LEAST_LEVELS:
        return PixelScale(low, high, offset=low, shift=_shift(high - low))
    return PixelScale(low, high, shift=shift)


def require_one_range(parts: Sequence[np.ndarray], scale: PixelScale, what: str) -> None:
    """Refuse deep values that mean one thing in one part of a data set and another in another.

    Raises:
        DataError: the parts differ in type, or one is 16 times as bright as another.
    """
    types, highest = {part.dtype for part in parts}, [part.max() for part in parts]
    if (scale.offset or scale.shift) and (len(types) > 1 or min(highest) < scale.high / 16):
        ranges = " and ".join(f"{part.dtype} up to {high:,}" for part, high in zip(parts, highest, strict=True))
        raise DataError(f"{what}: images are {ranges}; give every part in the same type and range")


def tell(scale: PixelScale, what: str) -> None:
    """Say on standard error how values become bytes, where they are no bytes to begin with."""
    if scale.is_fraction or scale.offset or scale.shift:
        print(f"{what}: the pixels are {scale}; an exported network takes such bytes", file=sys.stderr)


def _shift(high: int) -> int:
    return max(high.bit_length() - 8, 0)


def _scale_of_floats(parts: Sequence[np.ndarray], low: float, high: float, what: str) -> PixelScale:
    # Of each part: fractions to train on and whole numbers to test on are two ranges.
    if low >= 0 and all(part.max() <= 1 for part in parts):
        return PixelScale(low, high, is_fraction=True)
    if low >= 0 and high <= 255 and all(part.max() > 1 and _is_whole(part) for part in parts):
        return PixelScale(low, high)
    raise DataError(
        f"{what}: images are fractions from {low:.6g} to {high:.6g}, of which the range is unknown; give every part "
        "as whole numbers from 0 to 255, or as fractions from 0 to 1"
    )


def _is_whole(values: np.ndarray) -> bool:
    return all(bool((image == np.floor(image)).all()) for image in values)
