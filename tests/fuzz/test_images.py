"""Damaged images, and files of one format under the name of another."""

from __future__ import annotations

import io
import random
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from fuzzing import fuzz, mutate
from PIL import Image

from nas.data import folder
from nas.data.folder import SUFFIXES

_FORMATS = {
    "PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
    "JPEG": ("L", "RGB", "CMYK"),
    "BMP": ("1", "L", "P", "RGB"),
    "GIF": ("L", "P", "RGB"),
    "WEBP": ("RGB", "RGBA"),
    "TIFF": ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "I;16", "I", "F"),
    "PPM": ("1", "L", "RGB", "I"),
    "AVIF": ("RGB", "RGBA"),
    "JPEG2000": ("L", "LA", "RGB", "RGBA", "I;16"),
    "EPS": ("L", "RGB"),
    "ICO": ("RGBA",),
}


@pytest.fixture(scope="module")
def good() -> list[bytes]:
    """An image of each format and mode, of several packings and with tags."""
    rng = np.random.default_rng(0)
    found = []
    for format_, modes in _FORMATS.items():
        for mode in modes:
            if mode == "I;16":
                image = Image.fromarray(rng.integers(0, 4096, (6, 8), dtype=np.uint16))
            elif mode == "LAB":
                image = Image.merge("LAB", [Image.fromarray(rng.integers(0, 256, (6, 8), dtype=np.uint8))] * 3)
            else:
                image = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)).convert(mode)
            packings: list[dict[str, object]] = [{}]
            if format_ == "TIFF":
                packings += [{"compression": c} for c in ("tiff_lzw", "tiff_deflate", "packbits")]
            if format_ in ("PNG", "JPEG", "WEBP", "TIFF"):
                exif = Image.Exif()
                exif[0x0112] = 6
                packings.append({"exif": exif})
            if format_ in ("GIF", "PNG"):
                packings.append({"save_all": True, "append_images": [image]})
            for packing in packings:
                file = io.BytesIO()
                image.save(file, format_, **packing)
                found.append(file.getvalue())
    return found


def _with_checksums(content: bytes) -> bytes:
    """Return a PNG in which the checksum of each chunk is right, so that what it holds is read."""
    found, at = bytearray(content), 8
    while at + 12 <= len(found):
        end = at + 8 + struct.unpack(">I", found[at : at + 4])[0]
        if end + 4 > len(found):
            break
        found[end : end + 4] = struct.pack(">I", zlib.crc32(found[at + 4 : end]))
        at = end + 4
    return bytes(found)


def test_an_image_is_read_or_refused(good: list[bytes], tmp_path: Path) -> None:
    for label in ("a", "b"):
        for number in range(2):
            (tmp_path / label).mkdir(exist_ok=True)
            Image.new("L", (8, 6), number * 200).save(tmp_path / label / f"{number}.png")
    place = tmp_path / "a" / "9.png"

    def make(rng: random.Random) -> bytes:
        content = rng.choice(good)
        if rng.random() < 0.9:
            content = mutate(content, rng, good)
        return _with_checksums(content) if content.startswith(b"\x89PNG") and rng.random() < 0.7 else content

    def read(content: bytes) -> None:
        rng = random.Random(content)
        path = place.with_suffix(rng.choice(SUFFIXES))
        place.rename(path)
        try:
            folder.load(tmp_path, rng.choice([None, 8, 8]), rng.choice([None, True, False]))
        finally:
            path.rename(place)

    fuzz(read, make, 100, place)
