"""Chains of layers that the CPU's kernels compute together, as one step of autograd.

Shape legend: N images, C channels, H and W pixels; maps lie channels last in memory.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from nas.kernels.cpu import call
from nas.model.scalar_norm import ScalarNorm

# By the numbers of c/elementwise.h, which has torch's default settings of each.
ACTIVATIONS = {nn.Identity: 0, nn.ReLU: 1, nn.LeakyReLU: 2, nn.Hardswish: 3, nn.SiLU: 4}
LARGEST_KERNEL = 7  # as c/depthwise.h has it
Norm = nn.BatchNorm2d | ScalarNorm

_ROOM = 16  # numbers behind a map, for the longest vector of the kernels
_EVALUATED_AT_ONCE = 8  # images: few enough for all maps of a chain to stay in cache


@dataclass(frozen=True)
class Stage:
    """A convolution and what follows it up to the next one. Each part may be missing."""

    convolution: nn.Conv2d | None = None  # depthwise or of one input channel, at stride 1; or 1x1; without bias
    norm: Norm | None = None
    activation: nn.Module | None = None
    activation_first: bool = False  # whether the activation is ahead of the norm
    dropout: float = 0.0
    pools: bool = False  # over windows of 2x2

    @property
    def batch_norm(self) -> nn.BatchNorm2d | None:
        """Return the norm that holds the statistics."""
        return self.norm.norm if isinstance(self.norm, ScalarNorm) else self.norm

    @property
    def parameters(self) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Return the weight of the convolution, and weight and bias of the norm; None for what is missing."""
        weight = None if self.convolution is None else self.convolution.weight
        return (weight, None, None) if self.norm is None else (weight, self.norm.weight, self.norm.bias)


class _Stage(ctypes.Structure):
    """The Stage of c/stage.h."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("convolution", "kernel", "padding")),
        *((name, ctypes.c_int64) for name in ("in_channels", "in_height", "in_width")),
        *((name, ctypes.c_int64) for name in ("channels", "height", "width")),
        *((name, ctypes.c_int64) for name in ("has_norm", "activation", "activation_first", "pools", "scalars")),
        *((name, ctypes.c_int64) for name in ("drop_below", "seed")),
        *((name, ctypes.c_double) for name in ("momentum", "epsilon")),
        *((name, ctypes.c_void_p) for name in ("taps", "weight", "bias")),
        *((name, ctypes.c_void_p) for name in ("running_mean", "running_var", "num_batches")),
        *((name, ctypes.c_void_p) for name in ("dtaps", "dweight", "dbias")),
        *((name, ctypes.c_void_p) for name in ("map", "mean", "inverse")),
    )


class Chain(nn.Module):
    """Stages one behind the other. Only the first may lack its convolution."""

    def __init__(self, stages: list[Stage]) -> None:
        super().__init__()
        self.stages = stages
        # Their parameters and buffers are those of this module too.
        self.layers = nn.ModuleList([m for stage in stages for m in (stage.convolution, stage.norm) if m is not None])
        self._plans: dict[tuple[int, ...], _Plan] = {}

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C', H', W')."""
        x = x.contiguous(memory_format=torch.channels_last)
        size = tuple(x.shape[1:])
        if (plan := self._plans.get(size)) is None:
            plan = self._plans[size] = _Plan(self.stages, size)
        if not self.training:
            return _Evaluation.apply(x, plan)  # type: ignore[no-any-return]
        # One number of torch's generator for each dropout.
        seeds = [int(torch.randint(2**32, (), dtype=torch.int64)) if stage.dropout else 0 for stage in self.stages]
        parameters = chain.from_iterable(stage.parameters for stage in self.stages)
        return _Training.apply(x, plan, seeds, *parameters)  # type: ignore[no-any-return]


class _Plan:
    """A chain for images of one size: what the kernels are told that does not change from call to call."""

    def __init__(self, stages: list[Stage], size: tuple[int, ...]) -> None:
        """`size` is C, H, W of the input."""
        self.stages = stages
        self._described = (_Stage * len(stages))(*_describe_all(stages, size))
        self.output_size = _output_size(self._described[-1])
        self._map_sizes = [s.channels * s.height * s.width for s in self._described]  # of one image
        self.largest_map = max(self._map_sizes)

    def prepare(self, images: int, training: bool) -> tuple[Any, Tensor]:
        """Return the stages as the kernels read them, and the memory that holds their maps and moments."""
        described = type(self._described).from_buffer_copy(self._described)
        ends = 0
        for stage, made, size in zip(self.stages, described, self._map_sizes, strict=True):
            made.mean, made.inverse = 4 * ends, 4 * (ends + made.channels)
            ends += 2 * made.channels
            if stage.convolution is not None:
                made.map = 4 * ends
                ends += size * images + _ROOM
        memory = torch.empty(ends)
        start = memory.data_ptr()
        for stage, made in zip(self.stages, described, strict=True):
            made.mean, made.inverse = start + (made.mean or 0), start + made.inverse
            made.map = start + (made.map or 0)
            made.drop_below = made.drop_below if training else 0
            made.taps, made.weight, made.bias = (0 if p is None else p.data_ptr() for p in stage.parameters)
            if (norm := stage.batch_norm) is not None:
                assert norm.running_mean is not None
                assert norm.running_var is not None
                assert norm.num_batches_tracked is not None
                made.running_mean, made.running_var = norm.running_mean.data_ptr(), norm.running_var.data_ptr()
                made.num_batches = norm.num_batches_tracked.data_ptr()
        return described, memory


def _describe_all(stages: list[Stage], size: tuple[int, ...]) -> list[_Stage]:
    described = []
    for stage in stages:
        described.append(made := _describe(stage, *size))
        size = _output_size(made)
    return described


def _output_size(stage: _Stage) -> tuple[int, int, int]:
    """Return C, H, W behind a stage and its pool."""
    pooled = 2 if stage.pools else 1
    return stage.channels, stage.height // pooled, stage.width // pooled


def _describe(stage: Stage, channels: int, height: int, width: int) -> _Stage:
    made = _Stage(in_channels=channels, in_height=height, in_width=width, channels=channels, height=height, width=width)
    if (convolution := stage.convolution) is not None:
        kernel, padding = int(convolution.kernel_size[0]), int(convolution.padding[0])
        is_pointwise = kernel == 1 and padding == 0 and convolution.groups == 1
        made.convolution, made.kernel, made.padding = (2 if is_pointwise else 1), kernel, padding
        made.channels = convolution.out_channels
        made.height, made.width = height + 2 * padding - kernel + 1, width + 2 * padding - kernel + 1
    if (norm := stage.batch_norm) is not None:
        assert norm.momentum is not None
        made.has_norm, made.momentum, made.epsilon = 1, norm.momentum, norm.eps
        made.scalars = isinstance(stage.norm, ScalarNorm)
    made.activation = 0 if stage.activation is None else ACTIVATIONS[type(stage.activation)]
    made.activation_first, made.pools = stage.activation_first, stage.pools
    made.drop_below = round(stage.dropout * 2**32)
    return made


class _Evaluation(torch.autograd.Function):
    """A chain with the norms' running statistics and without dropout. It has no gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, plan: _Plan) -> Tensor:
        images = len(x)
        y = _empty_maps(images, *plan.output_size)
        at_once = min(_EVALUATED_AT_ONCE, images)
        stages, memory = plan.prepare(at_once, training=False)
        call("chain_evaluate", ctypes.addressof(stages), len(stages), x, y, images, at_once)
        del memory  # not before
        return y


class _Training(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, plan: _Plan, seeds: list[int], *parameters: Tensor | None) -> Tensor:
        images = len(x)
        y = _empty_maps(images, *plan.output_size)
        stages, memory = plan.prepare(images, training=True)
        for stage, seed in zip(stages, seeds, strict=True):
            stage.seed = seed
        call("chain_forward", ctypes.addressof(stages), len(stages), x, y, images, 1)
        ctx.plan, ctx.stages = plan, stages
        ctx.save_for_backward(x, memory, *parameters)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, _memory, *parameters = ctx.saved_tensors
        stages, images = ctx.stages, len(x)
        dy = dy.contiguous(memory_format=torch.channels_last)
        dx = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        gradients = [None if p is None else torch.empty_like(p) for p in parameters]
        for number, stage in enumerate(stages):
            stage.dtaps, stage.dweight, stage.dbias = (
                0 if g is None else g.data_ptr() for g in gradients[3 * number : 3 * number + 3]
            )
        largest = ctx.plan.largest_map * images + _ROOM
        scratch = torch.empty(2 * largest)
        address = ctypes.addressof(stages)
        call("chain_backward", address, len(stages), x, dy, 0 if dx is None else dx, scratch, largest, images)
        return dx, None, None, *gradients


def _empty_maps(images: int, channels: int, height: int, width: int) -> Tensor:
    return torch.empty(images, channels, height, width, memory_format=torch.channels_last)
