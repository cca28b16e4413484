"""A network's layers as chains that the CPU's kernels compute. Shape legend: N images, C channels, H and W pixels."""

from __future__ import annotations

import copy
from typing import TypeGuard

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from nas.kernels.chain import ACTIVATIONS, LARGEST_KERNEL, Chain, Norm, Stage
from nas.kernels.cpu import load_kernels
from nas.model.scalar_norm import ScalarNorm


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
    twin = copy_around_tensors(network)
    if has_kernels and isinstance(twin, fx.GraphModule):
        _join_calls(twin)
    return _fuse_module(twin, has_kernels)


def copy_around_tensors(network: nn.Module) -> nn.Module:
    """Return a copy of `network` that has its parameters and buffers, so that training the copy trains `network`."""
    # deepcopy takes what its second argument holds, by id, as copied already.
    return copy.deepcopy(network, {id(t): t for t in (*network.parameters(), *network.buffers())})


def _join_calls(network: fx.GraphModule) -> None:
    """Make one nn.Sequential of submodules that are called one behind the other, so that chains may cross them."""
    runs: list[list[fx.Node]] = []
    for node in network.graph.nodes:
        if node.op != "call_module":
            continue
        (source,) = node.all_input_nodes
        if runs and runs[-1][-1] is source and len(source.users) == 1:
            runs[-1].append(node)
        else:
            runs.append([node])
    for number, run in enumerate(runs):
        if len(run) > 1:
            layers = [layer for node in run for layer in _layers_of(network.get_submodule(str(node.target)))]
            run[0].target = name = f"run{number}"
            network.add_module(name, nn.Sequential(*layers))
            run[-1].replace_all_uses_with(run[0])
            for node in reversed(run[1:]):
                network.graph.erase_node(node)
    network.delete_all_unused_submodules()
    network.recompile()


def _layers_of(module: nn.Module) -> list[nn.Module]:
    return list(module) if isinstance(module, nn.Sequential) else [module]


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
    """Return `layers` with neighbors that the kernels compute together as one layer, the rest unchanged."""
    fused: list[nn.Module] = []
    while layers:
        stages, rest = _take_stages(layers) if has_kernels else ([], layers)
        if stages:
            fused.append(Chain(stages))
        else:
            first, *rest = layers
            fused.append(StridedPointwise(first) if _is_strided_pointwise(first) else first)
        layers = rest
    return fused


def _take_stages(layers: list[nn.Module]) -> tuple[list[Stage], list[nn.Module]]:
    """Return the stages of one chain that `layers` begin with, and the layers behind it."""
    stages: list[Stage] = []
    while True:
        stage, rest = _take_stage(layers)
        if stage is None or (stages and stage.convolution is None):
            return stages, layers
        stages.append(stage)
        layers = rest


def _take_stage(layers: list[nn.Module]) -> tuple[Stage | None, list[nn.Module]]:
    """Return the stage that `layers` begin with and the layers behind it, or None where the kernels gain nothing."""
    convolution: nn.Conv2d | None = None
    norm: Norm | None = None
    activation: nn.Module | None = None
    dropout, pools = 0.0, False
    match layers:
        case [nn.Conv2d() as found, *rest] if _is_kernels_convolution(found):
            convolution, layers = found, rest
    activation_first = len(layers) > 1 and type(layers[0]) in ACTIVATIONS and isinstance(layers[1], Norm)
    if activation_first:
        activation, *layers = layers
    match layers:
        case [(nn.BatchNorm2d() | ScalarNorm()) as batch_norm, *rest]:
            norm, layers = batch_norm, rest
    if layers and type(layers[0]) in ACTIVATIONS and activation is None and (convolution or norm):
        activation, *layers = layers
    match layers:
        case [nn.Dropout(p=rate), *rest] if norm is not None:
            dropout, layers = rate, rest
    match layers:
        case [nn.MaxPool2d(kernel_size=2, stride=2, padding=0, dilation=1, ceil_mode=False), *layers]:
            pools = True
    if convolution is None and norm is None and not pools:
        return None, layers
    return Stage(convolution, norm, activation, activation_first, dropout, pools), layers


def _is_kernels_convolution(layer: nn.Module) -> TypeGuard[nn.Conv2d]:
    """Return whether it is depthwise or of one input channel, with small square filters, or 1x1.

    Besides, it has stride 1 and no bias.
    """
    if not isinstance(layer, nn.Conv2d) or layer.padding_mode != "zeros" or isinstance(layer.padding, str):
        return False
    kernel, padding = layer.kernel_size, layer.padding
    square = kernel[0] == kernel[1] and padding[0] == padding[1] < kernel[0] <= LARGEST_KERNEL
    plain = layer.stride == (1, 1) and layer.dilation == (1, 1) and layer.bias is None
    depthwise = layer.groups == layer.in_channels == layer.out_channels > 1 or layer.in_channels == 1
    return square and plain and (depthwise or (kernel == (1, 1) and layer.groups == 1))


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
