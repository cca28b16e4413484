"""Own images as arrays: tensors or torchvision data sets in Python, and the `.npz` file that keeps them.

Shape legend: N images, C channels, H and W pixels.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nas.data.images import ImageSet, LoadedImages
from nas.errors import DataError

KEYS = ("train_images", "train_labels", "test_images", "test_labels")


def load(path: Path) -> LoadedImages:
    """Return the images of an `.npz` file with the arrays `KEYS`, and maybe `classes`, the names by label.

    Raises:
        DataError: the file cannot be read, lacks an array, or holds one of another kind than it should.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            missing = [key for key in KEYS if key not in file]
            if missing:
                raise DataError(f"{path} lacks {', '.join(missing)}; it needs {', '.join(KEYS)}")
            arrays = {key: file[key] for key in file.files}
    except FileNotFoundError:
        raise DataError(f"there is no file {path}; check the path") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"cannot read {path}: {error}; it must be an .npz file of arrays") from None
    parts = [(arrays[f"{part}_images"], arrays[f"{part}_labels"]) for part in ("train", "test")]
    train, test = image_sets(parts[0], parts[1], str(path))
    names = tuple(str(name) for name in arrays["classes"].ravel()) if "classes" in arrays else ()
    return LoadedImages(train, test, _classes(train, names, str(path)))


def save(path: Path, train: ImageSet, test: ImageSet, classes: tuple[str, ...]) -> None:
    """Write an `.npz` file that `load` reads.

    Raises:
        DataError: the file cannot be written.
    """
    partial = path.with_suffix(".partial.npz")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(
            partial,
            train_images=train.images.numpy(),
            train_labels=train.labels.numpy(),
            test_images=test.images.numpy(),
            test_labels=test.labels.numpy(),
            classes=np.array(classes),
        )
        partial.replace(path)
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror}; keep the study elsewhere") from None


def image_sets(train: Any, test: Any, what: str = "dataset") -> tuple[ImageSet, ImageSet]:
    """Return both parts as image sets.

    Args:
        train: images, uint8 (N, H, W) or (N, C, H, W), and labels (N,), whole numbers from 0; or a data set of
            torchvision without a transform, or any other sequence of (image, label).
        test: likewise.
        what: how error texts call the two.

    Raises:
        DataError: the images or labels are not such, or the parts do not fit together.
    """
    sets = [_image_set(part, f"{what}, {name}") for part, name in ((train, "training part"), (test, "test part"))]
    shapes = [tuple(part.images.shape[1:]) for part in sets]
    if shapes[0] != shapes[1]:
        raise DataError(f"{what}: images of {shapes[0]} to train on and of {shapes[1]} to test on; give them one shape")
    num_classes = int(sets[0].labels.max()) + 1
    if num_classes < 2:
        raise DataError(f"{what}: every label to train on is 0; at least 2 classes are needed")
    if int(sets[1].labels.max()) >= num_classes:
        raise DataError(
            f"{what}: label {int(sets[1].labels.max())} is tested on, {num_classes - 1} is the last trained on"
        )
    return sets[0], sets[1]


def class_names(train: Any, num_classes: int) -> tuple[str, ...]:
    """Return the names that a data set of torchvision has for its classes, or else their numbers."""
    names = tuple(str(name) for name in getattr(train, "classes", ()))
    return names if len(names) == num_classes else tuple(str(label) for label in range(num_classes))


def _classes(train: ImageSet, names: tuple[str, ...], what: str) -> tuple[str, ...]:
    num_classes = int(train.labels.max()) + 1
    if names and len(names) < num_classes:
        raise DataError(f"{what}: {len(names)} names in `classes`, and labels up to {num_classes - 1}")
    return names or class_names(None, num_classes)


def _image_set(part: Any, what: str) -> ImageSet:
    images, labels = part if isinstance(part, (tuple, list)) and len(part) == 2 else _stack(part, what)
    images, labels = torch.as_tensor(np.asarray(images)), torch.as_tensor(np.asarray(labels))
    if images.dtype != torch.uint8 or images.ndim not in (3, 4):
        raise DataError(
            f"{what}: images are {_describe(images)} and must be uint8 (N, H, W) or (N, C, H, W), with values 0 to 255"
        )
    images = images.unsqueeze(1) if images.ndim == 3 else images
    if labels.shape != images.shape[:1] or labels.is_floating_point() or labels.dtype == torch.bool:
        raise DataError(
            f"{what}: labels are {_describe(labels)} and must be whole numbers, one for each of {len(images):,}"
        )
    if len(labels) == 0 or 0 in images.shape:
        raise DataError(f"{what}: images are {_describe(images)}; there must be some")
    if images.shape[1] not in (1, 3) and images.shape[3] in (1, 3):
        raise DataError(f"{what}: images are {_describe(images)}, channels last; give them as (N, C, H, W)")
    if int(labels.min()) < 0:
        raise DataError(f"{what}: label {int(labels.min())} is below 0; labels are counted from 0")
    return ImageSet(images.contiguous(), labels.to(torch.int64).contiguous())


def _stack(part: Any, what: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the images of a data set, uint8 (N, C, H, W) or (N, H, W), and their labels (N,)."""
    if not hasattr(part, "__getitem__") or not hasattr(part, "__len__"):
        raise DataError(f"{what} is {type(part).__name__}; give (images, labels), or a torchvision data set")
    images, labels = [], []
    for index in range(len(part)):
        try:
            image, label = part[index]
            array = np.asarray(image)
            labels.append(int(label))
        except (TypeError, ValueError):
            raise DataError(f"{what}: item {index} is not (image, label); give (images, labels)") from None
        images.append(array.transpose(2, 0, 1) if array.ndim == 3 and not torch.is_tensor(image) else array)
        if images[-1].shape != images[0].shape:
            raise DataError(f"{what}: item {index} is {images[-1].shape} and the first is {images[0].shape}")
    if images and images[0].dtype != np.uint8:
        raise DataError(f"{what}: images are {images[0].dtype} and must be uint8; leave the data set's transform out")
    return np.stack(images) if images else np.zeros((0, 1, 1), np.uint8), np.array(labels, np.int64)


def _describe(array: torch.Tensor) -> str:
    return f"{str(array.dtype).removeprefix('torch.')} {tuple(array.shape)}"
