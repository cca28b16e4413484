"""Our SVG pictures as PNG, without a browser, and the same on every machine."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

import resvg_py
from PIL import ImageFont

SCALE = 2  # pixels of the PNG to one of the SVG, for screens that have as many


def png_of(svg: str) -> bytes:
    """Return the picture as PNG on white, at `SCALE`.

    Its text is set in the one font that Pillow carries (Aileron), so that a machine without fonts shows it too.
    """
    font = ImageFont.load_default(12)
    if not isinstance(font, ImageFont.FreeTypeFont) or not isinstance(font.path, io.BytesIO):
        raise ImportError("this Pillow was built without FreeType; install one of its wheels")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "font.ttf"  # resvg takes fonts from files alone
        file.write_bytes(font.path.getvalue())
        return resvg_py.svg_to_bytes(
            svg_string=svg.replace("×", "x"),  # which that font lacks
            background="white",
            zoom=SCALE,
            skip_system_fonts=True,
            font_files=[str(file)],
            sans_serif_family=font.getname()[0],
            font_family=font.getname()[0],
        )
