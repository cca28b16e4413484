"""Every study that can be searched can be looked at, exported and verified, whatever its images are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

import nas as nas_package

if TYPE_CHECKING:
    from conftest import Nas

SMALL = ("--max-params", 400, "--space", "tiny_digits", "--epochs", 1, "--trials", 2, "--seeds", 1, "--workers", 1)


def _pixels(rng: np.random.Generator, label: int, *shape: int) -> np.ndarray:
    return (rng.integers(0, 128, shape) + 100 * label).astype(np.uint8)


def _write_folder(root: Path, side: Callable[[np.random.Generator], int], channels: int, parts: tuple[str, ...]) -> str:
    rng = np.random.default_rng(0)
    for part in parts:
        for label in range(2):
            folder = root / part / f"class {label}"
            folder.mkdir(parents=True)
            for number in range(18):
                size = side(rng)
                shape = (size, size) if channels == 1 else (size, size, channels)
                Image.fromarray(_pixels(rng, label, *shape)).save(folder / f"{number}.png")
    return str(root)


def _write_arrays(path: Path) -> str:
    rng = np.random.default_rng(0)
    labels = np.arange(36) % 2
    images = np.stack([_pixels(rng, label, 8, 8) for label in labels])
    np.savez(path, train_images=images, train_labels=labels, test_images=images, test_labels=labels)
    return str(path)


KINDS: dict[str, Callable[[Path], tuple[str, ...]]] = {
    "digits": lambda _: ("--dataset", "digits"),
    "folder that is split": lambda at: ("--dataset", _write_folder(at / "images", lambda _: 8, 1, (".",))),
    "folder in color": lambda at: ("--dataset", _write_folder(at / "images", lambda _: 8, 3, ("train", "test"))),
    "folder read gray": lambda at: ("--dataset", _write_folder(at / "i", lambda _: 8, 3, ("train", "test")), "--gray"),
    "folder of any size": lambda at: (
        "--dataset",
        _write_folder(at / "images", lambda rng: int(rng.integers(6, 14)), 1, ("train", "test")),
        "--image-size",
        "8",
    ),
    "arrays": lambda at: ("--dataset", _write_arrays(at / "images.npz")),
}


# In 8 bits too, which takes images to calibrate with.
CALIBRATED = ("folder that is split", "folder in color", "arrays")


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_exported_and_verified(kind: str, nas: Nas) -> None:
    searched = nas("search", *KINDS[kind](nas.cwd), *SMALL, "--name", "own", "--json")
    assert searched.rc == 0, searched.err
    assert nas("status", "own", "--json").json == searched.json
    for file in ("net.py", "net.int8.pt") if kind in CALIBRATED else ("net.py",):
        exported = nas("export", "own", "-o", file)
        assert exported.rc == 0, exported.err
        verified = nas("verify", file)
        assert verified.rc == 0, verified.err + verified.out
        assert "weights_test_accuracy" in verified.out
        assert "not claimed" not in verified.out


def test_images_from_python_too(nas: Nas) -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(36) % 2
    images = np.stack([_pixels(rng, label, 8, 8) for label in labels])
    study = nas_package.search(
        400,
        dataset=((images, labels), (images, labels)),
        space="tiny_digits",
        epochs=1,
        max_trials=2,
        num_seeds=1,
        workers=1,
        studies=nas.cwd / "studies",
        name="own",
    )
    assert study.trials["trial"].tolist() == [0, 1]
    study.export(nas.cwd / "net.py")
    assert nas("verify", "net.py", "--data", study.folder.path / "images.npz").rc == 0
    assert nas("search", "--name", "own", "--trials", 3, "--workers", 1).rc == 0  # the command line goes on with it
