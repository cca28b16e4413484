"""Batch norm together with its activation on a GPU: two kernels forward and two backward, compiled by Triton.

cuDNN has one block of threads for each channel, and a small network has few channels: most of the GPU waits. Here a
channel has many blocks. Shape legend: N images, C channels, H and W pixels; a channel has `size` = N H W numbers.
"""

# A kernel's arguments have no types before it is compiled.
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-untyped-decorators
# ruff: noqa: N803 - capitals are constants to Triton

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

ACTIVATIONS = {
    nn.Identity: 0,
    nn.ReLU: 1,
    nn.LeakyReLU: 2,
    nn.Hardswish: 3,
    nn.SiLU: 4,
}  # with torch's default settings
BLOCK = 1_024  # numbers that a block of threads takes at once
MOST_PARTS = 64  # of a channel; a power of 2
MOST_BLOCKS = 528  # for all channels: four for each multiprocessor of an H200

# Each kernel is compiled once, whatever sizes and addresses it gets: a second time might fall into a capture.
_GENERAL = (
    *("x", "y", "dy", "dx", "weight", "bias", "gradients", "running_mean", "running_var", "num_batches", "moments"),
    *("partial", "channels", "pixels", "size", "part", "before", "after"),
)
_kernel = triton.jit(do_not_specialize=_GENERAL, do_not_specialize_on_alignment=_GENERAL)


@triton.jit
def _activate(x, activation):
    y = x
    if activation == 1:
        y = tl.maximum(x, 0.0)
    if activation == 2:
        y = tl.where(x > 0, x, x * 0.01)
    if activation == 3:
        y = x * tl.minimum(tl.maximum(x + 3.0, 0.0), 6.0) / 6.0
    if activation == 4:
        y = x / (1.0 + tl.exp(-x))
    return y


@triton.jit
def _slope(x, activation):
    slope = tl.full(x.shape, 1.0, tl.float32)
    if activation == 1:
        slope = tl.where(x > 0, 1.0, 0.0)
    if activation == 2:
        slope = tl.where(x > 0, 1.0, 0.01)
    if activation == 3:
        slope = tl.where(x < -3.0, 0.0, tl.where(x <= 3.0, x / 3.0 + 0.5, 1.0))
    if activation == 4:
        sigmoid = 1.0 / (1.0 + tl.exp(-x))
        slope = sigmoid * (1.0 + x * (1.0 - sigmoid))
    return slope


@triton.jit
def _places(first, channel, channels, pixels, end, BLOCK: tl.constexpr):
    """Where a block of numbers of a channel lies in (N, C, H, W), and which of them are before `end`."""
    number = first + tl.arange(0, BLOCK)
    image = number // pixels
    return (image * channels + channel) * pixels + number - image * pixels, number < end


@_kernel
def _find_moments(x, partial, channels, pixels, size, part, before, BLOCK: tl.constexpr):
    """Mean and sum of squared deviations of each part of a channel (Chan, Golub and LeVeque 1983)."""
    channel = tl.program_id(0)
    number = tl.program_id(1)
    end = tl.minimum(number * part + part, size)
    count = 0.0
    mean = 0.0
    squares = 0.0
    for first in range(number * part, end, BLOCK):
        at, inside = _places(first, channel, channels, pixels, end, BLOCK)
        a = _activate(tl.load(x + at, mask=inside, other=0.0), before)
        more = tl.minimum(end - first, BLOCK).to(tl.float32)
        its_mean = tl.sum(tl.where(inside, a, 0.0)) / more
        deviation = tl.where(inside, a - its_mean, 0.0)
        step = its_mean - mean
        total = count + more
        squares += tl.sum(deviation * deviation) + step * step * count * more / total
        mean += step * more / total
        count = total
    place = partial + 2 * (channel * tl.num_programs(1) + number)
    tl.store(place, mean)
    tl.store(place + 1, squares)


@_kernel
def _normalize(
    x,
    y,
    weight,
    bias,
    running_mean,
    running_var,
    num_batches,
    moments,
    partial,
    channels,
    pixels,
    size,
    part,
    before,
    after,
    momentum,
    epsilon,
    BLOCK: tl.constexpr,
    MOST_PARTS: tl.constexpr,
):
    """The output; the first block of each channel keeps its moments too."""
    channel = tl.program_id(0)
    number = tl.program_id(1)
    parts = tl.num_programs(1)
    other = tl.arange(0, MOST_PARTS)
    exists = other < parts
    places = partial + 2 * (channel * parts + other)
    means = tl.load(places, mask=exists, other=0.0)
    counts = tl.where(exists, tl.minimum(size - other * part, part), 0).to(tl.float32)
    mean = tl.sum(means * counts) / size
    deviation = means - mean
    squares = tl.sum(tl.load(places + 1, mask=exists, other=0.0)) + tl.sum(deviation * deviation * counts)
    inverse = 1.0 / tl.sqrt(squares / size + epsilon)
    if number == 0:
        tl.store(moments + channel, mean)
        tl.store(moments + channels + channel, inverse)
        old_mean = tl.load(running_mean + channel)
        tl.store(running_mean + channel, old_mean + momentum * (mean - old_mean))
        old_var = tl.load(running_var + channel)
        tl.store(running_var + channel, old_var + momentum * (squares / (size - 1) - old_var))
        if channel == 0:
            tl.store(num_batches, tl.load(num_batches) + 1)
    scale = tl.load(weight + channel)
    shift = tl.load(bias + channel)
    end = tl.minimum(number * part + part, size)
    for first in range(number * part, end, BLOCK):
        at, inside = _places(first, channel, channels, pixels, end, BLOCK)
        a = _activate(tl.load(x + at, mask=inside, other=0.0), before)
        tl.store(y + at, _activate((a - mean) * inverse * scale + shift, after), mask=inside)


@triton.jit
def _read(x, dy, at, inside, mean, inverse, scale, shift, before, after):
    """The input, its normalized activation, and the gradient of the norm's output; 0 where there is none."""
    a = tl.load(x + at, mask=inside, other=0.0)
    normal = (_activate(a, before) - mean) * inverse
    gradient = tl.load(dy + at, mask=inside, other=0.0) * _slope(normal * scale + shift, after)
    return a, tl.where(inside, normal, 0.0), tl.where(inside, gradient, 0.0)


@_kernel
def _sum_gradients(
    x, dy, weight, bias, moments, partial, channels, pixels, size, part, before, after, BLOCK: tl.constexpr
):
    """The sums over each part of a channel that its bias and its weight have as gradients."""
    channel = tl.program_id(0)
    number = tl.program_id(1)
    mean = tl.load(moments + channel)
    inverse = tl.load(moments + channels + channel)
    scale = tl.load(weight + channel)
    shift = tl.load(bias + channel)
    of_bias = 0.0
    of_weight = 0.0
    end = tl.minimum(number * part + part, size)
    for first in range(number * part, end, BLOCK):
        at, inside = _places(first, channel, channels, pixels, end, BLOCK)
        _, normal, gradient = _read(x, dy, at, inside, mean, inverse, scale, shift, before, after)
        of_bias += tl.sum(gradient)
        of_weight += tl.sum(gradient * normal)
    place = partial + 2 * (channel * tl.num_programs(1) + number)
    tl.store(place, of_bias)
    tl.store(place + 1, of_weight)


@_kernel
def _find_gradients(
    x,
    dy,
    dx,
    gradients,
    weight,
    bias,
    moments,
    partial,
    channels,
    pixels,
    size,
    part,
    before,
    after,
    BLOCK: tl.constexpr,
    MOST_PARTS: tl.constexpr,
):
    """The gradient of the input; the first block of each channel keeps those of weight and bias too."""
    channel = tl.program_id(0)
    number = tl.program_id(1)
    parts = tl.num_programs(1)
    mean = tl.load(moments + channel)
    inverse = tl.load(moments + channels + channel)
    scale = tl.load(weight + channel)
    shift = tl.load(bias + channel)
    other = tl.arange(0, MOST_PARTS)
    places = partial + 2 * (channel * parts + other)
    of_bias = tl.sum(tl.load(places, mask=other < parts, other=0.0))
    of_weight = tl.sum(tl.load(places + 1, mask=other < parts, other=0.0))
    if number == 0:
        tl.store(gradients + channel, of_weight)
        tl.store(gradients + channels + channel, of_bias)
    end = tl.minimum(number * part + part, size)
    for first in range(number * part, end, BLOCK):
        at, inside = _places(first, channel, channels, pixels, end, BLOCK)
        a, normal, gradient = _read(x, dy, at, inside, mean, inverse, scale, shift, before, after)
        centered = gradient - of_bias / size - normal * (of_weight / size)
        tl.store(dx + at, scale * inverse * centered * _slope(a, before), mask=inside)


class _NormAndActivation(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, norm: nn.BatchNorm2d, acts: tuple[int, int]) -> Any:
        channels, pixels = x.shape[1], x.shape[2] * x.shape[3]
        size = len(x) * pixels
        part = _part_size(size, channels)
        grid, sizes = (channels, triton.cdiv(size, part)), (channels, pixels, size, part)
        partial, moments, y = x.new_empty(2 * grid[0] * grid[1]), x.new_empty(2, channels), torch.empty_like(x)
        running = (norm.running_mean, norm.running_var, norm.num_batches_tracked)
        _find_moments[grid](x, partial, *sizes, acts[0], BLOCK)
        outputs = (moments, partial, *sizes, *acts, norm.momentum, norm.eps, BLOCK, MOST_PARTS)
        _normalize[grid](x, y, weight, bias, *running, *outputs)
        ctx.save_for_backward(x, weight, bias, moments)
        ctx.grid, ctx.sizes, ctx.acts = grid, sizes, acts
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, moments = ctx.saved_tensors
        grid, dy = ctx.grid, dy.contiguous()
        partial, gradients, dx = x.new_empty(2 * grid[0] * grid[1]), torch.empty_like(moments), torch.empty_like(x)
        _sum_gradients[grid](x, dy, weight, bias, moments, partial, *ctx.sizes, *ctx.acts, BLOCK)
        inputs = (weight, bias, moments, partial, *ctx.sizes, *ctx.acts, BLOCK, MOST_PARTS)
        _find_gradients[grid](x, dy, dx, gradients, *inputs)
        return dx, *gradients.unbind(), None, None


def _part_size(size: int, channels: int) -> int:
    """Return how many numbers of a channel one block of threads takes: whole blocks, of at most `MOST_PARTS` parts."""
    parts = min(max(MOST_BLOCKS // channels, 1), MOST_PARTS)
    return BLOCK * triton.cdiv(triton.cdiv(size, parts), BLOCK)  # type: ignore[no-any-return]


class FusedNorm(nn.Module):
    """A batch norm with the activation before or behind it. While it trains, the kernels compute both at once."""

    def __init__(self, norm: nn.BatchNorm2d, activation: nn.Module, activation_first: bool) -> None:
        """`norm` has weight, bias, running statistics and a momentum."""
        super().__init__()
        self.norm, self.activation, self.activation_first = norm, activation, activation_first

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        several = x.numel() > x.shape[1]  # of one number torch says that it has no variance
        if self.training and x.dtype == torch.float32 and several and x.numel() < 2**31:
            number = ACTIVATIONS[type(self.activation)]
            acts = (number, 0) if self.activation_first else (0, number)
            y: Tensor = _NormAndActivation.apply(x.contiguous(), self.norm.weight, self.norm.bias, self.norm, acts)
            return y
        if self.activation_first:
            return self.norm(self.activation(x))  # type: ignore[no-any-return]
        return self.activation(self.norm(x))  # type: ignore[no-any-return]
