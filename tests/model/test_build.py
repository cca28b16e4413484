from __future__ import annotations

import copy
import pickle

import pytest
import torch
from hypothesis import assume, given, settings
from strategies import architectures
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from nas.arch import Architecture, Block, Head, Input, NormAct, Pool, lower
from nas.arch.operations import Activation, Add, AvgPool2d, BatchNorm2d, Linear, MaxPool2d
from nas.costs import costs_of
from nas.errors import ArchitectureError
from nas.model.build import build, make_operation

torch.set_num_threads(1)
many = settings(max_examples=60, deadline=None)

SMALL = Architecture(
    Input(1, 12, 12),
    10,
    (Block(4), Block(4, shortcut="identity", repeat=2, norm_act=NormAct(functional=True)), Pool(), Block(6, stride=2)),
)


def images(architecture: Architecture, number: int = 4) -> torch.Tensor:
    stem = architecture.input
    return torch.randn(number, stem.channels, stem.height, stem.width)


@many
@given(architectures())
def test_the_closed_form_count_is_what_the_module_holds(architecture: Architecture) -> None:
    counted = costs_of(lower(architecture)).num_params
    assert counted == sum(p.numel() for p in build(architecture).parameters())


@many
@given(architectures())
def test_macs_are_half_the_flops_that_torch_counts(architecture: Architecture) -> None:
    net = build(architecture).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(images(architecture, number=1))
    assert 2 * costs_of(lower(architecture)).num_macs == counter.get_total_flops()


@many
@given(architectures())
def test_every_layer_has_the_shape_that_was_computed(architecture: Architecture) -> None:
    net, seen = build(architecture).eval(), []
    for module in net.modules():
        if not list(module.children()):
            module.register_forward_hook(lambda m, _, out: seen.append((type(m).__name__, tuple(out.shape[1:]))))
    with torch.no_grad():
        logits = net(images(architecture))
    assert seen == [(layer.operation.kind, layer.output_shape) for layer in lower(architecture) if layer.group]
    assert logits.shape == (4, architecture.classes)


@many
@given(architectures())
def test_one_training_step_moves_the_weights_and_keeps_the_loss_finite(architecture: Architecture) -> None:
    torch.manual_seed(0)
    net = build(architecture).train()
    before = [p.detach().clone() for p in net.parameters()]
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    loss = nn.functional.cross_entropy(net(images(architecture)), torch.tensor([0, 1, 0, 1]))
    loss.backward()
    optimizer.step()
    assert torch.isfinite(loss)
    gradients = [p.grad for p in net.parameters()]
    assert all(gradient is not None for gradient in gradients)  # every weight takes part
    # A network one channel wide may be dead from the start: no ReLU fires, and every gradient is zero.
    assume(any(gradient.any() for gradient in gradients))
    assert any(not torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))


def test_submodules_are_named_as_the_layers_groups() -> None:
    names = [name for name, _ in build(SMALL).named_children()]
    assert names == ["convblock1", "convblock2", "pool1", "convblock3", "gap", "fc"]
    assert isinstance(build(SMALL).pool1, nn.MaxPool2d)


def test_a_repeated_block_runs_again_with_the_same_weights() -> None:
    net, runs = build(SMALL), []
    net.convblock2.register_forward_hook(lambda *_: runs.append(1))
    net(images(SMALL))
    assert len(runs) == 2
    assert sum(p.numel() for p in net.convblock2.parameters()) == 4 * 4 * 9 + 2 * 4


def test_the_shortcut_adds_what_the_block_reads() -> None:
    # A block whose convolution gives zeros is the identity, up to the activation behind the addition.
    plain = NormAct(norm="none", activation="none")
    block = Block(3, shortcut="identity", norm_act=plain)
    head = Head("conv_gap", bias=False)
    net = build(Architecture(Input(3, 8, 8), 2, (block,), head)).eval()
    bare = build(Architecture(Input(3, 8, 8), 2, (), head)).eval()
    nn.init.zeros_(net.convblock1.weight)
    bare.load_state_dict({k: v for k, v in net.state_dict().items() if k.startswith("classifier")})
    x = torch.randn(2, 3, 8, 8)
    assert torch.equal(net(x), bare(x))


def test_the_built_module_can_be_copied_and_pickled() -> None:
    net, x = build(SMALL).eval(), images(SMALL)
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert torch.equal(twin(x), net(x))
        assert all(a is not b for a, b in zip(twin.parameters(), net.parameters(), strict=True))


def test_equal_seeds_give_equal_weights_and_others_do_not() -> None:
    nets = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        nets.append(build(SMALL).convblock1[0].weight)
    assert torch.equal(nets[0], nets[1])
    assert not torch.equal(nets[0], nets[2])


def test_a_module_that_disagrees_with_the_count_is_refused() -> None:
    layers = lower(SMALL)
    layers[0] = layers[0]._replace(num_params=layers[0].num_params + 1)
    with pytest.raises(ArchitectureError, match=r"layers count 495 parameters, and the module .* holds 494"):
        build(layers)


def test_a_description_that_does_not_lower_is_not_built() -> None:
    with pytest.raises(ArchitectureError, match=r"body\[0\]: the map shrinks to nothing"):
        build(Architecture(Input(1, 2, 2), 10, (Block(4, kernel=5, padding="valid"),)))


def test_single_operations() -> None:
    assert repr(make_operation(Linear(3, 2, bias=False))) == "Linear(in_features=3, out_features=2, bias=False)"
    assert repr(make_operation(BatchNorm2d(3))) == repr(nn.BatchNorm2d(3))
    assert repr(make_operation(MaxPool2d(3, 2))) == repr(nn.MaxPool2d(3, stride=2))
    assert repr(make_operation(AvgPool2d(2, 2))) == repr(nn.AvgPool2d(2))
    assert isinstance(make_operation(Activation("hardswish")), nn.Hardswish)
    with pytest.raises(TypeError, match="no layer of its own"):
        make_operation(Add())
