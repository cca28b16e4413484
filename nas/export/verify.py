"""An exported module and what of its claims holds when they are derived again."""

from __future__ import annotations

import importlib.machinery
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from nas.arch import costs_of, digest_of
from nas.errors import VerificationError
from nas.model.trace import trace_layers


@dataclass(frozen=True, slots=True)
class ExportedModule:
    """What an exported file holds. Inputs of `net` are (image / 255 - mean) / std, images (N, *input_shape)."""

    path: Path
    claims: Mapping[str, object]
    net: nn.Module  # in eval mode; with its trained weights where the file has `load_trained`
    trained: bool
    input_shape: tuple[int, int, int]  # channels, height, width
    mean: tuple[float, ...]  # for each channel
    std: tuple[float, ...]  # for each channel


@dataclass(frozen=True, slots=True)
class Check:
    """One claim beside what was derived; `claimed` is None where the file does not claim it."""

    claim: str
    claimed: object
    derived: object
    holds: bool


def load_exported(path: Path) -> ExportedModule:
    """The exported module at `path`. This executes the file: load only files that you trust.

    Raises:
        VerificationError: the file is missing, does not run, or lacks the network or one of its constants; or the
            trained weights beside it are missing or do not fit.
    """
    namespace = _execute(path)
    claims = _constant(namespace, path, "CLAIMS", dict)
    input_shape = _constant(namespace, path, "INPUT_SHAPE", tuple)
    mean, std = (_constant(namespace, path, name, tuple) for name in ("MEAN", "STD"))
    if len(input_shape) != 3 or any(type(size) is not int or size < 1 for size in input_shape):
        raise VerificationError(f"{path}: INPUT_SHAPE is {input_shape!r} and must be (channels, height, width)")
    for name, numbers in (("MEAN", mean), ("STD", std)):
        if len(numbers) != input_shape[0] or any(type(n) not in (int, float) for n in numbers):
            raise VerificationError(f"{path}: {name} is {numbers!r} and must be {input_shape[0]} numbers")
    trained = callable(getattr(namespace, "load_trained", None))
    make = namespace.load_trained if trained else _network_class(namespace, path)
    try:
        net = make()
    except Exception as error:  # foreign code: whatever it raises is the user's to read
        hint = "; keep the weights beside the module, under its name with .pt" if trained else ""
        raise VerificationError(f"{path}: {make.__name__}() fails: {_told(error)}{hint}") from error
    if not isinstance(net, nn.Module):
        raise VerificationError(f"{path}: {make.__name__}() returns {type(net).__name__}, not a torch module")
    return ExportedModule(path, claims, net.eval(), trained, input_shape, mean, std)


def verify_structure(exported: ExportedModule) -> list[Check]:
    """The claims that follow from the structure alone, derived from the network itself; accuracy is not among them.

    A claim that the file does not make does not hold.

    Raises:
        VerificationError: the network holds or calls something outside the vocabulary; the text names it.
    """
    layers = trace_layers(exported.net, exported.input_shape)
    costs = costs_of(layers)
    derived = {
        "num_params": sum(p.numel() for p in exported.net.parameters()),
        "num_macs": costs.num_macs,
        "peak_activation_bytes": costs.peak_activation_bytes,
        "digest": digest_of(layers),
    }
    claims = exported.claims
    return [Check(name, claims.get(name), value, claims.get(name) == value) for name, value in derived.items()]


class _Loader(importlib.machinery.SourceFileLoader):
    """Without the bytecode cache: nothing is written beside the user's file, and no stale cache stands in for it."""

    def path_stats(self, path: str) -> Mapping[str, Any]:
        raise OSError("no cache")


def _execute(path: Path) -> ModuleType:
    if not path.is_file():
        raise VerificationError(f"{path} is not there; give the path of a module that `nas export` wrote")
    loader = _Loader("exported_network", str(path))
    spec = importlib.util.spec_from_file_location(loader.name, path, loader=loader)
    assert spec is not None  # a path and a loader always make one
    namespace = importlib.util.module_from_spec(spec)
    try:
        loader.exec_module(namespace)
    except SyntaxError as error:
        raise VerificationError(f"{path} is not valid Python: {error.msg} (line {error.lineno})") from error
    except (Exception, SystemExit) as error:
        raise VerificationError(f"{path} does not run: {_told(error)}") from error
    return namespace


def _constant(namespace: ModuleType, path: Path, name: str, kind: type) -> Any:
    value = getattr(namespace, name, None)
    if not isinstance(value, kind):
        what = "does not define" if value is None else f"has a {type(value).__name__} as"
        raise VerificationError(f"{path} {what} {name}, a {kind.__name__}; give a module that `nas export` wrote")
    return value


def _network_class(namespace: ModuleType, path: Path) -> type[nn.Module]:
    own = [
        value
        for value in vars(namespace).values()
        if isinstance(value, type) and issubclass(value, nn.Module) and value.__module__ == namespace.__name__
    ]
    if len(own) != 1:
        names = ", ".join(value.__name__ for value in own) or "none"
        raise VerificationError(f"{path} must have one network class and has {names}; add load_trained() to choose one")
    return own[0]


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
