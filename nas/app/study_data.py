"""The images of a study: read again and compared with those that it was made with, and what it keeps of them."""

from __future__ import annotations

from pathlib import Path

from nas.arch import Input
from nas.data.images import Dataset
from nas.data.known import KNOWN_DATASETS
from nas.data.load import load_dataset
from nas.data.split import Parts
from nas.errors import DataError, StudyError
from nas.study.folder import StudyDocument, StudyFolder, StudyImages
from nas.study.settings import StudySettings

IMAGES_FILE = "images.npz"  # in a study's folder: images that a Python program gave


def study_dataset(folder: StudyFolder, data_dir: Path | None) -> Dataset:
    """Return the images of an existing study, wherever they lie now.

    Raises:
        DataError: they are not there.
        StudyError: they have changed.
    """
    document = folder.document()
    dataset = dataset_to_search(folder, document.settings, data_dir)
    if dataset.fingerprint != document.fingerprints.data:
        raise StudyError(
            f"the images of {document.settings.dataset!r} are not those that study {folder.name!r} was made with; say "
            "by `data_dir` where those are"
        )
    return dataset


def dataset_to_search(folder: StudyFolder, settings: StudySettings, data_dir: Path | None) -> Dataset:
    """Return the images that `settings` name; for an existing study, the same ones from where they lie now.

    A person's own images may have moved since: to `data_dir`, or with the study's folder, which keeps those that a
    Python program gave. Their fingerprint tells whether they are the same; if none are, those that were named are
    returned.

    Raises:
        DataError: there are none.
        StudyError: they have not as many classes as when the study was made.
    """
    if not folder.exists:
        return load_dataset(settings.dataset, data_dir, settings.image_size, settings.color)
    document = folder.document()
    found: list[Dataset] = []
    problems: list[DataError] = []
    for place in _places(folder, settings.dataset, data_dir):
        try:
            found.append(load_dataset(place, data_dir, settings.image_size, settings.color))
        except DataError as error:
            problems.append(error)
            continue
        if found[-1].fingerprint == document.fingerprints.data:
            _require_same_classes(folder, document, found[-1])
            return found[-1]
    if found:
        return found[0]
    if settings.dataset in KNOWN_DATASETS or Path(settings.dataset).exists():
        raise problems[0]
    raise DataError(f"{problems[0]}; if the images have moved, say by `data_dir` where they are")


def _places(folder: StudyFolder, dataset: str, data_dir: Path | None) -> list[str]:
    """Return where the images called `dataset` may lie: there first, or else where something is."""
    if dataset in KNOWN_DATASETS:
        return [dataset]
    places = [Path(dataset), folder.path / IMAGES_FILE]
    if data_dir is not None:
        inside = data_dir / Path(dataset).name
        places.insert(1, inside if inside.exists() else data_dir)
    return [str(place.absolute()) for place in places if place.exists()] or [dataset]


def _require_same_classes(folder: StudyFolder, document: StudyDocument, dataset: Dataset) -> None:
    if document.images is not None and document.images.num_classes != dataset.num_classes:
        raise StudyError(
            f"study {folder.name!r} was made with {document.images.num_classes} classes, and its images have "
            f"{dataset.num_classes}; give this search another `name`"
        )


def images_of(dataset: Dataset, parts: Parts) -> StudyImages:
    """Return what a study keeps of its images."""
    counts = (len(part) for part in (parts.train, parts.validation, parts.test))
    return StudyImages(Input(*dataset.image_shape), dataset.classes, *counts)
