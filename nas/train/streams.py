"""One stream per training, so that several share a device without waiting for each other.

Work is queued in the stream and nothing waits for it. A function that is called again and again with tensors of the
same shapes is captured, and replayed in one launch in place of a hundred. Where work is done at once, the same calls
do it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Generic

import torch
from torch import Tensor

from nas.errors import first_line
from nas.train.device_interface import Captured, Device, Result
from nas.train.memory_errors import is_out_of_memory

# Calls that run as they are before one is captured: the first ones create the optimizer's state and choose kernels,
# which must not happen inside a graph (as many as torch's own `make_graphed_callables` takes).
WARM_UP_CALLS = 3


class TrainingStream:
    """The stream of one training and the generator of its dropout."""

    def __init__(self, device: Device, dropout: torch.Generator, graphs: bool = True) -> None:
        """`graphs=False` captures nothing: for comparison, and to find errors."""
        self._device = device
        self._graphs = graphs and device.queues
        self._dropout = dropout
        self._stream = device.take_stream()

    @contextmanager
    def active(self) -> Iterator[None]:
        """Queue in this stream what is called in the body, which must not yield to other trainings."""
        with self._device.queue_on(self._stream), self._device.default_generator(self._dropout):
            yield

    def make_graphed(
        self, function: Callable[..., Result], generators: Sequence[torch.Generator] = ()
    ) -> Callable[..., Result]:
        """Return a `GraphedFunction` where the device captures work, else `function` itself."""
        return GraphedFunction(self._device, function, generators) if self._graphs else function

    def close(self) -> None:
        """Let another training have the stream."""
        self._device.return_stream(self._stream)


class GraphedFunction(Generic[Result]):
    """A function of tensors that is captured at its fourth call with the same shapes, and replayed from then on.

    Its result is valid until its next call. The function may change tensors in place, draw from `generators` and from
    the default generator. It must not wait for the device or branch on values of tensors. Where it cannot be captured,
    neither it nor any other function of the device is from then on, and `capture_problem` of the device says why.
    """

    def __init__(
        self, device: Device, function: Callable[..., Result], generators: Sequence[torch.Generator] = ()
    ) -> None:
        self._device = device
        self._function = function
        self._generators = generators
        self._num_calls: Counter[tuple[torch.Size, ...]] = Counter()
        self._captured: dict[tuple[torch.Size, ...], tuple[tuple[Tensor, ...], Captured[Result]]] = {}

    def __call__(self, *arguments: Tensor) -> Result:
        """Queue one call of the function."""
        shapes = tuple(argument.shape for argument in arguments)
        self._num_calls[shapes] += 1
        if shapes not in self._captured and not self._capture(shapes, arguments):
            return self._function(*arguments)
        static, captured = self._captured[shapes]
        for own, argument in zip(static, arguments, strict=True):
            own.copy_(argument)
        captured.replay()
        return captured.result

    def _capture(self, shapes: tuple[torch.Size, ...], arguments: tuple[Tensor, ...]) -> bool:
        """Return whether the function is captured for `shapes` now."""
        if self._num_calls[shapes] <= WARM_UP_CALLS or self._device.capture_problem:
            return False
        static = tuple(argument.clone() for argument in arguments)
        try:
            captured = self._device.capture(lambda: self._function(*static), self._generators)
        except RuntimeError as error:
            if is_out_of_memory(error) or not self._device.still_works():
                raise
            self._device.capture_problem = first_line(_first(error))
            return False
        self._captured[shapes] = static, captured
        return True


def _first(error: BaseException) -> BaseException:
    """Return the error that came first: ending a capture after one raises another."""
    while error.__context__ is not None:
        error = error.__context__
    return error
