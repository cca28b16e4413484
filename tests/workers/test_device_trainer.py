"""The trainings of one device, in turn and alone, on the CPU: what each gives depends on no other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from nas.arch import Architecture, Block, Input, NormAct, Recipe
from nas.arch import Pool as MaxPool
from nas.data.images import ImageSet
from nas.data.policy import AugmentationPolicy
from nas.data.split import Parts
from nas.model.build import build
from nas.model.trained_network import TrainedNetwork, read_trained_network
from nas.train.epoch import Epoch
from nas.workers import device_trainer as trainer_module
from nas.workers.device_trainer import Trainer
from nas.workers.messages import Finished, Job, JobEvent, JobKey, Orders

CPU = torch.device("cpu")
RECIPE = Recipe(epochs=3, batch_size=32, augmentation=1.0, learning_rate=0.01)


def _images(count: int, seed: int) -> ImageSet:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 4, (count,), generator=generator)
    noise = torch.randint(0, 128, (count, 1, 8, 8), generator=generator)
    noise[torch.arange(count), 0, labels * 2] += 100  # a bright line says the class
    return ImageSet(noise.to(torch.uint8), labels)


@pytest.fixture(scope="module")
def parts() -> Parts:
    return Parts(
        _images(900, 0),
        _images(300, 1),
        _images(1_200, 2),
        _images(250, 3),
        AugmentationPolicy(rotation=5.0),
        tuple("abcd"),
    )


def _job(number: int, width: int = 4, seed: int | None = None, recipe: Recipe = RECIPE, dropout: float = 0.2) -> Job:
    blocks = (Block(width, norm_act=NormAct(dropout=dropout)), MaxPool(), Block(4))
    return Job((number, seed), Architecture(Input(1, 8, 8), 4, blocks), recipe, number if seed is None else seed)


def _run(
    trainer: Trainer, jobs: list[Job], on_epoch: Callable[[JobEvent, Epoch], Orders] = lambda *_: Orders()
) -> list[JobEvent]:
    """All that is told of `jobs`, begun together; `on_epoch` gives orders."""
    told, orders = [], Orders(start=tuple(jobs))
    while orders.start or not trainer.is_idle:
        news = trainer.exchange(orders)
        told += news.events
        orders = Orders()
        for event in news.events:
            if isinstance(event.what, Epoch):
                orders = orders.then(on_epoch(event, event.what))
    return told


def _epochs(told: list[JobEvent], key: JobKey) -> list[tuple[int, float, float]]:
    whats = [event.what for event in told if event.key == key]
    return [(what.number, what.train_loss, what.accuracy) for what in whats if isinstance(what, Epoch)]


def _end(told: list[JobEvent], key: JobKey) -> Finished:
    *_, last = [event.what for event in told if event.key == key]
    assert isinstance(last, Finished)
    return last


def _network(told: list[JobEvent], key: JobKey, tmp_path: Path) -> TrainedNetwork:
    end = _end(told, key)
    assert end.reason == ""
    (tmp_path / "network").write_bytes(end.network)
    return read_trained_network(tmp_path / "network")


def _weights(told: list[JobEvent], key: JobKey, tmp_path: Path) -> dict[str, Tensor]:
    return {name: torch.from_numpy(array) for name, array in _network(told, key, tmp_path).weights.items()}


def test_jobs_in_turn_give_what_each_gives_alone(parts: Parts, tmp_path: Path) -> None:
    jobs = [_job(0), _job(1, width=6), _job(2, seed=77)]  # the last one reads the test set
    together = _run(Trainer(parts, CPU, trials_per_device=3), jobs)
    for job in jobs:
        alone = _run(Trainer(parts, CPU), [job])
        assert _epochs(together, job.key) == _epochs(alone, job.key)
        assert [number for number, _, _ in _epochs(alone, job.key)] == [1, 2, 3]
        ours, expected = _weights(together, job.key, tmp_path), _weights(alone, job.key, tmp_path)
        assert ours.keys() == expected.keys()
        assert all(torch.equal(ours[name], expected[name]) for name in expected)
    order = [event.key for event in together if isinstance(event.what, Epoch)]
    assert order == [(2, 77)] * 3 + [(0, None), (1, None)] * 3  # the confirmation first, then in turn
    right = _epochs(together, (2, 77))[-1][2] / 100 * 250  # of 250 test images
    assert right == pytest.approx(round(right), abs=1e-6)


def test_the_last_epoch_brings_the_weights_of_the_whole_training(parts: Parts, tmp_path: Path) -> None:
    told = _run(Trainer(parts, CPU), [_job(0)])
    network = build_of(_job(0))
    network.load_state_dict(_weights(told, (0, None), tmp_path))
    assert isinstance(told[-2].what, Epoch)
    assert told[-1].what == _end(told, (0, None))
    assert told[-2].what.accuracy > 50  # the bright line is learned
    kept = _network(told, (0, None), tmp_path)
    assert (kept.architecture, kept.recipe) == (_job(0).architecture, RECIPE)
    assert (len(kept.mean), len(kept.std), kept.class_names) == (1, 1, ("a", "b", "c", "d"))


def build_of(job: Job) -> nn.Module:
    return trainer_module._build_network(job)


def test_one_is_stopped_while_the_other_goes_on(parts: Parts) -> None:
    def stop_the_first(event: JobEvent, epoch: Epoch) -> Orders:
        return Orders(stop=((0, None),)) if event.key == (0, None) else Orders()

    trainer = Trainer(parts, CPU, trials_per_device=2)
    told = _run(trainer, [_job(0), _job(1)], stop_the_first)
    assert [number for number, _, _ in _epochs(told, (0, None))] == [1]
    assert not any(isinstance(event.what, Finished) for event in told if event.key == (0, None))
    assert _epochs(told, (1, None)) == _epochs(_run(Trainer(parts, CPU), [_job(1)]), (1, None))
    assert trainer._shared_device.num_trainings == 0
    assert trainer.exchange(Orders(stop=((0, None),))).events == ()  # what has ended may be stopped


def test_a_job_may_come_while_another_trains(parts: Parts) -> None:
    trainer, told, orders = Trainer(parts, CPU, trials_per_device=2), [], Orders(start=(_job(0),))
    while orders.start or not trainer.is_idle:
        news = trainer.exchange(orders)
        told += news.events
        orders = Orders(start=(_job(1),) if len(told) == 1 else ())
    for number in range(2):
        assert _epochs(told, (number, None)) == _epochs(_run(Trainer(parts, CPU), [_job(number)]), (number, None))


def test_an_exchange_ends_in_time(parts: Parts) -> None:
    trainer = Trainer(parts, CPU)
    news = trainer.exchange(Orders(start=(_job(0),)), seconds=0)
    assert (news.events, news.capacity) == ((), 1)  # one turn, which is less than an epoch
    assert not trainer.is_idle


class Wrapped(nn.Module):
    """A network with something before it."""

    def __init__(self, network: nn.Module, before: nn.Module) -> None:
        super().__init__()
        self.before, self.network = before, network

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.network(self.before(x))
        return out


class Hungry(nn.Module):
    """Asks for more memory than any machine has, from the second epoch on."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += self.training
        if self.calls > 900 // 32:
            torch.empty(2**55, dtype=torch.uint8)
        return x


def test_one_that_runs_out_of_memory_is_told_and_fewer_fit(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    hungry = iter([True, False, False])
    monkeypatch.setattr(
        trainer_module, "build", lambda layers: Wrapped(build(layers), Hungry()) if next(hungry) else build(layers)
    )
    trainer = Trainer(parts, CPU, trials_per_device=3)
    assert trainer.exchange(Orders()).capacity == 3
    told = _run(trainer, [_job(0), _job(1), _job(2)])
    assert len(_epochs(told, (0, None))) == 1
    assert _end(told, (0, None)).cause == "memory"
    assert "cpu has too little memory for this training beside what else it holds" in _end(told, (0, None)).reason
    assert [len(_epochs(told, (number, None))) for number in (1, 2)] == [3, 3]
    assert trainer.exchange(Orders()).capacity == 2


def test_a_batch_that_no_memory_holds_fails_by_itself(parts: Parts) -> None:
    """Really too large: the maps of the widest layer take more than any machine has."""
    wide = Architecture(Input(1, 8, 8), 4, (Block(2**22, kernel=1), Block(2**22, kernel=1)))
    told = _run(Trainer(parts, CPU, trials_per_device=2), [replace(_job(0), architecture=wide), _job(1)])
    assert _end(told, (0, None)).cause in ("memory", "training")
    assert _end(told, (0, None)).reason
    assert _end(told, (1, None)).reason == ""


def test_a_loss_that_is_not_finite_ends_its_own_job(parts: Parts) -> None:
    absurd = _job(0, recipe=replace(RECIPE, optimizer="sgd", learning_rate=1e30))
    told = _run(Trainer(parts, CPU, trials_per_device=2), [absurd, _job(1)])
    end = _end(told, (0, None))
    assert (end.cause, end.network) == ("training", b"")
    assert "the loss is nan in epoch 1" in end.reason
    assert _end(told, (1, None)).reason == ""
