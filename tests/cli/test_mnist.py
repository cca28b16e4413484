"""The main job on the real MNIST, made small: minutes, not seconds."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Nas


@pytest.mark.mnist
def test_a_reduced_search_on_mnist(nas: Nas, mnist_dir: Path) -> None:
    environment = {"NAS_DATA_DIR": str(mnist_dir)}
    settings = ("--max-params", 1500, "--epochs", 1, "--trials", 4, "--seeds", 1, "--target", 80, "--stop-at-first")
    searched = nas("search", *settings, "--workers", 1, "--name", "reduced", "--json", env=environment, timeout=3000)
    assert searched.rc == 0, searched.err
    result = searched.json
    assert result["target_confirmed"] is True
    best = max((row for row in result["front"] if row["seeds"]), key=lambda row: row["test_accuracy"])
    assert 80 <= best["test_accuracy"] < 99.9
    assert best["num_params"] <= 1500
    assert abs(best["test_accuracy"] - best["validation_accuracy"]) < 2  # so far apart, one of them would be wrong
    assert {reference["num_params"] for reference in result["references"]} >= {7788, 9596, 26314}
    assert re.search(r"The test set was read after \d+ trainings? of \d+ networks?", result["test_set"])

    exported = nas("export", "reduced", "--trial", best["trial"], "-o", "net.py", "--json", env=environment)
    assert exported.rc == 0, exported.err
    assert exported.json["weights_test_accuracy"] >= 80
    verified = nas("verify", "net.py", "--json", env=environment)
    assert verified.rc == 0
    assert verified.json["holds"] is True
