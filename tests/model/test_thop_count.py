from __future__ import annotations

from math import prod

from nas.arch import Architecture, Block, Input, Pool, lower
from nas.costs import costs_of
from nas.model.build import build
from nas.model.thop_count import count_layers_with_thop, count_with_thop

ARCHITECTURE = Architecture(Input(1, 12, 12), 10, (Block(4), Block(6, kind="separable"), Pool(), Block(8)))
LAYERS = lower(ARCHITECTURE)


def test_thop_counts_the_same_convolutions_and_adds_norms_and_average_pools() -> None:
    norms = sum(4 * prod(layer.output_shape) for layer in LAYERS if layer.operation.kind == "BatchNorm2d")
    global_pool = 8 * 6 * 6 + 8  # what it reads and what it writes
    counted = count_layers_with_thop(LAYERS, (1, 12, 12))
    assert counted.thop_params == costs_of(LAYERS).num_params
    assert counted.thop_macs == costs_of(LAYERS).num_macs + norms + global_pool


def test_the_counted_module_stays_as_it_is() -> None:
    module = build(LAYERS).train()
    keys = list(module.state_dict())
    assert count_with_thop(module, (1, 12, 12)) == count_layers_with_thop(LAYERS, (1, 12, 12))
    assert list(module.state_dict()) == keys
    assert module.training
    assert not any(m._forward_hooks for m in module.modules())


def test_a_network_of_many_weights_is_counted_without_them() -> None:
    wide = lower(Architecture(Input(1, 8, 8), 10, (Block(100_000), Block(100_000))))
    assert count_layers_with_thop(wide, (1, 8, 8)).thop_params == costs_of(wide).num_params > 9e10
