from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gpu
import pytest
import torch
from fake_device import FakeDevice

from nas.data.load import load_dataset
from nas.errors import TrainingError
from nas.train import device as device_module
from nas.train import device_sharing, prepared_data

# Loaded before a test replaces what they take from `nas.train.device`.
assert device_sharing.device_of is prepared_data.device_of

ON_FAKE_GPU = ("equal", "fallback", "packed", "seeds")
PARTS = tuple(part for part in gpu.PARTS if part not in ON_FAKE_GPU)
QUICK = ("--device", "cpu", "--quick")


Run = Callable[..., int]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the script in this process, and its parts in one in which warnings are errors; return the exit code."""
    monkeypatch.setattr(sys, "warnoptions", ["error"])

    def run_here(*arguments: object) -> int:
        monkeypatch.setattr(sys, "argv", ["gpu.py", *map(str, arguments)])
        return gpu.main()

    return run_here


def test_parts_run_and_are_written(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    limits = ("--seconds", 1500, "--limit", 600)
    failed = run(*QUICK, "--parts", *PARTS, "--json", "--output", tmp_path / "gpu.json", *limits)
    said = capsys.readouterr()
    assert not failed, said.err
    document = json.loads(said.out)
    assert document == json.loads((tmp_path / "gpu.json").read_text())
    assert set(PARTS) <= document.keys()
    assert document["agreement"]["agree"]
    assert document["agreement"]["plain"]["difference"] == 0.0  # the CPU with itself
    assert len(document["one"]["rows"]) == 3
    assert document["search"]["exit_code"] == 0
    assert 0 < document["search"]["seconds_to_target"] <= document["search"]["seconds"]
    assert document["rival"]["ratio"] > 0


def test_a_part_that_takes_too_long_is_cut_and_the_next_one_runs(run: Run, tmp_path: Path) -> None:
    arguments = ("--parts", "variants", "fallback", "--limit", 0.01, "--output", tmp_path / "gpu.json")
    assert run(*QUICK, *arguments) == 1
    document = json.loads((tmp_path / "gpu.json").read_text())
    assert document["variants"]["cut"] == "after 0 seconds"
    assert "fallback" in document
    assert "left_out" not in document


def task(device: FakeDevice) -> gpu.Task:
    quick = gpu.make_task("cpu", quick=True)
    few = torch.arange(256)
    digits = load_dataset("digits")
    for part in (digits.train, digits.test):
        object.__setattr__(part, "images", part.images[few])
        object.__setattr__(part, "labels", part.labels[few])
    return gpu.Task(quick.architecture, quick.recipe, digits, device, quick=True)


@pytest.mark.parametrize("part", ON_FAKE_GPU)
def test_parts_on_a_fake_gpu(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    device, found = FakeDevice(), dict[str, Any]()
    monkeypatch.setattr(device_module, "device_of", lambda device: FakeDevice())  # of `fallback`, which wants new ones
    gpu.PARTS[part](task(device), lambda **values: found.update(values))
    if part == "equal":
        assert (found["equal"], found["packed_after_100_steps"]) == (True, 0.0)
        assert device.num_captures > 0
    if part == "packed":
        assert [[row["trainings"] for row in found[name]] for name in ("reference", "separable")] == [[1, 2], [1, 2]]
    if part == "seeds":
        assert {"serial_seconds", "packed_seconds"} <= found.keys()
    if part == "fallback":
        assert "not permitted when stream is capturing" in found["problem"]
        assert found["problem_of_what_can_be_captured"] == ""
        assert found["same_numbers"]
        assert found["captures_again"]


def test_a_training_that_fails_ends_its_part() -> None:
    device = FakeDevice()
    few = task(device)
    training = few.training(few.data(), 0)
    device.faults[device.num_calls + 50] = TrainingError("the loss is nan")
    with pytest.raises(TrainingError, match="the loss is nan"):
        gpu.run_at_once(few, [training])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_that_it_needs_one(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 1
    said = capsys.readouterr().err
    assert "this benchmark needs a CUDA device: `device` cuda: this machine has 0 CUDA devices" in said
