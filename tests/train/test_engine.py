from __future__ import annotations

import itertools
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, OneCycleLR, StepLR

from nas.arch import Recipe
from nas.data.images import Dataset, ImageSet
from nas.data.load import load_dataset
from nas.data.policy import AugmentationPolicy
from nas.data.split import split
from nas.decode import decode
from nas.errors import DeviceError, TrainingError
from nas.train.device import find_device
from nas.train.engine import evaluate, train
from nas.train.optimizer import Optimizer, learning_rate_at
from nas.train.prepared_data import PreparedData, compute_normalization, prepare

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_dataset("digits")


@pytest.fixture(scope="module")
def data(digits: Dataset) -> PreparedData:
    training, validation = split(digits.train.labels, 1 / 6, 0)
    return prepare(digits.train.subset(training), digits.train.subset(validation), digits.policy, CPU)


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Dropout(0.1),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 10),
    )


def test_learns_digits(data: PreparedData) -> None:
    trained = network()
    epochs = list(train(trained, Recipe(epochs=12, batch_size=32, augmentation=0.3), data, seed=0))
    assert [e.number for e in epochs] == list(range(1, 13))
    assert epochs[-1].accuracy > 90.0
    assert epochs[-1].train_loss < epochs[0].train_loss / 3
    assert all(e.images == len(data.train) // 32 * 32 for e in epochs)
    assert [e.train_accuracy for e in epochs[:-1]] == [None] * 11
    assert epochs[-1].train_accuracy == evaluate(trained, replace(data, evaluation=data.train))


def test_same_seed_same_training_and_another_seed_another(data: PreparedData) -> None:
    def losses(seed: int) -> list[float]:
        recipe = Recipe(epochs=2, batch_size=64, augmentation=0.5)
        return [e.train_loss for e in train(network(), recipe, data, seed)]

    assert losses(3) == losses(3)
    assert losses(3) != losses(4)


def test_stops_when_no_further_epoch_is_asked_for(data: PreparedData) -> None:
    net = network()
    epochs = list(itertools.islice(train(net, Recipe(epochs=1000), data, seed=0), 2))
    assert len(epochs) == 2


def test_a_loss_that_is_not_finite_ends_the_training(data: PreparedData) -> None:
    net = network()
    with torch.no_grad():
        net[-1].weight.mul_(1e38)  # type: ignore[index, union-attr, operator]
    with pytest.raises(TrainingError, match=r"the loss is (nan|inf) in epoch 1; a learning rate below 0.01 may help"):
        list(train(net, Recipe(epochs=3), data, seed=0))


def test_averaging_judges_and_keeps_the_moving_average() -> None:
    """Against the definition, with every step's weights in hand: decay 0.9 after a start that forgets faster."""
    generator = torch.Generator().manual_seed(0)
    part = ImageSet(
        torch.randint(0, 256, (64, 1, 8, 8), generator=generator, dtype=torch.uint8),
        torch.randint(0, 10, (64,), generator=generator),
    )
    prepared = prepare(part, part, AugmentationPolicy(), CPU)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    with torch.no_grad():
        net[1].weight.zero_()  # type: ignore[operator, union-attr]
    seen: list[torch.Tensor] = []
    net[1].register_forward_pre_hook(lambda m, _: seen.append(m.weight.detach().clone()) if m.training else None)
    recipe = Recipe(epochs=2, batch_size=1, averaging=0.9, schedule="constant")
    epochs = list(train(net, recipe, prepared, seed=0))
    kept = net[1].weight.detach().clone()  # type: ignore[operator, union-attr]
    # The forward passes saw the weights of steps 0 to 127; the last step's follow from the average itself.
    average = seen[0].clone()
    for step, weights in enumerate(seen[1:], 1):
        average.lerp_(weights, 1 - min(0.9, step / (step + 10)))
    assert not torch.equal(kept, seen[-1])
    last = (kept - 0.9 * average) / 0.1
    assert (last - seen[-1]).norm() < 0.1 * (seen[-1] - seen[0]).norm()
    assert epochs[-1].accuracy == evaluate(net, prepared)


def test_a_batch_larger_than_the_data_is_the_whole_data(data: PreparedData) -> None:
    (epoch,) = train(network(), Recipe(epochs=1, batch_size=60_000), data, seed=0)
    assert epoch.images == len(data.train)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize("schedule", ["constant", "step", "one_cycle", "cosine"])
def test_one_epoch_equals_a_plain_float64_loop(optimizer: str, schedule: str) -> None:
    """The engine's steps against textbook PyTorch in double precision, with torch's own schedulers."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (64, 1, 8, 8), generator=generator, dtype=torch.uint8)
    labels = torch.randint(0, 10, (64,), generator=generator)
    part = ImageSet(images, labels)
    prepared = prepare(part, part, AugmentationPolicy(), CPU)
    recipe = Recipe(
        epochs=2,
        batch_size=16,
        optimizer=optimizer,  # type: ignore[arg-type]
        schedule=schedule,  # type: ignore[arg-type]
        learning_rate=0.01,
        weight_decay=1e-3,
        step_epochs=1,
        label_smoothing=0.1,
    )
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10))
    twin = nn.Sequential(nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10))
    twin.load_state_dict(net.state_dict())
    twin.double()
    list(train(net, recipe, prepared, seed=7))

    order_of = torch.Generator().manual_seed(7)
    kinds = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    settings = {"momentum": 0.9, "nesterov": True} if optimizer == "sgd" else {}
    plain = kinds[optimizer](twin.parameters(), lr=0.01, weight_decay=1e-3, **settings)
    schedulers: dict[str, LRScheduler | None] = {
        "constant": None,
        "step": StepLR(plain, 4, 0.1),
        "cosine": CosineAnnealingLR(plain, 8),
        "one_cycle": None,
    }
    scheduler = schedulers[schedule]
    if schedule == "one_cycle":
        scheduler = OneCycleLR(plain, 0.01, total_steps=8, pct_start=0.3, cycle_momentum=False)
    twin.train()
    mean, std = prepared.mean.double(), prepared.std.double()
    for _ in range(2):
        for indices in torch.randperm(64, generator=order_of).split(16):
            inputs = (images[indices].double() / 255 - mean) / std
            loss = nn.functional.cross_entropy(twin(inputs), labels[indices], label_smoothing=0.1)
            plain.zero_grad()
            loss.backward()
            plain.step()
            if scheduler is not None:
                scheduler.step()
    for (name, got), expected in zip(net.named_parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(got.double(), expected, rtol=2e-3, atol=2e-5, msg=lambda m, n=name: f"{n}: {m}")


def test_one_cycle_has_torchs_rates() -> None:
    recipe = Recipe(epochs=3, learning_rate=0.02)
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    scheduler = OneCycleLR(optimizer, 0.02, total_steps=30, pct_start=0.3)
    rates = []
    for _ in range(30):
        rates.append(scheduler.get_last_lr()[0])
        optimizer.step()
        if len(rates) < 30:
            scheduler.step()
    ours = [learning_rate_at(recipe, step, 10) for step in range(30)]
    assert ours == pytest.approx(rates, rel=1e-6)


def test_schedules_end_where_they_should() -> None:
    recipe = Recipe(epochs=15, learning_rate=0.01, step_epochs=6)
    assert learning_rate_at(replace(recipe, schedule="constant"), 1499, 100) == 0.01
    step = replace(recipe, schedule="step")
    assert [learning_rate_at(step, s, 100) for s in (0, 599, 600, 1199, 1200)] == pytest.approx(
        [0.01, 0.01, 0.001, 0.001, 0.0001]
    )
    cosine = replace(recipe, schedule="cosine")
    assert learning_rate_at(cosine, 750, 100) == pytest.approx(0.005)
    assert learning_rate_at(cosine, 1500, 100) == pytest.approx(0.0)


@pytest.mark.parametrize(("optimizer", "momentum"), [("sgd", 0.9), ("sgd", 0.0), ("adam", 0.9), ("adamw", 0.9)])
def test_steps_are_those_of_torchs_optimizers_to_the_bit(optimizer: str, momentum: float) -> None:
    recipe = decode(Recipe, {"optimizer": optimizer, "momentum": momentum, "weight_decay": 1e-3}, "recipe")
    assert recipe.nesterov  # which torch refuses without momentum
    shapes = [(3, 2), (5,)]
    ours, theirs = ([nn.Parameter(torch.ones(shape)) for shape in shapes] for _ in range(2))
    kinds = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    settings = {"momentum": momentum, "nesterov": momentum > 0} if optimizer == "sgd" else {}
    mine = Optimizer(ours, recipe)
    torchs = kinds[optimizer](theirs, lr=torch.tensor(0.01), weight_decay=1e-3, fused=True, **settings)
    for _ in range(3):
        mine.learning_rate.fill_(0.01)
        for parameter, other in zip(ours, theirs, strict=True):
            parameter.grad = torch.randn(parameter.shape)
            other.grad = parameter.grad.clone()
        mine.step()
        torchs.step()
        for parameter, other in zip(ours, theirs, strict=True):
            assert torch.equal(parameter, other)
    mine.zero_grad()
    assert ours[0].grad is None


def test_training_imports_nothing_of_torchs_compiler() -> None:
    """It takes each worker as long as torch itself."""
    program = """
import sys

import torch

from nas.arch import Recipe
from nas.data.images import ImageSet
from nas.data.policy import AugmentationPolicy
from nas.train.engine import train
from nas.train.prepared_data import prepare

images = ImageSet(torch.zeros(8, 1, 4, 4, dtype=torch.uint8), torch.arange(8) % 2)
network = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2), torch.nn.ReLU(), torch.nn.Flatten())
network.append(torch.nn.Linear(8, 2))
data = prepare(images, images, AugmentationPolicy(), torch.device("cpu"))
assert len(list(train(network, Recipe(epochs=1, batch_size=4), data, 0))) == 1
assert "torch._dynamo" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_accuracy_on_training_images_is_measured_on_a_stratified_sample() -> None:
    labels = torch.arange(12_000) % 10
    images = ImageSet(torch.zeros(12_000, 1, 1, 1, dtype=torch.uint8), labels)
    sample = prepare(images, images, AugmentationPolicy(), CPU).train_sample
    assert sample.labels.bincount().tolist() == [500] * 10


def test_normalization_is_exact() -> None:
    images = torch.randint(0, 256, (50, 3, 5, 7), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    mean, std = compute_normalization(images)
    scaled = images.double() / 255
    assert mean == pytest.approx(scaled.mean(dim=(0, 2, 3)).tolist(), abs=1e-6)
    assert std == pytest.approx(scaled.std(dim=(0, 2, 3), correction=0).tolist(), abs=1e-6)
    assert compute_normalization(torch.zeros(4, 1, 2, 2, dtype=torch.uint8)) == ((0.0,), (1.0,))


def test_normalization_comes_from_the_training_part_alone() -> None:
    dark, bright = torch.zeros(4, 1, 2, 2, dtype=torch.uint8), torch.full((4, 1, 2, 2), 255, dtype=torch.uint8)
    labels = torch.zeros(4, dtype=torch.int64)
    prepared = prepare(ImageSet(dark, labels), ImageSet(bright, labels), AugmentationPolicy(), CPU)
    assert prepared.mean.item() == 0.0


def test_evaluation_counts_right_answers_and_leaves_evaluation_mode(data: PreparedData) -> None:
    net = network()
    accuracy = evaluate(net, data)
    assert not net.training
    inputs = data.normalize(data.evaluation.images.float() / 255)
    with torch.inference_mode():
        right = (net(inputs).argmax(1) == data.evaluation.labels).sum().item()
    assert accuracy == pytest.approx(100 * right / len(data.evaluation))


def test_devices() -> None:
    assert find_device("cpu") == CPU
    with pytest.raises(DeviceError, match="`device` banana: not a device; use auto, cpu, cuda or cuda:0"):
        find_device("banana")
    with pytest.raises(DeviceError, match="only cpu and cuda are supported"):
        find_device("mps")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    with pytest.raises(DeviceError, match=f"`device` cuda:99: this machine has {count} CUDA devices"):
        find_device("cuda:99")
