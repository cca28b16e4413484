"""One NVIDIA GPU, as `Device` describes it: work is queued in streams, and repeated work is captured as CUDA graphs."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from nas.kernels.norms import complete_norms, find_kernel_problem, fuse_norms
from nas.train.device_interface import Captured, Device, Event, Memory, Result
from nas.train.memory_errors import is_out_of_memory


class CudaEvent(Event):
    """A mark behind the work that was queued in the current stream before it."""

    def __init__(self) -> None:
        self._event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        self._event.record()

    def is_done(self) -> bool:
        """Return whether all that was queued before is done."""
        return bool(self._event.query())  # type: ignore[no-untyped-call]


class CudaDevice(Device):
    """One NVIDIA GPU."""

    queues = True
    chunk = 4_096  # enough to hide the cost of the many small operations of augmentation
    evaluation_batch = 2_000  # enough to keep the GPU busy
    layout = torch.contiguous_format  # the kernels for channels last are those of half precision

    def __init__(self, device: torch.device) -> None:
        super().__init__(torch.device("cuda", device.index or 0))
        torch.cuda.set_device(self.torch_device)  # or what names no device would take memory on the first one
        # Ten bits of mantissa would change the augmentation's coordinates and what is trained, to speed up products
        # that take no time in networks this small; half precision likewise.
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        self._streams: list[torch.cuda.Stream] = []  # that nobody has
        self._default: torch.Generator | None = None  # what takes the place of the default generator now
        self._kernels_are_tried = False

    def make_faster(self, network: nn.Module) -> nn.Module:
        """Return a network with the same tensors, which lie here, that trains faster."""
        if not self._kernels_are_tried:
            self.kernel_problem = find_kernel_problem(self.torch_device)
            self._kernels_are_tried = True
        completed = complete_norms(network)
        return completed if self.kernel_problem else fuse_norms(completed)

    @contextmanager
    def default_generator(self, generator: torch.Generator) -> Iterator[None]:
        """Make `generator` the default generator of the device, from which dropout draws, within the body."""
        default, before = self._torchs_generator(), self._default
        state = default.graphsafe_get_state()
        self._default = generator
        default.graphsafe_set_state(generator)  # shares the state itself, so that replayed graphs advance it
        try:
            yield
        finally:
            self._default = before
            default.graphsafe_set_state(state if before is None else before)

    def take_stream(self) -> torch.cuda.Stream:
        """Return a stream that nobody else has; what was queued elsewhere before, such as images, is ready for it.

        One that was returned comes first: memory that was kept for its work serves no other stream.
        """
        stream = self._streams.pop() if self._streams else torch.cuda.Stream(self.torch_device)  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream(self.torch_device))
        return stream

    def return_stream(self, stream: Any) -> None:
        """Let others have a stream. What is still queued there is done before what they queue."""
        self._streams.append(stream)

    def queue_on(self, stream: Any) -> AbstractContextManager[Any]:
        """Queue in `stream` what is called in the body."""
        return torch.cuda.stream(stream)

    def record(self) -> Event:
        """Return an event behind what was queued in the current stream so far."""
        return CudaEvent()

    def copy_to_host(self, values: Tensor) -> Tensor:
        """Return a copy on the CPU, queued in the current stream: read it when an event behind it is done."""
        # Only into pinned memory is a copy queued.
        return torch.empty(values.shape, dtype=values.dtype, pin_memory=True).copy_(values, non_blocking=True)

    def capture(self, function: Callable[[], Result], generators: Sequence[torch.Generator]) -> Captured[Result]:
        """Record what `function` computes as a CUDA graph; see `Device.capture`."""
        try:
            return self._capture(function, generators)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
        self.empty_cache()  # within a capture it cannot be emptied
        return self._capture(function, generators)

    def _capture(self, function: Callable[[], Result], generators: Sequence[torch.Generator]) -> Captured[Result]:
        # Not `torch.cuda.graph`, which waits for the whole device and empties the cache. Each graph keeps a memory pool
        # of its own: one pool for several would be smaller, but a replay of one may overwrite what another returned.
        graph, pool = torch.cuda.CUDAGraph(), torch.cuda.graph_pool_handle()
        _register(graph, generators)
        drawn_from = [*generators, *([self._default] if self._default else [])]
        states = [generator.get_state() for generator in drawn_from]
        try:
            graph.capture_begin(pool, capture_error_mode="thread_local")
            try:
                result = function()
            finally:
                graph.capture_end()
        except BaseException:
            self._clean_up(pool, drawn_from, states)
            raise
        return Captured(graph.replay, result)

    def _clean_up(self, pool: tuple[int, int], generators: Sequence[torch.Generator], states: Sequence[Tensor]) -> None:
        """Undo what a capture that fails leaves behind: torch's allocator and the generators wait for its end for ever.

        The one would refuse to empty its cache, the others to draw.
        """
        with contextlib.suppress(RuntimeError):  # it got as far as that itself
            torch._C._cuda_endAllocateToPool(self.torch_device.index, pool)
        for generator, state in zip(generators, states, strict=True):
            fresh = self.generator()
            fresh.set_state(state)
            generator.graphsafe_set_state(fresh)
        if self._default is not None:
            self._torchs_generator().graphsafe_set_state(self._default)

    def memory(self) -> Memory:
        """Return how much memory is taken."""
        device = self.torch_device
        free, _ = torch.cuda.mem_get_info(device)
        return Memory(torch.cuda.memory_reserved(device), torch.cuda.max_memory_reserved(device), free)

    def reset_peak(self) -> None:
        """Begin to measure the most memory anew."""
        torch.cuda.reset_peak_memory_stats(self.torch_device)

    def empty_cache(self) -> None:
        """Give back the memory that is kept for later; waits for all that is queued."""
        torch.cuda.empty_cache()

    def still_works(self) -> bool:
        """Return whether it can compute anything; after some errors a process cannot use it any more."""
        try:
            torch.cuda.synchronize(self.torch_device)
            return torch.ones(2, device=self.torch_device).sum().item() == 2.0
        except RuntimeError:
            return False

    def _torchs_generator(self) -> torch.Generator:
        return torch.cuda.default_generators[self.torch_device.index]


def _register(graph: torch.cuda.CUDAGraph, generators: Sequence[torch.Generator]) -> None:
    """Have the replays of `graph` advance `generators`. Newer versions of torch see to it, and warn of the call."""
    register: Any = getattr(graph, "register_generator_state", None)
    if register is None:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for generator in generators:
            register(generator)
