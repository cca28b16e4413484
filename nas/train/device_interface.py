"""What training asks of a device beside computing: streams, events, copies, graphs, random numbers, memory.

A `Device` computes what it is told at once, as the CPU does. A `CudaDevice` queues it. All that differs between the two
is here, so that another implementation, such as the one of the tests, can stand in for a GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, Self, TypeVar

import torch
from torch import Tensor, nn

from nas.kernels.fuse import fuse

Result = TypeVar("Result")


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
    chunk = 512  # images augmented at once, and how far a training gets in a turn: few enough to stay in cache
    evaluation_batch = 200  # images evaluated at once: few enough for their maps to stay in cache
    layout = torch.channels_last  # how maps lie in memory

    def __init__(self, device: torch.device) -> None:
        self.torch_device = device
        self.capture_problem = ""  # why nothing is captured any more
        self.kernel_problem = ""  # why torch's own layers train here, where there could be faster ones

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # what is copied trains on the same device

    def __str__(self) -> str:
        return str(self.torch_device)

    def make_faster(self, network: nn.Module) -> nn.Module:
        """Return a network with the same tensors, which lie here, that trains faster."""
        return fuse(network)

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
