"""Faster layers for training on a CPU: kernels.c, compiled once by whatever C compiler the machine has.

Where there is no compiler, or `NAS_NATIVE=0` is set, torch's own layers do the same, only slower. Shape legend: N
images, C channels, H and W pixels; maps lie channels last in memory.
"""

from __future__ import annotations

import copy
import ctypes
import functools
import hashlib
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from nas.host import cache_folder, compiler_command

SOURCE = Path(__file__).with_name("kernels.c")
FLAGS = ("-O3", "-march=native", "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC")
# As enumerated in kernels.c, which has torch's default settings of each.
ACTIVATIONS = {nn.Identity: 0, nn.ReLU: 1, nn.LeakyReLU: 2, nn.Hardswish: 3, nn.SiLU: 4}


# What each kernel takes: a tensor's numbers (p), a size (n), a choice (i), a real number (f), a random word (u).
SIGNATURES = {
    "norm_forward": "ppnniippppffppuu",
    "norm_backward": "pppnniippppppuu",
    "norm_apply": "ppnniippuu",
    "depthwise_forward": "pppnnnnnni",
    "depthwise_backward_weight": "pppnnnnnn",
    "max_pool_forward": "ppnnnn",
    "max_pool_backward": "pppnnnn",
}
_TYPES: dict[str, Any] = {
    "p": ctypes.c_void_p,
    "n": ctypes.c_long,
    "i": ctypes.c_int,
    "f": ctypes.c_float,
    "u": ctypes.c_uint32,
}


@functools.cache
def library() -> ctypes.CDLL | None:
    """The compiled kernels, from the cache folder after the first time; None where they cannot be had."""
    if os.environ.get("NAS_NATIVE") == "0" or sys.platform == "win32" or not (compiler := compiler_command()):
        return None
    target = cache_folder() / "native" / f"kernels-{_fingerprint(compiler)}.so"
    try:
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            # Compiled beside its place and then renamed: two processes may come here at once.
            with tempfile.TemporaryDirectory(dir=target.parent) as folder:
                made = Path(folder) / target.name
                subprocess.run([*compiler, *FLAGS, "-o", made, SOURCE, "-lm"], check=True, capture_output=True)
                made.replace(target)
        kernels = ctypes.CDLL(str(target))
        for name, signature in SIGNATURES.items():
            getattr(kernels, name).argtypes = [_TYPES[letter] for letter in signature]
        return kernels
    except (OSError, subprocess.CalledProcessError):
        return None


def _fingerprint(compiler: list[str]) -> str:
    """Of all that decides the machine code: a cache folder may be shared by machines that are not alike."""
    cpu = platform.machine()
    if (cpuinfo := Path("/proc/cpuinfo")).exists():
        cpu += next((line for line in cpuinfo.read_text().splitlines() if line.startswith(("flags", "Features"))), "")
    return hashlib.sha256(repr((SOURCE.read_text(), compiler, FLAGS, cpu)).encode()).hexdigest()[:16]


def fuse(network: nn.Module) -> nn.Module:
    """A twin of `network` that computes the same faster on the CPU and holds the very same parameters and buffers.

    Training the twin trains `network`. Dropout draws its masks from one number a call of torch's generator, so its
    masks are others than torch's for the same seed.
    """
    if library() is None or any(p.dtype != torch.float32 for p in network.parameters()):
        return network  # the kernels read float32, whatever lies there
    shared = {id(tensor): tensor for tensor in (*network.parameters(), *network.buffers())}
    return _faster(copy.deepcopy(network, shared))


def _faster(module: nn.Module) -> nn.Module:
    if isinstance(module, nn.Sequential):
        layers = [_faster(child) if len(list(child.children())) else child for child in module]
        return nn.Sequential(*_fused(layers))
    children = list(module.named_children())
    for name, child in children:
        setattr(module, name, _faster(child))
    return module if children else _fused([module])[0]


def _fused(layers: list[nn.Module]) -> list[nn.Module]:
    """Neighbors that a kernel does in one go made one layer; the rest as they are."""
    made: list[nn.Module] = []
    while layers:
        layer, taken = _first_fused(layers)
        made.append(layer)
        layers = layers[taken:]
    return made


def _first_fused(layers: list[nn.Module]) -> tuple[nn.Module, int]:
    """The layer that does the work of as many of the first `layers` as one kernel can, and how many those are."""
    match layers:
        case [activation, nn.BatchNorm2d() as norm, nn.Dropout(p=rate), *_] if type(activation) in ACTIVATIONS:
            return Normalized(norm, activation, activation_first=True, rate=rate), 3
        case [activation, nn.BatchNorm2d() as norm, *_] if type(activation) in ACTIVATIONS:
            return Normalized(norm, activation, activation_first=True), 2
        case [nn.BatchNorm2d() as norm, activation, nn.Dropout(p=rate), *_] if type(activation) in ACTIVATIONS:
            return Normalized(norm, activation, rate=rate), 3
        case [nn.BatchNorm2d() as norm, activation, *_] if type(activation) in ACTIVATIONS:
            return Normalized(norm, activation), 2
        case [nn.BatchNorm2d() as norm, *_]:
            return Normalized(norm, nn.Identity()), 1
        case [nn.Conv2d() as convolution, *_] if _is_plain_depthwise(convolution):
            return Depthwise(convolution), 1
        case [nn.MaxPool2d(kernel_size=2, stride=2), *_]:
            return MaxPool(), 1
    return layers[0], 1


def _is_plain_depthwise(layer: nn.Conv2d) -> bool:
    """Whether it is one filter a channel, at stride 1, with zeros around or nothing."""
    square = layer.kernel_size[0] == layer.kernel_size[1]
    plain = layer.stride == (1, 1) and layer.dilation == (1, 1) and layer.bias is None
    return square and plain and layer.groups == layer.in_channels == layer.out_channels > 1


class Normalized(nn.Module):
    """Batch norm, an activation behind or ahead of it, and element dropout behind both, in one go."""

    def __init__(
        self, norm: nn.BatchNorm2d, activation: nn.Module, activation_first: bool = False, rate: float = 0.0
    ) -> None:
        super().__init__()
        self.norm = norm
        self.activation = ACTIVATIONS[type(activation)], int(activation_first)
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same."""
        norm = self.norm
        x = x.contiguous(memory_format=torch.channels_last)
        if self.training:
            assert norm.num_batches_tracked is not None
            norm.num_batches_tracked.add_(1)
            seed = int(torch.randint(2**32, (), dtype=torch.int64)) if self.rate else 0
            drop = round(self.rate * 2**32), seed  # random words below the first drop their element
            return _Normalize.apply(x, norm.weight, norm.bias, norm, self.activation, drop)  # type: ignore[no-any-return]
        assert norm.running_mean is not None
        assert norm.running_var is not None
        scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
        offset = norm.bias - norm.running_mean * scale
        return _Apply.apply(x, scale, offset, self.activation)  # type: ignore[no-any-return]


class _Apply(torch.autograd.Function):
    """The norm of evaluation, which has no gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, offset: Tensor, activation: tuple[int, int]) -> Tensor:
        y = torch.empty_like(x)
        _call("norm_apply", x, y, x.numel(), x.shape[1], *activation, scale, offset, 0, 0)
        return y


class _Normalize(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        norm: nn.BatchNorm2d,
        activation: tuple[int, int],
        drop: tuple[int, int],
    ) -> Tensor:
        y, mean, inverse = torch.empty_like(x), torch.empty_like(weight), torch.empty_like(weight)
        assert norm.momentum is not None
        running = norm.running_mean, norm.running_var
        constants = norm.momentum, norm.eps
        ctx.settings = (x.numel(), x.shape[1], *activation), drop
        _call("norm_forward", x, y, *ctx.settings[0], weight, bias, *running, *constants, mean, inverse, *drop)
        ctx.save_for_backward(x, weight, bias, mean, inverse)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, mean, inverse = ctx.saved_tensors
        settings, drop = ctx.settings
        dy = dy.contiguous(memory_format=torch.channels_last)
        dx, dweight, dbias = torch.empty_like(x), torch.empty_like(weight), torch.empty_like(bias)
        _call("norm_backward", x, dy, dx, *settings, weight, bias, mean, inverse, dweight, dbias, *drop)
        return dx, dweight, dbias, None, None, None


class Depthwise(nn.Module):
    """A convolution with one filter a channel, at stride 1."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.weight = convolution.weight
        self.padding = int(convolution.padding[0])

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, H', W')."""
        return _Depthwise.apply(x.contiguous(memory_format=torch.channels_last), self.weight, self.padding)  # type: ignore[no-any-return]


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, padding: int) -> Tensor:
        images, channels, height, width = x.shape
        kernel = weight.shape[-1]
        taps = weight.detach().permute(2, 3, 1, 0).contiguous()  # (kernel, kernel, 1, C)
        size = height + 2 * padding - kernel + 1, width + 2 * padding - kernel + 1
        y = _map(images, channels, *size)
        _call("depthwise_forward", x, y, taps, images, height, width, channels, kernel, padding, 0)
        ctx.save_for_backward(x, taps)
        ctx.padding = padding
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, taps = ctx.saved_tensors
        images, channels, height, width = x.shape
        kernel = taps.shape[0]
        dy = dy.contiguous(memory_format=torch.channels_last)
        dx, dtaps = _map(images, channels, height, width), torch.empty_like(taps)
        size = (images, *dy.shape[2:], channels, kernel, kernel - 1 - ctx.padding)
        _call("depthwise_forward", dy, dx, taps, *size, 1)
        sizes = (images, height, width, channels, kernel, ctx.padding)
        _call("depthwise_backward_weight", x, dy, dtaps, *sizes)
        return dx, dtaps.permute(3, 2, 0, 1), None


class MaxPool(nn.Module):
    """The largest of each 2x2 window."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, H // 2, W // 2)."""
        return _MaxPool.apply(x.contiguous(memory_format=torch.channels_last))  # type: ignore[no-any-return]


class _MaxPool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        images, channels, height, width = x.shape
        y = _map(images, channels, height // 2, width // 2)
        _call("max_pool_forward", x, y, images, height, width, channels)
        ctx.save_for_backward(x)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        images, channels, height, width = x.shape
        dx = torch.empty_like(x)
        dy = dy.contiguous(memory_format=torch.channels_last)
        _call("max_pool_backward", x, dy, dx, images, height, width, channels)
        return dx


def _map(images: int, channels: int, height: int, width: int) -> Tensor:
    return torch.empty(images, channels, height, width, memory_format=torch.channels_last)


def _call(name: str, *arguments: Any) -> None:
    getattr(library(), name)(*[a.data_ptr() if isinstance(a, Tensor) else a for a in arguments])
