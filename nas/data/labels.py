"""Labels of any kind as class numbers from 0, and the names of the classes.

Shape legend: N images, K classes.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from nas.errors import DataError

_MOST_SHOWN = 6  # values of labels in a text


def label_values(labels: Any, num_images: int, what: str) -> np.ndarray:
    """Return labels as whole numbers or texts, int64 or str (N,).

    Args:
        labels: whole numbers or texts (N,) or (N, 1), or one-hot (N, K).
        num_images: N.
        what: how error texts call them.

    Raises:
        DataError: they are not such, or not as many as the images.
    """
    try:
        array = np.asarray(labels)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"{what}: labels are no array ({error}); give one number or text for each image") from None
    shown = f"{what}: labels are {array.dtype} {array.shape}"
    if array.ndim == 0 or len(array) != num_images:
        raise DataError(f"{shown} and must be whole numbers or texts, one for each of {num_images:,} images")
    if array.ndim > 1 and array.size == len(array):
        array = array.reshape(-1)
    if array.dtype.kind == "O" and all(isinstance(label, str) for label in array.flat):
        array = array.astype(str)
    if array.dtype.kind == "S":
        array = np.char.decode(array, "utf-8", "replace")
    if array.dtype.kind not in "buifU" or (array.ndim > 1 and array.dtype.kind == "U"):
        raise DataError(f"{shown} and must be whole numbers or texts, one for each image")
    if array.ndim > 1:
        return _from_one_hot(array, shown)
    return array if array.dtype.kind == "U" else _whole(array, what)


def number_classes(
    parts: Mapping[str, np.ndarray], names: Sequence[str], what: str
) -> tuple[list[torch.Tensor], tuple[str, ...]]:
    """Return the labels of each part as class numbers, int64 (N,), and the names of the classes.

    The classes are the labels that are trained on, in their order, so that no output of a network stands for a number
    that is never used. `names` are by label, or by class where there are as many.

    Args:
        parts: what `label_values` gave, by the name of the part; the training part is the first.
        names: of the classes; may be empty.
        what: how error texts call the data set.

    Raises:
        DataError: a part has a label that is not trained on, there are less than 2 classes, or names do not fit.
    """
    train = next(iter(parts.values()))
    if {labels.dtype.kind for labels in parts.values()} == {"i", "U"}:
        raise DataError(f"{what}: labels are numbers in one part and texts in another; give them in one form")
    values = np.unique(train)
    if len(values) < 2:
        raise DataError(f"{what}: every label to train on is {values[0]}; at least 2 classes are needed")
    for part, labels in parts.items():
        if len(other := np.setdiff1d(labels, values)):
            raise DataError(f"{what}, {part}: label {other[0]} is not one of those trained on, {_shown(values)}")
    values, classes = _name(values, names, what)
    if values.dtype.kind == "i" and not np.array_equal(values, np.arange(len(values))):
        print(f"{what}: the labels {_shown(values)} are read as {len(values)} classes", file=sys.stderr)
    order = np.argsort(values)
    return [torch.from_numpy(order[np.searchsorted(values, part, sorter=order)]) for part in parts.values()], classes


def _name(values: np.ndarray, names: Sequence[str], what: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the sorted `values` of labels, texts in the order of their `names`, and the names of each."""
    if not names:
        return values, tuple(str(value) for value in values)
    if values.dtype.kind == "U":
        if unknown := sorted(set(values.tolist()) - set(names)):
            raise DataError(f"{what}: label {unknown[0]!r} is not one of the names in `classes`, {_shown(names)}")
        ordered = tuple(name for name in dict.fromkeys(names) if name in set(values.tolist()))
        return np.array(ordered), ordered
    if len(names) == len(values):
        return values, tuple(names)
    if len(names) > values[-1]:
        return values, tuple(names[value] for value in values)
    raise DataError(
        f"{what}: {len(names)} names in `classes`, and labels up to {values[-1]}, {len(values)} of them; give one for "
        f"each class"
    )


def _from_one_hot(array: np.ndarray, shown: str) -> np.ndarray:
    """Return the numbers, int64 (N,), of one-hot labels (N, K)."""
    if array.ndim == 2:
        hot = array != 0
        if (hot.sum(axis=1) == 1).all() and len(np.unique(array[hot])) == 1:
            return np.asarray(hot.argmax(axis=1), np.int64)
        wrong = int(np.argmax(hot.sum(axis=1) != 1))
        shown += f" and not one-hot (image {wrong} has {array[wrong].tolist()[:_MOST_SHOWN]})"
    raise DataError(f"{shown}; each image has one class: give one number or text for each")


def _whole(array: np.ndarray, what: str) -> np.ndarray:
    """Return numbers (N,) as int64."""
    with np.errstate(invalid="ignore"):
        found = array.astype(np.int64)
    if len(wrong := array[found != array]):
        raise DataError(f"{what}: label {wrong[0]} is not a whole number below 2^63")
    if len(found) and int(found.min()) < 0:
        raise DataError(f"{what}: label {found.min()} is below 0; labels are counted from 0")
    return found


def _shown(values: Sequence[Any] | np.ndarray) -> str:
    texts = [str(value) for value in values]
    return ", ".join(texts if len(texts) <= _MOST_SHOWN else [*texts[: _MOST_SHOWN - 1], "…", texts[-1]])
