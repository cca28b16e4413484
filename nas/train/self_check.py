"""Does a device train, how fast, and does it compute what the CPU computes: one small network, for a second."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from nas.arch import Architecture, Block, Input, NormAct, Pool, Recipe
from nas.data.images import Dataset
from nas.errors import NasError
from nas.model.build import build
from nas.train.device_interface import Device
from nas.train.engine import Training
from nas.train.prepared_data import prepare

LEAST_EPOCHS = 6  # the functions of an epoch are captured by the fourth
MOST_DIFFERENCE = 1e-3  # of gradients, relative to the largest; float32 gives about 1e-6, ten bits of mantissa 1e-2


@dataclass(frozen=True)
class SelfCheck:
    """What a device has shown. Where `problem` says something, the rest may be missing."""

    images_per_second: int | None = None  # one training of the network of `ARCHITECTURE`
    images_per_second_without_graphs: int | None = None  # None where there are none anyway
    accuracy: float | None = None  # percent, after the last epoch
    difference_from_cpu: float | None = None  # of gradients, relative to the largest
    capture: str = ""  # 'works', or why not; empty where nothing is captured
    problem: str = ""  # why it cannot be used


def architecture_for(dataset: Dataset) -> Architecture:
    """Return a network of every kind of layer that is usual in searches, small enough to train in a second."""
    norm_act = NormAct(dropout=0.1)
    body = (Block(8, norm_act=norm_act), Pool(), Block(12, "separable", norm_act=norm_act))
    return Architecture(Input(*dataset.image_shape), dataset.num_classes, body)


def check_device(device: Device, dataset: Dataset, seconds: float) -> SelfCheck:
    """Train on `device` for about `seconds`, with graphs and without, and compare a step with one of the CPU."""
    try:
        difference = _difference_from_cpu(device, dataset)
        rate, accuracy = _train(device, dataset, seconds, graphs=True)
        capture = (device.capture_problem or "works") if device.queues else ""
        slow = _train(device, dataset, seconds, graphs=False)[0] if device.queues else None
    except (NasError, RuntimeError) as error:
        return SelfCheck(problem=f"{type(error).__name__}: {str(error).partition(chr(10))[0][:300]}")
    problem = ""
    if not difference <= MOST_DIFFERENCE:
        problem = (
            f"its gradients are {difference:.2g} off those of the CPU, relative to the largest (at most "
            f"{MOST_DIFFERENCE:g} is rounding): what is trained there cannot be trusted"
        )
    return SelfCheck(rate, slow, accuracy, difference, capture, problem)


def _train(device: Device, dataset: Dataset, seconds: float, graphs: bool) -> tuple[int, float]:
    """Return images a second, once warm, and the accuracy at the end."""
    data = prepare(dataset.train, dataset.test, dataset.policy, device)
    torch.manual_seed(0)
    recipe = Recipe(epochs=1_000, batch_size=64, augmentation=0.5, schedule="constant")
    training = Training([build(architecture_for(dataset))], recipe, data, [0], graphs)
    began = warm = time.perf_counter()
    images, accuracy = 0, 0.0
    try:
        for (epoch,) in training.epochs():
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
    """Return the largest difference of the gradients of one batch, relative to the largest gradient."""
    images, labels = dataset.train.images[:256], dataset.train.labels[:256]
    torch.manual_seed(0)
    network = build(architecture_for(dataset))
    for layer in network.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0  # its draws are not the same everywhere
    here, there = (_gradients(network, images, labels, to) for to in (device.torch_device, torch.device("cpu")))
    return ((here - there).abs().max() / there.abs().max()).item()


def _gradients(network: nn.Module, images: Tensor, labels: Tensor, device: torch.device) -> Tensor:
    network = network.to(device).train()
    network.zero_grad()
    loss = functional.cross_entropy(network(images.to(device).float() / 255), labels.to(device))
    loss.backward()  # type: ignore[no-untyped-call]
    return torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None]).double().cpu()
