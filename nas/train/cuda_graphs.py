"""One CUDA stream per training, so that several share a GPU without waiting for each other.

Work is queued on the stream and nothing waits for it; a function that is called again and again with tensors of the
same shapes becomes a CUDA graph, one launch in place of a hundred; and a result is read when an event says that it has
arrived. On the CPU the same calls run at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor

# Calls that run as they are before one is captured: the first ones create the optimizer's state and choose kernels,
# which must not happen inside a graph (as many as torch's own `make_graphed_callables` takes).
WARM_UP_CALLS = 3

Result = TypeVar("Result")


class TrainingStream:
    """The CUDA stream of one training and the generator of its dropout; on the CPU the generator alone."""

    def __init__(self, device: torch.device, dropout: torch.Generator, graphs: bool = True) -> None:
        """`graphs=False` queues kernel by kernel on CUDA too: for comparison, and to find errors."""
        self._graphs = graphs and device.type == "cuda"
        self._dropout = dropout
        self._stream = None
        if device.type == "cuda":
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            self._stream.wait_stream(torch.cuda.current_stream(device))  # data and weights may be on their way yet

    @contextmanager
    def active(self) -> Iterator[None]:
        """Queue on this stream what is called in the body, which must not yield to other trainings."""
        with torch.cuda.stream(self._stream), use_generator(self._dropout):  # a stream of None changes nothing
            yield

    def make_graphed(
        self, function: Callable[..., Result], generators: Sequence[torch.Generator] = ()
    ) -> Callable[..., Result]:
        """Return a `GraphedFunction` on CUDA, and `function` itself on the CPU."""
        return GraphedFunction(function, generators) if self._graphs else function


@dataclass(frozen=True)
class _Graph(Generic[Result]):
    """A captured call: its graph, and the tensors in which it reads its arguments and leaves its result."""

    graph: torch.cuda.CUDAGraph
    arguments: tuple[Tensor, ...]
    result: Result


class GraphedFunction(Generic[Result]):
    """A function of CUDA tensors that is replayed as one graph from the fourth call with the same shapes on.

    Its result is valid until its next call. The function may change tensors in place, draw from `generators` and from
    torch's default generator. It must not wait for the device or branch on values of tensors.
    """

    def __init__(self, function: Callable[..., Result], generators: Sequence[torch.Generator]) -> None:
        self._function = function
        self._generators = generators
        self._num_calls: Counter[tuple[torch.Size, ...]] = Counter()
        self._graphs: dict[tuple[torch.Size, ...], _Graph[Result]] = {}

    def __call__(self, *arguments: Tensor) -> Result:
        """Queue one call of the function."""
        shapes = tuple(argument.shape for argument in arguments)
        self._num_calls[shapes] += 1
        if self._num_calls[shapes] <= WARM_UP_CALLS:
            return self._function(*arguments)
        if shapes not in self._graphs:
            self._graphs[shapes] = self._capture(arguments)
        captured = self._graphs[shapes]
        for static, argument in zip(captured.arguments, arguments, strict=True):
            static.copy_(argument)
        captured.graph.replay()
        return captured.result

    def _capture(self, arguments: tuple[Tensor, ...]) -> _Graph[Result]:
        # Each graph keeps a memory pool of its own. One pool for several would be smaller, but a replay of one may
        # then overwrite what another has returned.
        graph = torch.cuda.CUDAGraph()
        for generator in self._generators:
            graph.register_generator_state(generator)
        static = tuple(argument.clone() for argument in arguments)
        with torch.cuda.graph(graph, stream=torch.cuda.current_stream(static[0].device if static else None)):
            result = self._function(*static)
        return _Graph(graph, static, result)


@contextmanager
def use_generator(generator: torch.Generator) -> Iterator[None]:
    """Make `generator` the default generator of its device, from which dropout draws, within the body."""
    if generator.device.type == "cuda":
        default = torch.cuda.default_generators[generator.device.index or 0]
        before = default.graphsafe_get_state()
        default.graphsafe_set_state(generator)  # shares the state itself, so that replayed graphs advance it
        try:
            yield
        finally:
            default.graphsafe_set_state(before)
        return
    state = torch.get_rng_state()
    torch.set_rng_state(generator.get_state())
    try:
        yield
    finally:
        generator.set_state(torch.get_rng_state())
        torch.set_rng_state(state)


class HostCopy:
    """A copy of `values` to the host that nothing waits for, queued in the current stream behind the work before it."""

    def __init__(self, values: Tensor) -> None:
        self._host = torch.empty(values.shape, dtype=values.dtype, pin_memory=values.is_cuda)
        self._host.copy_(values, non_blocking=True)
        self._event = None
        if values.is_cuda:
            self._event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._event.record()

    def is_ready(self) -> bool:
        """Return whether the values have arrived; all work that was queued before is done then."""
        return self._event is None or bool(self._event.query())  # type: ignore[no-untyped-call]

    def values(self) -> Tensor:
        """Return the values on the CPU; call it once `is_ready`."""
        return self._host
