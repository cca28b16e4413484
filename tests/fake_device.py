"""A device that behaves as a GPU does, without one: its work is queued, captured, replayed, and fails as it is told to.

Tensors lie on the CPU. What is called while a stream is current is recorded, aten call by aten call, and runs later:
when somebody looks at an event, in streams drawn at random. Until then a result is NaN (integers: 0), so that a value
that is read too early, or one of a graph that is read after its next replay began, is a wrong one.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_flatten, tree_map

from nas.kernels.norms import complete_norms
from nas.train.device_interface import Captured, Device, Event, Memory, Result

aten = torch.ops.aten
# What waits for the device, since the host needs the answer. No capture allows it.
WAITING = {"aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::equal", "aten::is_nonzero"}
# What concerns memory and not values, and is done at once.
AT_ONCE = {
    "aten::empty",
    "aten::empty_strided",
    "aten::empty_like",
    "aten::new_empty",
    "aten::new_empty_strided",
    "aten::set_",
    "aten::resize_",
}
NOT_CAPTURED = "CUDA error: operation not permitted when stream is capturing"
BYTES = 1_000  # of memory that a training takes


class _Mark(Event):
    """An event: a place in a queue."""

    def __init__(self, device: FakeDevice) -> None:
        self.passed = False
        self._device = device

    def is_done(self) -> bool:
        self._device.run_some()
        return self.passed

    def __call__(self) -> None:
        self.passed = True


class Stream:
    """A queue of calls that are to run in order."""

    def __init__(self) -> None:
        self.queue: deque[Callable[[], None]] = deque()


class _Recorder(TorchDispatchMode):
    def __init__(self, device: FakeDevice) -> None:
        super().__init__()
        self._device = device

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CompositeImplicitAutograd"):
            with self:  # some return a copy or what they were given, as it comes
                return func.decompose(*args, **(kwargs or {}))
        if func.name() == "aten::native_batch_norm" and args[1] is None and args[2] is not None:
            raise RuntimeError("tensor does not have a device")  # seen on a GPU, where it has no gradient
        return self._device.call(func, args, kwargs or {})


class EagerDevice(Device):
    """What a `FakeDevice` is held against: the same calls, each done at once."""

    layout = torch.contiguous_format

    def __init__(self) -> None:
        super().__init__(torch.device("cpu"))

    def make_faster(self, network: nn.Module) -> nn.Module:
        return complete_norms(network)


class FakeDevice(Device):
    """A GPU for tests. What it has done can be looked at, and what it is to do wrong can be told to it."""

    queues = True
    layout = torch.contiguous_format
    type = "cuda"  # as of the torch.device in whose place it is given

    def __init__(self, order: int = 0, memory: int = 100 * BYTES) -> None:
        """`order` is the seed of the order in which streams run; `memory` is in bytes."""
        super().__init__(torch.device("cpu"))
        self.num_calls = self.num_captures = self.num_replays = self.num_emptied = 0
        self.faults: dict[int, Exception] = {}  # by the number of the call that raises it
        self.sticky: dict[int, str] = {}  # by the number of the call from which on all fail
        self.capture_faults: list[Exception] = []  # of the next captures, one each
        self.most_queued = 0  # marks that waited in one stream at once
        self._random = random.Random(order)
        self._memory = memory
        self._peak = 0
        self._streams: list[Stream] = []  # all
        self._free: list[Stream] = []
        self._kept = 0  # trainings that are gone, and whose memory is kept
        self._current: Stream | None = None
        self._default: torch.Generator | None = None
        self._graph: list[Callable[[], None]] | None = None
        self._made: list[Tensor] = []  # by the capture under way
        self._registered: Sequence[torch.Generator] = ()
        self._broken = ""

    # What a device is asked for

    def make_faster(self, network: nn.Module) -> nn.Module:
        return complete_norms(network)

    @contextmanager
    def default_generator(self, generator: torch.Generator) -> Iterator[None]:
        before, self._default = self._default, generator
        try:
            yield
        finally:
            self._default = before

    def take_stream(self) -> Stream:
        self._check()
        if not self._free:
            self._streams.append(Stream())
            self._free.append(self._streams[-1])
        stream = self._free.pop()
        self._kept = max(self._kept - 1, 0)
        self._peak = max(self._peak, self._reserved())
        return stream

    def return_stream(self, stream: Any) -> None:
        assert stream not in self._free
        self._free.append(stream)
        self._kept += 1

    @contextmanager
    def queue_on(self, stream: Any) -> Iterator[None]:
        assert self._current is None, "trainings take turns"
        self._current = stream
        try:
            with _Recorder(self):
                yield
        finally:
            self._current = None

    def record(self) -> Event:
        self._check()
        mark = _Mark(self)
        self._queue(mark)
        queue = self._current.queue if self._current else ()
        self.most_queued = max(self.most_queued, sum(isinstance(call, _Mark) for call in queue))
        return mark

    def capture(self, function: Callable[[], Result], generators: Sequence[torch.Generator]) -> Captured[Result]:
        self._check()
        assert self._current is not None
        self._graph, self._made, self._registered = [], [], generators
        try:
            result = function()
            graph, made = self._graph, self._made
        finally:
            self._graph, self._made = None, []
        self.num_captures += 1

        def run() -> None:
            for tensor in made:
                _poison(tensor)
            for call in graph:
                call()

        def replay() -> None:
            self._check()
            self.num_replays += 1
            self._queue(run)

        return Captured(replay, result)

    def memory(self) -> Memory:
        return Memory(self._reserved(), self._peak, self._memory - self._reserved())

    def reset_peak(self) -> None:
        self._peak = self._reserved()

    def empty_cache(self) -> None:
        self.num_emptied += 1
        self._kept = 0

    def still_works(self) -> bool:
        return not self._broken

    # How it works

    def call(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Queue or capture an aten call; return its results, which have no values yet."""
        self.num_calls += 1
        if (error := self.faults.pop(self.num_calls, None)) is not None:
            raise error
        if text := self.sticky.get(self.num_calls):
            self._broken = text
        self._check()
        name, returns = func._schema.name, func._schema.returns
        if name in AT_ONCE or any(r.alias_info and not r.alias_info.is_write for r in returns):
            return func(*args, **kwargs)  # views
        if self._graph is not None:
            if self.capture_faults:
                raise self.capture_faults.pop(0)
            generator = kwargs.get("generator")
            # Not by identity: torch wraps a generator anew for each call.
            if generator is not None and not any(_are_one(generator, one) for one in self._registered):
                raise RuntimeError("Attempt to increase offset for a CUDA generator not in capture mode.")
        if name in WAITING:
            if self._graph is not None:
                raise RuntimeError(NOT_CAPTURED)
            self._drain()
            return func(*args, **kwargs)
        written = [
            a for a, s in zip(args, func._schema.arguments, strict=False) if s.alias_info and s.alias_info.is_write
        ]
        if written and len(written) == len(returns):
            results = written[0] if len(written) == 1 else tuple(written)
        elif not returns:
            results = None
        else:
            results = self._without_values(func, args, kwargs)
            if self._graph is not None:
                self._made += [t for t in tree_flatten(results)[0] if isinstance(t, Tensor)]
        default = self._default
        self._queue(lambda: self._compute(func, args, kwargs, results, default))
        return results

    def _without_values(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Return what `func` would, with poison for values; nothing that it is given changes."""
        generators = [g for g in (kwargs.get("generator"), torch.default_generator) if g is not None]
        states = [generator.get_state() for generator in generators]
        results = func(*tree_map(_twin, args), **tree_map(_twin, kwargs))
        for generator, state in zip(generators, states, strict=True):
            generator.set_state(state)
        return tree_map(_poison, results)

    def _compute(self, func: Any, args: Any, kwargs: Any, results: Any, default: torch.Generator | None) -> None:
        draws = torch.Tag.nondeterministic_seeded in func.tags and kwargs.get("generator") is None
        tensors = [t for t in tree_flatten((args, kwargs, results))[0] if isinstance(t, Tensor)]
        counted = [t for t in tensors if not t.is_inference()]
        versions = [t._version for t in counted]
        with torch.inference_mode():
            if draws:
                assert default is not None
                with super().default_generator(default):
                    values = func(*args, **kwargs)
            else:
                values = func(*args, **kwargs)
            for place, value in zip(tree_flatten(results)[0], tree_flatten(values)[0], strict=True):
                if isinstance(place, Tensor) and place is not value:
                    place.copy_(value)
        # A call counts as a change when it is queued, not when it runs.
        torch._C._autograd._unsafe_set_version_counter(tuple(counted), tuple(versions))

    def _queue(self, call: Callable[[], None]) -> None:
        if self._graph is not None:
            self._graph.append(call)
        elif self._current is not None:
            self._current.queue.append(call)
        else:
            call()

    def run_some(self) -> None:
        """Run some of what is queued, in streams that are drawn at random."""
        self._check()
        for _ in range(self._random.randint(1, 4)):
            waiting = [stream for stream in self._streams if stream.queue]
            if not waiting:
                return
            stream = self._random.choice(waiting)
            with _disable_current_modes():  # whoever asks may be recording
                for _ in range(min(self._random.choice((1, 5, 50, 500)), len(stream.queue))):
                    stream.queue.popleft()()

    def _drain(self) -> None:
        queue = self._current.queue if self._current else deque[Callable[[], None]]()
        while queue:
            queue.popleft()()

    def _check(self) -> None:
        if self._broken:
            raise RuntimeError(self._broken)

    def _reserved(self) -> int:
        return (len(self._streams) - len(self._free) + self._kept) * BYTES


def _twin(value: Any) -> Any:
    """Return a tensor of the same memory layout and values, and anything else as it is."""
    if not isinstance(value, Tensor):
        return value
    storage = value.untyped_storage().clone()
    twin = torch.empty(0, dtype=value.dtype)
    return twin.set_(storage, value.storage_offset(), value.size(), value.stride())  # type: ignore[call-overload]


def _are_one(generator: torch.Generator, other: torch.Generator) -> bool:
    return torch.equal(generator.get_state(), other.get_state())


def _poison(value: Any) -> Any:
    if isinstance(value, Tensor):
        with torch.inference_mode(), suppress(NotImplementedError):
            value.fill_(float("nan") if value.is_floating_point() else 0)
    return value
