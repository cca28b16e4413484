"""The images of a study: read again and compared with those that it was made with, and what it keeps of them."""

from __future__ import annotations

from pathlib import Path

from nas.arch import Input
from nas.data.images import Dataset
from nas.data.load import load_dataset
from nas.data.split import Parts
from nas.errors import StudyError
from nas.study.folder import StudyFolder, StudyImages


def study_dataset(folder: StudyFolder, data_dir: Path | None) -> Dataset:
    """Return the images of an existing study.

    Raises:
        DataError: they are not there.
        StudyError: they have changed.
    """
    document = folder.document()
    s = document.settings
    dataset = load_dataset(s.dataset, data_dir, s.image_size, s.color)
    if dataset.fingerprint != document.fingerprints.data:
        raise StudyError(f"the images of {s.dataset!r} are not those that study {folder.name!r} was made with")
    return dataset


def images_of(dataset: Dataset, parts: Parts) -> StudyImages:
    """Return what a study keeps of its images."""
    counts = (len(part) for part in (parts.train, parts.validation, parts.test))
    return StudyImages(Input(*dataset.image_shape), dataset.classes, *counts)
