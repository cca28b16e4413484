"""Steps of the engine against plain PyTorch in float64, for every kind of block, head, optimizer and schedule."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from own_blocks import own_block
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, OneCycleLR, StepLR

from nas.arch import Architecture, Block, Head, Input, NormAct, Pool, Recipe, Transition
from nas.data.images import ImageSet
from nas.data.policy import AugmentationPolicy
from nas.model.build import build
from nas.train.engine import train
from nas.train.prepared_data import PreparedData, prepare

SEED = 7
CLASSES = 4


def prepared(channels: int, count: int, dtype: torch.dtype) -> PreparedData:
    generator = torch.Generator().manual_seed(0)
    part = ImageSet(
        torch.randint(0, 256, (count, channels, 12, 12), generator=generator, dtype=torch.uint8),
        torch.randint(0, CLASSES, (count,), generator=generator),
    )
    data = prepare(part, part, AugmentationPolicy(), torch.device("cpu"))
    return replace(data, mean=data.mean.to(dtype), std=data.std.to(dtype))


def plain_training(
    network: nn.Module,
    recipe: Recipe,
    data: PreparedData,
    optimizer: torch.optim.Optimizer,
    scheduler: LRScheduler | None = None,
) -> None:
    """The loop of a textbook, in float64, in the order that the engine's seed gives; the network is left trained."""
    network.double().train()
    order, mean, std = torch.Generator().manual_seed(SEED), data.mean.double(), data.std.double()
    torch.manual_seed(SEED)
    for _ in range(recipe.epochs):
        for indices in torch.randperm(len(data.train), generator=order).split(recipe.batch_size):
            images = (data.train.images[indices].double() / 255 - mean) / std
            logits = network(images.contiguous(memory_format=torch.channels_last))
            labels = data.train.labels[indices]
            losses = nn.functional.cross_entropy(
                logits, labels, label_smoothing=recipe.label_smoothing, reduction="none"
            )
            if recipe.class_weights == "balanced":
                counts = data.train.labels.bincount()
                losses = losses * len(data.train) / (len(counts) * counts[labels])
            loss = losses.mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if scheduler is not None:
                scheduler.step()


def twins(architecture: Architecture, dtype: torch.dtype) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    network, twin = build(architecture).to(dtype), build(architecture)
    twin.load_state_dict(network.state_dict())
    return network, twin.double().to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def assert_equal(network: nn.Module, twin: nn.Module, rtol: float, atol: float) -> None:
    expected = twin.state_dict()
    for name, got in network.state_dict().items():
        torch.testing.assert_close(
            got.double(), expected[name].double(), rtol=rtol, atol=atol, msg=lambda m, n=name: f"{n}: {m}"
        )


def one(*body: Any, head: Head | None = None, channels: int = 1) -> Architecture:
    return Architecture(Input(channels, 12, 12), CLASSES, body, head or Head())


BODIES: dict[str, Callable[[NormAct], Architecture]] = {
    "plain": lambda norm_act: one(
        Block(6, norm_act=norm_act), Pool(), Block(5, kernel=5, padding="valid", norm_act=norm_act)
    ),
    "strided": lambda norm_act: one(
        Block(6, stride=2, norm_act=norm_act), Block(6, kernel=1, norm_act=norm_act), channels=3
    ),
    "separable": lambda norm_act: one(
        Block(6, norm_act=norm_act), Block(8, "separable", norm_act=norm_act), Pool("average")
    ),
    "separable 5x5": lambda norm_act: one(
        Block(6, "separable", norm_act=norm_act), Block(8, "separable", kernel=5, norm_act=norm_act), channels=3
    ),
    "transition": lambda norm_act: one(
        Block(8, norm_act=norm_act), Pool(), Transition(4, norm_act), Transition(5), Block(6)
    ),
    "squeeze and expand": lambda norm_act: one(
        Block(8, norm_act=norm_act),
        Transition(3, norm_act),
        Block(8, norm_act=norm_act),
        Transition(3),
        Block(6, "separable"),
    ),
    "shortcuts": lambda norm_act: one(
        Block(6, shortcut="projection", norm_act=norm_act),
        Block(6, "separable", shortcut="identity", repeat=2, norm_act=norm_act),
    ),
    "blocks of one's own": lambda norm_act: one(
        own_block("preactivated", Block(6, shortcut="projection", norm_act=norm_act), 3),
        own_block("mixed", Block(6, stride=2, norm_act=norm_act), 6),
        own_block("two_sums", Block(6, shortcut="identity", norm_act=norm_act), 6),
        channels=3,
    ),
}
NORM_ACTS = {
    "norm first": NormAct(),
    "activation first": NormAct(order="activation_first"),
    "functional": NormAct(functional=True, order="activation_first"),
    "no norm": NormAct(bias=True, norm="none"),
    "leaky_relu": NormAct(activation="leaky_relu"),
    "prelu": NormAct(activation="prelu"),
    "silu": NormAct(activation="silu", order="activation_first"),
    "gelu": NormAct(activation="gelu"),
    "hardswish": NormAct(activation="hardswish"),
    "no activation": NormAct(activation="none"),
}
STEP = Recipe(epochs=1, batch_size=32, optimizer="sgd", learning_rate=0.1, schedule="constant", label_smoothing=0.1)


def check_one_step(architecture: Architecture, dtype: torch.dtype, rtol: float, atol: float) -> None:
    data = prepared(architecture.input.channels, STEP.batch_size, dtype)
    network, twin = twins(architecture, dtype)
    list(train(network, STEP, data, SEED))
    plain_training(twin, STEP, data, torch.optim.SGD(twin.parameters(), lr=0.1, momentum=0.9, nesterov=True))
    assert_equal(network, twin, rtol, atol)


@pytest.mark.parametrize("norm_act", NORM_ACTS)
@pytest.mark.parametrize("body", BODIES)
def test_one_step_of_each_block(body: str, norm_act: str) -> None:
    """In float32, as trained: what runs in place of torch's layers on a CPU is part of what is checked."""
    check_one_step(BODIES[body](NORM_ACTS[norm_act]), torch.float32, rtol=1e-4, atol=2e-6)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("head", ["gap_linear", "gap_conv", "conv_gap", "flatten_linear"])
def test_one_step_of_each_head(head: str, bias: bool) -> None:
    architecture = one(Block(6), Pool(), head=Head(head, bias=bias))  # type: ignore[arg-type]
    check_one_step(architecture, torch.float32, rtol=1e-4, atol=2e-6)


@pytest.mark.parametrize("kind", ["element", "channel"])
@pytest.mark.parametrize("body", BODIES)
def test_one_step_with_dropout_has_the_masks_of_torchs_own_generator(body: str, kind: str) -> None:
    """In float64, for which torch's own layers run: the compiled ones draw other masks."""
    norm_act = NormAct(dropout=0.2, dropout_kind=kind)  # type: ignore[arg-type]
    check_one_step(BODIES[body](norm_act), torch.float64, rtol=1e-7, atol=1e-9)  # learning rates are in float32


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize("schedule", ["constant", "step", "one_cycle", "cosine"])
def test_eight_steps_of_each_optimizer_and_schedule(optimizer: str, schedule: str) -> None:
    recipe = replace(STEP, epochs=2, batch_size=8, learning_rate=0.01, weight_decay=1e-3, step_epochs=1)
    recipe = replace(recipe, optimizer=optimizer, schedule=schedule)  # type: ignore[arg-type]
    data = prepared(1, 32, torch.float64)
    # No separable block: the bias between its two convolutions has no gradient but rounding, and Adam blows that up.
    network, twin = twins(one(Block(4), Pool(), Block(5)), torch.float64)
    list(train(network, recipe, data, SEED))
    kinds = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    settings: dict[str, Any] = {"momentum": 0.9, "nesterov": True} if optimizer == "sgd" else {}
    plain = kinds[optimizer](twin.parameters(), lr=0.01, weight_decay=1e-3, **settings)
    schedulers: dict[str, Callable[[], LRScheduler | None]] = {
        "constant": lambda: None,
        "step": lambda: StepLR(plain, 4, 0.1),
        "cosine": lambda: CosineAnnealingLR(plain, 8),
        "one_cycle": lambda: OneCycleLR(plain, 0.01, total_steps=8, pct_start=0.3, cycle_momentum=False),
    }
    plain_training(twin, recipe, data, plain, schedulers[schedule]())
    assert_equal(network, twin, rtol=1e-6, atol=1e-8)


def test_averaging_is_its_definition() -> None:
    """Weights and norm statistics after each step move the average, with a shorter memory in the first steps."""
    recipe = replace(STEP, epochs=2, batch_size=4, averaging=0.5)
    data = prepared(1, 32, torch.float64)
    network, twin = twins(one(Block(4), Block(5)), torch.float64)
    average = {name: tensor.clone() for name, tensor in twin.state_dict().items() if tensor.is_floating_point()}
    optimizer, steps = torch.optim.SGD(twin.parameters(), lr=0.1, momentum=0.9, nesterov=True), []

    def follow(*_: object) -> None:
        steps.append(None)
        decay = min(0.5, len(steps) / (len(steps) + 10))
        for name, tensor in average.items():
            tensor.mul_(decay).add_(twin.state_dict()[name], alpha=1 - decay)

    optimizer.register_step_post_hook(follow)
    list(train(network, recipe, data, SEED))
    plain_training(twin, recipe, data, optimizer)
    assert len(steps) == 16  # the memory is at its length after 10
    for name, tensor in average.items():
        torch.testing.assert_close(network.state_dict()[name], tensor, rtol=1e-6, atol=1e-8)


def test_steps_with_class_weights() -> None:
    recipe = replace(STEP, epochs=2, batch_size=8, class_weights="balanced")
    data = prepared(1, 32, torch.float64)
    uneven = torch.tensor([0] * 20 + [1] * 8 + [2] * 3 + [3])
    data = replace(data, train=ImageSet(data.train.images, uneven))
    network, twin = twins(one(Block(4), Pool(), Block(5)), torch.float64)
    list(train(network, recipe, data, SEED))
    plain_training(twin, recipe, data, torch.optim.SGD(twin.parameters(), lr=0.1, momentum=0.9, nesterov=True))
    assert_equal(network, twin, rtol=1e-7, atol=1e-9)


def test_a_rare_class_is_found_more_often_with_class_weights() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = (torch.arange(800) % 20 == 0).long()  # one in twenty is of the rare class, and only a little brighter
    images = torch.randint(0, 256, (800, 1, 12, 12), generator=generator) + 14 * labels.view(-1, 1, 1, 1)
    part = ImageSet(images.clamp(max=255).to(torch.uint8), labels)
    data = prepare(part, part, AugmentationPolicy(), torch.device("cpu"))
    recalls = []
    for weights in ("none", "balanced"):
        torch.manual_seed(0)
        network = build(Architecture(Input(1, 12, 12), 2, (Block(4, norm_act=NormAct(norm="none", bias=True)),)))
        list(train(network, Recipe(epochs=4, batch_size=32, class_weights=weights), data, SEED))  # type: ignore[arg-type]
        with torch.no_grad():
            found = network(data.normalize(data.scale(part.images))).argmax(1)
        recalls.append(float((found[labels == 1] == 1).float().mean()))
    assert recalls[0] < 0.3
    assert recalls[1] > 0.6
