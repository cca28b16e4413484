"""The training engine: one network, one recipe, an epoch at a time, so that the caller can stop it.

Data stay on the device as bytes; a chunk of images at a time is gathered, augmented and normalized there, and nothing
waits for the device within an epoch. Several networks of one architecture may be trained as one, each under a seed of
its own. Shape legend: N images, S seeds, C channels, H and W pixels.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from nas.arch import Recipe
from nas.data.images import ImageSet
from nas.data.policy import AugmentationPolicy
from nas.errors import DeviceError, OutOfMemoryError, TrainingError
from nas.train.augment import augment
from nas.train.cpu_kernels import fuse
from nas.train.cuda_graphs import Reading, Stream
from nas.train.epoch import Epoch
from nas.train.optimizer import learning_rate_at, make_optimizer
from nas.train.seed_batch import batch_of_seeds, write_back

# Images evaluated at once: on a CPU few enough for their maps to stay in cache, on a GPU enough to keep it busy.
EVALUATION_BATCH = {"cpu": 200, "cuda": 2_000}
# Images augmented at once, and how far a training gets in one turn: on a CPU few enough to stay in cache, on a GPU
# enough to hide the cost of the many small operations.
CHUNK = {"cpu": 512, "cuda": 4_096}
# How maps lie in memory. A GPU's kernels for channels last are those of half precision.
LAYOUT = {"cpu": torch.channels_last, "cuda": torch.contiguous_format}
POLL_SECONDS = 1e-4  # between two looks at whether a GPU is done

_Result = TypeVar("_Result")


@dataclass(frozen=True)
class PreparedData:
    """Bytes on the device, and how to make network inputs of them."""

    train: ImageSet
    evaluation: ImageSet
    mean: Tensor  # (C, 1, 1), of images scaled to 0..1
    std: Tensor  # (C, 1, 1)
    policy: AugmentationPolicy

    @property
    def device(self) -> torch.device:
        """Where everything lies."""
        return self.train.images.device

    def scaled(self, images: Tensor) -> Tensor:
        """Bytes (N, C, H, W) to floats in 0..1."""
        return images.to(self.mean.dtype).div_(255)

    def normalized(self, images: Tensor) -> Tensor:
        """Scaled (N, C, H, W) floats in 0..1 to network inputs."""
        return (images - self.mean) / self.std


def find_device(name: str = "auto") -> torch.device:
    """The device called `name`; `auto` is the first CUDA device, or the CPU.

    Raises:
        DeviceError: there is no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise DeviceError(f"--device {name}: not a device; use auto, cpu, cuda or cuda:0") from None
    if device.type not in ("cpu", "cuda"):
        raise DeviceError(f"--device {name}: only cpu and cuda are supported; use --device auto")
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            raise DeviceError(f"--device {name}: this machine has {count} CUDA devices; use --device cpu or auto")
    return device


def use_one_thread(device: torch.device) -> None:
    """Gives this process one thread on the CPU: on networks this small a second one only waits for the first."""
    if device.type == "cpu":
        torch.set_num_threads(1)


def prepare(train: ImageSet, evaluation: ImageSet, policy: AugmentationPolicy, device: torch.device) -> PreparedData:
    """Moves both parts to `device`; the normalization comes from `train` alone."""
    mean, std = normalization(train.images)
    shape = (-1, 1, 1)
    return PreparedData(
        train=ImageSet(train.images.to(device), train.labels.to(device)),
        evaluation=ImageSet(evaluation.images.to(device), evaluation.labels.to(device)),
        mean=torch.tensor(mean).view(shape).to(device),
        std=torch.tensor(std).view(shape).to(device),
        policy=policy,
    )


def normalization(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel of uint8 (N, C, H, W) images, scaled to 0..1; exact."""
    means, stds = [], []
    for channel in range(images.shape[1]):
        counts = torch.bincount(images[:, channel].reshape(-1), minlength=256).double()
        values = torch.arange(256, dtype=torch.float64, device=counts.device) / 255
        mean = (counts * values).sum() / counts.sum()
        variance = (counts * (values - mean) ** 2).sum() / counts.sum()
        means.append(round(mean.item(), 6))
        # A channel of one single value would divide by 0.
        stds.append(round(math.sqrt(variance.item()), 6) or 1.0)
    return tuple(means), tuple(stds)


def train(network: nn.Module, recipe: Recipe, data: PreparedData, seed: int) -> Iterator[Epoch]:
    """Trains `network` in place and yields after every epoch; stop by not asking for the next.

    With `recipe.averaging` the accuracies are those of an exponential moving average of weights and norm statistics
    (Polyak and Juditsky 1992; in this form Tarvainen and Valpola 2017), which the network holds after the last epoch.
    Under a high learning rate it is a far steadier witness of what a network will come to than the weights of the
    moment, and at the end of a schedule that falls to nothing the two agree.

    Deterministic on the CPU for a seed and a number of threads. The network's own weights must have been drawn
    under a seed by the caller.

    Raises:
        TrainingError: the loss of an epoch is not finite.
        OutOfMemoryError: the device's memory is used up.
    """
    for (epoch,) in Training([network], recipe, data, [seed]).epochs():
        yield epoch


class Training:
    """One training that gets on a turn at a time, so that one thread can advance several on one device.

    Several networks of one architecture are trained as one batch, seed by seed what `train` does with each alone; they
    receive their weights after the last epoch. On the CPU that is slower than one after the other.
    """

    def __init__(
        self,
        networks: Sequence[nn.Module],
        recipe: Recipe,
        data: PreparedData,
        seeds: Sequence[int],
        graphs: bool = True,
    ) -> None:
        """`graphs=False` runs without CUDA graphs, for comparison. Raises OutOfMemoryError."""
        self.is_done = False
        self.num_seeds = len(seeds)
        self._recipe = recipe
        self._device = data.device
        dropout = [torch.Generator(data.device).manual_seed(seed) for seed in seeds]
        # One network draws from torch's own generator, and a batch of seeds from theirs: then nothing draws from this.
        self._stream = Stream(data.device, dropout[0] if len(seeds) == 1 else torch.Generator(data.device), graphs)
        with self._stream.current():
            work = self._checked(lambda: _Work(networks, recipe, data, seeds, dropout))
        # Nothing else refers to the work, nor the work to this object: closing or dropping it frees the memory at once.
        self._turns = _turns(work, self._stream)

    def advance(self) -> tuple[Epoch, ...] | None:
        """Takes a turn: queues some steps, or looks whether an epoch is over, and then has one Epoch for each seed.

        Must not be called once `is_done`.

        Raises:
            TrainingError: the loss of an epoch is not finite.
            OutOfMemoryError: the device's memory is used up.
        """
        with self._stream.current():
            epochs = self._checked(lambda: next(self._turns))
        if epochs is not None and epochs[0].number == self._recipe.epochs:
            self.is_done = True
            self.close()
        return epochs

    def close(self) -> None:
        """Gives up what it holds on the device; it can take no further turn."""
        self._turns.close()

    def epochs(self) -> Iterator[tuple[Epoch, ...]]:
        """All epochs, turn after turn."""
        while not self.is_done:
            if (epochs := self.advance()) is not None:
                yield epochs

    def _checked(self, call: Callable[[], _Result]) -> _Result:
        try:
            return call()
        except RuntimeError as error:
            if not _is_out_of_memory(error):
                raise
        # Raised out here, where no traceback holds on to the tensors that used the memory up.
        raise OutOfMemoryError(
            f"{self._device} has too little memory for this training beside what else it holds; run fewer at once, or "
            f"lower batch_size = {self._recipe.batch_size}"
        )


def _is_out_of_memory(error: BaseException | None) -> bool:
    """Whether it says so, or came of one that does: ending a graph after an error raises another one."""
    while error is not None:
        if (
            isinstance(error, torch.OutOfMemoryError)
            or "out of memory" in str(error)
            or "allocate memory" in str(error)
        ):
            return True
        error = error.__context__
    return False


class _Work:
    """What a training holds on its device, and the three pieces of work that its epochs are made of.

    None of the three waits for the device or depends on anything but tensors that stay in place, so that each can be
    a CUDA graph.
    """

    def __init__(
        self,
        networks: Sequence[nn.Module],
        recipe: Recipe,
        data: PreparedData,
        seeds: Sequence[int],
        dropout: Sequence[torch.Generator],
    ) -> None:
        device = data.device
        if device.type == "cuda":
            # Ten bits of mantissa would change the augmentation's coordinates and what is trained, to speed up
            # products that take no time in networks this small; half precision likewise.
            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        self.recipe, self.data, self.dropout = recipe, data, dropout
        self.generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]  # order and augmentation
        self._layout = LAYOUT[device.type]
        for network in networks:
            network.to(device, memory_format=self._layout)  # type: ignore[call-overload]
        self._networks = networks
        self._network = networks[0] if len(networks) == 1 else batch_of_seeds(networks, dropout)
        memo = {id(generator): generator for generator in dropout}
        self._judged = copy.deepcopy(self._network, memo) if recipe.averaging else self._network
        self._trained, self._evaluated = _faster(self._network), _faster(self._judged)
        self._optimizer = make_optimizer(self._network.parameters(), recipe)
        pairs = zip(self._network.state_dict().values(), self._judged.state_dict().values(), strict=True)
        floats = [(now, average) for now, average in pairs if now.is_floating_point()]
        self._now, self._averages = [now for now, _ in floats], [average for _, average in floats]
        self.losses = torch.zeros(len(seeds), device=device)
        self.correct = torch.zeros(len(seeds), dtype=torch.int64, device=device)

    def start_epoch(self) -> Tensor:
        """The order of the images, int64 (images, S)."""
        self._trained.train()
        self.losses.zero_()
        count, device = len(self.data.train), self.data.device
        return torch.stack([torch.randperm(count, generator=g, device=device) for g in self.generators], dim=1)

    def inputs(self, order: Tensor) -> tuple[Tensor, Tensor]:
        """Network inputs (N, S*C, H, W), augmented, and labels (N, S) of the images at `order`, int64 (N, S)."""
        data, parts = self.data, []
        for indices, generator in zip(order.unbind(1), self.generators, strict=True):
            images = augment(data.scaled(data.train.images[indices]), data.policy, self.recipe.augmentation, generator)
            parts.append(data.normalized(images))
        return self._side_by_side(parts), data.train.labels[order]

    def step(self, inputs: Tensor, labels: Tensor, numbers: Tensor) -> None:
        """One step on (N, S*C, H, W) and (N, S); `numbers` are the learning rate and the weight of the average."""
        for group in self._optimizer.param_groups:
            group["lr"].copy_(numbers[0])
        logits = self._trained(inputs).reshape(labels.numel(), -1)
        losses = functional.cross_entropy(
            logits, labels.flatten(), reduction="none", label_smoothing=self.recipe.label_smoothing
        )
        losses = losses.view(labels.shape).mean(dim=0)
        self._optimizer.zero_grad(set_to_none=True)
        losses.sum().backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        self.losses += losses.detach()
        if self.recipe.averaging:
            # A lerp would take the weight of the average from the host.
            differences = torch._foreach_sub(self._now, self._averages)
            torch._foreach_mul_(differences, numbers[1])
            torch._foreach_add_(self._averages, differences)

    @torch.inference_mode()
    def count_correct(self) -> None:
        """How many evaluation images each seed classifies right, into `correct`."""
        self._evaluated.eval()
        self.correct.copy_(_correct(self._evaluated, self.data, len(self.generators)))

    def finish(self) -> None:
        """Gives the networks what was trained, ready for evaluation."""
        self._optimizer.zero_grad(set_to_none=True)
        if self.recipe.averaging and len(self._networks) == 1:
            self._network.load_state_dict(self._judged.state_dict())
        elif len(self._networks) > 1:
            write_back(self._judged, self._networks)

    def set_evaluation_mode(self) -> None:
        """As `evaluate` leaves a network."""
        for network in self._networks:
            network.eval()

    def _side_by_side(self, parts: list[Tensor]) -> Tensor:
        joined = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
        return joined.contiguous(memory_format=self._layout)


def _faster(network: nn.Module) -> nn.Module:
    """What runs in place of `network`: on the CPU a twin with the same tensors and faster layers (for float32)."""
    tensor = next(network.parameters(), None)
    on_cpu = tensor is not None and tensor.device.type == "cpu" and tensor.dtype is torch.float32
    return fuse(network) if on_cpu else network


def _turns(work: _Work, stream: Stream) -> Generator[tuple[Epoch, ...] | None]:
    """A turn of the training each: None, or the Epoch of each seed."""
    recipe, data = work.recipe, work.data
    inputs = stream.captured(work.inputs, work.generators)
    step = stream.captured(work.step, work.dropout)
    count_correct = stream.captured(work.count_correct)
    batch = min(recipe.batch_size, len(data.train))
    steps = len(data.train) // batch
    turn = max(CHUNK[data.device.type] // batch, 1)  # steps
    for number in range(1, recipe.epochs + 1):
        started = time.perf_counter()
        order = work.start_epoch()
        numbers = _numbers(recipe, range((number - 1) * steps, number * steps), steps).to(data.device)
        for first in range(0, steps, turn):
            last = min(first + turn, steps)
            images, labels = inputs(order[first * batch : last * batch])
            for arguments in zip(
                torch.split(images, batch), torch.split(labels, batch), numbers[first:last], strict=True
            ):
                step(*arguments)
            yield None
        count_correct()
        if number == recipe.epochs:
            work.finish()
        work.set_evaluation_mode()
        reading = Reading(torch.cat([work.losses.double() / steps, work.correct.double()]))
        while not reading.is_ready():
            time.sleep(POLL_SECONDS)
            yield None
        losses, correct = reading.values().view(2, -1).tolist()
        for loss in losses:
            if not math.isfinite(loss):
                raise TrainingError(
                    f"the loss is {loss} in epoch {number}; a learning rate below {recipe.learning_rate:g} may help"
                )
        seconds = (time.perf_counter() - started) / len(losses)
        yield tuple(
            Epoch(number, loss, 100.0 * right / len(data.evaluation), seconds, steps * batch)
            for loss, right in zip(losses, correct, strict=True)
        )


def _numbers(recipe: Recipe, steps: range, steps_per_epoch: int) -> Tensor:
    """(steps, 2): the learning rate of each step, and how far it moves the average towards the weights."""
    # The average begins with a shorter memory, or it would remember the initial weights for long.
    return torch.tensor(
        [
            (learning_rate_at(recipe, step, steps_per_epoch), 1 - min(recipe.averaging, (step + 1) / (step + 11)))
            for step in steps
        ]
    )


@torch.inference_mode()
def evaluate(network: nn.Module, data: PreparedData) -> float:
    """Percent of `data.evaluation` that `network` classifies right; leaves it in evaluation mode."""
    network.eval()
    return 100.0 * _correct(network, data, 1).item() / len(data.evaluation)


def _correct(network: nn.Module, data: PreparedData, seeds: int) -> Tensor:
    """How many images of `data.evaluation` each seed classifies right, int64 (S,)."""
    correct = torch.zeros(seeds, dtype=torch.int64, device=data.device)
    batch, layout = EVALUATION_BATCH[data.device.type], LAYOUT[data.device.type]
    parts = zip(torch.split(data.evaluation.images, batch), torch.split(data.evaluation.labels, batch), strict=True)
    for images, labels in parts:
        inputs = data.normalized(data.scaled(images))
        inputs = (inputs if seeds == 1 else inputs.repeat(1, seeds, 1, 1)).contiguous(memory_format=layout)
        logits = network(inputs).reshape(len(labels), seeds, -1)
        correct += (logits.argmax(dim=2) == labels.unsqueeze(1)).sum(dim=0)
    return correct
