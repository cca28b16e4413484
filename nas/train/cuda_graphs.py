"""A training's own order of work on its device, so that several share the device and none waits for another.

On CUDA that is a stream: work is queued there and nothing waits for it; what is called again and again with tensors of
the same shapes becomes a CUDA graph, one launch in place of a hundred; and a result is read when an event says that it
is there. On the CPU the same calls run at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor

# Calls that run as they are, before one is recorded: the first ones make the optimizer's state and pick kernels, which
# must not happen inside a graph (as many as torch's own `make_graphed_callables` takes).
WARM_UP_CALLS = 3

Result = TypeVar("Result")


class Stream:
    """Where the work of one training is queued, and where its dropout draws from."""

    def __init__(self, device: torch.device, dropout: torch.Generator, graphs: bool = True) -> None:
        """`graphs=False` queues kernel by kernel on CUDA too: for comparison, and to find errors."""
        self._graphs = graphs and device.type == "cuda"
        self._dropout = dropout
        self._stream = None
        if device.type == "cuda":
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            self._stream.wait_stream(torch.cuda.current_stream(device))  # data and weights may be on their way yet

    @contextmanager
    def current(self) -> Iterator[None]:
        """What is called in the body is queued here. It must not span a `yield` to other trainings."""
        with torch.cuda.stream(self._stream), drawing_from(self._dropout):  # a stream of None changes nothing
            yield

    def captured(
        self, function: Callable[..., Result], generators: Sequence[torch.Generator] = ()
    ) -> Callable[..., Result]:
        """`function`, to be called often: see `Captured`; the CPU calls it as it is."""
        return Captured(function, generators) if self._graphs else function


@dataclass(frozen=True)
class _Recording(Generic[Result]):
    graph: torch.cuda.CUDAGraph
    arguments: tuple[Tensor, ...]
    result: Result


class Captured(Generic[Result]):
    """`function` of CUDA tensors, replayed as one graph from the fourth call with the same shapes on.

    What it returns is valid until its next call. It may change tensors in place, draw from `generators` and from
    torch's own generator, and must not wait for the device or branch on its values.
    """

    def __init__(self, function: Callable[..., Result], generators: Sequence[torch.Generator]) -> None:
        self._function = function
        self._generators = generators
        self._calls: Counter[tuple[torch.Size, ...]] = Counter()
        self._recordings: dict[tuple[torch.Size, ...], _Recording[Result]] = {}

    def __call__(self, *arguments: Tensor) -> Result:
        """Queues one run of the function."""
        shapes = tuple(argument.shape for argument in arguments)
        self._calls[shapes] += 1
        if self._calls[shapes] <= WARM_UP_CALLS:
            return self._function(*arguments)
        if shapes not in self._recordings:
            self._recordings[shapes] = self._record(arguments)
        recording = self._recordings[shapes]
        for static, argument in zip(recording.arguments, arguments, strict=True):
            static.copy_(argument)
        recording.graph.replay()
        return recording.result

    def _record(self, arguments: tuple[Tensor, ...]) -> _Recording[Result]:
        # Each graph keeps a memory pool of its own. One pool for several would be smaller, but a replay of one may
        # then overwrite what another has returned.
        graph = torch.cuda.CUDAGraph()
        for generator in self._generators:
            graph.register_generator_state(generator)
        static = tuple(argument.clone() for argument in arguments)
        with torch.cuda.graph(graph, stream=torch.cuda.current_stream(static[0].device if static else None)):
            result = self._function(*static)
        return _Recording(graph, static, result)


@contextmanager
def drawing_from(generator: torch.Generator) -> Iterator[None]:
    """Within the body, torch's own generator of that device, the one that dropout draws from, is `generator`."""
    if generator.device.type == "cuda":
        own = torch.cuda.default_generators[generator.device.index or 0]
        before = own.graphsafe_get_state()
        own.graphsafe_set_state(generator)  # shares the state itself, so that replayed graphs advance it
        try:
            yield
        finally:
            own.graphsafe_set_state(before)
        return
    state = torch.get_rng_state()
    torch.set_rng_state(generator.get_state())
    try:
        yield
    finally:
        generator.set_state(torch.get_rng_state())
        torch.set_rng_state(state)


class Reading:
    """`values` on their way to the host; queued in the current stream behind the work that makes them."""

    def __init__(self, values: Tensor) -> None:
        self._host = torch.empty(values.shape, dtype=values.dtype, pin_memory=values.is_cuda)
        self._host.copy_(values, non_blocking=True)
        self._event = None
        if values.is_cuda:
            self._event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._event.record()

    def is_ready(self) -> bool:
        """Whether they have arrived, and with them all work that was queued before."""
        return self._event is None or bool(self._event.query())  # type: ignore[no-untyped-call]

    def values(self) -> Tensor:
        """The values on the CPU; call it when they are ready."""
        return self._host
