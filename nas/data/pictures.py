"""Pictures of Pillow as arrays: what they show, whatever their mode is.

Shape legend: H and W pixels.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from nas.data.pixels import scale_of, tell
from nas.errors import DataError

# Decoders that read pixels and do nothing else: that of EPS, for one, starts a program.
FORMATS = ("PNG", "JPEG", "BMP", "DIB", "GIF", "WEBP", "TIFF", "PPM", "AVIF", "JPEG2000")
MAX_PIXELS = 2**26  # of one picture
LEAST_HIGH_BYTES = 32  # levels of colors with 16 bits a channel, of which Pillow gives the high byte alone


class Picture(NamedTuple):
    """One decoded picture."""

    pixels: np.ndarray  # (H, W) in gray, else uint8 (H, W, 3); of a deep gray one int32, else uint8
    has_lost_bits: bool = False  # colors with 16 bits a channel, of which the lower 8 are lost


def read_picture(path: Path, image_size: int | None, color: bool | None) -> Picture:
    """Return the picture in a file.

    Raises:
        DataError: the file is damaged, or no picture of `FORMATS`.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of damaged tags, which stop nothing
            with Image.open(path, formats=FORMATS) as image:
                return decode(image, image_size, color)
    except DataError as error:
        raise DataError(f"{path} {error}") from None
    # Decoders meet damaged files with errors of a dozen types (SyntaxError and struct.error among them).
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path} cannot be read as an image ({reason}); replace or remove it") from None


def decode(image: Image.Image, image_size: int | None = None, color: bool | None = None) -> Picture:
    """Return what a picture shows.

    Transparent pixels become white, the orientation tag of a photograph is applied, and of several frames the first is
    taken.

    Args:
        image: of any mode.
        image_size: the picture is resized to a square of that many pixels.
        color: whether it becomes RGB or gray; None leaves that to its mode.

    Raises:
        DataError: its pixels are fractions, or too many.
    """
    if image.width * image.height > MAX_PIXELS:
        raise DataError(f"has {image.width:,}x{image.height:,} pixels, more than {MAX_PIXELS:,}; make it smaller")
    # The tiles of a file say how it is packed, until it is decoded.
    has_lost_bits = any(";16" in str(tile[3]) for tile in getattr(image, "tile", ()))
    image.load()
    picture: Image.Image = ImageOps.exif_transpose(image)
    if picture.mode == "F":
        raise DataError("holds pixels as fractions, whose range is unknown; save it with 8 bits a channel")
    size = (image_size, image_size) if image_size is not None else picture.size
    if picture.mode == "I" or picture.mode.startswith("I;16"):
        return Picture(np.array(_resize(picture.convert("I"), size)))
    is_gray = picture.mode in ("1", "L", "LA")
    if picture.has_transparency_data:
        # Dropping the alpha would show what lies under it: black ink on nothing becomes black on black.
        layer = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    picture = picture.convert("RGB" if (color if color is not None else not is_gray) else "L")
    return Picture(np.array(_resize(picture, size)), has_lost_bits)


def in_bytes(pictures: Sequence[Picture], what: str) -> list[Picture]:
    """Return pictures whose pixels are uint8; those of deep grays by the range that they have together."""
    deep = [p.pixels for p in pictures if p.pixels.dtype != np.uint8]
    if not deep:
        return list(pictures)
    scale = scale_of(deep, what)
    tell(scale, what)
    return [p if p.pixels.dtype == np.uint8 else Picture(scale.to_bytes(p.pixels)) for p in pictures]


def stack(pictures: Sequence[Picture], color: bool | None, what: str) -> np.ndarray:
    """Return pictures of one size as one array (N, C, H, W); in color where `color` says so, or any has colors.

    Raises:
        DataError: they have not one type, or too little is left of colors with 16 bits a channel.
    """
    lost = max((int(p.pixels.max()) for p in pictures if p.has_lost_bits), default=255)
    if lost < LEAST_HIGH_BYTES:
        raise DataError(
            f"{what}: the colors have 16 bits a channel, of which at most {8 + lost.bit_length()} are used, and the "
            f"highest 8 alone can be read; save the images with 8 bits a channel"
        )
    types = sorted({p.pixels.dtype.name for p in pictures})
    if len(types) > 1:
        raise DataError(f"{what}: images are {' and '.join(types)}; give all of them in one type")
    in_color = any(p.pixels.ndim == 3 for p in pictures) if color is None else color
    found = np.empty((len(pictures), 3 if in_color else 1, *pictures[0].pixels.shape[:2]), types[0])
    for image, (pixels, _) in zip(found, pictures, strict=True):
        image[:] = pixels if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    return found


def _resize(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    return picture if picture.size == size else picture.resize(size, Image.Resampling.BILINEAR)
