"""The training engine: one network, one recipe, an epoch at a time, so that the caller can stop it.

Data stay on the device as bytes; a chunk of images at a time is gathered, augmented and normalised there, and nothing
waits for the device within an epoch. Shape legend: N images, C channels, H and W pixels.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from nas.arch import Recipe
from nas.errors import DeviceError, TrainingError
from nas.train.augment import AugmentationPolicy, augment
from nas.train.data import ImageSet
from nas.train.native import fuse
from nas.train.optimisation import learning_rate_at, make_optimizer

# Images evaluated at once: on a CPU few enough for their maps to stay in cache, on a GPU enough to keep it busy.
EVALUATION_BATCH = {"cpu": 200, "cuda": 2_000}
# Images augmented at once. Large enough to hide the cost of the many small operations, small enough to stay in cache.
CHUNK = 512


@dataclass(frozen=True, slots=True)
class Epoch:
    """What one epoch gave."""

    number: int  # from 1
    train_loss: float  # mean over the epoch's images
    accuracy: float  # percent of the images held out for evaluation
    seconds: float  # training and evaluation
    images: int  # trained on

    @property
    def is_finite(self) -> bool:
        """Whether the loss is a number."""
        return math.isfinite(self.train_loss)


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

    def normalised(self, images: Tensor) -> Tensor:
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
    """Moves both parts to `device`; the normalisation comes from `train` alone."""
    mean, std = normalisation(train.images)
    shape = (-1, 1, 1)
    return PreparedData(
        train=ImageSet(train.images.to(device), train.labels.to(device)),
        evaluation=ImageSet(evaluation.images.to(device), evaluation.labels.to(device)),
        mean=torch.tensor(mean).view(shape).to(device),
        std=torch.tensor(std).view(shape).to(device),
        policy=policy,
    )


def normalisation(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
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
    """
    device = data.device
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    torch.manual_seed(seed)  # dropout draws from torch's own generator
    generator = torch.Generator(device).manual_seed(seed)
    judged = copy.deepcopy(network) if recipe.averaging else network
    # What runs: on the CPU twins with the same tensors and faster layers.
    trained, evaluated = (fuse(network), fuse(judged)) if device.type == "cpu" else (network, judged)
    optimizer = make_optimizer(network.parameters(), recipe)
    count = len(data.train)
    batch = min(recipe.batch_size, count)
    steps_per_epoch = count // batch
    step = 0
    for number in range(1, recipe.epochs + 1):
        started = time.perf_counter()
        trained.train()
        losses = torch.zeros((), device=device)
        for inputs, labels in _batches(data, recipe, batch, steps_per_epoch, generator):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate_at(recipe, step, steps_per_epoch)
            loss = functional.cross_entropy(trained(inputs), labels, label_smoothing=recipe.label_smoothing)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            losses += loss.detach()
            step += 1
            if recipe.averaging:
                _average(judged, network, min(recipe.averaging, step / (step + 10)))
        train_loss = losses.item() / steps_per_epoch
        if not math.isfinite(train_loss):
            raise TrainingError(
                f"the loss is {train_loss} in epoch {number}; a learning rate below {recipe.learning_rate:g} may help"
            )
        accuracy = evaluate(evaluated, data)
        if recipe.averaging and number == recipe.epochs:
            network.load_state_dict(judged.state_dict())
        network.eval()
        yield Epoch(number, train_loss, accuracy, time.perf_counter() - started, steps_per_epoch * batch)


@torch.no_grad()
def _average(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Moves `average` towards `network` by 1 - decay."""
    mine, current = average.state_dict().values(), network.state_dict().values()
    floats = [(a, b) for a, b in zip(mine, current, strict=True) if a.is_floating_point()]
    torch._foreach_lerp_([a for a, _ in floats], [b for _, b in floats], 1 - decay)


def _batches(
    data: PreparedData, recipe: Recipe, batch: int, steps: int, generator: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """`steps` pairs of inputs (N, C, H, W) and labels (N,), no image twice; a last partial batch is left out."""
    order = torch.randperm(len(data.train), generator=generator, device=data.device)
    chunk = max(CHUNK // batch, 1) * batch
    for start in range(0, steps * batch, chunk):
        indices = order[start : min(start + chunk, steps * batch)]
        images = data.train.images[indices].float().div_(255)
        inputs = data.normalised(augment(images, data.policy, recipe.augmentation, generator))
        inputs = inputs.contiguous(memory_format=torch.channels_last)
        yield from zip(torch.split(inputs, batch), torch.split(data.train.labels[indices], batch), strict=True)


@torch.inference_mode()
def evaluate(network: nn.Module, data: PreparedData) -> float:
    """Percent of `data.evaluation` that `network` classifies right; leaves it in evaluation mode."""
    network.eval()
    correct = torch.zeros((), dtype=torch.int64, device=data.device)
    batch = EVALUATION_BATCH[data.device.type]
    parts = zip(torch.split(data.evaluation.images, batch), torch.split(data.evaluation.labels, batch), strict=True)
    for images, labels in parts:
        inputs = data.normalised(images.float().div_(255)).contiguous(memory_format=torch.channels_last)
        correct += (network(inputs).argmax(dim=1) == labels).sum()
    return 100.0 * correct.item() / len(data.evaluation)
