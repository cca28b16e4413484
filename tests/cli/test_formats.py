"""The trained network in each format, through the installed command, on the digits study that all tests share."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from conftest import Nas
from PIL import Image

if TYPE_CHECKING:
    from conftest import Study


@pytest.mark.parametrize(
    "name", ["net.py", "net.onnx", "net.pt2", "net.h", "net.int8.h", "net.int8.pt", "net.int8.onnx", "firmware_int8/"]
)
def test_exported_and_verified_on_the_test_set(study_copy: Study, name: str) -> None:
    if name.endswith((".h", "/")) and shutil.which("gcc") is None:
        pytest.skip("no gcc to compile the header with")
    exported = study_copy.nas("export", "small", "-o", name, "--json")
    assert exported.rc == 0, exported.err
    claims = exported.json
    assert (study_copy.nas.cwd / name).exists()
    verified = study_copy.nas("verify", name, "--json")
    assert verified.rc == 0, verified.err
    assert verified.json["holds"]
    runs_code = name.endswith((".py", ".h", "/"))
    assert (f"{name.removesuffix('/')} is run " in verified.err) == runs_code
    derived = {check["claim"]: check["derived"] for check in verified.json["checks"]}
    assert derived["weights_test_accuracy"] == pytest.approx(claims["weights_test_accuracy"], abs=0.3)
    if "int8" in name:
        assert claims["num_bytes"] < claims["float_bytes"]
        assert claims["weights_test_accuracy"] == pytest.approx(claims["float_weights_test_accuracy"], abs=5)
    elif not name.endswith(".h"):
        assert derived["num_params"] == claims["num_params"]


def make_images(folder: Path) -> None:
    """Two classes of gray and color images of three sizes: bright above, or bright below."""
    generator = np.random.default_rng(0)
    for part, count in (("train", 30), ("test", 12)):
        for place, name in enumerate(("above", "below")):
            (folder / part / name).mkdir(parents=True)
            for number in range(count):
                side = (9, 12, 15)[number % 3]
                pixels = generator.integers(0, 100, (side, side, 3), dtype=np.uint8)
                half = slice(0, side // 2) if place == 0 else slice(side // 2, side)
                pixels[half] += 120
                Image.fromarray(pixels).save(folder / part / name / f"{number}.png")


@pytest.fixture(scope="module")
def folder_study(tmp_path_factory: pytest.TempPathFactory) -> Nas:
    """A study 'own' on a folder of images of different sizes."""
    home = tmp_path_factory.mktemp("own")
    make_images(home / "images")
    nas = Nas(home, home / "home")
    where = ("--dataset", "images", "--image-size", 8, "--gray", "--space", "tiny_digits", "--max-params", 1500)
    small = ("--trials", 2, "--epochs", 2, "--seeds", 1, "--workers", 1, "--name", "own")
    ended = nas("search", *where, *small, timeout=300)
    assert ended.rc == 0, ended.err
    return nas


@pytest.mark.parametrize("name", ["net.py", "net.onnx"])
def test_a_network_of_images_of_different_sizes_verifies(folder_study: Nas, name: str) -> None:
    exported = folder_study("export", "own", "-o", name, "--json")
    assert exported.rc == 0, exported.err
    assert (exported.json["image_size"], exported.json["color"]) == (8, False)
    verified = folder_study("verify", name, "--json")
    assert verified.rc == 0, verified.err
    assert "weights_test_accuracy" in {check["claim"] for check in verified.json["checks"]}


def test_only_formats_in_8_bits_need_the_images(folder_study: Nas) -> None:
    images, hidden = folder_study.cwd / "images", folder_study.cwd / "hidden"
    images.rename(hidden)
    try:
        for name in ("alone.py", "alone.onnx", "alone.pt2", "alone.h"):
            assert folder_study("export", "own", "-o", name).rc == 0
        for name in ("alone.int8.h", "alone.int8.pt"):
            ended = folder_study("export", "own", "-o", name)
            assert ended.rc == 1
            assert "an 8-bit format is calibrated on the images of the study, and they fail: " in ended.err
            assert not (folder_study.cwd / name).exists()
        text = (folder_study.cwd / "alone.py").read_text()
        assert '"dataset": "images"' in text
        assert str(folder_study.cwd) not in text
        lost = folder_study("verify", "alone.py")
        assert lost.rc == 1
        assert "measured on images called 'images'; say by --data where they are" in lost.err
        found = folder_study("verify", "alone.py", "--data", "hidden")
        assert found.rc == 0, found.err
        assert "weights_test_accuracy" in found.out
        lost = folder_study("export", "alone.py", "-o", "from_module.int8.h")
        assert lost.rc == 1
        assert (
            "on the images of the network: its accuracy was measured on images called 'images'; say by --data"
            in lost.err
        )
        found = folder_study("export", "alone.py", "-o", "from_module.int8.h", "--data", "hidden", "--json")
        assert found.rc == 0, found.err
        assert found.json["num_bytes"] < found.json["float_bytes"]
        other = folder_study("verify", "alone.py", "--data", "hidden/train")
        assert other.rc == 1
    finally:
        hidden.rename(images)


def test_a_name_that_says_no_format(nas: Nas) -> None:
    (nas.cwd / "net.bin").write_bytes(b"")
    ended = nas("verify", "net.bin")
    assert ended.rc == 1
    assert ended.err.startswith("error: net.bin: the name says the format and must end in one of .py (a Python module")


def test_an_altered_file_does_not_hold(study_copy: Study) -> None:
    assert study_copy.nas("export", "small", "-o", "net.h").rc == 0
    path = study_copy.nas.cwd / "net.h"
    text = path.read_text()
    claimed = study_copy.nas("export", "small", "-o", "other.h", "--json").json["weights_test_accuracy"]
    assert f'"weights_test_accuracy": {claimed}' in text
    path.write_text(text.replace(f'"weights_test_accuracy": {claimed}', '"weights_test_accuracy": 99.99'))
    verified = study_copy.nas("verify", "net.h")
    assert verified.rc == 1
    assert "DOES NOT HOLD" in verified.out
