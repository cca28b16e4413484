"""Queued, captured and replayed work on a fake GPU: to the bit what eager training gives, and whole after errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from fake_device import BYTES, NOT_CAPTURED, EagerDevice, FakeDevice
from torch import Tensor, nn

from nas.arch import Architecture, Block, Input, NormAct, Pool, Recipe
from nas.data.images import ImageSet
from nas.data.policy import AugmentationPolicy
from nas.errors import OutOfMemoryError
from nas.model.build import build
from nas.train.device_interface import Device
from nas.train.device_sharing import SharedDevice
from nas.train.engine import MOST_TURNS_QUEUED, Training
from nas.train.epoch import Epoch
from nas.train.prepared_data import PreparedData, prepare
from nas.train.streams import GraphedFunction, TrainingStream

RECIPE = Recipe(epochs=5, batch_size=16, augmentation=1.0, averaging=0.9, class_weights="balanced")
# 80 images: two whole chunks of two batches, and one of one batch, which is a graph of its own.
IMAGES, CHUNK = 80, 32


def images_on(device: Device) -> PreparedData:
    device.chunk = CHUNK
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (IMAGES, 1, 8, 8), generator=generator, dtype=torch.uint8)
    part = ImageSet(images, torch.randint(0, 10, (IMAGES,), generator=generator))
    return prepare(part, part, AugmentationPolicy(rotation=10.0, mirror=True), device)


def network(seed: int, dropout: float = 0.3) -> nn.Module:
    torch.manual_seed(seed)
    norm_act = NormAct(dropout=dropout)
    return build(Architecture(Input(1, 8, 8), 10, (Block(3, norm_act=norm_act), Pool(), Block(4, "separable"))))


def outcome(epochs: Sequence[Any], net: nn.Module) -> tuple[list[tuple[float, ...]], list[list[float]]]:
    return (
        [(epoch.number, epoch.train_loss, epoch.accuracy, epoch.train_accuracy) for epoch in epochs],
        [tensor.flatten().tolist() for tensor in net.state_dict().values()],
    )


def train_alone(
    device: Device, recipe: Recipe = RECIPE, seed: int = 3, graphs: bool = True, dropout: float = 0.3
) -> Any:
    net = network(seed, dropout)
    epochs = list(Training(net, recipe, images_on(device), seed, graphs).epochs())
    return outcome(epochs, net)


@pytest.fixture(scope="module")
def eager() -> Any:
    return train_alone(EagerDevice())


@pytest.mark.parametrize("order", range(3))
def test_captured_work_gives_to_the_bit_what_eager_training_gives(order: int, eager: Any) -> None:
    device = FakeDevice(order)
    assert train_alone(device) == eager
    # Steps, evaluation, and the inputs of whole chunks and of the last one.
    assert device.num_captures == 4
    assert device.num_replays == 5 * 5 - 3 + 2 * 5 - 3 + 5 - 3 + 5 - 3
    assert device.capture_problem == ""


def test_queued_work_without_graphs_gives_it_too(eager: Any) -> None:
    device = FakeDevice()
    assert train_alone(device, graphs=False) == eager
    assert device.num_captures == 0


@pytest.mark.parametrize(
    "changes",
    [{"optimizer": "sgd", "averaging": 0.0}, {"optimizer": "adamw", "augmentation": 0.0, "weight_decay": 0.1}],
)
def test_other_recipes(changes: dict[str, Any]) -> None:
    recipe = replace(RECIPE, **changes)
    assert train_alone(FakeDevice(), recipe) == train_alone(EagerDevice(), recipe)


@pytest.mark.parametrize("averaging", [0.0, 0.9])
def test_torchs_layers_train_as_the_kernels_for_the_cpu_do(averaging: float) -> None:
    """What a GPU computes, against what is tried most: eager and captured trainings would agree on never learning."""
    recipe = replace(RECIPE, augmentation=0.0, averaging=averaging)
    curve, on_cpu = (train_alone(d, recipe, dropout=0.0)[0] for d in (EagerDevice(), Device(torch.device("cpu"))))
    assert [loss for _, loss, *_ in curve] == pytest.approx([loss for _, loss, *_ in on_cpu], rel=1e-3)


@pytest.mark.parametrize("order", range(2))
def test_trainings_that_share_a_device_give_what_each_gives_alone(order: int) -> None:
    device = FakeDevice(order)
    data, shared = images_on(device), SharedDevice(device, trials_per_device=3)
    nets = {Training(net, RECIPE, data, seed): (seed, net) for seed in (3, 4, 5) for net in [network(seed)]}
    for training in nets:
        shared.add(training)
    told: dict[Training, list[Any]] = {training: [] for training in nets}
    while not all(training.is_done for training in nets):
        for report in shared.advance():
            assert isinstance(report.what, Epoch), report.what
            told[report.training].append(report.what)
    for training, (seed, net) in nets.items():
        assert outcome(told[training], net) == train_alone(EagerDevice(), seed=seed)


@pytest.mark.parametrize("trained", ["batch_bias", "batch_plain"])
def test_norms_that_lack_parameters_train_on_a_gpu(trained: Any) -> None:
    norm_act = NormAct(norm=trained)

    def train(device: Device) -> Any:
        torch.manual_seed(0)
        net = build(Architecture(Input(1, 8, 8), 10, (Block(3, norm_act=norm_act), Pool(), Block(4, "separable"))))
        epochs = list(Training(net, RECIPE, images_on(device), 3).epochs())
        assert any(m.weight is None for m in net.modules() if isinstance(m, nn.BatchNorm2d))
        return outcome(epochs, net)

    assert train(FakeDevice()) == train(EagerDevice())


def test_no_more_than_two_turns_are_queued() -> None:
    device = FakeDevice()
    device.run_some = lambda: None  # type: ignore[method-assign]  # it computes nothing yet
    training = Training(network(3), RECIPE, images_on(device), 3)
    waited = []
    for _ in range(20):
        assert training.advance() is None
        waited.append(training.is_waiting)
    assert waited == [False] * MOST_TURNS_QUEUED + [True] * (20 - MOST_TURNS_QUEUED)
    assert device.most_queued == MOST_TURNS_QUEUED


@pytest.mark.parametrize(("most", "turns"), [(16, 3), (2, 3), (1, 5)])
def test_a_turn_has_few_steps_however_many_images_are_augmented_at_once(
    most: int, turns: int, eager: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nas.train.engine.MOST_STEPS_A_TURN", most)
    assert train_alone(FakeDevice()) == eager
    training, advances = Training(network(3), RECIPE, images_on(EagerDevice()), 3), 0
    while not training.is_done:
        training.advance()
        advances += 1
    assert advances == RECIPE.epochs * (turns + 1)  # and one for the evaluation


def test_the_stream_of_a_training_that_is_over_serves_the_next() -> None:
    device = FakeDevice()
    for seed in (3, 4):
        train_alone(device, replace(RECIPE, epochs=1), seed)
    assert len(device._streams) == 1


# What fails


@pytest.mark.parametrize(
    "problem", [NOT_CAPTURED, "CUDA error: operation failed due to a previous error during capture"]
)
def test_where_capture_fails_training_goes_on_without_and_gives_the_same(problem: str, eager: Any) -> None:
    device = FakeDevice()
    device.capture_faults = [RuntimeError(f"{problem}\nCUDA kernel errors might be reported later")]
    assert train_alone(device) == eager
    assert (device.num_captures, device.capture_problem) == (0, problem)  # nor is anything else captured


def test_what_waits_for_the_device_is_not_captured() -> None:
    device = FakeDevice()
    stream = TrainingStream(device, device.generator().manual_seed(0))
    function: GraphedFunction[Tensor] = GraphedFunction(device, lambda x: x * 2 if x.sum().item() else x)
    with stream.active():
        results = [function(torch.full((3,), float(k))).clone() for k in range(6)]
        end = device.record()
    while not end.is_done():
        pass
    assert torch.equal(torch.stack(results)[:, 0], 2.0 * torch.arange(6))
    assert device.capture_problem == NOT_CAPTURED


def test_a_generator_must_be_known_to_the_capture_that_draws_from_it() -> None:
    """Or replays would draw the same numbers again: this is how the fake device finds a forgotten one."""
    device = FakeDevice()
    generator = device.generator().manual_seed(1)
    stream = TrainingStream(device, device.generator())
    function: GraphedFunction[Tensor] = GraphedFunction(device, lambda: torch.rand(2, generator=generator))
    with stream.active():
        for _ in range(5):
            function()
    assert "CUDA generator not in capture mode" in device.capture_problem


OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79 GiB"),
    RuntimeError("CUDA error: out of memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
    RuntimeError("cuDNN error: CUDNN_STATUS_NOT_INITIALIZED"),
    RuntimeError("CUDA driver error: CUDA_ERROR_OUT_OF_MEMORY"),
    RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried to allocate"),
    RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 36028797018963968 bytes."),
    RuntimeError("std::bad_alloc"),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=lambda error: str(error)[:40])
def test_out_of_memory_in_any_words_leaves_the_others_training(error: RuntimeError, eager: Any) -> None:
    device = FakeDevice()
    data, shared, net = images_on(device), SharedDevice(device, trials_per_device=2), network(3)
    good, bad = Training(net, RECIPE, data, 3), Training(network(4), RECIPE, data, 4)
    shared.add(bad)
    shared.add(good)
    device.faults[device.num_calls + 40] = error
    told: list[Any] = []
    failed: list[object] = []
    while not good.is_done:
        for report in shared.advance():
            if isinstance(report.what, Epoch):
                assert report.training is good
                told.append(report.what)
            else:
                failed.append(report.what)
    assert [type(what) for what in failed] == [OutOfMemoryError]
    assert outcome(told, net) == eager
    assert shared.capacity == 1
    assert device.num_emptied >= 1


def test_out_of_memory_in_a_capture_is_out_of_memory_and_not_a_reason_to_capture_no_more() -> None:
    device = FakeDevice()
    device.capture_faults = [torch.OutOfMemoryError("CUDA out of memory")]
    shared = SharedDevice(device)
    shared.add(Training(network(3), RECIPE, images_on(device), 3))
    reports: list[Any] = []
    while not reports:
        reports = shared.advance()
    assert isinstance(reports[0].what, OutOfMemoryError)
    assert device.capture_problem == ""


STICKY = "CUDA error: an illegal memory access was encountered"


@pytest.mark.parametrize("call", [1, 60, 600])
def test_an_error_after_which_nothing_works_is_raised(call: int) -> None:
    device = FakeDevice()
    data, shared = images_on(device), SharedDevice(device, trials_per_device=2)
    device.sticky[device.num_calls + call] = STICKY

    def train() -> None:
        trainings = [Training(network(seed), RECIPE, data, seed) for seed in (3, 4)]
        for training in trainings:
            shared.add(training)
        while not all(training.is_done for training in trainings):
            shared.advance()

    with pytest.raises(RuntimeError, match="illegal memory access"):
        train()


# How many fit


def fill(shared: SharedDevice, data: PreparedData, count: int, epochs: int = 1) -> None:
    """Train `count` at once to their end."""
    trainings = [Training(network(s), replace(RECIPE, epochs=epochs), data, s) for s in range(count)]
    for training in trainings:
        shared.add(training)
    while not all(training.is_done for training in trainings):
        shared.advance()


def test_the_memory_of_the_first_training_says_how_many_fit() -> None:
    device = FakeDevice(memory=10 * BYTES)
    data, shared = images_on(device), SharedDevice(device)
    assert shared.capacity == 1
    fill(shared, data, 1)
    assert shared.bytes_each == BYTES
    assert shared.capacity == 8  # 85 % of ten
    device._memory = 5 * BYTES  # somebody else has taken some
    assert shared.capacity == 4


def test_memory_that_is_kept_of_trainings_that_are_gone_counts_for_nobody() -> None:
    device = FakeDevice(memory=10 * BYTES)
    data, shared = images_on(device), SharedDevice(device)
    fill(shared, data, 1)
    fill(shared, data, 2)
    assert device.memory().reserved > 0
    fill(shared, data, 1)
    assert shared.bytes_each == BYTES
    assert shared.capacity == 8


def test_the_cache_is_not_emptied_at_each_end_but_what_is_kept_stays_small() -> None:
    device = FakeDevice(memory=10_000 * BYTES)
    data, shared = images_on(device), SharedDevice(device, trials_per_device=4)
    most = 0
    for count in (1, 2, 2, 2):
        fill(shared, data, count)
        most = max(most, device.memory().reserved)
    assert most <= 2 * BYTES
    assert device.num_emptied < 7  # trainings


def test_a_peak_is_shared_among_those_that_made_it() -> None:
    """Two of three are stopped before their first epoch; the third one did not take what all of them did."""
    device = FakeDevice(memory=100 * BYTES)
    data, shared = images_on(device), SharedDevice(device, trials_per_device=3)
    trainings = [Training(network(s), replace(RECIPE, epochs=1), data, s) for s in range(3)]
    for training in trainings:
        shared.add(training)
    shared._trainings = dict.fromkeys(trainings[:1], False)
    while not trainings[0].is_done:
        shared.advance()
    assert shared.bytes_each == BYTES
