"""Own images in folders: `train/` and `test/` with a folder per class each, or one folder per class, which is split.

Shape legend: N images, C channels, H and W pixels.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

from nas.data.images import ImageSet, LoadedImages
from nas.data.split import split
from nas.errors import DataError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")
TEST_FRACTION = 1 / 6
TEST_SPLIT_SEED = 0  # fixed: what is test data must not depend on a study's seed
MAX_IMAGE_SIZE = 1024  # pixels, either side
MAX_BYTES = 4 * 2**30  # of decoded images; all of them are held in memory, and later on the device
PROGRESS_SECONDS = 2.0


def load(root: Path, image_size: int | None = None, color: bool | None = None) -> LoadedImages:
    """Return the images under `root`.

    Transparent pixels become white, the orientation tag of a photograph is applied, and of several frames the first is
    taken.

    Args:
        root: a folder with one folder of images per class, or with two such folders, `train` and `test`.
        image_size: every image is resized to a square of that many pixels; None demands that all have one size.
        color: whether images become RGB or gray; None makes them gray where all are, by the mode of their files.

    Raises:
        DataError: with the folder or file that is at fault and what to do about it.
    """
    if image_size is not None and not 1 <= image_size <= MAX_IMAGE_SIZE:
        raise DataError(f"`image_size` = {image_size} is not between 1 and {MAX_IMAGE_SIZE} pixels")
    folders = _folders(root)
    if "train" in folders and "test" in folders:
        others = sorted(folders - {"train", "test"})
        if others:
            raise DataError(
                f"{root} holds train/ and test/ and also {', '.join(others)}/; only train/ and test/ are read, so "
                "move the others away (images to validate on are taken from train/)"
            )
        train_files, test_files = _class_files(root / "train", least=2), _class_files(root / "test", least=1)
        _check_same_classes(root, set(train_files), set(test_files))
        whole = _read(root, [*_labeled(train_files), *_labeled(test_files)], image_size, color)
        num_train = sum(map(len, train_files.values()))
        indices = torch.arange(num_train), torch.arange(num_train, len(whole))
    else:
        train_files = _class_files(root, least=2)
        whole = _read(root, _labeled(train_files), image_size, color)
        indices = split(whole.labels, TEST_FRACTION, TEST_SPLIT_SEED)
    return LoadedImages(whole.subset(indices[0]), whole.subset(indices[1]), tuple(train_files))


def _entries(folder: Path) -> list[Path]:
    """Return the files and folders in `folder`, by name, without those that operating systems leave there."""
    try:
        paths = sorted(folder.iterdir())
    except FileNotFoundError:
        raise DataError(f"there is no folder {folder}; check the path") from None
    except NotADirectoryError:
        raise DataError(f"{folder} is a file; name the folder that holds one folder of images per class") from None
    except OSError as error:
        raise DataError(f"cannot read the folder {folder}: {error.strerror or error}") from None
    return [path for path in paths if not path.name.startswith(".") and path.name.lower() != "thumbs.db"]


def _folders(root: Path) -> set[str]:
    return {path.name for path in _entries(root) if path.is_dir()}


def _class_files(root: Path, least: int) -> dict[str, list[Path]]:
    """Return the image files of each class, both by name.

    Raises:
        DataError: there are no class folders, or one holds fewer than `least` images or other files.
    """
    classes = sorted(_folders(root))
    if not classes:
        raise DataError(
            f"{root} holds no class folders; put the images of each class into a folder of its own, named after the "
            "class, either here or under train/ and test/"
        )
    if len(classes) < 2:
        raise DataError(f"{root} holds one class folder only, {classes[0]}/; at least 2 classes are needed")
    files = {name: _entries(root / name) for name in classes}
    for name, paths in files.items():
        for path in paths:
            if path.is_dir():
                raise DataError(
                    f"{path} is a folder inside the class folder {root / name}, which holds images only; move it away "
                    "(a set that is split already needs both, train/ and test/)"
                )
            if path.suffix.lower() not in SUFFIXES:
                raise DataError(f"{path} is not an image by its suffix; move it away (known: {' '.join(SUFFIXES)})")
        if len(paths) < least:
            why = ", the least that can be split" if least > 1 else ""
            raise DataError(
                f"class folder {root / name} holds too few images: {len(paths)} where {least} belong{why}; add images "
                "or remove the class"
            )
    return files


def _check_same_classes(root: Path, train: set[str], test: set[str]) -> None:
    if train != test:
        sides = (("train", train - test), ("test", test - train))
        only = "; ".join(f"only in {side}/: {', '.join(sorted(names))}" for side, names in sides if names)
        raise DataError(f"train/ and test/ of {root} hold different classes ({only}); give both the same class folders")


def _labeled(files: dict[str, list[Path]]) -> list[tuple[Path, int]]:
    return [(path, label) for label, paths in enumerate(files.values()) for path in paths]


def _read(root: Path, files: Sequence[tuple[Path, int]], image_size: int | None, color: bool | None) -> ImageSet:
    """Return all `files`, each a path and its label, decoded."""
    arrays: list[np.ndarray] = []  # uint8 (H, W) while gray, (H, W, 3) in color
    num_bytes = 0
    for path in _report_progress([path for path, _ in files], root):
        arrays.append(_decode(path, image_size, color))
        if arrays[-1].shape[:2] != arrays[0].shape[:2]:
            sizes = [f"{array.shape[1]}x{array.shape[0]}" for array in (arrays[0], arrays[-1])]
            raise DataError(
                f"the images differ in size: {files[0][0]} has {sizes[0]} pixels and {path} has {sizes[1]}; "
                "give `image_size` to resize all of them"
            )
        num_bytes += arrays[-1].nbytes
        if num_bytes > MAX_BYTES:
            raise DataError(
                f"the images of {root} take more than {MAX_BYTES / 2**30:g} GiB in memory, the most that is held; "
                "give a smaller `image_size`"
            )
    in_color = any(array.ndim == 3 for array in arrays)
    images = torch.empty((len(arrays), 3 if in_color else 1, *arrays[0].shape[:2]), dtype=torch.uint8)
    for image, array in zip(images, arrays, strict=True):
        image.copy_(torch.from_numpy(array if array.ndim == 2 else array.transpose(2, 0, 1)))
    return ImageSet(images, torch.tensor([label for _, label in files], dtype=torch.int64))


def _decode(path: Path, image_size: int | None, color: bool | None) -> np.ndarray:
    """Return one image, uint8 (H, W) if it is gray, else (H, W, 3)."""
    try:
        with Image.open(path) as image:
            image.load()
            picture = ImageOps.exif_transpose(image)
    # Decoders meet damaged files with errors of a dozen types (SyntaxError and struct.error among them).
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path} cannot be read as an image ({reason}); replace or remove it") from None
    if picture.mode == "F":
        raise DataError(f"{path} holds pixels as fractions, whose range is unknown; save it with 8 bits a channel")
    is_gray = picture.mode in ("1", "L", "LA", "I") or picture.mode.startswith("I;16")
    if picture.mode.startswith("I"):
        # Pillow's own conversion clips 16 bits to 255, which would make nearly all of the picture white.
        picture = Image.fromarray((np.asarray(picture).clip(0, 65535) >> 8).astype(np.uint8))
    if picture.has_transparency_data:
        # Dropping the alpha would show what lies under it: black ink on nothing becomes black on black.
        layer = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    picture = picture.convert("RGB" if (color if color is not None else not is_gray) else "L")
    if image_size is not None:
        picture = picture.resize((image_size, image_size), Image.Resampling.BILINEAR)
    return np.array(picture)


def _report_progress(paths: Sequence[Path], root: Path) -> Iterator[Path]:
    """Yield `paths`, and write a line to standard error every `PROGRESS_SECONDS`."""
    last = time.monotonic()
    for number, path in enumerate(paths):
        now = time.monotonic()
        if now - last >= PROGRESS_SECONDS:
            print(f"reading {root}: {number:,} of {len(paths):,} images", file=sys.stderr)
            last = now
        yield path
