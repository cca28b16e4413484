"""Images that a Python program gives as arrays, kept in the folder of the study that is made of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nas.app.study_data import IMAGES_FILE
from nas.data import arrays
from nas.data.images import fingerprint
from nas.data.load import load_dataset
from nas.errors import StudyError, UsageError
from nas.study.folder import StudyFolder


def keep_images(folder: StudyFolder, parts: Sequence[Any]) -> Path:
    """Return the file in the study's folder that holds the images; write it if the study is new.

    Raises:
        DataError: they are no images.
        StudyError: the study was made with others.
    """
    if len(parts) not in (2, 3):
        raise UsageError(
            f"`dataset` has {len(parts)} parts where 2 or 3 belong: dataset=(train, test) or (train, validation, test)"
        )
    names = ("train", "test") if len(parts) == 2 else ("train", "val", "test")
    images = arrays.read_pairs(dict(zip(names, parts, strict=True)), arrays.class_names(parts[0]))
    file = (folder.path / IMAGES_FILE).absolute()
    if not folder.exists:
        arrays.save(file, images)
    elif not file.is_file() or load_dataset(str(file)).fingerprint != fingerprint(images):
        raise StudyError(f"study {folder.name!r} was made with other images; give this search another name")
    return file
