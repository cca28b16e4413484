"""A study's folder: what a resume may change, and what makes it another study."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from nas.arch import Input
from nas.errors import StudyError, UsageError
from nas.study.folder import Fingerprints, StudyDocument, StudyFolder, StudyImages
from nas.study.settings import StudySettings

DOCUMENT = StudyDocument(
    StudySettings(900, dataset="/old/images", space="/old/mine.toml", target=90.0),
    Fingerprints("0" * 16, "1" * 16),
    storage="journal:///somewhere",
    images=StudyImages(Input(1, 8, 8), ("a", "b"), 10, 2, 3),
)


@pytest.fixture
def folder(tmp_path: Path) -> StudyFolder:
    folder = StudyFolder(tmp_path, "a")
    folder.create(DOCUMENT, "the space")
    return folder


def test_what_is_written_is_read(folder: StudyFolder) -> None:
    found = folder.document()
    assert replace(found, identity="", stored_name="") == DOCUMENT
    assert found.stored_name == "a"
    assert len(found.identity) == 32
    assert folder.space_file.read_text() == "the space"


def test_a_resume_may_change_what_is_asked_for_and_where_things_lie(folder: StudyFolder) -> None:
    moved = replace(DOCUMENT.settings, dataset="/new/images", space="/new/mine.toml", target=95.0, max_trials=3)
    before = folder.document()
    folder.create(replace(DOCUMENT, settings=moved, storage=None), "another text of the same space")
    now = folder.document()
    assert now.settings == moved
    assert (now.identity, now.storage) == (before.identity, "journal:///somewhere")
    assert folder.space_file.read_text() == "the space"


@pytest.mark.parametrize(
    ("document", "text"),
    [
        (replace(DOCUMENT, settings=replace(DOCUMENT.settings, max_params=901)), "max_params was 900 and is 901"),
        (
            replace(DOCUMENT, fingerprints=Fingerprints("2" * 16, "1" * 16)),
            "the space '/old/mine.toml' is not the one that it was made with",
        ),
        (
            replace(DOCUMENT, fingerprints=Fingerprints("0" * 16, "2" * 16)),
            "the images of '/old/images' are not those that it was made with",
        ),
    ],
)
def test_another_study_is_refused_and_nothing_is_changed(
    folder: StudyFolder, document: StudyDocument, text: str
) -> None:
    before = folder.settings_file.read_bytes()
    with pytest.raises(StudyError, match=f"study 'a' exists with other settings: {text}; resume it with its own, or"):
        folder.create(document, "")
    assert folder.settings_file.read_bytes() == before


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "x" * 101, "a b", "a?b"])
def test_a_name_is_one_plain_folder(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a study name has 1 to 100 letters"):
        StudyFolder(tmp_path, name)


def test_a_study_that_does_not_exist_names_those_that_do(folder: StudyFolder) -> None:
    studies = folder.path.parent
    with pytest.raises(
        StudyError, match=re.escape(f"no study 'b'; studies in {studies}: a; make one with: nas search --name b")
    ):
        StudyFolder(studies, "b").require()
    with pytest.raises(StudyError, match=r"there is none in .*elsewhere yet"):
        StudyFolder(studies / "elsewhere", "b").require()
