from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from strategies import architectures
from torch import nn
from torch.nn import functional

from nas.arch import Architecture, Block, Head, Input, Layer, NormAct, Pool, digest_of, lower
from nas.costs import costs_of
from nas.errors import VerificationError
from nas.model.build import build
from nas.model.scalar_norm import ScalarNorm
from nas.model.trace import trace_layers

SHAPE = (1, 8, 8)
REPEATED = Architecture(Input(*SHAPE), 3, (Block(4), Block(4, repeat=2, shortcut="identity"), Pool()))


def content(layers: list[Layer]) -> list[object]:
    """Everything but the names and whether an activation is a function."""
    return [(layer.operation.kind, layer[3:]) for layer in layers]


@settings(max_examples=60, deadline=None)
@given(architectures())
def test_the_trace_of_a_built_module_is_the_lowering(architecture: Architecture) -> None:
    layers = lower(architecture)
    stem = architecture.input
    traced = trace_layers(build(architecture), (stem.channels, stem.height, stem.width))
    assert digest_of(traced) == digest_of(layers)
    assert content(traced) == content(layers)
    assert costs_of(traced) == costs_of(layers)


class Net(nn.Module):
    """A convolution, whatever `between` does to a (4, 8, 8) map, and a linear layer."""

    def __init__(
        self,
        between: Callable[[nn.Module, torch.Tensor], torch.Tensor] = lambda net, x: x.flatten(1),
        extra: nn.Module | None = None,
        features: int = 4 * 8 * 8,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.between = between
        self.extra = extra
        self.fc = nn.Linear(features, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.between(self, self.conv(x)))


def digest(net: nn.Module) -> str:
    return digest_of(trace_layers(net, SHAPE))


FLATTENED = digest(Net())


@pytest.mark.parametrize(
    "between",
    [
        lambda net, x: torch.flatten(x, 1),
        lambda net, x: torch.flatten(x, start_dim=1),
        lambda net, x: x.flatten(1, -1),
        lambda net, x: x.view(-1, 4 * 8 * 8),
        lambda net, x: x.view(x.size(0), -1),
        lambda net, x: x.reshape(x.shape[0], -1),
        lambda net, x: x.reshape((x.shape[0], 4 * 8 * 8)),
    ],
)
def test_ways_of_flattening_are_one(between: Callable[[nn.Module, torch.Tensor], torch.Tensor]) -> None:
    assert digest(Net(between)) == FLATTENED


def test_layers_that_do_nothing_are_passed_over() -> None:
    net = Net(lambda net, x: net.extra(x), nn.Sequential(nn.Identity(), nn.Sequential(nn.Flatten())))
    assert digest(net) == FLATTENED


def test_global_pooling_is_one_however_written() -> None:
    pooled = digest(Net(lambda net, x: net.extra(x).flatten(1), nn.AdaptiveAvgPool2d((1, 1)), 4))
    assert digest(Net(lambda net, x: net.extra(x).flatten(1), nn.AvgPool2d(8), 4)) == pooled
    assert digest(Net(lambda net, x: x.mean((2, 3)), None, 4)) == pooled
    assert digest(Net(lambda net, x: x.mean(dim=[-2, -1], keepdim=True).flatten(1), None, 4)) == pooled
    assert pooled != FLATTENED


@pytest.mark.parametrize(
    ("layer", "functions"),
    [
        (nn.ReLU(), [functional.relu, torch.relu, lambda x: x.relu()]),
        (nn.LeakyReLU(), [functional.leaky_relu, lambda x: functional.leaky_relu(x, 0.01)]),
        (nn.SiLU(), [functional.silu]),
        (nn.GELU(), [functional.gelu]),
        (nn.Hardswish(), [functional.hardswish]),
    ],
)
def test_activations_are_one_as_layer_and_function(layer: nn.Module, functions: list[Callable[..., object]]) -> None:
    as_layer = digest(Net(lambda net, x: net.extra(x).flatten(1), layer))
    assert as_layer != FLATTENED
    for function in functions:
        assert digest(Net(lambda net, x, f=function: f(x).flatten(1))) == as_layer


def test_the_ways_of_adding_are_one() -> None:
    def net(add: Callable[..., torch.Tensor]) -> nn.Module:
        return Net(lambda net, x: add(net.extra(x), x).flatten(1), nn.Conv2d(4, 4, 1))

    written = {digest(net(add)) for add in (torch.add, lambda a, b: a + b, lambda a, b: a.add(b))}
    assert len(written) == 1


def test_shared_weights_are_told_from_copies() -> None:
    shared, layers = build(REPEATED), lower(REPEATED)
    copied = build(
        Architecture(Input(*SHAPE), 3, (Block(4), Block(4, shortcut="identity"), Block(4, shortcut="identity"), Pool()))
    )
    assert digest(shared) == digest_of(layers) != digest(copied)
    assert [layer.use for layer in trace_layers(shared, SHAPE) if layer.group == "convblock2.0"] == [0, 1]


def without_bias(norm: nn.BatchNorm2d) -> nn.Module:
    norm.bias = None
    return norm


class TestRefusals:
    @pytest.mark.parametrize(
        ("layer", "problem"),
        [
            (nn.Conv2d(4, 4, 3, padding=2, dilation=2), "Conv2d's dilation is 2 and must be 1"),
            (nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"), "padding_mode is 'reflect' and must be 'zeros'"),
            (nn.Conv2d(4, 4, (3, 1), padding=(1, 0)), r"kernel_size is \(3, 1\) and must be one whole number"),
            (nn.Conv2d(4, 4, 3, padding="same"), "padding is 'same' and must be one whole number"),
            (nn.BatchNorm2d(4, eps=1e-3), "BatchNorm2d's eps is 0.001 and must be 1e-05"),
            (nn.BatchNorm2d(4, momentum=0.2), "momentum is 0.2 and must be 0.1"),
            (without_bias(nn.BatchNorm2d(4)), "affine is True and must be False"),
            (nn.InstanceNorm2d(4), "InstanceNorm2d is no layer that nas knows"),
            (nn.BatchNorm2d(4, track_running_stats=False), "track_running_stats is False"),
            (nn.LeakyReLU(0.2), "LeakyReLU's negative_slope is 0.2 and must be 0.01"),
            (nn.PReLU(4), "PReLU's num_parameters is 4 and must be 1"),
            (nn.GELU(approximate="tanh"), "approximate is 'tanh' and must be 'none'"),
            (nn.ReLU(inplace=True), "inplace is True and must be False"),
            (nn.MaxPool2d(3, 1, padding=1), "MaxPool2d's padding is 1 and must be 0"),
            (nn.MaxPool2d(1, ceil_mode=True), "ceil_mode is True and must be False"),
            (nn.AvgPool2d(1, count_include_pad=False), "count_include_pad is False and must be True"),
            (nn.AvgPool2d(1, divisor_override=2), "divisor_override is 2 and must be None"),
            (nn.AdaptiveAvgPool2d(8), "AdaptiveAvgPool2d's output_size is 8 and must be 1"),
            (nn.Sigmoid(), "Sigmoid is no layer that nas knows"),
            (nn.BatchNorm2d(5), r"BatchNorm2d\(channels=5, .*\) cannot read \(4, 8, 8\)"),
            (nn.Conv2d(5, 4, 1), r"cannot read \(4, 8, 8\)"),
            (nn.MaxPool2d(9), "too small"),
            (nn.Flatten(2), "Flatten must keep the images apart"),
        ],
    )
    def test_a_layer_with_another_setting(self, layer: nn.Module, problem: str) -> None:
        with pytest.raises(VerificationError, match=f"node 'extra': .*{problem}"):
            trace_layers(Net(lambda net, x: net.extra(x).flatten(1), layer), SHAPE)

    @pytest.mark.parametrize(
        ("between", "problem"),
        [
            (lambda net, x: functional.leaky_relu(x, 0.2).flatten(1), "negative_slope = 0.2"),
            (lambda net, x: functional.relu(x, inplace=True).flatten(1), "inplace = True"),
            (lambda net, x: (x + 1).flatten(1), "1 stands where only a tensor can"),
            (lambda net, x: torch.add(x, x, alpha=2).flatten(1), "alpha = 2"),
            (lambda net, x: (x * 2).flatten(1), "node 'mul': only a norm without parameters is multiplied"),
            (lambda net, x: x.sigmoid().flatten(1), "sigmoid is no function"),
            (lambda net, x: x.relu_().flatten(1), "relu_ is no function"),
            (lambda net, x: functional.dropout(x, 0.1).flatten(1), "dropout.* is no function"),
            (lambda net, x: x.view(-1, 128), r"view\(-1, 128\) is not in the vocabulary"),
            (lambda net, x: x.flatten(0), r"flatten\(0\) is not in the vocabulary"),
            (lambda net, x: x.mean(), "mean must be over height and width"),
            (lambda net, x: x.mean((1, 2)), "mean must be over height and width"),
            (lambda net, x: x, r"Linear.* cannot read \(4, 8, 8\)"),
            (lambda net, x: (x + net.conv.weight.sum()).flatten(1), "forward uses a tensor directly"),
            (lambda net, x: x.flatten(1) if x.sum() > 0 else x.view(-1, 256), "cannot follow forward of Net"),
        ],
    )
    def test_a_call_that_is_not_known(self, between: Callable[..., torch.Tensor], problem: str) -> None:
        with pytest.raises(VerificationError, match=problem):
            trace_layers(Net(between), SHAPE)

    def test_a_subclass_of_a_known_layer_is_looked_into(self) -> None:
        class Doubled(nn.ReLU):
            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return 2 * super().forward(x)

        with pytest.raises(VerificationError, match="only a norm without parameters is multiplied"):
            trace_layers(Net(lambda net, x: net.extra(x).flatten(1), Doubled()), SHAPE)

    @pytest.mark.parametrize(
        ("forward", "problem"),
        [
            (lambda norm, x: norm.norm(x) * norm.weight, "stands where only a tensor can"),
            (lambda norm, x: norm.norm(x) * norm.bias + norm.weight, "only a norm without parameters is multiplied"),
            (lambda norm, x: norm.norm(x) * norm.weight + norm.weight, "only the `bias` of its ScalarNorm is added"),
            (lambda norm, x: norm.norm(x) * norm.weight + x, "only the `bias` of its ScalarNorm is added"),
            (lambda norm, x: norm.norm(x) + norm.bias, "stands where only a tensor can"),
            (lambda norm, x: x * norm.weight + norm.bias, "only a norm without parameters is multiplied"),
        ],
    )
    def test_a_norm_with_scalars_that_computes_something_else(
        self, forward: Callable[..., torch.Tensor], problem: str
    ) -> None:
        class Changed(ScalarNorm):
            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return forward(self, x)

        with pytest.raises(VerificationError, match=problem):
            trace_layers(Net(lambda net, x: net.extra(x).flatten(1), Changed(4)), SHAPE)

    def test_a_map_instead_of_logits(self) -> None:
        with pytest.raises(VerificationError, match=r"ends in a map of \(4, 8, 8\), not in logits; flatten it"):
            trace_layers(nn.Sequential(nn.Conv2d(1, 4, 1)), SHAPE)

    def test_parameters_that_never_run(self) -> None:
        with pytest.raises(VerificationError, match="holds 827 parameters, and the layers that run have 811"):
            trace_layers(Net(extra=nn.Conv2d(4, 4, 1, bias=False)), SHAPE)

    def test_parameters_that_two_layers_share(self) -> None:
        net = Net(lambda net, x: net.extra(x).flatten(1), nn.Sequential(nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)))
        net.extra[1].weight = net.extra[0].weight
        with pytest.raises(VerificationError, match="shared between layers"):
            trace_layers(net, SHAPE)

    def test_a_layer_whose_result_is_dropped(self) -> None:
        def between(net: nn.Module, x: torch.Tensor) -> torch.Tensor:
            net.extra(x)
            return x.flatten(1)

        with pytest.raises(VerificationError, match="the result of 'extra' is never used"):
            trace_layers(Net(between, nn.ReLU()), SHAPE)

    def test_a_weight_of_another_shape(self) -> None:
        net = Net()
        net.conv.weight = nn.Parameter(torch.zeros(4, 1, 5, 5))
        with pytest.raises(VerificationError, match=r"node 'conv': Conv2d's weight is \(4, 1, 5, 5\) and must be"):
            trace_layers(net, SHAPE)

    @pytest.mark.parametrize("path", ["", "conv"])
    def test_hooks(self, path: str) -> None:
        net = Net()
        net.get_submodule(path).register_forward_hook(lambda module, images, result: 2 * result)
        with pytest.raises(VerificationError, match="has hooks"):
            trace_layers(net, SHAPE)

    def test_a_second_argument(self) -> None:
        class Two(nn.Module):
            def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
                return (x + y).flatten(1)

        with pytest.raises(VerificationError, match="node 'y': forward must take one argument"):
            trace_layers(Two(), SHAPE)


def test_each_edit_changes_the_digest() -> None:
    base = Architecture(Input(*SHAPE), 3, (Block(4, norm_act=NormAct(dropout=0.1)), Pool()), Head("conv_gap"))
    edits = [
        Architecture(Input(*SHAPE), 3, (Block(4, norm_act=NormAct(dropout=0.2)), Pool()), Head("conv_gap")),
        Architecture(Input(*SHAPE), 3, (Block(4, norm_act=NormAct(dropout=0.1)), Pool("average")), Head("conv_gap")),
        Architecture(
            Input(*SHAPE), 3, (Block(4, norm_act=NormAct(dropout=0.1, activation="silu")), Pool()), Head("conv_gap")
        ),
        Architecture(Input(*SHAPE), 3, (Block(4, norm_act=NormAct(dropout=0.1)), Pool()), Head("conv_gap", bias=False)),
    ]
    assert len({digest(build(a)) for a in (base, *edits)}) == 5
