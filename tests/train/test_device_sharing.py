"""Trainings in turn: what each computes depends on no other; and streams, whose CUDA half needs a GPU."""

from __future__ import annotations

import gc
import itertools

import pytest
import torch
from torch import Tensor, nn

from nas.arch import Architecture, Block, Input, NormAct, Pool, Recipe
from nas.data.images import ImageSet
from nas.data.policy import AugmentationPolicy
from nas.errors import NasError, OutOfMemoryError, TrainingError
from nas.kernels import chain
from nas.kernels.cpu import load_kernels
from nas.model.build import build
from nas.train.device_interface import Device
from nas.train.device_sharing import MOST_TRAININGS, SharedDevice, count_fitting
from nas.train.engine import Training, _TrainingState, train
from nas.train.epoch import Epoch
from nas.train.prepared_data import PreparedData, prepare

CPU = torch.device("cpu")
RECIPE = Recipe(epochs=3, batch_size=32, augmentation=1.0, averaging=0.9)


@pytest.fixture(scope="module")
def data() -> PreparedData:
    generator = torch.Generator().manual_seed(0)
    part = ImageSet(
        torch.randint(0, 256, (1_600, 1, 8, 8), generator=generator, dtype=torch.uint8),
        torch.randint(0, 10, (1_600,), generator=generator),
    )
    return prepare(part, part, AugmentationPolicy(rotation=10.0), CPU)


def network(width: int) -> nn.Module:
    torch.manual_seed(width)
    return build(Architecture(Input(1, 8, 8), 10, (Block(width, norm_act=NormAct(dropout=0.3)), Pool(), Block(4))))


def result(epoch: Epoch) -> tuple[int, float, float, float | None]:
    return epoch.number, epoch.train_loss, epoch.accuracy, epoch.train_accuracy


def test_trainings_in_turn_compute_what_each_computes_alone(data: PreparedData) -> None:
    alone = {width: [result(e) for e in train(network(width), RECIPE, data, seed=width)] for width in (3, 5, 8)}
    shared, name_of, seen = SharedDevice(CPU), {}, {width: [] for width in alone}  # type: ignore[var-annotated]
    order = []
    for width in alone:
        training = Training(network(width), RECIPE, data, width)
        name_of[training] = width
        shared.add(training)
    while name_of.keys() - {training for training in name_of if training.is_done}:
        torch.rand(7)  # others may draw from torch's own generator between two turns
        for report in shared.advance():
            assert isinstance(report.what, Epoch)
            seen[name_of[report.training]].append(result(report.what))
            order.append(name_of[report.training])
    assert seen == alone
    assert order == [3, 5, 8] * 3  # they took turns
    assert shared.advance() == []


def test_while_one_goes_first_the_others_wait(data: PreparedData) -> None:
    shared, order = SharedDevice(CPU), []
    trials, confirmation = (
        [Training(network(w), RECIPE, data, w) for w in (3, 5)],
        Training(network(8), RECIPE, data, 8),
    )
    for training in trials:
        shared.add(training)
    names = {trials[0]: "a", trials[1]: "b", confirmation: "first"}
    while len(order) < 2:
        order += [names[report.training] for report in shared.advance()]
    shared.add(confirmation, goes_first=True)
    while shared.num_trainings:
        order += [names[report.training] for report in shared.advance()]
    assert order == ["a", "b", *["first"] * 3, *["a", "b"] * 2]


def test_a_turn_is_less_than_an_epoch(data: PreparedData) -> None:
    training = Training(network(3), RECIPE, data, 0)
    turns = list(itertools.takewhile(lambda epochs: epochs is None, iter(training.advance, ())))
    assert len(turns) == 4  # 1,600 images, 512 a turn, the last turn is followed by the epoch


def test_torchs_own_generator_is_left_as_it_was(data: PreparedData) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    list(train(network(3), Recipe(epochs=1), data, seed=1))
    torch.manual_seed(5)
    training = Training(network(3), RECIPE, data, 0)
    torch.manual_seed(5)
    training.advance()
    assert torch.equal(torch.rand(3), expected)


def test_a_default_generator_goes_on_where_the_generator_stopped() -> None:
    generator = torch.Generator().manual_seed(3)
    drawn = []
    for _ in range(2):
        with Device(CPU).default_generator(generator):
            drawn.append(torch.rand(4))
    assert torch.equal(torch.cat(drawn), torch.rand(8, generator=torch.Generator().manual_seed(3)))


class Hungry(nn.Module):
    """Takes more memory than any machine has, from the second step on."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(64, 10)
        self.steps = 0

    def forward(self, x: Tensor) -> Tensor:
        self.steps += 1
        if self.steps > 1:
            torch.empty(2**55, dtype=torch.uint8)
        return self.layer(x.flatten(1))


def test_one_that_runs_out_of_memory_leaves_the_others_training(data: PreparedData) -> None:
    shared, hungry, broken = SharedDevice(CPU), Hungry(), network(5)
    with torch.no_grad():
        broken.fc.weight.fill_(float("nan"))  # type: ignore[union-attr, operator]
    trainings = [Training(net, RECIPE, data, 0) for net in (hungry, network(3), broken)]
    for training in trainings:
        shared.add(training)
    errors: dict[Training, NasError] = {}
    while not trainings[1].is_done:
        for report in shared.advance():
            if isinstance(report.what, NasError):
                errors[report.training] = report.what
    assert list(errors) == [trainings[0], trainings[2]]
    with pytest.raises(
        OutOfMemoryError,
        match=r"cpu has too little memory for this training beside what else it holds; run fewer at once, or lower "
        r"batch_size = 32",
    ):
        raise errors[trainings[0]]
    assert isinstance(errors[trainings[2]], TrainingError)


@pytest.mark.skipif(load_kernels() is None, reason="no CPU kernels here")
@pytest.mark.parametrize("failing", ["chain_forward", "chain_backward"])
def test_a_cpu_kernel_without_memory_is_out_of_memory(
    failing: str, data: PreparedData, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = chain.call

    def call_or_fail(name: str, *arguments: object) -> None:
        if name == failing:
            raise MemoryError("no memory")
        call(name, *arguments)

    monkeypatch.setattr(chain, "call", call_or_fail)
    shared = SharedDevice(CPU)
    shared.add(Training(network(3), RECIPE, data, 0))
    assert [type(report.what) for report in shared.advance()] == [OutOfMemoryError]


def test_a_training_that_is_over_holds_on_to_nothing(data: PreparedData) -> None:
    """What it holds on the device is free at once, though someone may still hold the training itself."""

    def held() -> int:
        return sum(type(thing) is _TrainingState for thing in gc.get_objects())

    gc.collect()
    gc.disable()
    try:
        shared, before = SharedDevice(CPU), held()
        done = Training(network(3), Recipe(epochs=1), data, 0)
        out_of_memory, stopped = (Training(net, RECIPE, data, 0) for net in (Hungry(), network(3)))
        for training in (done, out_of_memory, stopped):
            shared.add(training)
        assert held() == before + 3
        reports = shared.advance()
        assert isinstance(reports[0].what, OutOfMemoryError)
        assert held() == before + 2
        shared.drop(stopped)
        assert held() == before + 1
        while not done.is_done:
            shared.advance()
        assert held() == before
        alone = Training(network(3), Recipe(epochs=1), data, 0)
        assert list(alone.epochs())
        assert held() == before
    finally:
        gc.enable()


def test_count_fitting() -> None:
    assert count_fitting(bytes_each=10, bytes_available=100) == 8  # 85 of them
    assert count_fitting(bytes_each=200, bytes_available=100) == 1
    assert count_fitting(bytes_each=1, bytes_available=10**9) == MOST_TRAININGS


def test_the_cpu_holds_one_unless_told_otherwise(data: PreparedData) -> None:
    assert SharedDevice(CPU).capacity == 1
    shared = SharedDevice(CPU, trials_per_device=3)
    assert shared.capacity == 3
    for seed in range(3):
        shared.add(Training(network(3), RECIPE, data, seed))
    assert shared.num_trainings == 3


def test_what_ran_out_of_memory_beside_others_lowers_how_many_share(data: PreparedData) -> None:
    shared = SharedDevice(CPU, trials_per_device=4)
    shared.add(Training(Hungry(), RECIPE, data, 0))
    assert isinstance(shared.advance()[0].what, OutOfMemoryError)
    assert shared.capacity == 4  # alone: nothing is known of several
    for net in (network(3), network(5), Hungry()):
        shared.add(Training(net, RECIPE, data, 0))
    assert [type(report.what) for report in shared.advance()] == [OutOfMemoryError]
    assert shared.capacity == 2


def test_an_error_ends_one_training_and_one_after_which_the_device_does_not_work_is_raised(
    data: PreparedData, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(Hungry):
        def forward(self, x: Tensor) -> Tensor:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")

    shared = SharedDevice(CPU)
    shared.add(Training(Broken(), RECIPE, data, 0))
    assert str(shared.advance()[0].what) == "CUDA error: an illegal memory access was encountered"
    monkeypatch.setattr(Device, "still_works", lambda self: False)
    shared.add(Training(Broken(), RECIPE, data, 0))
    with pytest.raises(RuntimeError, match="illegal memory access"):
        shared.advance()
