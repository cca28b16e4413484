"""From a torch module back to its layers, read from its own forward pass.

It reads what exported source holds, and the common ways of writing the same. It refuses everything else by name: a
setting that was ignored would give two different networks one digest.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from math import prod
from typing import Any, NamedTuple, get_args

import torch
from torch import fx, nn
from torch.nn import functional

from nas.arch import IMAGE, Layer
from nas.arch.operations import (
    Activation,
    ActivationName,
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
    Shape,
)
from nas.errors import VerificationError
from nas.model.build import make_operation

_ACTIVATIONS: dict[str, ActivationName] = {
    name: name
    for name in get_args(ActivationName)
    if name != "prelu"  # which is no function without its weight
}
_FUNCTIONS: dict[Callable[..., Any], str] = {
    operator.add: "add",
    operator.mul: "multiply",
    torch.add: "add",
    torch.flatten: "flatten",
    torch.mean: "mean",
    torch.relu: "relu",
    getattr: "getattr",
    operator.getitem: "getitem",
    **{getattr(functional, name): name for name in _ACTIVATIONS},
}
_METHODS = ("add", "flatten", "mean", "relu", "reshape", "size", "view")
# Keyword arguments that say what is the case without them.
_HARMLESS = {"inplace": False, "negative_slope": 0.01, "approximate": "none", "alpha": 1, "end_dim": -1}


class _Map(NamedTuple):
    """A tensor: the layer that made it, and its shape for one image, which may have been flattened since."""

    layer: int
    shape: Shape


class _Scalar(NamedTuple):
    """A parameter of one element, by its path in the module."""

    path: str


class _Scaled(NamedTuple):
    """What a norm without parameters made, times a scalar: the first half of a `ScalarNorm`."""

    norm: _Map
    weight: _Scalar


_BATCH = "the number of images"
_SHAPE = "a tensor's shape"
_Value = _Map | _Scalar | _Scaled | str


class _Unreadable(Exception):  # noqa: N818 - it never leaves this module
    """Why a layer or function cannot be read; the node is named where this is caught."""


def trace_layers(module: nn.Module, input_shape: Shape) -> list[Layer]:
    """Return the layers that `module` runs on one image of `input_shape` (C, H, W), ending in (classes,).

    A layer of weights has the group of its path in the module, and `use` counts its runs, so that shared weights have
    the digest of the architecture that shares them.

    Raises:
        VerificationError: `module` holds or calls something outside the vocabulary; the text names it.
    """
    # The tracer looks at the class alone and would miss these.
    if module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module):
        raise VerificationError(f"{type(module).__name__} has hooks or a forward of its own instance; remove them")
    try:
        graph = fx.symbolic_trace(module).graph
    except Exception as error:  # forward is foreign code: whatever it raises means that it cannot be read
        raise VerificationError(f"cannot follow forward of {type(module).__name__}: {error}") from error
    tracing = _Tracing(module, input_shape)
    for node in graph.nodes:
        try:
            tracing.run(node)
        except _Unreadable as error:
            what = node.target if node.op in ("call_module", "get_attr") else node.name
            raise VerificationError(f"node {str(what)!r}: {error}") from None
    layers = tracing.layers
    counted, held = sum(layer.num_params for layer in layers), sum(p.numel() for p in module.parameters())
    if counted != held:
        raise VerificationError(
            f"{type(module).__name__} holds {held:,} parameters, and the layers that run have {counted:,}: some are "
            "never used or are shared between layers; remove or separate them"
        )
    return layers


class _Tracing:
    """Appends a layer for each node of the graph that computes one."""

    def __init__(self, module: nn.Module, input_shape: Shape) -> None:
        self.layers: list[Layer] = []
        self._module = module
        self._input_shape = input_shape
        self._values: dict[fx.Node, _Value] = {}
        self._uses: dict[str, int] = {}

    def run(self, node: fx.Node) -> None:
        args: list[Any] = list(fx.map_arg(node.args, self._values.__getitem__))
        match node.op:
            case "placeholder":
                if self._values or node.args:
                    raise _Unreadable("forward must take one argument, the images")
                self._values[node] = _Map(IMAGE, self._input_shape)
            case "call_module":
                self._values[node] = self._run_module(str(node.target), args, node.kwargs)
            case "call_function" | "call_method":
                name = _FUNCTIONS.get(node.target) if callable(node.target) else node.target
                if name is None or (node.op == "call_method" and name not in _METHODS):
                    raise _Unreadable(
                        f"{node.target} is no function that nas knows; use one of those that `nas export` writes"
                    )
                self._values[node] = self._run_function(name, args, dict(node.kwargs))
            case "get_attr":
                self._values[node] = self._read_scalar(str(node.target))
            case "output":
                self._check_output(args[0])
            case _:
                raise _Unreadable(f"{node.op} is nothing that nas can read")

    def _run_module(self, path: str, args: list[Any], kwargs: dict[str, Any]) -> _Value:
        if len(args) != 1 or kwargs:
            raise _Unreadable("a layer takes one tensor")
        source = _tensor(args[0])
        module = self._module.get_submodule(path)
        if type(module) is nn.Identity:
            return source
        if type(module) is nn.Flatten:
            if (module.start_dim, module.end_dim) != (1, -1):
                raise _Unreadable("Flatten must keep the images apart and nothing else")
            return _flat(source)
        use = self._uses[path] = self._uses.get(path, -1) + 1
        return self._append(_operation(module), (source,), path, use)

    def _read_scalar(self, path: str) -> _Scalar:
        try:
            parameter = self._module.get_parameter(path)
        except AttributeError:
            parameter = None
        if parameter is None or parameter.shape != (1,):
            raise _Unreadable("forward uses a tensor directly; put it into a layer")
        return _Scalar(path)

    def _scale(self, args: list[Any]) -> _Scaled:
        """Return the first half of a `ScalarNorm`: its norm times its weight."""
        match args:
            case [_Map(layer) as norm, _Scalar(path) as weight] if layer == len(self.layers) - 1 != IMAGE:
                operation, group = self.layers[layer].operation, self.layers[layer].group
                is_plain = isinstance(operation, BatchNorm2d) and operation.trained == "nothing"
                if is_plain and f"{group.removesuffix('norm')}weight" == path:
                    return _Scaled(norm, weight)
        raise _Unreadable("only a norm without parameters is multiplied, by the `weight` of a ScalarNorm")

    def _shift(self, scaled: _Scaled, bias: Any) -> _Map:
        """Return the second half of a `ScalarNorm`, and make its norm one with scalars."""
        if not isinstance(bias, _Scalar) or bias.path != f"{scaled.weight.path.removesuffix('weight')}bias":
            raise _Unreadable("to a norm that was multiplied only the `bias` of its ScalarNorm is added")
        layer = self.layers[scaled.norm.layer]
        assert isinstance(layer.operation, BatchNorm2d)
        operation = BatchNorm2d(layer.operation.channels, "scalars")
        num_params = 0 if layer.use else operation.num_params
        self.layers[scaled.norm.layer] = layer._replace(operation=operation, num_params=num_params)
        return scaled.norm

    def _run_function(self, name: str, args: list[Any], kwargs: dict[str, Any]) -> _Value:
        if name == "multiply":
            return self._scale(args)
        if name == "add" and len(args) == 2 and isinstance(args[0], _Scaled) and not kwargs:
            return self._shift(args[0], args[1])
        if name == "getattr" and args[1:] == ["shape"]:
            return _SHAPE
        if name == "getitem" and args == [_SHAPE, 0]:
            return _BATCH
        source = _tensor(args[0] if args else None)
        if name == "mean":
            dims = args[1:] or [kwargs.pop("dim", None)]
            kept = kwargs.pop("keepdim", False)
            if len(source.shape) != 3 or dims not in ([(2, 3)], [[2, 3]], [(-2, -1)], [[-2, -1]]) or kwargs:
                raise _Unreadable("mean must be over height and width")
            pooled = self._append(AdaptiveAvgPool2d(), (source,))
            return pooled if kept else _flat(pooled)
        if name == "flatten" and "start_dim" in kwargs:
            args.append(kwargs.pop("start_dim"))
        for key, value in kwargs.items():
            if key not in _HARMLESS or _HARMLESS[key] != value:
                raise _Unreadable(f"{name} with {key} = {value!r} is not in the vocabulary")
        if name == "add" and len(args) == 2:
            return self._append(Add(), (source, _tensor(args[1])))
        if name in _ACTIVATIONS and len(args) == 1:
            return self._append(Activation(_ACTIVATIONS[name], functional=True), (source,))
        if name == "flatten" and args[1:] in ([1], [1, -1]):
            return _flat(source)
        if name in ("view", "reshape"):
            sizes = tuple(args[1]) if len(args) == 2 and isinstance(args[1], (tuple, list)) else tuple(args[1:])
            if sizes in ((_BATCH, -1), (_BATCH, prod(source.shape)), (-1, prod(source.shape))):
                return _flat(source)
        if name == "size" and args[1:] == [0]:
            return _BATCH
        raise _Unreadable(f"{name}({', '.join(str(a) for a in args[1:])}) is not in the vocabulary")

    def _append(self, operation: Operation, sources: tuple[_Map, ...], group: str = "", use: int = 0) -> _Map:
        shape = sources[0].shape
        _check_shapes(operation, [s.shape for s in sources])
        output = operation.output_shape(shape)
        if min(output) < 1:
            raise _Unreadable(f"the map of {shape} is too small for {operation}")
        # As in lowering, a linear layer reads the map itself.
        source = sources[0].layer
        if isinstance(operation, Linear):
            shape = self._input_shape if source == IMAGE else self.layers[source].output_shape
        num_params = 0 if use else operation.num_params
        indices = tuple(s.layer for s in sources)
        self.layers.append(Layer(operation, group, use, indices, shape, output, num_params, operation.num_macs(output)))
        return _Map(len(self.layers) - 1, output)

    def _check_output(self, value: Any) -> None:
        result = _tensor(value)
        if len(result.shape) != 1:
            raise _Unreadable(f"forward ends in a map of {result.shape}, not in logits; flatten it")
        read = {s for layer in self.layers for s in layer.sources} | {result.layer}
        unread = [layer for index, layer in enumerate(self.layers) if index not in read]
        if unread or result.layer != len(self.layers) - 1:
            name = unread[0].group or unread[0].operation.kind if unread else "a layer"
            raise _Unreadable(f"the result of {name!r} is never used; remove it")


def _tensor(value: Any) -> _Map:
    if not isinstance(value, _Map):
        raise _Unreadable(f"{value!r} stands where only a tensor can")
    return value


def _flat(value: _Map) -> _Map:
    return _Map(value.layer, (prod(value.shape),))


def _check_shapes(operation: Operation, shapes: list[Shape]) -> None:
    shape = shapes[0]
    match operation:
        case Linear(in_features=features):
            fits = shape == (features,)
        case Conv2d(in_channels=channels) | BatchNorm2d(channels=channels):
            fits = len(shape) == 3 and shape[0] == channels
        case Add():
            fits = shapes[1] == shape
        case Activation() | Dropout():
            fits = True
        case _:
            fits = len(shape) == 3
    if not fits:
        raise _Unreadable(f"{operation} cannot read {' and '.join(map(str, shapes))}")


_ACTIVATION_OF = {getattr(nn, Activation(name).kind): name for name in get_args(ActivationName)}


def _operation(module: nn.Module) -> Operation:
    """Return the operation that `module` performs; refuse a setting that no operation has."""
    operation = _nearest_operation(module)
    with torch.device("meta"):
        expected = make_operation(operation)
    has, belongs = _settings(module), _settings(expected)
    for key in {**belongs, **has}:
        if key not in has or key not in belongs or has[key] != belongs[key]:
            known = f"must be {belongs[key]!r}" if key in belongs else "must not be there"
            raise _Unreadable(f"{type(module).__name__}'s {key} is {has.get(key)!r} and {known} for nas to read it")
    if module._forward_hooks or module._forward_pre_hooks:
        raise _Unreadable(f"{type(module).__name__} has hooks, which can change what it computes; remove them")
    return operation


def _nearest_operation(module: Any) -> Operation:
    kind = type(module)  # exactly this class: a subclass may compute anything
    if kind in _ACTIVATION_OF:
        return Activation(_ACTIVATION_OF[kind])
    if kind is nn.Conv2d:
        kernel, stride, padding = (_side(module, n) for n in ("kernel_size", "stride", "padding"))
        bias = module.bias is not None
        return Conv2d(module.in_channels, module.out_channels, kernel, stride, padding, module.groups, bias)
    if kind is nn.Linear:
        return Linear(module.in_features, module.out_features, module.bias is not None)
    if kind is nn.BatchNorm2d:
        if module.bias is None:
            return BatchNorm2d(module.num_features, "nothing")
        return BatchNorm2d(module.num_features, "bias" if module.weight is None else "weight_and_bias")
    if kind is nn.Dropout or kind is nn.Dropout2d:
        return (Dropout if kind is nn.Dropout else Dropout2d)(module.p)
    if kind is nn.MaxPool2d or kind is nn.AvgPool2d:
        pool = MaxPool2d if kind is nn.MaxPool2d else AvgPool2d
        return pool(_side(module, "kernel_size"), _side(module, "stride"))
    if kind is nn.AdaptiveAvgPool2d:
        return AdaptiveAvgPool2d()
    raise _Unreadable(f"{kind.__name__} is no layer that nas knows; use one of those that `nas export` writes")


def _settings(module: nn.Module) -> dict[str, Any]:
    """Return every public setting of a layer, and the shapes of its tensors."""
    settings = {k: _one_side(v) for k, v in vars(module).items() if not k.startswith("_") and k != "training"}
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    return settings | {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def _side(module: nn.Module, name: str) -> int:
    side = _one_side(getattr(module, name))
    if isinstance(side, bool) or not isinstance(side, int):
        raise _Unreadable(f"{type(module).__name__}'s {name} is {side!r} and must be one whole number for both sides")
    return side


def _one_side(value: Any) -> Any:
    """Return (3, 3) as 3, and any other value as it is."""
    return value[0] if isinstance(value, tuple) and len(set(value)) == 1 else value
