"""Layers to a torch module. Weights start as torch initializes them by default.

Shape legend: N images, C channels, H and W pixels.
"""

from __future__ import annotations

import operator
from typing import Any, NamedTuple

from torch import fx, nn
from torch.nn import functional

from nas.arch import IMAGE, Architecture, Layer, calls, lower
from nas.arch.operations import (
    Activation,
    AdaptiveAvgPool2d,
    Add,
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    Dropout,
    Dropout2d,
    Linear,
    MaxPool2d,
    Operation,
)
from nas.errors import ArchitectureError
from nas.model.scalar_norm import ScalarNorm


class Constructor(NamedTuple):
    """How torch.nn makes a layer: `nn.<name>(*args, **kwargs)`, with torch's defaults left out.

    Then its parameters in `removed` are set to None. The one layer that torch.nn lacks is `ScalarNorm`.
    """

    name: str
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}  # noqa: RUF012 - a NamedTuple's default; nothing ever changes it
    removed: tuple[str, ...] = ()


def build(architecture: Architecture | list[Layer]) -> fx.GraphModule:
    """Return the module that runs the architecture: images (N, C, H, W) to logits (N, classes).

    Its submodules are named as the layers' groups. Its `forward` is straight-line code, written once here, and frees
    each map after its last reader; it can be copied, pickled, compiled and traced like any other module.

    Raises:
        ArchitectureError: the architecture does not lower, or the module does not hold exactly the parameters that
            its layers count: the second gate of the budget.
    """
    layers = lower(architecture) if isinstance(architecture, Architecture) else architecture
    modules = {name: _submodule(operations) for name, operations in submodules(layers).items()}
    module = fx.GraphModule(modules, _forward(layers), class_name="Network")
    counted, held = sum(layer.num_params for layer in layers), sum(p.numel() for p in module.parameters())
    if counted != held:
        raise ArchitectureError(
            "the architecture",
            [f"its layers count {counted:,} parameters, and the module built from them holds {held:,}; count it again"],
        )
    return module


def make_operation(operation: Operation) -> nn.Module:
    """Return the torch.nn layer that performs `operation`, with torch's default initialization."""
    made = constructor(operation)
    kind = ScalarNorm if made.name == ScalarNorm.__name__ else getattr(nn, made.name)
    module: nn.Module = kind(*made.args, **made.kwargs)
    for name in made.removed:
        setattr(module, name, None)
    return module


def submodules(layers: list[Layer]) -> dict[str, tuple[Operation, ...]]:
    """Return the operations of each submodule by its name, in the order of their first run.

    A submodule of several operations is an nn.Sequential, a single one stands bare; the built module and the exported
    source both follow this, so that the weights of one load into the other.
    """
    first_runs = [call for call in calls(layers) if call.group and call.use == 0]
    return {call.group: tuple(layer.operation for layer in call.layers) for call in first_runs}


def constructor(operation: Operation) -> Constructor:
    """Return how torch.nn makes `operation`; both the built module and the exported source follow this table."""
    match operation:
        case Conv2d(in_channels, out_channels, kernel, stride, padding, groups, bias):
            settings = {"stride": stride, "padding": padding, "groups": groups, "bias": bias}
            defaults = {"stride": 1, "padding": 0, "groups": 1, "bias": True}
            changed = {name: value for name, value in settings.items() if value != defaults[name]}
            return Constructor("Conv2d", (in_channels, out_channels), {"kernel_size": kernel, **changed})
        case Linear(in_features, out_features, bias):
            return Constructor("Linear", (in_features, out_features), {} if bias else {"bias": False})
        case BatchNorm2d(channels, "nothing"):
            return Constructor("BatchNorm2d", (channels,), {"affine": False})
        case BatchNorm2d(channels, "scalars"):
            return Constructor(ScalarNorm.__name__, (channels,))
        case BatchNorm2d(channels, trained):
            return Constructor("BatchNorm2d", (channels,), removed=("weight",) if trained == "bias" else ())
        case Activation():
            return Constructor(operation.kind)
        case Dropout(rate) | Dropout2d(rate):
            return Constructor(operation.kind, (rate,))
        case MaxPool2d(size, stride) | AvgPool2d(size, stride):
            return Constructor(operation.kind, (size,), {} if stride == size else {"stride": stride})
        case AdaptiveAvgPool2d():
            return Constructor("AdaptiveAvgPool2d", (1,))
        case Add():
            raise TypeError("an addition is a function in `forward` and no layer of its own")


def _submodule(operations: tuple[Operation, ...]) -> nn.Module:
    made = [make_operation(operation) for operation in operations]
    return made[0] if len(made) == 1 else nn.Sequential(*made)


def _forward(layers: list[Layer]) -> fx.Graph:
    graph = fx.Graph()
    nodes = {IMAGE: graph.placeholder("x")}
    for index, call in enumerate(calls(layers)):
        sources = [nodes[s] for s in call.sources]
        operation = call.layers[0].operation
        if isinstance(operation, Add):
            nodes[index] = graph.call_function(operator.add, tuple(sources))
        elif isinstance(operation, Activation) and not call.group:
            nodes[index] = graph.call_function(getattr(functional, operation.name), tuple(sources))
        else:
            if isinstance(operation, Linear) and len(call.layers[0].input_shape) > 1:
                sources = [graph.call_method("flatten", (sources[0], 1))]
            nodes[index] = graph.call_module(call.group, tuple(sources))
    logits = nodes[max(nodes)]
    graph.output(graph.call_method("flatten", (logits, 1)) if len(layers[-1].output_shape) > 1 else logits)
    return graph
