"""Python modules that need nothing but torch, their weights beside them: written, and read back."""

from __future__ import annotations

import importlib.machinery
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from nas.arch import digest_of
from nas.costs import costs_of
from nas.errors import VerificationError, describe
from nas.export.module_text import ModuleText
from nas.model.exported_file import LoadedExport, run_in_batches
from nas.model.image_network import normalize, state_dict_of
from nas.model.metadata import Metadata, metadata_of
from nas.model.python_source import module_source
from nas.model.trace import trace_layers
from nas.model.trained_network import TrainedNetwork


def write_python_module(
    network: TrainedNetwork, claims: Mapping[str, object], path: Path, provenance: str = ""
) -> None:
    """Write the network to the module `path` and its weights beside it, in the file of that name that ends in .pt.

    `provenance` says where the network comes from: paragraphs of prose for the docstring.

    Raises:
        ExportError: the normalization or the class names do not fit the network.
        OSError, RuntimeError: a file cannot be written.
    """
    about, weights = metadata_of(network, claims), path.with_suffix(".pt")
    source = module_source(
        network.architecture,
        provenance=provenance,
        claims=claims,
        weights_name=weights.name,
        mean=about.mean,
        std=about.std,
        class_names=about.class_names,
        recipe=network.recipe,
    )
    torch.save(state_dict_of(network), weights)
    path.write_text(source, "utf-8")


@dataclass(frozen=True, slots=True)
class PythonModule(LoadedExport):
    """A module that was read back."""

    path: Path
    metadata: Metadata
    net: nn.Module  # normalized float32 (N, C, H, W) to logits (N, classes), in eval mode
    trained: bool  # whether `net` has trained weights: the file has `load_trained`

    def _logits(self, images: Tensor) -> Tensor:
        mean, std = self.metadata.mean, self.metadata.std
        return run_in_batches(lambda batch: self.net(normalize(batch, mean, std)), images)

    def _derive(self) -> dict[str, object]:
        layers = trace_layers(self.net, self.input_shape)
        costs = costs_of(layers)
        # Norms are folded within a submodule of the network, whose layers have paths of their own here.
        folded = costs_of([layer._replace(group=layer.group.partition(".")[0]) for layer in layers])
        return {
            "num_params": sum(p.numel() for p in self.net.parameters()),
            "deployed_params": folded.deployed_params,
            "num_macs": costs.num_macs,
            "peak_activation_bytes": costs.peak_activation_bytes,
            "digest": digest_of(layers),
        }


def load_python_module(path: Path) -> PythonModule:
    """Return the exported module at `path`. This executes the file: load only files that you trust.

    Raises:
        VerificationError: the file is missing, does not run, or lacks the network or one of its constants; or the
            trained weights beside it are missing or do not fit.
    """
    metadata = ModuleText(path).metadata()
    namespace = _execute(path)
    trained = callable(getattr(namespace, "load_trained", None))
    make = namespace.load_trained if trained else _network_class(namespace, path)
    try:
        net = make()
    except Exception as error:  # foreign code: whatever it raises is the user's to read
        hint = "; keep the weights beside the module, under its name with .pt" if trained else ""
        raise VerificationError(f"{path}: {make.__name__}() fails: {describe(error)}{hint}") from error
    if not isinstance(net, nn.Module):
        raise VerificationError(f"{path}: {make.__name__}() returns {type(net).__name__}, not a torch module")
    return PythonModule(path, metadata, net.eval(), trained)


class _Loader(importlib.machinery.SourceFileLoader):
    """Reads and writes no bytecode cache: a stale one could stand in for the file."""

    def path_stats(self, path: str) -> Mapping[str, Any]:
        raise OSError("no cache")


def _execute(path: Path) -> ModuleType:
    loader = _Loader("exported_network", str(path))
    spec = importlib.util.spec_from_file_location(loader.name, path, loader=loader)
    assert spec is not None  # a path and a loader always make one
    namespace = importlib.util.module_from_spec(spec)
    try:
        loader.exec_module(namespace)
    except (Exception, SystemExit) as error:
        raise VerificationError(f"{path} does not run: {describe(error)}") from error
    return namespace


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
