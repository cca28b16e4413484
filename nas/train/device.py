"""The device to train on, and what training asks of it beside computing: streams, events, copies, graphs, memory.

A `Device` computes what it is told at once, as the CPU does. A `CudaDevice` queues it. All that differs between the two
is here, so that another implementation, such as the one of the tests, can stand in for a GPU.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, Self, TypeVar

import torch
from torch import Tensor

from nas.errors import DeviceError

Result = TypeVar("Result")

# Streams that a GPU really runs side by side; without this, about eight. CUDA reads it when it starts.
_CONNECTIONS = {"CUDA_DEVICE_MAX_CONNECTIONS": "32"}


def find_device(name: str = "auto") -> torch.device:
    """Return the device called `name`; `auto` is the first CUDA device, or the CPU where there is none.

    Raises:
        DeviceError: there is no such device here.
    """
    for variable, value in _CONNECTIONS.items():
        os.environ.setdefault(variable, value)
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise DeviceError(f"`device` {name}: not a device; use auto, cpu, cuda or cuda:0") from None
    if device.type not in ("cpu", "cuda"):
        raise DeviceError(f"`device` {name}: only cpu and cuda are supported; use `device` auto")
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            raise DeviceError(f"`device` {name}: this machine has {count} CUDA devices; use `device` cpu or auto")
    return device


def use_one_thread(device: torch.device) -> None:
    """Limit this process to one thread if it trains on the CPU.

    In networks this small a second thread only waits for the first; a second process gains more.
    """
    if device.type == "cpu":
        torch.set_num_threads(1)


class Memory(NamedTuple):
    """Bytes of a device's memory."""

    reserved: int  # by this process, what it keeps for later included
    peak: int  # most reserved since `Device.reset_peak`
    free: int  # to all processes


class Event:
    """A mark behind the work that was queued before it. Where all is computed at once, that is done."""

    def is_done(self) -> bool:
        """Return whether all that was queued before is done."""
        return True


@dataclass(frozen=True)
class Captured(Generic[Result]):
    """Work that was recorded: it runs at each `replay`, which leaves its result in `result`."""

    replay: Callable[[], None]
    result: Result


class Device:
    """A device that computes at once what it is told: the CPU."""

    queues = False  # whether work is queued in streams, and may be captured
    uses_kernels = True  # whether the kernels for the CPU take the place of torch's layers
    chunk = 512  # images augmented at once, and how far a training gets in a turn: few enough to stay in cache
    evaluation_batch = 200  # images evaluated at once: few enough for their maps to stay in cache
    layout = torch.channels_last  # how maps lie in memory

    def __init__(self, device: torch.device) -> None:
        self.torch_device = device
        self.capture_problem = ""  # why nothing is captured any more

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # what is copied trains on the same device

    def __str__(self) -> str:
        return str(self.torch_device)

    def generator(self) -> torch.Generator:
        """Return a new generator of random numbers on the device."""
        return torch.Generator(self.torch_device)

    @contextmanager
    def default_generator(self, generator: torch.Generator) -> Iterator[None]:
        """Make `generator` the default generator of the device, from which dropout draws, within the body."""
        state = torch.get_rng_state()
        torch.set_rng_state(generator.get_state())
        try:
            yield
        finally:
            generator.set_state(torch.get_rng_state())
            torch.set_rng_state(state)

    def take_stream(self) -> Any:
        """Return a stream that nobody else has; what was queued elsewhere before, such as images, is ready for it."""
        return None

    def return_stream(self, stream: Any) -> None:
        """Let others have a stream. What is still queued there is done before what they queue."""

    def queue_on(self, stream: Any) -> AbstractContextManager[Any]:
        """Queue in `stream` what is called in the body."""
        return nullcontext()

    def record(self) -> Event:
        """Return an event behind what was queued in the current stream so far."""
        return Event()

    def copy_to_host(self, values: Tensor) -> Tensor:
        """Return a copy on the CPU, queued in the current stream: read it when an event behind it is done."""
        return values.clone()

    def capture(self, function: Callable[[], Result], generators: Sequence[torch.Generator]) -> Captured[Result]:
        """Record what `function` computes, without computing it.

        Args:
            function: changes tensors that stay in place, and draws from `generators` or the default generator. It does
                not wait for the device, nor branch on values of tensors.
            generators: on this device.

        Raises:
            RuntimeError: it cannot be captured. Nothing has changed, and the function can be called as it is.
        """
        raise NotImplementedError("work that is done at once is not captured")

    def memory(self) -> Memory | None:
        """Return how much memory is taken; None where that says nothing about how many trainings fit."""
        return None

    def reset_peak(self) -> None:
        """Begin to measure the most memory anew."""

    def empty_cache(self) -> None:
        """Give back the memory that is kept for later; waits for all that is queued."""

    def still_works(self) -> bool:
        """Return whether it can compute anything; after some errors a process cannot use it any more."""
        return True


def device_of(device: torch.device | Device) -> Device:
    """Return the `Device` of a torch device; `cuda` without an index is the first."""
    if isinstance(device, Device):
        return device
    if device.type == "cpu":
        return Device(device)
    from nas.train.cuda import CudaDevice

    return CudaDevice(device)
