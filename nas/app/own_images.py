"""Images that a Python program gives as arrays, kept in the folder of the study that is made of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nas.data import arrays
from nas.data.images import fingerprint
from nas.data.load import load_dataset
from nas.errors import StudyError, UsageError
from nas.study.folder import StudyFolder

_IMAGES = "images.npz"


def keep_images(folder: StudyFolder, parts: Sequence[Any]) -> Path:
    """Return the file in the study's folder that holds the images; write it if the study is new.

    Raises:
        DataError: they are no images.
        StudyError: the study was made with others.
    """
    if len(parts) != 2:
        raise UsageError(f"`dataset` has {len(parts)} parts where 2 belong: dataset=(train, test)")
    train, test = arrays.image_sets(*parts)
    file = (folder.path / _IMAGES).absolute()
    if not folder.exists:
        arrays.save(file, train, test, arrays.class_names(parts[0], int(train.labels.max()) + 1))
    elif not file.is_file() or load_dataset(str(file)).fingerprint != fingerprint(train, test):
        raise StudyError(f"study {folder.name!r} was made with other images; give this search another name")
    return file
