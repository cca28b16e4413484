"""The images of a study are those of its fingerprint, wherever they lie now."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas.app.own_images import keep_images
from nas.app.study_data import dataset_to_search, images_of, study_dataset
from nas.data.load import load_dataset
from nas.data.split import parts_of
from nas.errors import DataError, StudyError, UsageError
from nas.study.folder import Fingerprints, StudyDocument, StudyFolder
from nas.study.settings import StudySettings

LABELS = np.arange(12) % 3
IMAGES = np.arange(12 * 16, dtype=np.uint8).reshape(12, 4, 4)


def write(path: Path, images: np.ndarray = IMAGES) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, x_train=images, y_train=LABELS, x_test=images, y_test=LABELS)
    return path


def create(folder: StudyFolder, dataset: str) -> StudyFolder:
    loaded = load_dataset(dataset)
    settings, fingerprints = StudySettings(max_params=100, dataset=loaded.name), Fingerprints("0", loaded.fingerprint)
    folder.create(StudyDocument(settings, fingerprints, images=images_of(loaded, parts_of(loaded, 0))), "")
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> StudyFolder:
    """A study of old/mine.npz."""
    return create(StudyFolder(tmp_path / "studies", "own"), str(write(tmp_path / "old" / "mine.npz")))


@pytest.mark.parametrize("said", ["new", "new/mine.npz"])
def test_images_that_have_moved_are_found_where_they_are_said_to_be(
    said: str, folder: StudyFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old").rename(tmp_path / "new")
    with pytest.raises(DataError, match=r"no file .*old/mine.npz; .*; if the images have moved, say by `data_dir`"):
        study_dataset(folder, None)
    for found in (
        study_dataset(folder, Path(said)),
        dataset_to_search(folder, folder.settings(), Path(said)),
        dataset_to_search(folder, replace(folder.settings(), dataset="new/mine.npz"), None),
    ):
        assert found.name == str(tmp_path / "new" / "mine.npz")
        assert found.fingerprint == folder.document().fingerprints.data


def test_other_images_in_their_place_are_not_taken_for_them(folder: StudyFolder, tmp_path: Path) -> None:
    (tmp_path / "old").rename(tmp_path / "new")
    write(tmp_path / "old" / "mine.npz", IMAGES + 1)
    with pytest.raises(StudyError, match=r"the images of '.*old/mine.npz' are not those that study 'own' was"):
        study_dataset(folder, None)
    assert study_dataset(folder, tmp_path / "new").name == str(tmp_path / "new" / "mine.npz")
    assert dataset_to_search(folder, folder.settings(), None).fingerprint != folder.document().fingerprints.data


def test_a_data_folder_without_them_is_no_hindrance(folder: StudyFolder, tmp_path: Path) -> None:
    (tmp_path / "data" / "MNIST").mkdir(parents=True)
    assert study_dataset(folder, tmp_path / "data").name == str(tmp_path / "old" / "mine.npz")


def test_images_of_a_program_move_with_their_study(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path / "studies", "own")
    part: Any = (IMAGES, LABELS)
    create(folder, str(keep_images(folder, (part, part))))
    (tmp_path / "studies").rename(tmp_path / "elsewhere")
    moved = StudyFolder(tmp_path / "elsewhere", "own")
    assert study_dataset(moved, None).name == str(tmp_path / "elsewhere" / "own" / "images.npz")
    assert keep_images(moved, (part, part)) == tmp_path / "elsewhere" / "own" / "images.npz"
    with pytest.raises(StudyError, match="was made with other images"):
        keep_images(moved, (part, (IMAGES + 1, LABELS)))


def test_a_program_may_give_a_part_to_validate_on(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path / "studies", "own")
    part: Any = (IMAGES, LABELS)
    dataset = load_dataset(str(keep_images(folder, (part, (IMAGES + 1, LABELS), (IMAGES + 2, LABELS)))))
    assert dataset.validation is not None
    assert dataset.validation.images[0, 0].tolist() == (IMAGES[0] + 1).tolist()
    assert dataset.test.images[0, 0].tolist() == (IMAGES[0] + 2).tolist()
    with pytest.raises(UsageError, match=r"`dataset` has 1 parts where 2 or 3 belong"):
        keep_images(folder, (part,))


def test_the_same_images_in_other_classes_are_refused(folder: StudyFolder) -> None:
    document = folder.document()
    assert document.images is not None
    names = ("a", "b", "c", "never used")
    folder.create(replace(document, images=replace(document.images, class_names=names)), "")
    with pytest.raises(StudyError, match=r"study 'own' was made with 4 classes, and its images have 3; give"):
        study_dataset(folder, None)
