from __future__ import annotations

import io

import numpy as np
import pytest
from made_up_studies import NETWORK, made_up_records
from PIL import Image

from nas.report.front_svg import HEIGHT, WIDTH, front_svg
from nas.report.network_drawing import architecture_svg
from nas.report.png import SCALE, png_of
from nas.study.landmarks import references


def pixels(svg: str) -> np.ndarray:
    with Image.open(io.BytesIO(png_of(svg))) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB")).astype(int)


def test_the_front_as_png_is_large_and_in_color() -> None:
    picture = pixels(front_svg(made_up_records(300), 8000, 99.4, references("mnist")))
    assert picture.shape == (SCALE * HEIGHT, SCALE * WIDTH, 3)
    assert (picture[0] == 255).all()  # on white
    blue = (abs(picture - (0x1F, 0x6F, 0xEB)).sum(axis=-1) < 10).sum()
    assert blue > 500  # what is confirmed


@pytest.mark.parametrize("text", ["99.4", "±", "3×3", "mean ± deviation"])
def test_text_is_shown_without_any_font_of_the_machine(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FONTCONFIG_FILE", "/dev/null")
    svg = '<svg xmlns="http://www.w3.org/2000/svg" width="200" height="40" font-family="system-ui, sans-serif">{}</svg>'
    empty, shown = pixels(svg.format("")), pixels(svg.format(f'<text x="10" y="30">{text}</text>'))
    assert (empty == 255).all()
    dark = (shown.sum(axis=-1) < 300).any(axis=0).nonzero()[0]
    assert len(dark) >= 4 * len(text)  # columns of the picture with ink
    assert dark.min() >= 10 * SCALE


def test_a_drawing_is_the_same_each_time() -> None:
    svg = architecture_svg(NETWORK, 350)
    assert png_of(svg) == png_of(svg)
    assert pixels(svg).shape[1] <= 350 * SCALE
