"""Own images as arrays: tensors or torchvision data sets in Python, and the `.npz` file that keeps them.

Shape legend: N images, C channels, H and W pixels.
"""

from __future__ import annotations

import math
import re
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from nas.data.images import ImageSet, LoadedImages
from nas.data.labels import label_values, number_classes
from nas.data.pictures import Picture, decode, stack
from nas.data.pixels import require_one_range, scale_of, tell
from nas.data.split import PART_NAMES, split_off_test, with_test_part
from nas.errors import DataError
from nas.host import written_whole

MAX_BYTES = 4 * 2**30  # of the arrays of a file, as in a folder
# The halves of an array's name are one of `PART_NAMES` and one of these, in either order: MedMNIST has train_images,
# Keras x_train.
_KINDS = {
    **dict.fromkeys(("images", "image", "x", "data"), "images"),
    **dict.fromkeys(("labels", "label", "y", "targets", "target"), "labels"),
}
_NAMES = ("classes", "class_names", "label_names")
_TITLES = {"train": "training part", "val": "validation part", "test": "test part"}


def load(path: Path) -> LoadedImages:
    """Return the images of an `.npz` file.

    Its arrays are train_images, train_labels, test_images and test_labels, or are called x_train, y_train and so on.
    val_images and val_labels may be there too, and `classes`, the names of the classes. Without a test part, the one to
    validate on is it; without either, a part of the training images.

    Raises:
        DataError: the file cannot be read, lacks an array, or holds one of another kind than it should.
    """
    arrays, names = _read(path)
    parts = {part: (arrays[part, "images"], arrays[part, "labels"]) for part in _TITLES if (part, "images") in arrays}
    return read_pairs(parts, names, str(path))


def read_pairs(parts: Mapping[str, Any], names: Sequence[str] = (), what: str = "dataset") -> LoadedImages:
    """Return images and labels of any form as a loader does.

    Args:
        parts: 'train', and maybe 'val' and 'test'. Each is images (N, H, W), (N, C, H, W) or (N, H, W, C), bytes,
            other whole numbers or fractions from 0 to 1, and labels, numbers or texts (N,) or (N, 1), or one-hot; or a
            data set of torchvision without a transform, or any other sequence of (image, label).
        names: of the classes, by label.
        what: how error texts call the data set.

    Raises:
        DataError: the images or labels are not such, or the parts do not fit together.
    """
    images, labels = {}, {}
    for part, given in with_test_part(parts, what).items():
        images[part], labels[part] = _images_and_labels(given, f"{what}, {_TITLES[part]}")
    scale = scale_of(list(images.values()), what)
    require_one_range(list(images.values()), scale, what)
    tell(scale, what)
    shapes = {part: array.shape[1:] for part, array in images.items()}
    for part, shape in shapes.items():
        if shape != shapes["train"]:
            verb = "test" if part == "test" else "validate"
            raise DataError(
                f"{what}: images of {shapes['train']} to train on and of {shape} to {verb} on; give them one shape"
            )
    numbers, classes = number_classes({_TITLES[part]: labels[part] for part in labels}, names, what)
    pairs = zip(images, numbers, strict=True)
    found = {part: ImageSet(torch.from_numpy(scale.to_bytes(images[part])), number) for part, number in pairs}
    train, test = (found["train"], found["test"]) if "test" in found else split_off_test(found["train"])
    return LoadedImages(train, test, classes, found.get("val"))


def save(path: Path, images: LoadedImages) -> None:
    """Write an `.npz` file that `load` reads.

    Raises:
        DataError: the file cannot be written.
    """
    parts = {"train": images.train, "val": images.validation, "test": images.test}
    arrays: dict[str, Any] = {"classes": np.array(images.classes)}
    for name, part in parts.items():
        if part is not None:
            arrays |= {f"{name}_images": part.images.numpy(), f"{name}_labels": part.labels.numpy()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(path) as whole, whole.open("wb") as file:
            np.savez(file, **arrays)
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror}; keep the study elsewhere") from None


def class_names(train: Any) -> tuple[str, ...]:
    """Return the names that a data set of torchvision has for its classes, by label; empty where it has none."""
    names = getattr(train, "classes", ())
    return tuple(str(name) for name in names) if isinstance(names, (list, tuple)) else ()


def _read(path: Path) -> tuple[dict[tuple[str, str], np.ndarray], list[str]]:
    """Return the arrays of a file by part and kind, such as ('train', 'images'), and the names of the classes."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of damaged headers, which are met by an error below
            with zipfile.ZipFile(path) as packed:
                sizes = {info.filename.removesuffix(".npy"): info.file_size for info in packed.infolist()}
            roles = _roles(list(sizes), path)
            if (num_bytes := sum(sizes[name] for name in roles.values())) > MAX_BYTES:
                raise DataError(
                    f"the arrays of {path} take {num_bytes / 2**30:.1f} GiB in memory, more than the "
                    f"{MAX_BYTES / 2**30:g} that are held; give fewer or smaller images"
                )
            with np.load(path, allow_pickle=False) as file:
                arrays = {role: np.asarray(file[name]) for role, name in roles.items()}
    except FileNotFoundError:
        raise DataError(f"there is no file {path}; check the path") from None
    except DataError:
        raise
    # numpy, zipfile and zlib meet damaged files with errors of a dozen types (SyntaxError and TokenError among them).
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(
            f"cannot read {path}: {reason}; it must be an .npz file of arrays, as np.savez writes"
        ) from None
    names = arrays.pop(("", "classes"), np.array([]))
    return arrays, [str(name) for name in names.ravel()]


def _roles(names: Sequence[str], path: Path) -> dict[tuple[str, str], str]:
    """Return the names of the arrays in a file by what they are."""
    roles: dict[tuple[str, str], str] = {}
    for name in names:
        role = _role(name)
        if role is not None and role in roles:
            raise DataError(f"{path} holds {roles[role]} and {name}, which are the same; leave one of them out")
        if role is not None:
            roles[role] = name
    parts = {part for part, kind in roles if kind != "classes"} | {"train"}
    if missing := [f"{part}_{kind}" for part in parts for kind in ("images", "labels") if (part, kind) not in roles]:
        raise DataError(
            f"{path} lacks {', '.join(sorted(missing))}; it needs train_images, train_labels, test_images, test_labels "
            f"(or x_train, y_train, …), and holds {', '.join(names) or 'nothing'}"
        )
    return roles


def _role(name: str) -> tuple[str, str] | None:
    """Return what an array is by its name: ('train', 'images') for train_images, X_train and images."""
    if name.lower() in _NAMES:
        return "", "classes"
    words = re.split(r"[^a-z]+", name.lower())
    parts, kinds = ([table[word] for word in words if word in table] for table in (PART_NAMES, _KINDS))
    if len(kinds) != 1 or len(parts) + len(kinds) != len(words):
        return None
    return (parts[0] if parts else "train"), kinds[0]


def _images_and_labels(part: Any, what: str) -> tuple[np.ndarray, np.ndarray]:
    """Return images of any type, channels first (N, C, H, W), and labels, int64 or str (N,)."""
    images, labels = part if isinstance(part, (tuple, list)) and len(part) == 2 else _stack(part, what)
    images = channels_first(_array(images, what), what)
    return images, label_values(_array(labels, what) if torch.is_tensor(labels) else labels, len(images), what)


def _array(values: Any, what: str) -> np.ndarray:
    """Return an array, or a tensor of any device."""
    try:
        if torch.is_tensor(values):
            values = values.detach().cpu()
            values = values.float() if values.dtype == torch.bfloat16 else values
        return np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"{what}: {type(values).__name__} is no array ({error}); give (images, labels)") from None


def channels_first(images: np.ndarray, what: str) -> np.ndarray:
    """Return images (N, H, W), (N, C, H, W) or (N, H, W, C) as (N, C, H, W).

    Raises:
        DataError: they have another shape, or there are none; `what` begins the text.
    """
    shown = f"{what}: images are {images.dtype} {images.shape}"
    if images.ndim not in (3, 4):
        side = math.isqrt(images.shape[1]) if images.ndim == 2 else 0
        is_square = side > 1 and side**2 == images.shape[1]
        hint = f"; images.reshape(-1, {side}, {side}) may be what is meant" if is_square else ""
        raise DataError(f"{shown} and must be (N, H, W), (N, C, H, W) or (N, H, W, C){hint}")
    if 0 in images.shape:
        raise DataError(f"{shown}; there must be some")
    if images.ndim == 3:
        return images[:, None]
    _, first, middle, last = images.shape
    channels_last = first not in (1, 3) and (last in (1, 3) or (first == middle != last and last < first))
    return images.transpose(0, 3, 1, 2) if channels_last else images


def _stack(part: Any, what: str) -> tuple[np.ndarray, list[Any]]:
    """Return the images of a data set, (N, C, H, W) or (N, H, W), and their labels."""
    if not hasattr(part, "__getitem__") or not hasattr(part, "__len__"):
        raise DataError(f"{what} is {type(part).__name__}; give (images, labels), or a torchvision data set")
    images: list[Any] = []
    labels = []
    for index in range(len(part)):
        try:
            image, label = part[index]
        except (TypeError, ValueError):
            raise DataError(f"{what}: item {index} is not (image, label); give (images, labels)") from None
        except Exception as error:  # of a data set of the person's own: what it raises is shown as the cause
            raise DataError(f"{what}: item {index} cannot be read ({error}); leave it out") from error
        images.append(_item(image, f"{what}: item {index}"))
        labels.append(label.tolist() if isinstance(label, (torch.Tensor, np.ndarray)) else label)
        shapes = [(one.pixels.shape[:2] if isinstance(one, Picture) else one.shape) for one in (images[-1], images[0])]
        if shapes[0] != shapes[1]:
            raise DataError(f"{what}: item {index} is {shapes[0]} and the first is {shapes[1]}")
    if not images:
        return np.zeros((0, 1, 1), np.uint8), []
    if all(isinstance(one, Picture) for one in images):
        return stack(images, None, what), labels
    if any(isinstance(one, Picture) for one in images):
        raise DataError(f"{what}: some images are pictures and some are arrays; give all of them in one form")
    return np.stack(images), labels


def _item(image: Any, what: str) -> Picture | np.ndarray:
    if not isinstance(image, Image.Image):
        return _array(image, what)
    try:
        return decode(image)
    except DataError as error:
        raise DataError(f"{what} {error}") from None
    except Exception as error:  # of a dozen types, as a file's
        raise DataError(f"{what} cannot be read as an image ({error}); leave it out") from None
