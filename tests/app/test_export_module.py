"""What a module of a study is exported to is what the study itself is exported to, byte for byte."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nas.app.export import export
from nas.app.export_module import export_module
from nas.app.look import find_trial
from nas.data.load import load_dataset
from nas.errors import DataError, UsageError, VerificationError
from nas.storage.study_store import read_records
from nas.study.folder import StudyFolder
from nas.study.networks import kept_file

if TYPE_CHECKING:
    from conftest import Study

NAMES = ["net.py", "net.onnx", "net.pt2", "net.h", "net.int8.h", "net.int8.pt", "net.int8.onnx", "firmware"]


@pytest.fixture(scope="module")
def folder(digits_study: Study, tmp_path_factory: pytest.TempPathFactory) -> StudyFolder:
    studies = tmp_path_factory.mktemp("studies")
    shutil.copytree(digits_study.path, studies / "small")
    return StudyFolder(studies, "small")


def files_of(path: Path) -> dict[str, bytes]:
    """A file and what lies beside it, or the files of a folder."""
    files = path.iterdir() if path.is_dir() else path.parent.glob(f"{path.stem}.*")
    return {file.name: file.read_bytes() for file in files}


@pytest.mark.parametrize("is_confirmed", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_it_is_the_file_that_the_study_gives(
    folder: StudyFolder, name: str, is_confirmed: bool, tmp_path: Path
) -> None:
    records = [r for r in read_records(folder) if kept_file(folder, r).is_file()]
    record = next(r for r in records if (r.confirmed is not None) == is_confirmed)
    module = tmp_path / "module.py"
    export(folder, record, module, None)
    of_study = export(folder, record, tmp_path / "of_study" / name, None)
    of_module = export_module(module, tmp_path / "of_module" / name, None)
    assert of_module == of_study
    assert files_of(tmp_path / "of_module" / name) == files_of(tmp_path / "of_study" / name) != {}


def test_a_folder_of_images_is_found_as_it_is_in_verifying(folder: StudyFolder, tmp_path: Path) -> None:
    """By what the module calls them, else where `data` says; other images are refused."""
    module, output = tmp_path / "net.py", tmp_path / "net.int8.pt"
    export(folder, find_trial(folder, None), module, None)
    fingerprint = load_dataset("digits").fingerprint
    text = module.read_text().replace('"dataset": "digits"', '"dataset": "pets"')
    module.write_text(text)
    with pytest.raises(DataError, match=r"8-bit format is calibrated .* images called 'pets'; say by `data` where"):
        export_module(module, output, None)
    module.write_text(text.replace('"pets"', '"digits"').replace(fingerprint, "0" * 16))
    with pytest.raises(VerificationError, match=rf"fingerprint 0000000000000000, and digits has {fingerprint}"):
        export_module(module, output, None)
    module.write_text(text.replace('"pets"', '"digits"').replace('"split_seed": 0', '"split_seed": None'))
    with pytest.raises(VerificationError, match=r"split_seed is None; give the file as exported"):
        export_module(module, output, None)
    assert not output.exists()


def test_a_module_does_not_replace_itself(folder: StudyFolder, tmp_path: Path) -> None:
    export(folder, find_trial(folder, None), tmp_path / "net.py", None)
    with pytest.raises(UsageError, match=r"net\.py is the module itself; choose another `output`"):
        export_module(tmp_path / "net.py", tmp_path / "x/../net.py", None)
