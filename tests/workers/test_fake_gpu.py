"""Whole searches on a fake GPU: trainings packed, stopped, retried after errors, and never blamed for the device's."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from fake_device import NOT_CAPTURED, EagerDevice, FakeDevice
from optuna.storages import InMemoryStorage
from simulated_searches import SETTINGS, open_search
from watching import Watching

from nas.data.load import load_dataset
from nas.data.split import Parts, parts_of
from nas.errors import MachineError
from nas.storage.search_store import SearchStore
from nas.study.recipe import trial_recipe
from nas.study.records import TrialRecord
from nas.train import device as device_module
from nas.train.device import find_device
from nas.train.device_sharing import SharedDevice
from nas.train.epoch import Epoch
from nas.train.prepared_data import prepare
from nas.workers import ray_actors
from nas.workers.device_trainer import Trainer
from nas.workers.interrupt import Interrupts
from nas.workers.messages import Job, Orders
from nas.workers.process import ProcessWorker, _serve

STICKY = "CUDA error: an illegal memory access was encountered"


class _Thread(threading.Thread):
    """What a worker starts in place of a process."""

    exitcode = 1

    def kill(self) -> None:
        """It ends when its pipe is closed."""


class FakeGpuWorker(ProcessWorker):
    """A worker whose process is a thread, and whose GPU a fake: a new one after each death."""

    def __init__(self, parts: Parts, devices: Iterator[FakeDevice], trials_per_device: int | None = None) -> None:
        self._devices = devices
        super().__init__(parts, torch.device("cuda"), trials_per_device)

    def _start(self) -> None:
        context = torch.multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        parts, _, trials_per_device, _ = self._arguments

        def serve() -> None:
            with theirs:
                _serve(theirs, parts, next(self._devices), trials_per_device)  # type: ignore[arg-type]

        self._process = _Thread(target=serve, daemon=True)  # type: ignore[assignment]
        self._process.start()


@pytest.fixture(scope="module")
def parts() -> Parts:
    whole = parts_of(load_dataset("digits"), 0)
    few = {
        name: getattr(whole, name).subset(torch.arange(200)) for name in ("train", "validation", "whole_train", "test")
    }
    return replace(whole, **few)


def search(
    tmp_path: Path,
    parts: Parts,
    devices: list[FakeDevice],
    trials: int = 4,
    trials_per_device: int | None = 3,
    look: Callable[[Any], object] = lambda _: None,
) -> tuple[SearchStore, Watching]:
    """A search on one worker, whose devices come one after the other."""
    endless = iter([*devices, *(FakeDevice() for _ in range(40))])
    worker, watching = FakeGpuWorker(parts, endless, trials_per_device), Watching(look)
    where: Any = SimpleNamespace(workers=[worker], interrupts=Interrupts(), clock=time.monotonic)
    settings = replace(SETTINGS, epochs=2, max_trials=trials, num_seeds=2, seed=5)
    coordinator = open_search(tmp_path, where, settings, InMemoryStorage(), watching, epochs=1)
    coordinator.run()
    worker._process.join()
    return coordinator.store, watching


def curve_alone(store: SearchStore, record: TrialRecord, parts: Parts) -> list[float]:
    """The accuracies of a trial, trained alone, each operation at once."""
    from simulated_searches import SPACE

    from nas.space import candidate

    found = candidate(SPACE, record.genes)
    assert found is not None
    settings = replace(SETTINGS, epochs=2, seed=5)
    trainer = Trainer(parts, EagerDevice())
    job = Job((record.number, None), found.architecture, trial_recipe(SPACE, settings, record.genes), record.seed)
    orders, told = Orders(start=(job,)), []
    while orders.start or not trainer.is_idle:
        told += trainer.exchange(orders).events
        orders = Orders()
    return [event.what.accuracy for event in told if isinstance(event.what, Epoch)]


def completed(store: SearchStore) -> list[TrialRecord]:
    return [record for record in store.records() if record.fate == "completed"]


def test_a_search_with_trainings_packed_on_a_gpu_finds_what_each_gives_alone(tmp_path: Path, parts: Parts) -> None:
    device = FakeDevice(order=1)
    store, watching = search(tmp_path, parts, [device])
    assert len(completed(store)) == 4
    assert "up to 3 trainings share a device" in watching.said
    for record in completed(store)[:2]:
        assert list(record.validation_curve) == curve_alone(store, record, parts)
    confirmed = [record for record in store.records() if record.confirmations]
    assert confirmed
    assert all(len(record.confirmations) == 2 for record in confirmed)
    assert device.num_captures > 0


def test_a_device_that_captures_nothing_is_spoken_of_once_and_trains_on(tmp_path: Path, parts: Parts) -> None:
    device = FakeDevice()
    device.capture_faults = [RuntimeError(NOT_CAPTURED)] * 9
    store, watching = search(tmp_path, parts, [device], trials=3)
    assert len(completed(store)) == 3
    assert watching.said.count(f"cpu trains without CUDA graphs, slower: {NOT_CAPTURED}") == 1
    assert device.num_captures == 0


@pytest.mark.parametrize("call", [30, 1_500])
def test_an_error_of_the_device_restarts_the_worker_and_blames_no_trial(
    call: int, tmp_path: Path, parts: Parts
) -> None:
    """While trainings are made, and while they train; twice in a row."""
    devices = [FakeDevice(), FakeDevice()]
    for device in devices:
        device.sticky[call] = STICKY
    store, watching = search(tmp_path, parts, devices)
    assert len(completed(store)) == 4
    assert not [record for record in store.records() if record.fate == "failed"]
    assert any(f"cuda gave up: {STICKY}" in said or f"gave up: {STICKY}" in said for said in watching.said)


def test_out_of_memory_beside_others_trains_again_alone(tmp_path: Path, parts: Parts) -> None:
    device = FakeDevice()
    device.faults[900] = RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")
    store, watching = search(tmp_path, parts, [device])
    assert len(completed(store)) == 4
    assert any("is trained again, alone: cpu has too little memory" in said for said in watching.said)


def test_a_device_that_nobody_can_use_ends_the_search(tmp_path: Path, parts: Parts) -> None:
    broken = []
    for _ in range(20):
        broken.append(FakeDevice())
        broken[-1].sticky[1] = "CUDA error: device-side assert triggered"
    with pytest.raises(
        MachineError, match=r"has died 10 times and trained nothing in between.*device-side assert.*doctor"
    ):
        search(tmp_path, parts, broken, trials=8)


def test_a_training_that_is_stopped_computes_two_turns_more_at_most(parts: Parts) -> None:
    device = FakeDevice()
    trainer = Trainer(parts, device)
    job = Job((0, None), *_network_and_recipe(parts), 1)
    trainer.exchange(Orders(start=(job,)), seconds=0)
    trainer.exchange(Orders(stop=((0, None),)), seconds=0)
    assert trainer.is_idle
    assert device.most_queued <= 2


def _network_and_recipe(parts: Parts) -> Any:
    from nas.arch import Architecture, Block, Input, Recipe

    return Architecture(Input(1, 8, 8), 10, (Block(3),)), Recipe(epochs=50, batch_size=16)


@pytest.fixture
def one_gpu(monkeypatch: pytest.MonkeyPatch) -> list[torch.device]:
    """A machine with one GPU, which is a fake; what it was asked for by."""
    asked: list[torch.device] = []

    def make(device: torch.device) -> FakeDevice:
        asked.append(device)
        return FakeDevice()

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(device_module, "CudaDevice", make)
    return asked


def test_every_way_in_takes_cuda_without_an_index(parts: Parts, one_gpu: list[torch.device]) -> None:
    cuda = find_device("cuda")
    assert find_device("auto") == cuda == torch.device("cuda")
    SharedDevice(cuda)
    prepare(parts.train, parts.test, parts.policy, cuda)
    Trainer(parts, cuda)
    images = {name: [t.numpy() for t in ray_actors.tensors_of(getattr(parts, name))] for name in ray_actors.IMAGE_SETS}
    policy = {"rotation": 5.0}
    trainer = ray_actors.trainer_of_actor(ray_actors.nas_version(), images, policy, parts.class_names, True, None)
    assert isinstance(trainer._device, FakeDevice)
    assert one_gpu == [cuda] * 4
