"""The compiled layers against torch's own, in float64."""

from __future__ import annotations

import copy
import ctypes
import os
import re
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from nas.arch.operations import BatchNorm2d
from nas.kernels import cpu
from nas.kernels.chain import Chain, _Stage
from nas.kernels.cpu import kernel_status
from nas.kernels.fuse import fuse
from nas.model.build import make_operation
from nas.model.scalar_norm import ScalarNorm
from nas.train.software import describe_software

ROUNDING = 3e-6  # of the largest element: sums over some thousand float32 products

needs_compiler = pytest.mark.skipif(
    cpu.load_kernels() is None, reason="no C compiler here: torch's own layers are used"
)

CHAINS = {
    "norm": lambda c: [nn.BatchNorm2d(c)],
    "norm without parameters": lambda c: [nn.BatchNorm2d(c, affine=False)],
    "norm with a bias alone, relu": lambda c: [make_operation(BatchNorm2d(c, "bias")), nn.ReLU()],
    "norm with two scalars": lambda c: [ScalarNorm(c)],
    "norm with two scalars, silu": lambda c: [ScalarNorm(c), nn.SiLU()],
    "relu, norm with two scalars": lambda c: [nn.ReLU(), ScalarNorm(c)],
    "grouped": lambda c: [nn.Conv2d(c, 4 * c, 3, padding=1, groups=c, bias=False), nn.BatchNorm2d(4 * c), nn.ReLU()],
    "inverted": lambda c: [
        nn.Conv2d(c, 2 * c, 1, bias=False),
        nn.BatchNorm2d(2 * c),
        nn.Hardswish(),
        nn.Conv2d(2 * c, 2 * c, 3, padding=1, groups=2 * c, bias=False),
        ScalarNorm(2 * c),
        nn.Hardswish(),
        nn.Conv2d(2 * c, 4, 1, bias=False),
        nn.BatchNorm2d(4),
    ],
    "norm, gelu": lambda c: [nn.BatchNorm2d(c), nn.GELU()],  # no kernel's: torch's own GELU behind a fused norm
    **{
        f"norm, {kind.__name__}": lambda c, kind=kind: [nn.BatchNorm2d(c), kind()]
        for kind in (nn.ReLU, nn.LeakyReLU, nn.Hardswish, nn.SiLU)
    },
    **{
        f"{kind.__name__}, norm": lambda c, kind=kind: [kind(), nn.BatchNorm2d(c)]
        for kind in (nn.ReLU, nn.LeakyReLU, nn.Hardswish, nn.SiLU)
    },
    "max pool": lambda c: [nn.MaxPool2d(2)],
    "relu, max pool": lambda c: [nn.ReLU(), nn.MaxPool2d(2)],  # many equal zeros: the first one gets the gradient
    "pointwise": lambda c: [nn.Conv2d(c, 7, 1, bias=False)],
    "pointwise to many": lambda c: [nn.Conv2d(c, 41, 1, bias=False)],
    "depthwise 3x3": lambda c: [nn.Conv2d(c, c, 3, padding=1, groups=c, bias=False)],
    "depthwise 3x3, valid": lambda c: [nn.Conv2d(c, c, 3, groups=c, bias=False)],
    "depthwise 5x5": lambda c: [nn.Conv2d(c, c, 5, padding=2, groups=c, bias=False)],
    "depthwise 7x7": lambda c: [nn.Conv2d(c, c, 7, padding=3, groups=c, bias=False)],
    "depthwise 9x9": lambda c: [nn.Conv2d(c, c, 9, padding=4, groups=c, bias=False), nn.BatchNorm2d(c)],  # torch's
    "one input channel": lambda c: [nn.Conv2d(1, c, 3, padding=1, bias=False), nn.BatchNorm2d(c), nn.ReLU()],
    "separable": lambda c: [
        nn.Conv2d(c, c, 3, padding=1, groups=c, bias=False),
        nn.BatchNorm2d(c),
        nn.Conv2d(c, 5, 1, bias=False),
        nn.BatchNorm2d(5),
        nn.ReLU(),
        nn.MaxPool2d(2),
    ],
    "all stages, one input channel": lambda c: [
        nn.Conv2d(1, c, 5, padding=2, bias=False),
        nn.Hardswish(),
        nn.BatchNorm2d(c),
        nn.Conv2d(c, c, 3, padding=1, groups=c, bias=False),
        nn.Conv2d(c, 9, 1, bias=False),
        ScalarNorm(9),
        nn.SiLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(9, 9, 7, padding=3, groups=9, bias=False),
        nn.BatchNorm2d(9, affine=False),
        nn.Conv2d(9, 17, 1, bias=False),
        nn.LeakyReLU(),
    ],
}


def input_channels(network: nn.Sequential, otherwise: int) -> int:
    first = network[0]
    return first.in_channels if isinstance(first, nn.Conv2d) else otherwise


def distance(found: Tensor, expected: Tensor) -> float:
    """The largest difference, relative to the largest element."""
    found, expected = found.detach().double(), expected.detach()
    return float((found - expected).abs().max() / expected.abs().max().clamp(min=1e-12))


@needs_compiler
@settings(max_examples=100, deadline=None)
@given(
    chain=st.sampled_from(sorted(CHAINS)),
    channels=st.integers(1, 40),
    images=st.integers(1, 9),
    height=st.integers(4, 17),
    width=st.integers(4, 17),
    seed=st.integers(0, 2**20),
)
def test_equals_torch_in_float64(chain: str, channels: int, images: int, height: int, width: int, seed: int) -> None:
    torch.manual_seed(seed)
    network = nn.Sequential(*CHAINS[chain](channels))
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for parameter in module.parameters():
                nn.init.uniform_(parameter, 0.5, 1.5)
    plain = copy.deepcopy(network).double()
    fast = fuse(network)
    spread = 2.0 + 40.0 * (seed % 2)  # far out, where an exponential overflows, too
    x = (
        (spread * torch.randn(images, input_channels(network, channels), height, width))
        .contiguous(memory_format=torch.channels_last)
        .requires_grad_()
    )
    exact_x = x.detach().double().requires_grad_()

    y, exact_y = fast(x), plain(exact_x)
    upstream = torch.randn_like(y)
    y.backward(upstream)
    exact_y.backward(upstream.double())

    assert distance(y, exact_y) < ROUNDING
    assert x.grad is not None
    assert exact_x.grad is not None
    # One map is nearly constant where a norm sees few numbers, and its gradient then cancels: compare it more loosely.
    assert distance(x.grad, exact_x.grad) < 100 * ROUNDING
    for (name, mine), exact in zip(network.named_parameters(), plain.parameters(), strict=True):
        assert mine.grad is not None
        assert exact.grad is not None
        assert (mine.grad.double() - exact.grad).abs().max() < 100 * ROUNDING * (1 + exact.grad.abs().max()), name
    for (name, mine), exact in zip(network.named_buffers(), plain.buffers(), strict=True):
        if name.endswith("running_mean"):  # it may cancel to nearly nothing
            assert (mine.double() - exact).abs().max() < ROUNDING * (1 + exact.abs().max()), name
        else:
            assert distance(mine, exact.double()) < ROUNDING, name
    network.eval()
    fast.eval()
    plain.eval()
    assert distance(fast(x), plain(exact_x)) < ROUNDING


@needs_compiler
@pytest.mark.parametrize(("height", "width"), [(6, 6), (7, 5)])
def test_of_equals_the_first_gets_the_gradient(height: int, width: int) -> None:
    torch.manual_seed(0)
    pool = nn.MaxPool2d(2)
    x = torch.randint(0, 3, (4, 5, height, width)).float().requires_grad_()
    upstream = torch.randn(4, 5, height // 2, width // 2)
    (mine,) = torch.autograd.grad(fuse(nn.Sequential(pool))(x), x, upstream)
    (exact,) = torch.autograd.grad(pool(x), x, upstream)
    assert torch.equal(mine, exact)


@needs_compiler
def test_a_large_mean_does_not_cancel_the_variance() -> None:
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(8)
    fast = fuse(nn.Sequential(norm))
    x = 100 + 0.1 * torch.randn(16, 8, 12, 12)
    for _ in range(100):  # the running mean comes near, and the sums are taken around it
        fast(x)
    exact = (x.double() - x.double().mean((0, 2, 3), keepdim=True)) / x.double().std((0, 2, 3), False, keepdim=True)
    assert (fast(x) - exact).abs().max() < 0.02


@needs_compiler
@pytest.mark.parametrize("chain", sorted(CHAINS))
@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
@pytest.mark.parametrize("where", [0, 1])
def test_what_is_no_number_shows(chain: str, wrong: float, where: int) -> None:
    """Else a training that has blown up would go on with a network of zeros."""
    network = nn.Sequential(*CHAINS[chain](8))
    x = torch.ones(2, input_channels(network, 8), 8, 8)
    x[0, 0, 0, where] = wrong
    assert not torch.isfinite(fuse(network)(x)).all()


@needs_compiler
def test_a_twin_shares_every_tensor() -> None:
    network = nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()), nn.MaxPool2d(2))
    twin = fuse(network)
    assert [id(p) for p in twin.parameters()] == [id(p) for p in network.parameters()]
    assert {id(b) for b in twin.buffers()} == {id(b) for b in network.buffers()}
    kinds = [type(module) for module in twin.modules()]
    assert Chain in kinds
    assert nn.ReLU not in kinds


@needs_compiler
@pytest.mark.parametrize("rate", [0.05, 0.5])
@pytest.mark.parametrize("channels", [3, 16])
def test_dropout_drops_its_share_and_keeps_the_mean(rate: float, channels: int) -> None:
    norm = nn.BatchNorm2d(channels)
    nn.init.zeros_(norm.weight)
    nn.init.ones_(norm.bias)  # every element is 1 ahead of dropout
    fast = fuse(nn.Sequential(norm, nn.Dropout(rate)))
    x = torch.randn(64, channels, 20, 20)
    torch.manual_seed(1)
    first = fast(x)
    torch.manual_seed(1)
    assert torch.equal(first, fast(x)), "one seed, one mask"
    second = fast(x)

    count = first.numel()
    bound = 5 * (rate * (1 - rate) / count) ** 0.5  # five standard errors
    assert abs((first == 0).float().mean().item() - rate) < bound
    assert first[first != 0].unique().tolist() == pytest.approx([1 / (1 - rate)])
    both = ((first == 0) & (second == 0)).float().mean().item()
    assert abs(both - rate**2) < 5 * (rate**2 * (1 - rate**2) / count) ** 0.5, "masks of two calls are independent"
    flat = (first == 0).permute(0, 2, 3, 1).flatten().double()
    for lag in (1, 2, channels, 20 * channels):  # nor does one element say anything about another
        both = (flat[lag:] * flat[:-lag]).mean().item()
        assert abs(both - rate**2) < 6 * (rate**2 * (1 - rate**2) / count) ** 0.5, lag
    for axis in (0, 1, 2, 3):  # no image, channel, row or column is favored
        shares = (first == 0).float().mean([a for a in range(4) if a != axis])
        per_share = count / len(shares)
        assert (shares - rate).abs().max() < 6 * (rate * (1 - rate) / per_share) ** 0.5


@needs_compiler
@pytest.mark.parametrize("activation_first", [False, True])
def test_the_gradient_passes_where_dropout_let_the_number_pass(activation_first: bool) -> None:
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(6)
    nn.init.normal_(norm.bias)
    dropped = [nn.ReLU(), norm] if activation_first else [norm, nn.ReLU()]
    behind = [nn.MaxPool2d(2), nn.Conv2d(6, 3, 1, bias=False)]
    plain = [nn.Sequential(*copy.deepcopy(layers)).double() for layers in (dropped, behind)]
    x = torch.randn(8, 6, 10, 10).requires_grad_()
    torch.manual_seed(1)
    mask = (fuse(nn.Sequential(*dropped, nn.Dropout(0.3)))(x) != 0).double() / 0.7  # ReLU's zeros get no gradient
    torch.manual_seed(1)
    y = fuse(nn.Sequential(*dropped, nn.Dropout(0.3), *behind))(x)
    upstream = torch.randn_like(y)
    y.backward(upstream)

    exact_x = x.detach().double().requires_grad_()
    exact_y = plain[1](plain[0](exact_x) * mask)
    exact_y.backward(upstream.double())
    assert distance(y, exact_y) < ROUNDING
    assert x.grad is not None
    assert exact_x.grad is not None
    assert distance(x.grad, exact_x.grad) < ROUNDING


def test_other_numbers_than_float32_are_left_to_torch() -> None:
    network = nn.Sequential(nn.BatchNorm2d(2)).double()
    assert fuse(network) is network


@pytest.fixture
def reload(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[[str, str], None]]:
    """Sets an environment variable for what follows, in which the kernels are loaded anew, with an empty cache."""

    def set_and_reload(name: str, value: str) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        monkeypatch.setenv(name, value)
        cpu._load.cache_clear()

    yield set_and_reload
    cpu._load.cache_clear()


@pytest.fixture
def compiler(tmp_path: Path) -> Callable[[str], str]:
    """Makes a script that answers `--version` like a compiler, and otherwise does as its argument says."""

    def make(script: str) -> str:
        path = tmp_path / "compiler"
        path.write_text(f"#!/bin/sh\n[ \"$1\" = --version ] && echo 'mycc 1.0' && exit\n{script}\n")
        path.chmod(0o700)
        return str(path)

    return make


@pytest.mark.parametrize(
    ("name", "value", "status"),
    [
        ("NAS_NATIVE", "0", "not used: NAS_NATIVE=0"),
        ("CC", "/no/such/cc", r"not used: compiling failed: .*No such file or directory: '/no/such/cc'"),
        ("CC", "false", "not used: compiling failed: false ended with exit code 1"),
    ],
)
def test_without_kernels_the_network_stays_as_it_is_and_the_status_says_why(
    name: str, value: str, status: str, reload: Callable[[str, str], None]
) -> None:
    network = nn.Sequential(nn.BatchNorm2d(2))
    reload(name, value)
    assert fuse(network) is network
    assert re.fullmatch(status, kernel_status())
    assert f"CPU kernels {kernel_status()}, CPU " in describe_software()


def test_the_status_has_the_first_line_of_what_the_compiler_says(
    reload: Callable[[str, str], None], compiler: Callable[[str], str]
) -> None:
    reload("CC", compiler("echo 'chain.c:1: no disk' >&2; echo 'and more' >&2; exit 1"))
    assert kernel_status() == "not used: compiling failed: chain.c:1: no disk"


def test_the_status_without_a_compiler(reload: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    reload("CC", "")
    assert kernel_status() == "not used: no C compiler"


@needs_compiler
def test_another_version_of_the_compiler_compiles_again(
    reload: Callable[[str, str], None], compiler: Callable[[str], str], tmp_path: Path
) -> None:
    """Else the status would name a compiler that did not make the kernels."""
    library = cpu.load_kernels()
    assert library is not None
    script = compiler(f'while [ "$1" != -o ]; do shift; done; cp {shlex.quote(library._name)} "$2"')
    reload("CC", script)
    assert kernel_status() == f"compiled with {script} (mycc 1.0)"
    Path(script).write_text(Path(script).read_text().replace("1.0", "2.0"))
    reload("CC", script)
    assert kernel_status() == f"compiled with {script} (mycc 2.0)"
    assert len(list((tmp_path / "nas/native").iterdir())) == 2


HUGE = 2**50  # numbers; more than an address space holds


@needs_compiler
@pytest.mark.parametrize("size", ["channels", "width"])
@pytest.mark.parametrize(
    ("kernel", "arguments"),
    [("chain_forward", "pp11"), ("chain_evaluate", "pp11"), ("chain_backward", "pppp11")],
)
def test_a_kernel_without_memory_says_so(kernel: str, arguments: str, size: str) -> None:
    sizes = {"in_channels": 1, "in_height": 1, "in_width": 1, "channels": 1, "height": 1, "width": 1}
    stage = _Stage(**sizes | {f"in_{size}": HUGE, size: HUGE}, convolution=1, kernel=1)
    numbers = [0 if letter == "p" else int(letter) for letter in arguments]
    with pytest.raises(MemoryError, match=f"no memory for the working space of {kernel}"):
        cpu.call(kernel, ctypes.addressof(stage), 1, *numbers)


@pytest.mark.parametrize("native", ["1", "0"])
@pytest.mark.parametrize("stride", [2, 3])
def test_a_strided_pointwise_convolution_gives_what_torch_gives(
    native: str, stride: int, reload: Callable[[str, str], None]
) -> None:
    """Torch's own is asked for maps that lie channels first, where it is right."""
    if native == "0":
        reload("NAS_NATIVE", native)
    torch.manual_seed(0)
    layer = nn.Conv2d(5, 7, 1, stride=stride)
    x = torch.randn(4, 5, 8, 8, requires_grad=True)
    expected = layer(x)
    upstream = torch.randn_like(expected)
    theirs = torch.autograd.grad(expected, [x, layer.weight, layer.bias], upstream)
    twin = fuse(nn.Sequential(layer))
    assert not any(type(module) is nn.Conv2d for module in twin.modules())
    found = twin(x.to(memory_format=torch.channels_last))
    mine = torch.autograd.grad(found, [x, layer.weight, layer.bias], upstream)
    assert torch.allclose(found, expected, atol=1e-6)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(mine, theirs, strict=True))


MALLOC_CHECK = Path("/lib/x86_64-linux-gnu/libc_malloc_debug.so.0")


@pytest.mark.skipif(not MALLOC_CHECK.exists(), reason=f"the C library's checks of memory are not at {MALLOC_CHECK}")
def test_no_memory_is_written_that_is_not_ours() -> None:
    """Each freed block is checked; a strided shortcut of torch's own ends this program (oneDNN issue 6035)."""
    program = """
        import os
        import torch
        from nas.arch import Architecture, Block, Input, Pool, lower
        from nas.model.build import build
        from nas.kernels import cpu
        from nas.kernels.fuse import fuse

        torch.set_num_threads(1)
        torch.manual_seed(0)
        shortcut = Block(5, "separable", stride=2, shortcut="projection")
        bodies = (
            (Block(5, "separable"), shortcut),
            (Block(9, "separable", kernel=5), Pool(), Block(17, "separable", kernel=3)),
        )
        for native in ("1", "0"):
            os.environ["NAS_NATIVE"] = native
            cpu._load.cache_clear()
            for body in bodies:
                network = fuse(build(lower(Architecture(Input(1, 9, 9), 10, body))))
                for count in (1, 7, 32) * 10:
                    images = torch.randn(count, 1, 9, 9).contiguous(memory_format=torch.channels_last)
                    network(images).square().mean().backward()
        print("whole")
    """
    checked = {"LD_PRELOAD": str(MALLOC_CHECK), "GLIBC_TUNABLES": "glibc.malloc.check=3"}
    command = [sys.executable, "-c", textwrap.dedent(program)]
    ended = subprocess.run(command, env=os.environ | checked, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (0, "whole\n"), ended.stderr
