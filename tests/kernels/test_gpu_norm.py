"""The GPU's kernels for norms, by Triton's interpreter, which runs on a CPU what they would compute."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nas.arch import Architecture, Block, Input, NormAct, Pool
from nas.arch.operations import BatchNorm2d
from nas.kernels.norms import complete_norms, find_kernel_problem, fuse_norms
from nas.model.build import build, make_operation
from nas.model.scalar_norm import ScalarNorm

pytest.importorskip("triton", reason="torch brings Triton where it is built for CUDA on Linux")
ACTIVATIONS = (nn.Identity, nn.ReLU, nn.LeakyReLU, nn.Hardswish, nn.SiLU)
# Images, channels, height, width: one block of threads a channel, several, and the last of them nearly empty.
SHAPES = [(4, 3, 5, 7), (6, 2, 20, 20), (41, 2, 5, 5)]


def outcome(trained: nn.Module, network: nn.Module, images: Tensor, weights: Tensor) -> dict[str, Tensor]:
    """Return what a step of `trained`, which has the tensors of `network`, gives: outputs, gradients, statistics."""
    images = images.clone().requires_grad_()
    outputs = trained(images)
    network.zero_grad()
    (outputs * weights).sum().backward()
    assert images.grad is not None
    gradients = {f"gradient of {name}": p.grad for name, p in network.named_parameters() if p.grad is not None}
    return {"outputs": outputs, "gradient": images.grad} | gradients | dict(network.named_buffers())


def assert_trains_alike(network: nn.Module, shape: tuple[int, ...]) -> None:
    """Compare with torch's layers in double precision, after one step and after two."""
    torch.manual_seed(0)
    for parameter in network.parameters():
        nn.init.normal_(parameter, 1.0, 0.5)
    exact = copy.deepcopy(network).double()
    plain, fast = complete_norms(exact), fuse_norms(complete_norms(network))
    assert "FusedNorm" in {type(module).__name__ for module in fast.modules()}
    for _ in range(2):
        images, weights = 3 + 2 * torch.randn(shape), torch.randn(shape)  # far from 0, where squares would lose digits
        found = outcome(fast, network, images, weights)
        for name, expected in outcome(plain, exact, images.double(), weights.double()).items():
            error = (found[name].double() - expected).norm() / expected.double().norm().clamp(min=1e-3)
            assert error < 1e-5, (name, error)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("activation_first", [False, True])
@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_a_norm_and_its_activation(kind: type[nn.Module], activation_first: bool, shape: tuple[int, ...]) -> None:
    layers = [kind(), nn.BatchNorm2d(shape[1])] if activation_first else [nn.BatchNorm2d(shape[1]), kind()]
    assert_trains_alike(nn.Sequential(nn.Sequential(*layers)), shape)


def test_one_block_of_threads_for_many_blocks_of_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas.kernels.gpu_norm.MOST_BLOCKS", 2)
    assert_trains_alike(nn.Sequential(nn.Sequential(nn.BatchNorm2d(2), nn.SiLU())), (9, 2, 20, 20))


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.BatchNorm2d(3, affine=False),
        lambda: make_operation(BatchNorm2d(3, "bias")),
        lambda: ScalarNorm(3),
        lambda: nn.BatchNorm2d(3, momentum=0.3, eps=0.01),
    ],
)
def test_other_norms(make: Callable[[], nn.Module]) -> None:
    assert_trains_alike(nn.Sequential(nn.Sequential(make(), nn.ReLU())), SHAPES[0])


def test_a_whole_network_keeps_its_tensors_and_evaluates_as_before() -> None:
    norm_act = NormAct(dropout=0.1)
    network = build(Architecture(Input(1, 8, 8), 10, (Block(3, norm_act=norm_act), Pool(), Block(4, "separable"))))
    fast = fuse_norms(complete_norms(network))
    assert {id(p) for p in fast.parameters()} == {id(p) for p in network.parameters()}
    assert [type(m).__name__ for m in fast.modules()].count("FusedNorm") == 3
    assert "FusedNorm" not in {type(m).__name__ for m in network.modules()}
    fast(torch.randn(2, 1, 8, 8))
    counts = [b.item() for name, b in network.named_buffers() if name.endswith("num_batches_tracked")]
    assert counts == [1, 1, 1]
    images = torch.randn(2, 1, 8, 8)
    assert torch.equal(fast.eval()(images), network.eval()(images))


@pytest.mark.parametrize("settings", [{"track_running_stats": False}, {"momentum": None}])
def test_a_norm_of_another_kind_is_left_to_torch(settings: dict[str, Any]) -> None:
    network = nn.Sequential(nn.Sequential(nn.BatchNorm2d(3, **settings), nn.ReLU()))
    fast = fuse_norms(complete_norms(network))
    assert [type(module) for module in fast.modules()] == [type(module) for module in network.modules()]


def test_one_number_a_channel_is_refused_as_torch_refuses_it() -> None:
    fast = fuse_norms(complete_norms(nn.Sequential(nn.Sequential(nn.BatchNorm2d(3)))))
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        fast(torch.ones(1, 3, 1, 1))


def test_whether_the_kernels_can_be_used_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_kernel_problem(torch.device("cpu")) == ""
    monkeypatch.setenv("NAS_NATIVE", "0")
    assert find_kernel_problem(torch.device("cpu")) == "NAS_NATIVE=0"
    monkeypatch.delenv("NAS_NATIVE")
    monkeypatch.setitem(sys.modules, "nas.kernels.gpu_norm", None)  # as where there is no Triton
    assert "ModuleNotFoundError" in find_kernel_problem(torch.device("cpu"))
