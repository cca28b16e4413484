"""Known networks as the first trials of a study, on real digits."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from watching import Watching

from nas.app.search import Machine, Outcome, search
from nas.arch import Input, digest_of, lower, read_architecture
from nas.coordinator.warm_start import warm_start
from nas.data.known import KNOWN_DATASETS
from nas.errors import NasError, UsageError
from nas.report.document import study_document
from nas.space import candidate, load_space
from nas.storage.study_store import Store, read_records
from nas.study.folder import StudyFolder, find_study
from nas.study.front import front_records
from nas.study.landmarks import REFERENCES
from nas.study.settings import StudySettings
from nas.study.tables import trials_table

SETTINGS = StudySettings(2000, dataset="digits", space="tiny_digits", epochs=2, max_trials=5, num_seeds=1, seed=3)
DIGITS = load_space("tiny_digits", *KNOWN_DATASETS["digits"].images)
EXAMPLE = """
name = "by hand"
input = [1, 8, 8]
classes = 10
{head}
[norm_act]
bias = false
activation = "relu"
[[body]]
type = "block"
width = 6
kernel = 3
padding = "same"
[[body]]
type = "pool"
size = 2
[[body]]
type = "block"
kind = "separable"
width = 9
kernel = 3
padding = "same"
[recipe]
learning_rate = 0.011
"""


def _search(folder: StudyFolder, settings: StudySettings) -> tuple[Outcome, list[str]]:
    watching = Watching()
    outcome = search(folder, settings, Machine("cpu", 1), [watching])
    return outcome, [line for line in watching.said if "warm start" in line]


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("studies")
    _search(StudyFolder(folder, "first"), SETTINGS)
    return folder


def test_the_front_of_an_earlier_study_begins_the_next(studies: Path) -> None:
    front = front_records(Store(StudyFolder(studies, "first")).records())
    largest = max(r.num_params for r in front)
    assert len(front) >= 2
    settings = replace(SETTINGS, max_params=largest - 1, warm_start=("first",), seed=4)
    folder = StudyFolder(studies, "second")
    outcome, said = _search(folder, settings)
    fitting = [r for r in front if r.num_params < largest]
    begun = outcome.records[: len(fitting)]
    assert [(r.digest, r.origin) for r in begun] == [(r.digest, f"trial {r.number} of first") for r in fitting]
    recipes = [{k: v for k, v in r.genes.items() if k.startswith("recipe.")} for r in (*begun, *fitting)]
    assert recipes[: len(begun)] == recipes[len(begun) :]
    assert {r.origin for r in outcome.records[len(fitting) :]} == {""}
    assert all(r.fate in ("completed", "stopped") for r in begun)
    assert said == [
        f"warm start: trial {front[-1].number} of first is left out: over budget: num_params {largest:,} exceeds "
        f"{largest - 1:,}",
        f"warm start: the first trials are {', '.join(r.origin for r in begun)}",
    ]
    result = study_document("second", settings, outcome.records)["warm_start"]
    assert result["trials"] == len(fitting)
    assert result["on_front"] == sum(bool(r.origin) for r in front_records(outcome.records))
    assert list(trials_table(outcome.records)["origin"][: len(fitting)]) == [r.origin for r in begun]
    # A resume does not enqueue again, nor needs what it began with.
    shutil.move(studies / "first", studies / "elsewhere")
    try:
        again, said = _search(folder, replace(settings, max_trials=6))
    finally:
        shutil.move(studies / "elsewhere", studies / "first")
    assert said == []
    assert again.records[:5] == outcome.records[:5]
    assert sum(bool(r.origin) for r in again.records) == len(fitting)


def test_with_a_target_what_reached_it_is_tried_first_and_what_was_far_below_not_at_all() -> None:
    space = load_space("general", Input(1, 28, 28), 10)
    settings = StudySettings(max_params=6000, target=99.4, dataset="mnist", warm_start=("mnist-gpu-8000",))
    known = warm_start(settings, space, Path("nowhere"))
    accuracies = {
        f"trial {r.number} of mnist-gpu-8000": r.confirmed.mean if r.confirmed else r.validation_accuracy
        for r in read_records(find_study(Path("nowhere"), "mnist-gpu-8000"))
        if r.fate == "completed"
    }
    assert next(iter(known.networks)) == "trial 11 of mnist-gpu-8000"  # 3,307 parameters, 99.41
    found = [accuracies[origin] for origin in known.networks]
    missed = [accuracy for accuracy in found if accuracy < 99.4]
    assert found[len(found) - len(missed) :] == sorted(missed, reverse=True)
    assert len(missed) < len(found)
    assert min(found) >= 98.8
    assert known.left_out["trial 87 of mnist-gpu-8000"] == "it came to 97.18 % there, far below 99.4"
    without = warm_start(replace(settings, target=None), space, Path("nowhere"))
    assert "trial 87 of mnist-gpu-8000" in without.networks
    elsewhere = warm_start(replace(settings, dataset="fashion_mnist"), space, Path("nowhere"))
    assert "trial 87 of mnist-gpu-8000" in elsewhere.networks  # there 99.4 is another matter


def test_the_references_belong_to_the_space_made_for_them() -> None:
    space = load_space("squeeze_expand", *KNOWN_DATASETS["mnist"].images)
    settings = StudySettings(10_000, space="squeeze_expand", warm_start=("reference",))
    found = warm_start(settings, space, Path())
    assert list(found.networks) == [f"reference {n}" for n in ("001", "003_model_1", "003_model_2", "003_model_3")]
    for origin, genes in found.networks.items():
        known = read_architecture(REFERENCES / f"{origin.removeprefix('reference ')}.toml")
        made = candidate(space, genes)
        assert made is not None
        assert made.digest == digest_of(lower(known.architecture))
        rates = space.genes["recipe.learning_rate"]
        if rates.contains(known.recipe.learning_rate):
            assert genes["recipe.learning_rate"] == known.recipe.learning_rate
    assert set(found.left_out) == {"reference 000", "reference 002", "reference 004"}


def test_where_none_fits_a_warning_says_so_and_the_search_goes_on(tmp_path: Path) -> None:
    settings = replace(SETTINGS, max_params=10_000, max_trials=1, warm_start=("reference",))
    outcome, said = _search(StudyFolder(tmp_path, "none"), settings)
    assert len(outcome.records) == 1
    assert len(said) == 8
    assert any(
        line.startswith("warm start: reference 003_model_3 is left out: no member of space 'tiny_digits': images of")
        for line in said
    )
    assert said[-1] == ("warning: nothing of the warm start fits this space and budget; the search begins without it")


def test_a_file_is_tried_with_its_own_recipe_and_once(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(EXAMPLE.format(head=""))
    (tmp_path / "b.toml").write_text(EXAMPLE.format(head="").replace("by hand", "again"))
    (tmp_path / "c.toml").write_text(EXAMPLE.format(head="").replace("0.011", "0.012"))
    files = tuple(str(tmp_path / f"{name}.toml") for name in "abc")
    found = warm_start(replace(SETTINGS, warm_start=files), DIGITS, tmp_path)
    assert [genes["recipe.learning_rate"] for genes in found.networks.values()] == [0.011, 0.012]
    assert list(found.networks) == ["a.toml", "c.toml"]
    assert found.left_out == {"b.toml": "it is the same as a.toml"}


def test_files_of_one_name_are_told_apart_and_their_folders_stay_private(tmp_path: Path) -> None:
    files = []
    for folder, rate in (("mine", "0.011"), ("yours", "0.012")):
        (tmp_path / folder).mkdir()
        files.append(tmp_path / folder / "net.toml")
        files[-1].write_text(EXAMPLE.format(head="").replace("0.011", rate))
    found = warm_start(replace(SETTINGS, warm_start=tuple(map(str, files))), DIGITS, tmp_path)
    assert list(found.networks) == ["net.toml", "net.toml'"]


def test_what_is_no_study_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path, "new")
    with pytest.raises(
        UsageError, match=r"`warm_start` nosuch: no study 'nosuch'; .*; or give 'reference', or an arch"
    ):
        _search(folder, replace(SETTINGS, warm_start=("nosuch",)))
    with pytest.raises(NasError, match=r"cannot read .*missing.toml"):
        _search(folder, replace(SETTINGS, warm_start=(str(tmp_path / "missing.toml"),)))
    assert not folder.exists


def test_a_start_that_was_cut_off_is_made_up_for_and_an_opened_study_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(EXAMPLE.format(head=""))
    (tmp_path / "b.toml").write_text(EXAMPLE.format(head="").replace("0.011", "0.012"))
    files = tuple(str(tmp_path / f"{name}.toml") for name in "ab")
    memory = optuna.storages.InMemoryStorage()
    both = warm_start(replace(SETTINGS, warm_start=files), DIGITS, tmp_path)
    warm_start(replace(SETTINGS, warm_start=files[:1]), DIGITS, tmp_path).enqueue(memory, "new")
    both.enqueue(memory, "new")
    study = optuna.load_study(study_name="new", storage=memory)
    assert [t.user_attrs["origin"] for t in study.trials] == ["a.toml", "b.toml"]
    opened = optuna.create_study(study_name="opened", storage=memory)
    opened.set_user_attr("folder", "of somebody else")
    both.enqueue(memory, "opened")
    assert opened.trials == []
