"""What a search is asked for: given settings over a study's own or a file's, with paths that work from anywhere."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from nas.errors import InvalidError, UsageError
from nas.study.folder import Fingerprints, StudyDocument, StudyFolder
from nas.study.resolve_settings import given_settings, resolve_settings
from nas.study.settings import StudySettings, read_settings

FINGERPRINTS = Fingerprints("0" * 16, "1" * 16)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder: it holds `images/` and `mine.toml`."""
    folder = tmp_path / "here"
    (folder / "images").mkdir(parents=True)
    (folder / "mine.toml").touch()
    monkeypatch.chdir(folder)
    return folder


def test_what_is_given_wins_over_the_study_and_the_study_over_the_defaults(tmp_path: Path) -> None:
    StudyFolder(tmp_path, "a").create(StudyDocument(StudySettings(900, seed=3, target=90.0), FINGERPRINTS), "")
    folder, settings = resolve_settings({"target": 95.0}, tmp_path, "a")
    assert folder.name == "a"
    assert settings == StudySettings(900, seed=3, target=95.0)


def test_none_and_an_empty_list_stand_for_not_given() -> None:
    assert given_settings({"max_params": 9, "target": None, "warm_start": [], "device": "cpu"}) == {"max_params": 9}


def test_a_study_is_named_by_its_data_space_and_budget(here: Path) -> None:
    assert resolve_settings({"max_params": 8000}, here)[0].name == "mnist-general-8000"
    given = {"max_params": 70, "dataset": "images", "space": "mine.toml"}
    assert resolve_settings(given, here)[0].name == "images-mine-70"


def test_paths_become_absolute_wherever_they_are_given(here: Path) -> None:
    """So the command line, Python and a study file name one data set alike, and a study resumes from anywhere."""
    given = {"max_params": 8000, "dataset": "images", "space": "mine.toml", "warm_start": ["mine.toml", "reference"]}
    _, settings = resolve_settings(given, here)
    assert settings.dataset == str(here / "images")
    assert settings.space == str(here / "mine.toml")
    assert settings.warm_start == (str(here / "mine.toml"), "reference")
    (here / "deep").mkdir()
    (here / "deep" / "study.toml").write_text('max_params = 8000\ndataset = "../images"\nspace = "../mine.toml"\n')
    _, of_file = resolve_settings({}, here, file=here / "deep" / "study.toml")
    assert (of_file.dataset, of_file.space) == (settings.dataset, settings.space)
    _, known = resolve_settings({"max_params": 8000, "dataset": "mnist", "space": "separable"}, here)
    assert (known.dataset, known.space) == ("mnist", "separable")


def test_a_known_name_wins_over_a_folder_of_that_name(here: Path) -> None:
    (here / "mnist").mkdir()
    assert resolve_settings({"max_params": 8000, "dataset": "mnist"}, here)[1].dataset == "mnist"
    assert resolve_settings({"max_params": 8000, "dataset": "./mnist"}, here)[1].dataset == str(here / "mnist")


def test_old_names_are_understood_and_not_mixed(tmp_path: Path) -> None:
    old = tmp_path / "old.toml"
    old.write_text("max_params = 900\ntrials = 7\ntime = 60.0\nseeds = 2\ncolour = true\n")
    expected = StudySettings(900, max_trials=7, max_seconds=60.0, num_seeds=2, color=True)
    assert read_settings(old) == expected
    assert resolve_settings({"max_params": 900, "trials": 7}, tmp_path)[1].max_trials == 7
    with pytest.raises(UsageError, match="trials is the old name of max_trials, and both are given; leave trials out"):
        resolve_settings({"max_params": 900, "trials": 7, "max_trials": 8}, tmp_path)


def test_the_document_of_an_old_study_is_understood(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path, "a")
    folder.create(StudyDocument(StudySettings(900, num_seeds=2), FINGERPRINTS), "")
    document = json.loads(folder.settings_file.read_text())
    document["settings"]["seeds"] = document["settings"].pop("num_seeds")
    document["settings"]["colour"] = document["settings"].pop("color")
    del document["images"]
    folder.settings_file.write_text(json.dumps(document))
    assert folder.settings() == StudySettings(900, num_seeds=2)


def test_all_that_cannot_be_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(InvalidError) as refused:
        resolve_settings({"max_params": 0, "epochs": 0, "target": 101.0}, tmp_path)
    assert [problem.split(":")[0] for problem in refused.value.problems] == ["max_params", "epochs", "target"]


def test_a_budget_is_needed(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="`max_params` is missing"):
        resolve_settings({"target": 99.0}, tmp_path)


def test_every_setting_is_kept(tmp_path: Path) -> None:
    settings = StudySettings(
        900,
        10,
        20,
        30,
        40,
        "deployed",
        "digits",
        8,
        True,
        "tiny_digits",
        3,
        "balanced",
        "photos",
        4,
        "gp",
        "mixup",
        ("reference",),
        90.0,
        True,
        5,
        6.5,
        7,
    )
    assert all(value != getattr(StudySettings(1), name) for name, value in asdict(settings).items())
    folder = StudyFolder(tmp_path, "a")
    folder.create(StudyDocument(settings, FINGERPRINTS), "")
    assert folder.settings() == settings


@pytest.mark.parametrize(("target", "percent"), [(0.97, "97"), (0.994, "99.4"), (1.0, "100")])
def test_a_target_that_is_a_share_is_refused(target: float, percent: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=rf"`target` {target:g}: give it in percent; did you mean {percent}\?"):
        resolve_settings({"max_params": 900, "target": target}, tmp_path)
