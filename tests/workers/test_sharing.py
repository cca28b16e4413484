"""Searches whose trials share a device: in this process, in processes that are killed, and by the command."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn
from watching import Watching

from nas.app.search import Machine, Outcome, devices_of_workers, search
from nas.data.known import KNOWN_DATASETS
from nas.data.load import load_dataset
from nas.data.split import parts_of
from nas.errors import UsageError
from nas.model.build import build
from nas.space import draw_network, load_space, recipe_of
from nas.study.folder import StudyFolder
from nas.study.settings import StudySettings
from nas.terminal.live_view import status_line
from nas.train.device_sharing import SharedDevice
from nas.train.epoch import Epoch
from nas.workers import device_trainer as trainer_module
from nas.workers.interrupt import Interrupts
from nas.workers.messages import Finished, Job, JobEvent
from nas.workers.pool import WorkerPool
from nas.workers.process import ProcessWorker, local_workers

if TYPE_CHECKING:
    from conftest import Nas

SETTINGS = StudySettings(2000, dataset="digits", space="tiny_digits", epochs=2, max_trials=4, num_seeds=1, seed=3)
CPU = torch.device("cpu")


def _search(tmp_path: Path, name: str, watching: Watching) -> Outcome:
    machine = Machine(device="cpu", workers=1, trials_per_device=2)
    return search(StudyFolder(tmp_path, name), SETTINGS, machine, [watching])


def test_a_search_with_two_in_turn_is_the_same_each_time_and_says_so(tmp_path: Path) -> None:
    watching = Watching()
    first, second = (_search(tmp_path, name, watching) for name in "ab")
    assert sum(r.fate in ("completed", "stopped") for r in first.records) == 4
    assert [(r.genes, r.fate, r.validation_curve) for r in first.records] == [
        (r.genes, r.fate, r.validation_curve) for r in second.records
    ]
    assert watching.said.count("up to 2 trainings share a device") == 2  # once a search
    assert max(len(snapshot.running) for snapshot in watching.snapshots) == 2
    shared = next(s for s in watching.snapshots if len(s.running) == 2)
    assert "images/s, 2 at once (up to 2 a device)" in status_line(replace(shared, seconds=2.0, images=10))
    assert "a device" not in status_line(replace(shared, seconds=2.0, images=10, most_on_a_device=1))


class Hungry(nn.Module):
    """A network that asks for more memory than any machine has where `too_much` says so."""

    def __init__(self, network: nn.Module, too_much: Callable[[], bool]) -> None:
        super().__init__()
        self.network, self.too_much = network, too_much

    def forward(self, x: Tensor) -> Tensor:
        if self.too_much():
            torch.empty(2**55, dtype=torch.uint8)
        out: Tensor = self.network(x)
        return out


@pytest.mark.parametrize("fits_alone", [True, False])
def test_a_trial_that_runs_out_of_memory_is_trained_again_alone(
    fits_alone: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[SharedDevice] = []
    first: list[Any] = []

    def noted(*arguments: Any) -> SharedDevice:
        held.append(SharedDevice(*arguments))
        return held[0]

    def build_hungry(layers: Any) -> nn.Module:
        first[:] = first or [layers]
        network = build(layers)
        return Hungry(network, lambda: not fits_alone or held[0].num_trainings > 1) if layers == first[0] else network

    monkeypatch.setattr(trainer_module, "SharedDevice", noted)
    monkeypatch.setattr(trainer_module, "build", build_hungry)
    watching = Watching()
    records = _search(tmp_path, "hungry", watching).records
    (again,) = [text for text in watching.said if text.startswith("trial 0 is trained again")]
    assert again.startswith("trial 0 is trained again, alone: cpu has too little memory for this training")
    if fits_alone:
        assert records[0].fate == "completed"
        assert len(records[0].validation_curve) == 2
    else:
        assert records[0].fate == "failed"
        assert "run fewer at once, or lower batch_size" in records[0].reason
    assert {r.fate for r in records[1:]} <= {"completed", "stopped", "duplicate"}
    assert sum(r.fate in ("completed", "stopped", "failed") for r in records) == 4
    assert held[0].capacity == 1


def _jobs(count: int, epochs: int) -> list[Job]:
    space = load_space("tiny_digits", *KNOWN_DATASETS["digits"].images)
    network = draw_network(space, SETTINGS.budget, random.Random(0)).candidate
    recipe = replace(recipe_of(space, network.genes), epochs=epochs)
    return [Job((number, None), network.architecture, recipe, number) for number in range(count)]


def test_all_trainings_of_a_process_that_dies_are_returned_and_a_new_one_takes_them() -> None:
    parts = parts_of(load_dataset("digits"), 0)
    with local_workers(parts, [CPU, CPU], 2, Interrupts()) as workers:
        pool = WorkerPool(workers)
        worker, other = pool.workers
        assert isinstance(worker, ProcessWorker)
        assert worker.room == 2
        for job in _jobs(2, epochs=10_000):
            worker.submit(job)
        assert worker.room == 0
        seen: set[int] = set()
        while len(seen) < 2:  # both take turns
            seen |= {event.key[0] for _, event in pool.events(1.0) if isinstance(event.what, Epoch)}
        assert worker._process.pid is not None
        os.kill(worker._process.pid, signal.SIGKILL)
        ended: list[JobEvent] = []
        while not ended:
            ended = [event for _, event in pool.events(1.0) if isinstance(event.what, Finished)]
        died = Finished("the worker process died (exit code -9)", "worker")
        assert ended == [JobEvent((0, None), died), JobEvent((1, None), died)]
        assert (worker.jobs, worker.room) == ({}, 2)

        worker.submit(_jobs(1, epochs=2)[0])
        told: list[JobEvent] = []
        while worker.jobs:
            told += [event for _, event in pool.events(1.0)]
        assert [type(event.what) for event in told] == [Epoch, Epoch, Finished]
        assert isinstance(told[-1].what, Finished)
        assert told[-1].what.network
        assert other.jobs == {}


def test_nothing_more_is_heard_of_a_job_that_was_stopped() -> None:
    parts = parts_of(load_dataset("digits"), 0)
    with local_workers(parts, [CPU], 2, Interrupts()) as (worker,):
        pass
    pool = WorkerPool([worker])
    endless, short = _jobs(2, epochs=10_000)
    worker.submit(endless)
    worker.submit(replace(short, recipe=replace(short.recipe, epochs=3)))
    told: list[tuple[int, type]] = []
    while worker.jobs:
        for _, event in pool.events(1.0):
            told.append((event.key[0], type(event.what)))
            if event.key == endless.key:
                worker.stop(endless.key)
    assert told.count((0, Epoch)) == 1
    assert [what for number, what in told if number == 1] == [Epoch] * 3 + [Finished]


def test_the_devices_of_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr("nas.app.search.available_cores", lambda: 3)
    assert devices_of_workers(CPU, None) == [CPU] * 3
    assert devices_of_workers(CPU, 1) == [CPU]
    first, second = torch.device("cuda:0"), torch.device("cuda:1")
    assert devices_of_workers(torch.device("cuda"), None) == [first, second]
    assert devices_of_workers(torch.device("cuda"), 3) == [first, second, first]
    assert devices_of_workers(second, None) == [second]


@pytest.mark.parametrize("number", [{"trials_per_device": 0}, {"trials_per_device": 33}, {"workers": 0}])
def test_numbers_that_a_machine_cannot_have(number: dict[str, int]) -> None:
    ((name, value),) = number.items()
    with pytest.raises(UsageError, match=rf"{name} = {value}: give a number from 1 to \d+, or leave it out"):
        Machine(**number)  # type: ignore[arg-type]


def test_the_command_trains_two_trials_in_each_of_two_processes(nas: Nas) -> None:
    settings = ("--max-params", 2000, "--trials", 4, "--epochs", 2, "--seeds", 1, "--name", "shared")
    sharing = ("--workers", 2, "--trials-per-device", 2, "--device", "cpu")
    ended = nas("search", "--dataset", "digits", "--space", "tiny_digits", *settings, *sharing, "--json")
    assert ended.rc == 0, ended.err
    assert "up to 2 trainings share a device" in ended.err
    trials = ended.json["trials"]
    assert sum(trials.get(fate, 0) for fate in ("completed", "stopped")) == 4
    networks = list((nas.cwd / "studies/shared/run/networks").glob("trial_?.safetensors"))
    assert len(networks) == trials["completed"]
    assert not list((nas.cwd / "studies/shared/run/networks").glob(".*"))
