"""`nas doctor`: what it says of this machine, and of devices that are not as they should be."""

from __future__ import annotations

from collections import namedtuple
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from fake_device import NOT_CAPTURED, FakeDevice

from nas.app import doctor
from nas.data.images import Dataset
from nas.data.load import load_dataset
from nas.train import engine, self_check
from nas.train.self_check import check_device

if TYPE_CHECKING:
    from conftest import Nas


@pytest.fixture(scope="module")
def few() -> Dataset:
    """A data set that a fake device trains on in no time."""
    digits, some = load_dataset("digits"), torch.arange(128)
    return Dataset("few", digits.train.subset(some), digits.test.subset(some), digits.classes, digits.policy, "")


def test_the_command_says_what_the_machine_is_and_trains(nas: Nas) -> None:
    shown = nas("doctor", "--seconds", 0)
    assert shown.rc == 0, shown.out + shown.err
    assert f"torch {torch.__version__.partition('+')[0]}" in shown.out
    assert "images/s" in shown.out
    assert "With a report of a fault send: this (nas doctor --json)" in shown.out
    document = nas("doctor", "--seconds", 0, "--json", env={"NAS_NATIVE": "0"}).json
    assert document["problems"] == []
    (cpu, *_) = document["devices"]
    assert cpu["device"] == "cpu"
    assert cpu["images_per_second"] > 0
    assert cpu["accuracy"] > 15  # of ten classes
    assert cpu["difference_from_cpu"] == 0.0
    assert document["cores"] >= 1
    assert Path(document["cache"]["folder"]).is_dir()
    assert document["environment"]["NAS_NATIVE"] == "0"
    assert any("the CPU kernels are not used: NAS_NATIVE=0" in advice for advice in document["advice"])


def test_a_device_that_captures(few: Dataset) -> None:
    check = check_device(FakeDevice(), few, seconds=0.0)
    assert (check.capture, check.problem) == ("works", "")
    assert check.images_per_second
    assert check.images_per_second_without_graphs


def test_a_device_that_does_not_capture(few: Dataset) -> None:
    device = FakeDevice()
    device.capture_faults = [RuntimeError(NOT_CAPTURED)]
    check = check_device(device, few, seconds=0.0)
    assert (check.capture, check.problem) == (NOT_CAPTURED, "")


def test_a_device_that_fails(few: Dataset) -> None:
    device = FakeDevice()
    device.sticky[30] = "CUDA error: uncorrectable ECC error encountered\nCUDA kernel errors might"
    assert check_device(device, few, seconds=0.0).problem == (
        "RuntimeError: CUDA error: uncorrectable ECC error encountered"
    )


def test_a_device_that_computes_something_else(few: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = self_check._changes
    factors = iter([1.01, 1.0])  # ten bits of mantissa

    def imprecise(*arguments: Any) -> tuple[torch.Tensor, torch.Tensor]:
        (weights, statistics), factor = changes(*arguments), next(factors)
        return weights * factor, statistics

    monkeypatch.setattr(self_check, "_changes", imprecise)
    problem = check_device(FakeDevice(), few, seconds=0.0).problem
    assert "what its steps change is 0.01 off what those of the CPU do" in problem


def test_a_device_whose_steps_change_nothing(few: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    step, first = engine._TrainingState.step, FakeDevice()

    def without_result(state: engine._TrainingState, *arguments: Any) -> None:
        if state.data.device is not first:
            step(state, *arguments)

    monkeypatch.setattr(engine._TrainingState, "step", without_result)
    assert "what its steps change is 1 off" in check_device(first, few, seconds=0.0).problem


Examine = Any


@pytest.fixture
def examine(few: Dataset, monkeypatch: pytest.MonkeyPatch) -> Examine:
    monkeypatch.setattr(doctor, "load_dataset", lambda name: few)
    return lambda: doctor.examine(0.0)


def test_what_is_wrong_is_listed(examine: Examine, monkeypatch: pytest.MonkeyPatch) -> None:
    properties = namedtuple("properties", "name total_memory major minor")("A GPU", 8 * 10**9, 9, 0)
    monkeypatch.setattr(
        doctor, "_torch_devices", lambda: [torch.device("cpu"), *(torch.device("cuda", i) for i in (0, 1))]
    )
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    refusing, broken = FakeDevice(), FakeDevice()
    refusing.capture_faults, broken.sticky[1] = [RuntimeError(NOT_CAPTURED)], "CUDA error: out of order"
    of, plain = {"cuda:0": refusing, "cuda:1": broken}, doctor.device_of
    monkeypatch.setattr(doctor, "device_of", lambda device: of.get(str(device)) or plain(device))
    document = examine()
    assert [device["device"] for device in document["devices"]] == ["cpu", "cuda:0", "cuda:1"]
    assert document["devices"][1]["capability"] == "9.0"
    assert document["problems"] == ["cuda:1: RuntimeError: CUDA error: out of order"]
    assert f"cuda:0 trains without CUDA graphs, slower: {NOT_CAPTURED}" in document["advice"]


def test_little_shared_memory_and_a_cache_that_cannot_be_written(
    examine: Examine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(doctor.host, "shared_memory", lambda: doctor.host.SharedMemory(64_000_000, 60_000_000))
    monkeypatch.setattr(doctor.host, "cache_folder", lambda: tmp_path / "file" / "nas")
    document = examine()
    assert any("60 MB of shared memory are free and MNIST takes 103" in advice for advice in document["advice"])
    assert [problem for problem in document["problems"] if problem.startswith("cache folder: ")]
