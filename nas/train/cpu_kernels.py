"""Faster layers for training on a CPU: kernels.c, compiled on first use with the C compiler of the machine.

Where there is none, or the environment says `NAS_NATIVE=0`, torch's own layers do the same, only slower and with other
rounding errors. Shape legend: N images, C channels, H and W pixels; maps lie channels last in memory.
"""

from __future__ import annotations

import copy
import ctypes
import functools
import hashlib
import os
import platform
import shlex
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from nas.host import cache_folder, compiler_command, compiler_version
from nas.model.scalar_norm import ScalarNorm

SOURCE = Path(__file__).with_name("kernels.c")
FLAGS = ("-O3", "-march=native", "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC")
# By the numbers of kernels.c, which has torch's default settings of each.
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


@dataclass(frozen=True)
class _Loaded:
    library: ctypes.CDLL | None
    status: str  # see `kernel_status`


def load_kernels() -> ctypes.CDLL | None:
    """Return the compiled kernels, or None where they cannot be had and `kernel_status` says why.

    They are compiled on the first use on a machine and kept in the cache folder.

    Raises:
        UsageError: no shell could read `$CC`.
    """
    return _load().library


def kernel_status() -> str:
    """Return what the CPU kernels were compiled with, or why they are not used, in one line.

    Raises:
        UsageError: no shell could read `$CC`.
    """
    return _load().status


@functools.cache
def _load() -> _Loaded:
    if os.environ.get("NAS_NATIVE") == "0":
        return _Loaded(None, "not used: NAS_NATIVE=0")
    if sys.platform == "win32":
        return _Loaded(None, "not used: not made for Windows")
    compiler = compiler_command()
    if not compiler:
        return _Loaded(None, "not used: no C compiler")
    try:
        made_with = compiler_version(compiler)
        return _Loaded(_compile(compiler, made_with), f"compiled with {shlex.join(compiler)} ({made_with})")
    except subprocess.CalledProcessError as error:
        message = error.stderr.decode(errors="replace").strip().partition("\n")[0]
        reason = message or f"{shlex.join(compiler)} ended with exit code {error.returncode}"
    except OSError as error:
        reason = str(error)
    return _Loaded(None, f"not used: compiling failed: {reason}")


def _compile(compiler: list[str], version: str) -> ctypes.CDLL:
    """Return the kernels, compiled unless they are in the cache folder.

    Raises:
        CalledProcessError: the compiler fails.
        OSError: it cannot be started, the cache folder cannot be written, or the result cannot be loaded.
    """
    target = cache_folder() / "native" / f"kernels-{_fingerprint(compiler, version)}.so"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        # Compiled beside its place and then renamed: two processes may come here at once.
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            compiled = Path(folder) / target.name
            subprocess.run([*compiler, *FLAGS, "-o", compiled, SOURCE, "-lm"], check=True, capture_output=True)
            compiled.replace(target)
    library = ctypes.CDLL(str(target))
    for name, signature in SIGNATURES.items():
        getattr(library, name).argtypes = [_TYPES[letter] for letter in signature]
    return library


def _fingerprint(compiler: list[str], version: str) -> str:
    """Return a digest of all that decides the machine code: machines that are not alike may share a cache folder."""
    cpu = platform.machine()
    if (cpuinfo := Path("/proc/cpuinfo")).exists():
        cpu += next((line for line in cpuinfo.read_text().splitlines() if line.startswith(("flags", "Features"))), "")
    made_of = (SOURCE.read_text("utf-8"), compiler, version, FLAGS, cpu)
    return hashlib.sha256(repr(made_of).encode()).hexdigest()[:16]


def fuse(network: nn.Module) -> nn.Module:
    """Return a copy of `network` that computes the same faster on the CPU and shares its parameters and buffers.

    Training the copy trains `network`. Its dropout takes one number per call from torch's generator, so for the same
    seed its masks differ from torch's. Where there is nothing to replace, `network` itself is returned: without kernels
    that is all but the strided 1x1 convolutions, which torch cannot be trusted with (see `StridedPointwise`).
    """
    # The kernels read float32, whatever is there.
    has_kernels = load_kernels() is not None and all(p.dtype == torch.float32 for p in network.parameters())
    if not has_kernels and not any(_is_strided_pointwise(module) for module in network.modules()):
        return network
    shared = {id(tensor): tensor for tensor in (*network.parameters(), *network.buffers())}
    return _fuse_module(copy.deepcopy(network, shared), has_kernels)


def _fuse_module(module: nn.Module, has_kernels: bool) -> nn.Module:
    if isinstance(module, nn.Sequential):
        layers = [_fuse_module(child, has_kernels) if _has_layers(child) else child for child in module]
        return nn.Sequential(*_fuse_layers(layers, has_kernels))
    children = list(module.named_children()) if _has_layers(module) else []
    for name, child in children:
        setattr(module, name, _fuse_module(child, has_kernels))
    return module if children else _fuse_layers([module], has_kernels)[0]


def _has_layers(module: nn.Module) -> bool:
    return not isinstance(module, ScalarNorm) and any(True for _ in module.children())


def _fuse_layers(layers: list[nn.Module], has_kernels: bool) -> list[nn.Module]:
    """Return `layers` with neighbors that one kernel computes together as one layer, the rest unchanged."""
    fused: list[nn.Module] = []
    while layers:
        layer, count = _fuse_first(layers, has_kernels)
        fused.append(layer)
        layers = layers[count:]
    return fused


def _fuse_first(layers: list[nn.Module], has_kernels: bool) -> tuple[nn.Module, int]:
    """Return one layer for as many of the first `layers` as a kernel computes together, and their number."""
    if _is_strided_pointwise(layers[0]):
        return StridedPointwise(layers[0]), 1
    if not has_kernels:
        return layers[0], 1
    match layers:
        case [activation, nn.BatchNorm2d() | ScalarNorm() as norm, nn.Dropout(p=rate), *_] if (
            type(activation) in ACTIVATIONS
        ):
            return FusedNorm(norm, activation, activation_first=True, rate=rate), 3
        case [activation, nn.BatchNorm2d() | ScalarNorm() as norm, *_] if type(activation) in ACTIVATIONS:
            return FusedNorm(norm, activation, activation_first=True), 2
        case [nn.BatchNorm2d() | ScalarNorm() as norm, activation, nn.Dropout(p=rate), *_] if (
            type(activation) in ACTIVATIONS
        ):
            return FusedNorm(norm, activation, rate=rate), 3
        case [nn.BatchNorm2d() | ScalarNorm() as norm, activation, *_] if type(activation) in ACTIVATIONS:
            return FusedNorm(norm, activation), 2
        case [nn.BatchNorm2d() | ScalarNorm() as norm, *_]:
            return FusedNorm(norm, nn.Identity()), 1
        case [nn.Conv2d() as convolution, *_] if _is_plain_depthwise(convolution):
            return DepthwiseConvolution(convolution), 1
        case [nn.MaxPool2d(kernel_size=2, stride=2), *_]:
            return MaxPool(), 1
    return layers[0], 1


def _is_plain_depthwise(layer: nn.Conv2d) -> bool:
    """Return whether it is a depthwise convolution with square filters, stride 1, no dilation and no bias."""
    square = layer.kernel_size[0] == layer.kernel_size[1]
    plain = layer.stride == (1, 1) and layer.dilation == (1, 1) and layer.bias is None
    return square and plain and layer.groups == layer.in_channels == layer.out_channels > 1


def _is_strided_pointwise(layer: nn.Module) -> TypeGuard[nn.Conv2d]:
    return isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1) and layer.stride != (1, 1)


class StridedPointwise(nn.Module):
    """A 1x1 convolution with a stride, computed as one without on the pixels that the stride keeps.

    For fewer input channels than a vector holds, channels last, oneDNN's gradient of the weights writes past the end of
    its workspace when there is a stride, and the process ends sooner or later (uxlfoundation/oneDNN#6035; seen with
    torch 2.15 on a CPU with AVX2). The values and gradients are the same.
    """

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.weight, self.bias = convolution.weight, convolution.bias
        self.stride, self.padding, self.groups = convolution.stride, convolution.padding, convolution.groups

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C', H', W')."""
        assert isinstance(self.padding, tuple)
        rows, columns = self.padding
        kept = functional.pad(x, (columns, columns, rows, rows))[:, :, :: self.stride[0], :: self.stride[1]]
        kept = kept.contiguous(memory_format=torch.channels_last)
        return functional.conv2d(kept, self.weight, self.bias, groups=self.groups)


class FusedNorm(nn.Module):
    """Batch norm, an activation before or after it, and element dropout after both, in one kernel."""

    def __init__(
        self,
        norm: nn.BatchNorm2d | ScalarNorm,
        activation: nn.Module,
        activation_first: bool = False,
        rate: float = 0.0,
    ) -> None:
        super().__init__()
        self.norm = norm
        channels = (norm.norm if isinstance(norm, ScalarNorm) else norm).num_features
        # What the norm lacks (see `nas.arch.operations.BatchNorm2d`) is a constant to the kernel.
        self.ones, self.zeros = torch.ones(channels), torch.zeros(channels)
        self.activation = ACTIVATIONS[type(activation)], int(activation_first)
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        norm = self.norm.norm if isinstance(self.norm, ScalarNorm) else self.norm
        # One number for all channels becomes one for each; the kernel reads them from memory.
        weight = (self.ones if self.norm.weight is None else self.norm.weight).expand_as(self.ones).contiguous()
        bias = (self.zeros if self.norm.bias is None else self.norm.bias).expand_as(self.zeros).contiguous()
        x = x.contiguous(memory_format=torch.channels_last)
        if self.training:
            assert norm.num_batches_tracked is not None
            norm.num_batches_tracked.add_(1)
            seed = int(torch.randint(2**32, (), dtype=torch.int64)) if self.rate else 0
            drop = round(self.rate * 2**32), seed  # random words below the first drop their element
            return _FusedNorm.apply(x, weight, bias, norm, self.activation, drop)  # type: ignore[no-any-return]
        assert norm.running_mean is not None
        assert norm.running_var is not None
        scale = weight * torch.rsqrt(norm.running_var + norm.eps)
        offset = bias - norm.running_mean * scale
        return _EvaluationNorm.apply(x, scale, offset, self.activation)  # type: ignore[no-any-return]


class _EvaluationNorm(torch.autograd.Function):
    """Batch norm by running statistics, which has no gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, offset: Tensor, activation: tuple[int, int]) -> Tensor:
        y = torch.empty_like(x)
        _call("norm_apply", x, y, x.numel(), x.shape[1], *activation, scale, offset, 0, 0)
        return y


class _FusedNorm(torch.autograd.Function):
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


class DepthwiseConvolution(nn.Module):
    """A convolution with one filter per channel, at stride 1."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.weight = convolution.weight
        self.padding = int(convolution.padding[0])

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C, H', W')."""
        return _DepthwiseConvolution.apply(x.contiguous(memory_format=torch.channels_last), self.weight, self.padding)  # type: ignore[no-any-return]


class _DepthwiseConvolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, padding: int) -> Tensor:
        images, channels, height, width = x.shape
        kernel = weight.shape[-1]
        taps = weight.detach().permute(2, 3, 1, 0).contiguous()  # (kernel, kernel, 1, C)
        size = height + 2 * padding - kernel + 1, width + 2 * padding - kernel + 1
        y = _empty_map(images, channels, *size)
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
        dx, dtaps = _empty_map(images, channels, height, width), torch.empty_like(taps)
        size = (images, *dy.shape[2:], channels, kernel, kernel - 1 - ctx.padding)
        _call("depthwise_forward", dy, dx, taps, *size, 1)
        sizes = (images, height, width, channels, kernel, ctx.padding)
        _call("depthwise_backward_weight", x, dy, dtaps, *sizes)
        return dx, dtaps.permute(3, 2, 0, 1), None


class MaxPool(nn.Module):
    """The maximum of each 2x2 window."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C, H // 2, W // 2)."""
        return _MaxPool.apply(x.contiguous(memory_format=torch.channels_last))  # type: ignore[no-any-return]


class _MaxPool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        images, channels, height, width = x.shape
        y = _empty_map(images, channels, height // 2, width // 2)
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


def _empty_map(images: int, channels: int, height: int, width: int) -> Tensor:
    return torch.empty(images, channels, height, width, memory_format=torch.channels_last)


def _call(name: str, *arguments: Any) -> None:
    """Call a kernel with the data of tensors.

    Raises:
        MemoryError: it found no memory for its working space.
    """
    kernel = getattr(_load().library, name)
    if kernel(*[a.data_ptr() if isinstance(a, Tensor) else a for a in arguments]):
        raise MemoryError(f"no memory for the working space of {name}")
