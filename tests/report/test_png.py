from __future__ import annotations

import io
import math
import re

import numpy as np
import pytest
from made_up_studies import NETWORK
from PIL import Image

from nas.report import palette
from nas.report.front_svg import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, front_svg
from nas.report.network_drawing import architecture_svg
from nas.report.png import SCALE, png_of
from nas.study.records import Confirmation, TrialRecord
from nas.study.settings import StudySettings


def pixels(svg: str) -> np.ndarray:
    with Image.open(io.BytesIO(png_of(svg))) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB")).astype(int)


def color_at(picture: np.ndarray, x: float, y: float) -> str:
    """Return the color where the drawing has the point (x, y)."""
    red, green, blue = picture[round(SCALE * y), round(SCALE * x)]
    return f"#{red:02x}{green:02x}{blue:02x}"


def test_the_front_as_png_has_each_mark_where_its_size_and_accuracy_say() -> None:
    def trial(number: int, num_params: int, test: float) -> TrialRecord:
        seeds = tuple(Confirmation(seed, (test,) * 3, 1.0) for seed in range(2))
        return TrialRecord(number, "completed", num_params, 1, 1, "", {}, 0, (97.9,) * 3, 1.0, confirmations=seeds)

    settings = StudySettings(8000, dataset="digits", target=99.0)
    svg = front_svg([trial(0, 1000, 98.0), trial(1, 4000, 99.5)], settings)
    picture = pixels(svg)
    assert picture.shape == (SCALE * HEIGHT, SCALE * WIDTH, 3)
    assert (picture[0] == 255).all()  # on white

    def x(size: float) -> float:  # 850 to 9200 parameters
        return LEFT + (WIDTH - LEFT - RIGHT) * math.log(size / 850) / math.log(9200 / 850)

    def y(error: float) -> float:  # 0.4 to 2.52 points
        return TOP + (HEIGHT - TOP - BOTTOM) * math.log(error / 0.4) / math.log(2.52 / 0.4)

    assert color_at(picture, x(1000), y(2.0)) == palette.CONFIRMED
    assert color_at(picture, x(4000), y(0.5)) == palette.CONFIRMED
    assert color_at(picture, x(4000), y(2.1)) not in ("#ffffff", palette.CONFIRMED)  # in validation, faint
    assert color_at(picture, x(2000), y(1.0) + 8) == "#eaeef2"  # the grid
    assert color_at(picture, x(3000) - 8, y(0.7)) == "#ffffff"
    reds = (picture == [0xE5, 0x48, 0x4D]).all(axis=-1)
    budget, target = round(SCALE * x(8000)), round(SCALE * y(1.0))
    assert reds[:, budget - 1 : budget + 2].any(axis=1).sum() > 0.3 * SCALE * (HEIGHT - TOP - BOTTOM)  # dashed
    assert reds[target - 1 : target + 2].any(axis=0).sum() > 0.3 * SCALE * (WIDTH - LEFT - RIGHT)


def test_reference_networks_are_marked_in_a_color_of_their_own() -> None:
    svg = front_svg([], StudySettings(8000))
    picture = pixels(svg)
    diamonds = re.findall(rf'd="M([\d.]+) ([\d.]+)l6 6l-6 6l-6 -6z" fill="{palette.REFERENCE}"', svg)
    assert len(diamonds) == 7
    for x, y in diamonds:
        assert color_at(picture, float(x), float(y) + 6) == palette.REFERENCE  # the path begins at the upper corner


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
