"""The trained network in each format, through the installed command, on the digits study that all tests share."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Study


@pytest.mark.parametrize("name", ["net.py", "net.onnx", "net.pt2", "net.h", "net.int8.h", "net.int8.pt"])
def test_exported_and_verified_on_the_test_set(study_copy: Study, name: str) -> None:
    if name.endswith(".h") and shutil.which("gcc") is None:
        pytest.skip("no gcc to compile the header with")
    exported = study_copy.nas("export", "small", "-o", name, "--json")
    assert exported.rc == 0, exported.err
    claims = exported.json
    assert (study_copy.nas.cwd / name).is_file()
    verified = study_copy.nas("verify", name, "--json")
    assert verified.rc == 0, verified.err
    assert verified.json["holds"]
    derived = {check["claim"]: check["derived"] for check in verified.json["checks"]}
    assert derived["weights_test_accuracy"] == pytest.approx(claims["weights_test_accuracy"], abs=0.3)
    if "int8" in name:
        assert claims["num_bytes"] < claims["float_bytes"]
    elif not name.endswith(".h"):
        assert derived["num_params"] == claims["num_params"]


def test_an_altered_file_does_not_hold(study_copy: Study) -> None:
    assert study_copy.nas("export", "small", "-o", "net.h").rc == 0
    path = study_copy.nas.cwd / "net.h"
    text = path.read_text()
    claimed = study_copy.nas("export", "small", "-o", "other.h", "--json").json["weights_test_accuracy"]
    assert f'"weights_test_accuracy": {claimed}' in text
    path.write_text(text.replace(f'"weights_test_accuracy": {claimed}', '"weights_test_accuracy": 99.99'))
    verified = study_copy.nas("verify", "net.h")
    assert verified.rc == 1
    assert "DOES NOT HOLD" in verified.out
