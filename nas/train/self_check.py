"""Does a device train, how fast, and does it compute what the CPU computes: one small network, for a second."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nas.arch import Architecture, Block, Input, NormAct, Pool, Recipe
from nas.data.images import Dataset
from nas.errors import NasError, first_line
from nas.model.build import build
from nas.train.device import device_of
from nas.train.device_interface import Device
from nas.train.engine import Training, train
from nas.train.prepared_data import prepare

LEAST_EPOCHS = 6  # the functions of an epoch are captured by the fourth
COMPARED_IMAGES = 256  # one batch, so that their order does not matter
# Of what a training changes, relative to the largest change; float32 gives about 1e-5, ten bits of mantissa 1e-2.
MOST_DIFFERENCE = 1e-3


@dataclass(frozen=True)
class SelfCheck:
    """What a device has shown. Where `problem` says something, the rest may be missing."""

    images_per_second: int | None = None  # one training of the network of `ARCHITECTURE`
    images_per_second_without_graphs: int | None = None  # None where there are none anyway
    accuracy: float | None = None  # percent, after the last epoch
    difference_from_cpu: float | None = None  # of what a training changes, relative to the largest change
    capture: str = ""  # 'works', or why not; empty where nothing is captured
    kernel_problem: str = ""  # why torch's own layers train here, where there could be faster ones
    problem: str = ""  # why it cannot be used


def architecture_for(dataset: Dataset, dropout: float = 0.1) -> Architecture:
    """Return a network of every kind of layer that is usual in searches, small enough to train in a second."""
    norm_act = NormAct(dropout=dropout)
    body = (Block(8, norm_act=norm_act), Pool(), Block(12, "separable", norm_act=norm_act))
    return Architecture(Input(*dataset.image_shape), dataset.num_classes, body)


def check_device(device: Device, dataset: Dataset, seconds: float) -> SelfCheck:
    """Train on `device` for about `seconds`, with graphs and without, and compare some steps with those of the CPU."""
    try:
        difference = _difference_from_cpu(device, dataset)
        rate, accuracy = _train(device, dataset, seconds, graphs=True)
        capture = (device.capture_problem or "works") if device.queues else ""
        slow = _train(device, dataset, seconds, graphs=False)[0] if device.queues else None
    except (NasError, RuntimeError) as error:
        return SelfCheck(problem=f"{type(error).__name__}: {first_line(error)}")
    problem = ""
    if not difference <= MOST_DIFFERENCE:
        problem = (
            f"what its steps change is {difference:.2g} off what those of the CPU do, relative to the largest change "
            f"(at most {MOST_DIFFERENCE:g} is rounding): what is trained there cannot be trusted"
        )
    return SelfCheck(rate, slow, accuracy, difference, capture, device.kernel_problem, problem)


def _train(device: Device, dataset: Dataset, seconds: float, graphs: bool) -> tuple[int, float]:
    """Return images a second, once warm, and the accuracy at the end."""
    data = prepare(dataset.train, dataset.test, dataset.policy, device)
    torch.manual_seed(0)
    recipe = Recipe(epochs=1_000, batch_size=64, augmentation=0.5, schedule="constant")
    training = Training(build(architecture_for(dataset)), recipe, data, 0, graphs)
    began = warm = time.perf_counter()
    images, accuracy = 0, 0.0
    try:
        for epoch in training.epochs():
            now, accuracy = time.perf_counter(), epoch.accuracy
            if epoch.number < LEAST_EPOCHS:
                warm = now
                continue
            images += epoch.images
            if now - began >= seconds:
                break
    finally:
        training.close()
    return round(images / (time.perf_counter() - warm)), accuracy


def _difference_from_cpu(device: Device, dataset: Dataset) -> float:
    """Return the largest difference of what a few steps change in weights or in statistics, relative to the largest."""
    pairs = zip(_changes(device, dataset), _changes(device_of(torch.device("cpu")), dataset), strict=True)
    return max(((here - there).abs().max() / there.abs().max()).item() for here, there in pairs)


def _changes(device: Device, dataset: Dataset) -> tuple[Tensor, Tensor]:
    """Return by how much a short training on `device` changes each weight, and each statistic of norms; on the CPU.

    The engine trains, as in a search, without what each device draws in its own way: augmentation and dropout.
    """
    few = dataset.train.subset(torch.arange(min(COMPARED_IMAGES, len(dataset.train))))
    torch.manual_seed(0)
    network = build(architecture_for(dataset, dropout=0.0))
    before = _weights_and_statistics(network)
    recipe = Recipe(LEAST_EPOCHS, len(few), "sgd", learning_rate=0.01, schedule="constant", averaging=0.5)
    for _ in train(network, recipe, prepare(few, few, dataset.policy, device), 0):
        pass
    weights, statistics = (
        after - earlier for after, earlier in zip(_weights_and_statistics(network), before, strict=True)
    )
    return weights, statistics


def _weights_and_statistics(network: nn.Module) -> tuple[Tensor, Tensor]:
    weights = torch.cat([p.detach().flatten().double().cpu() for p in network.parameters()])
    return weights, torch.cat([b.flatten().double().cpu() for b in network.buffers()])
