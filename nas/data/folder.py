"""Own images in folders: `train/` and `test/` with a folder per class each, or one folder per class, which is split.

Shape legend: N images, C channels, H and W pixels.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from nas.data.images import ImageSet, LoadedImages
from nas.data.pictures import Picture, in_bytes, read_picture, stack
from nas.data.split import PART_NAMES, split_off_test, with_test_part
from nas.errors import DataError

SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".gif", ".webp", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".avif", ".jp2"),
)
# What operating systems and storage devices leave in folders, beside all that begins with a dot.
_STRAYS = {
    *("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "@eadir", "#recycle", "$recycle.bin"),
    *("system volume information", "lost+found"),
}
MAX_IMAGE_SIZE = 1024  # pixels, either side
MAX_BYTES = 4 * 2**30  # of decoded images; all of them are held in memory, and later on the device
PROGRESS_SECONDS = 2.0


def load(root: Path, image_size: int | None = None, color: bool | None = None) -> LoadedImages:
    """Return the images under `root`.

    Args:
        root: a folder with one folder of images per class, or with such folders called `train` and `test`, and maybe
            `val`, or as `PART_NAMES` has them, in any case.
        image_size: every image is resized to a square of that many pixels; None demands that all have one size.
        color: whether images become RGB or gray; None makes them gray where all are, by the mode of their files.

    Raises:
        DataError: with the folder or file that is at fault and what to do about it.
    """
    if image_size is not None and not 1 <= image_size <= MAX_IMAGE_SIZE:
        raise DataError(f"`image_size` = {image_size} is not between 1 and {MAX_IMAGE_SIZE} pixels")
    parts = with_test_part(_parts(root), str(root))
    is_split = "test" in parts
    files = {part: _class_files(folder, least=1 if is_split else 2) for part, folder in parts.items()}
    classes = tuple(files["train"])
    for part in parts.keys() - {"train"}:
        _check_same_classes(root, parts["train"].name, set(classes), parts[part].name, set(files[part]))
    labeled = {part: _labeled(found) for part, found in files.items()}
    whole = _read(root, [one for part in labeled.values() for one in part], image_size, color)
    counts = [len(found) for found in labeled.values()]
    sets = dict(zip(labeled, map(whole.subset, torch.split(torch.arange(len(whole)), counts)), strict=True))
    train, test = (sets["train"], sets["test"]) if is_split else split_off_test(whole)
    return LoadedImages(train, test, classes, sets.get("val"))


def _parts(root: Path) -> dict[str, Path]:
    """Return the folders to train on, validate on and test on; `root` alone where it holds the classes themselves."""
    folders = _folders(root)
    parts: dict[str, Path] = {}
    for folder in folders:
        part = PART_NAMES.get(folder.name.lower())
        if part is None or not _folders(folder):
            continue  # a class of that name, or images without classes
        if part in parts:
            raise DataError(f"{root} holds {parts[part].name}/ and {folder.name}/, which are the same; remove one")
        parts[part] = folder
    if "train" not in parts:
        return {"train": root}
    if others := [folder for folder in folders if folder not in parts.values()]:
        read = [f"{folder.name}/" for folder in parts.values()]
        raise DataError(
            f"{root} holds {' and '.join(read)} and also {', '.join(f.name for f in others)}/; folders of classes to "
            "train on, validate on and test on are read (train/, val/, test/), so move the others away"
        )
    return parts


def _entries(folder: Path) -> list[Path]:
    """Return the files and folders in `folder`, by name, without those that operating systems leave there."""
    try:
        paths = sorted(folder.iterdir())
    except FileNotFoundError:
        raise DataError(f"there is no folder {folder}; check the path") from None
    except NotADirectoryError:
        raise DataError(
            f"{folder} is a file; name a folder with one folder of images per class, or an .npz file"
        ) from None
    except OSError as error:
        raise DataError(f"cannot read the folder {folder}: {error.strerror or error}") from None
    return [path for path in paths if not path.name.startswith(".") and path.name.lower() not in _STRAYS]


def _folders(root: Path) -> list[Path]:
    return [path for path in _entries(root) if path.is_dir()]


def _class_files(root: Path, least: int) -> dict[str, list[Path]]:
    """Return the image files of each class, both by name.

    Raises:
        DataError: there are no class folders, or one holds fewer than `least` images, or another folder.
    """
    classes = _folders(root)
    if not classes:
        raise DataError(
            f"{root} holds no class folders; put the images of each class into a folder of its own, named after the "
            "class, either here or under train/ and test/"
        )
    if len(classes) < 2:
        raise DataError(f"{root} holds one class folder only, {classes[0].name}/; at least 2 classes are needed")
    files, passed_over = {}, []
    for folder in classes:
        entries = _entries(folder)
        if inner := [path for path in entries if path.is_dir()]:
            raise DataError(
                f"{inner[0]} is a folder inside the class folder {folder}, which holds images only; move it away "
                "(a set that is split already needs both, train/ and test/)"
            )
        files[folder.name] = [path for path in entries if path.suffix.lower() in SUFFIXES]
        others = [path for path in entries if path.suffix.lower() not in SUFFIXES]
        passed_over += others
        if (count := len(files[folder.name])) < least:
            why = ", the least that can be split" if least > 1 else ""
            but = f", and {len(others)} files that are no images by their suffix, such as {others[0]}" if others else ""
            raise DataError(
                f"class folder {folder} holds too few images: {count} where {least} belong{why}{but}; add images "
                f"({' '.join(SUFFIXES)}) or remove the class"
            )
    if passed_over:
        count = len(passed_over)
        what = "1 file that is no image by its suffix" if count == 1 else f"{count} files that are no images by suffix"
        print(f"{root}: passed over {what}, such as {passed_over[0]}", file=sys.stderr)
    return files


def _check_same_classes(root: Path, first: str, train: set[str], second: str, other: set[str]) -> None:
    if train != other:
        sides = ((first, train - other), (second, other - train))
        only = "; ".join(f"only in {side}/: {', '.join(sorted(names))}" for side, names in sides if names)
        raise DataError(
            f"{first}/ and {second}/ of {root} hold different classes ({only}); give both the same class folders"
        )


def _labeled(files: dict[str, list[Path]]) -> list[tuple[Path, int]]:
    return [(path, label) for label, paths in enumerate(files.values()) for path in paths]


def _read(root: Path, files: Sequence[tuple[Path, int]], image_size: int | None, color: bool | None) -> ImageSet:
    """Return all `files`, each a path and its label, decoded."""
    pictures: list[Picture] = []
    num_bytes = 0
    for path in _report_progress([path for path, _ in files], root):
        pictures.append(read_picture(path, image_size, color))
        first, last = pictures[0].pixels, pictures[-1].pixels
        if first.shape[:2] != last.shape[:2]:
            sizes = [f"{array.shape[1]}x{array.shape[0]}" for array in (first, last)]
            raise DataError(
                f"the images differ in size: {files[0][0]} has {sizes[0]} pixels and {path} has {sizes[1]}; "
                "give `image_size` to resize all of them"
            )
        num_bytes += last.nbytes
        if num_bytes > MAX_BYTES:
            raise DataError(
                f"the images of {root} take more than {MAX_BYTES / 2**30:g} GiB in memory, the most that is held; "
                "give a smaller `image_size`"
            )
    images = torch.from_numpy(stack(in_bytes(pictures, str(root)), color, str(root)))
    return ImageSet(images, torch.tensor([label for _, label in files], dtype=torch.int64))


def _report_progress(paths: Sequence[Path], root: Path) -> Iterator[Path]:
    """Yield `paths`, and write a line to standard error every `PROGRESS_SECONDS`."""
    last = time.monotonic()
    for number, path in enumerate(paths):
        now = time.monotonic()
        if now - last >= PROGRESS_SECONDS:
            print(f"reading {root}: {number:,} of {len(paths):,} images", file=sys.stderr)
            last = now
        yield path
