"""The training engine: trains one network by one recipe, an epoch at a time, so that the caller can stop it.

Data stay on the device as bytes; a chunk of images at a time is gathered, augmented and normalized there, and nothing
waits for the device within an epoch. Shape legend: N images, C channels, H and W pixels.
"""

from __future__ import annotations

import copy
import math
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from itertools import islice
from typing import Literal, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from nas.arch import Recipe
from nas.data.images import ImageSet
from nas.data.policy import POLICIES
from nas.errors import OutOfMemoryError, TrainingError
from nas.train.augment import augment
from nas.train.device_interface import Event
from nas.train.epoch import Epoch
from nas.train.memory_errors import is_out_of_memory
from nas.train.optimizer import Optimizer, learning_rate_at
from nas.train.prepared_data import PreparedData
from nas.train.streams import TrainingStream

# More would fill the queue of a stream, and the thread would wait there while other trainings have nothing to do.
MOST_STEPS_A_TURN = 16
MOST_TURNS_QUEUED = 2  # of a training: what is queued is computed, though the training be stopped meanwhile
POLL_SECONDS = 1e-4  # between two looks at whether a GPU is done

_Result = TypeVar("_Result")


def train(network: nn.Module, recipe: Recipe, data: PreparedData, seed: int) -> Iterator[Epoch]:
    """Train `network` in place and yield after every epoch; to stop, do not ask for the next one.

    With `recipe.averaging` the accuracies are those of an exponential moving average of weights and norm statistics
    (Polyak and Juditsky 1992; in this form Tarvainen and Valpola 2017), which the network holds after the last epoch.
    At a high learning rate the averaged weights predict the final accuracy better than the current ones do; at the
    end of a schedule that falls to 0 the two agree.

    Deterministic on the CPU for a seed and a number of threads. The caller must have drawn the initial weights of the
    network under a seed.

    Raises:
        TrainingError: the loss of an epoch is not finite.
        OutOfMemoryError: the device has too little memory left.
    """
    yield from Training(network, recipe, data, seed).epochs()


class Training:
    """A training that advances one turn at a time, so that one thread can train several networks on one device.

    It computes what `train` does, and the network receives its weights after the last epoch.
    """

    def __init__(self, network: nn.Module, recipe: Recipe, data: PreparedData, seed: int, graphs: bool = True) -> None:
        """`graphs=False` trains without CUDA graphs, for comparison. Raises OutOfMemoryError."""
        self.is_done = False
        self.is_waiting = False  # whether the last turn found that the device is still at work on those before
        self._recipe = recipe
        self._device = data.device
        # Dropout draws from torch's default generator, which the stream replaces by this one.
        dropout = data.device.generator().manual_seed(seed)
        self._stream: TrainingStream | None = None
        stream = self._run(lambda: TrainingStream(data.device, dropout, graphs))
        try:
            with stream.active():
                state = self._run(lambda: _TrainingState(network, recipe, data, seed, dropout))
        except BaseException:
            stream.close()
            raise
        self._stream = stream
        # Nothing else refers to the state, nor the state to this object: closing or deleting this object frees the
        # memory at once.
        self._turns = _take_turns(state, stream)

    def advance(self) -> Epoch | None:
        """Take one turn: queue some steps, or look whether the epoch has ended; return the epoch if it has.

        Must not be called once `is_done`.

        Raises:
            TrainingError: the loss of an epoch is not finite.
            OutOfMemoryError: the device has too little memory left.
        """
        assert self._stream is not None
        with self._stream.active():
            turn = self._run(lambda: next(self._turns))
        self.is_waiting = turn == "waiting"
        if isinstance(turn, str):
            return None
        if turn.number == self._recipe.epochs:
            self.is_done = True
            self.close()
        return turn

    def close(self) -> None:
        """Free what the training holds on the device. It can take no further turn."""
        self._turns.close()
        if self._stream is not None:
            self._stream.close()  # not before its graphs are gone: with one goes what torch keeps for its stream
        self._stream = None

    def epochs(self) -> Iterator[Epoch]:
        """Advance to the end and yield the epochs."""
        while not self.is_done:
            if (epoch := self.advance()) is not None:
                yield epoch
            elif self.is_waiting:
                time.sleep(POLL_SECONDS)

    def _run(self, call: Callable[[], _Result]) -> _Result:
        """Return `call()`, with OutOfMemoryError in place of the many errors that say so."""
        try:
            return call()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        # Raised outside of the handler, since the traceback would keep the tensors alive that used up the memory.
        raise OutOfMemoryError(
            f"{self._device} has too little memory for this training beside what else it holds; run fewer at once, or "
            f"lower batch_size = {self._recipe.batch_size}"
        )


class _TrainingState:
    """What a training holds on its device, and the three functions that its epochs consist of.

    `inputs`, `step` and `count_correct` never wait for the device and use only tensors that stay in place, so that
    each can be a CUDA graph. `count_train_correct` does too, and is called once.
    """

    def __init__(
        self, network: nn.Module, recipe: Recipe, data: PreparedData, seed: int, dropout: torch.Generator
    ) -> None:
        device, where = data.device, data.device.torch_device
        self.recipe, self.data, self.dropout = recipe, data, dropout
        self.generator = device.generator().manual_seed(seed)  # order and augmentation
        network.to(where, memory_format=device.layout)  # type: ignore[call-overload]
        self._network = network
        # The network that is evaluated and kept: the moving average, or the trained one itself.
        self._result = copy.deepcopy(network) if recipe.averaging else network
        self._fast_network, self._fast_result = device.make_faster(self._network), device.make_faster(self._result)
        self._optimizer = Optimizer(self._network.parameters(), recipe)
        pairs = zip(self._network.state_dict().values(), self._result.state_dict().values(), strict=True)
        floats = [(current, average) for current, average in pairs if current.is_floating_point()]
        self._current, self._averages = [current for current, _ in floats], [average for _, average in floats]
        self.loss = torch.zeros((), device=where)  # the sum over the steps of an epoch
        self._class_weights = _balanced_weights(data) if recipe.class_weights == "balanced" else None
        self._policy = POLICIES.get(recipe.augmentation_kind, data.policy)
        self.correct = torch.zeros((), dtype=torch.int64, device=where)
        self.train_correct = torch.zeros_like(self.correct)

    def start_epoch(self) -> Tensor:
        """Return the order of the images, int64 (images,)."""
        self._fast_network.train()
        self.loss.zero_()
        return torch.randperm(len(self.data.train), generator=self.generator, device=self.data.device.torch_device)

    def inputs(self, order: Tensor) -> tuple[Tensor, Tensor]:
        """Return inputs (N, C, H, W), augmented, and labels (N,) of the images at `order`, int64 (N,)."""
        data = self.data
        images = data.scale(data.train.images[order])
        inputs = data.normalize(augment(images, self._policy, self.recipe.augmentation, self.generator))
        return inputs.contiguous(memory_format=data.device.layout), data.train.labels[order]

    def step(self, inputs: Tensor, labels: Tensor, rates: Tensor) -> None:
        """Take one step on (N, C, H, W) and (N,) with a row of `_rates_of_steps`."""
        self._optimizer.learning_rate.copy_(rates[0])
        losses = functional.cross_entropy(
            self._fast_network(inputs), labels, reduction="none", label_smoothing=self.recipe.label_smoothing
        )
        if self._class_weights is not None:
            losses = losses * self._class_weights[labels]
        loss = losses.mean()
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        self.loss += loss.detach()
        if self.recipe.averaging:
            # Not a lerp, whose weight would have to come from the host.
            differences = torch._foreach_sub(self._current, self._averages)
            torch._foreach_mul_(differences, rates[1])
            torch._foreach_add_(self._averages, differences)

    @torch.inference_mode()
    def count_correct(self) -> None:
        """Write the number of evaluation images that are classified correctly into `correct`."""
        self.correct.copy_(self._count_correct(self.data.evaluation))

    @torch.inference_mode()
    def count_train_correct(self) -> None:
        """Write the number of images of the sample of the training images that are classified correctly."""
        self.train_correct.copy_(self._count_correct(self.data.train_sample))

    def _count_correct(self, images: ImageSet) -> Tensor:
        self._fast_result.eval()
        return _count_correct(self._fast_result, self.data, images)

    def finish(self) -> None:
        """Give the network its final weights."""
        self._optimizer.zero_grad()
        if self.recipe.averaging:
            self._network.load_state_dict(self._result.state_dict())

    def set_evaluation_mode(self) -> None:
        """Leave the network as `evaluate` does."""
        self._network.eval()


def _balanced_weights(data: PreparedData) -> Tensor:
    """Return a weight for each class (K,), whose mean over the training images is 1 and whose sum is equal by class.

    That is N / (K n) for a class of n of the N images (King and Zeng 2001), of K classes that have any.
    """
    counts = data.train.labels.bincount().double()
    return (len(data.train) / ((counts > 0).sum() * counts.clamp(min=1))).to(data.mean.dtype)


_Turn = Epoch | Literal["queued", "waiting"]


def _take_turns(state: _TrainingState, stream: TrainingStream) -> Generator[_Turn]:
    """Take one turn of the training at each `next`; yield what it was, or the Epoch that it ended."""
    recipe, data, device = state.recipe, state.data, state.data.device
    ends = deque([Event()], maxlen=MOST_TURNS_QUEUED)  # of the last turns
    inputs = stream.make_graphed(state.inputs, [state.generator])
    step = stream.make_graphed(state.step, [state.dropout])
    count_correct = stream.make_graphed(state.count_correct)
    batch = min(recipe.batch_size, len(data.train))
    steps = len(data.train) // batch
    chunk = max(device.chunk // batch, 1)  # steps
    for number in range(1, recipe.epochs + 1):
        started = time.perf_counter()
        order = state.start_epoch()
        rates = _rates_of_steps(recipe, range((number - 1) * steps, number * steps), steps).to(device.torch_device)
        for first in range(0, steps, chunk):
            last = min(first + chunk, steps)
            images, labels = inputs(order[first * batch : last * batch])
            batches = zip(torch.split(images, batch), torch.split(labels, batch), rates[first:last], strict=True)
            while turn := tuple(islice(batches, MOST_STEPS_A_TURN)):
                for arguments in turn:
                    step(*arguments)
                ends.append(device.record())
                yield "queued"
                while not ends[0].is_done():
                    yield "waiting"
        count_correct()
        if number == recipe.epochs:
            state.count_train_correct()
            state.finish()
        state.set_evaluation_mode()
        counted = [state.loss.double() / steps, state.correct.double(), state.train_correct.double()]
        results = device.copy_to_host(torch.stack(counted))
        end = device.record()
        while not end.is_done():
            yield "waiting"
        loss, correct, train_correct = results.tolist()
        if not math.isfinite(loss):
            raise TrainingError(
                f"the loss is {loss} in epoch {number}; a learning rate below {recipe.learning_rate:g} may help"
            )
        yield Epoch(
            number,
            loss,
            100.0 * correct / len(data.evaluation),
            time.perf_counter() - started,
            steps * batch,
            100.0 * train_correct / len(data.train_sample) if number == recipe.epochs else None,
        )


def _rates_of_steps(recipe: Recipe, steps: range, steps_per_epoch: int) -> Tensor:
    """Return (steps, 2): the learning rate of each step, and the weight of its weights in the moving average."""
    # The average begins with a shorter memory, or it would remember the initial weights for long.
    return torch.tensor(
        [
            (learning_rate_at(recipe, step, steps_per_epoch), 1 - min(recipe.averaging, (step + 1) / (step + 11)))
            for step in steps
        ]
    )


@torch.inference_mode()
def evaluate(network: nn.Module, data: PreparedData) -> float:
    """Return the accuracy of `network` on `data.evaluation` in percent; leave the network in evaluation mode."""
    network.eval()
    return 100.0 * _count_correct(network, data, data.evaluation).item() / len(data.evaluation)


def _count_correct(network: nn.Module, data: PreparedData, judged: ImageSet) -> Tensor:
    """Return how many of the images `judged` the network classifies correctly, int64 ()."""
    device = data.device
    correct = torch.zeros((), dtype=torch.int64, device=device.torch_device)
    batch = device.evaluation_batch
    parts = zip(torch.split(judged.images, batch), torch.split(judged.labels, batch), strict=True)
    for images, labels in parts:
        inputs = data.normalize(data.scale(images)).contiguous(memory_format=device.layout)
        correct += (network(inputs).argmax(dim=1) == labels).sum()
    return correct
