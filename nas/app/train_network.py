"""`nas arch train`: one network, one recipe."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from nas.app.quantize import Report, quantize_and_measure
from nas.app.write_export import Quantized, make_folder, write_export
from nas.arch import ArchitectureFile, Layer, digest_of, lower
from nas.costs import costs_of
from nas.data.images import Dataset
from nas.data.load import load_dataset
from nas.data.split import parts_of
from nas.errors import DataError
from nas.export.formats import format_of, require_prefix_fits
from nas.model.build import build
from nas.model.trained_network import TrainedNetwork
from nas.study.claims import data_claims
from nas.study.records import last_epochs_mean
from nas.train.device import find_device, use_one_thread
from nas.train.engine import train as train_network
from nas.train.epoch import Epoch
from nas.train.prepared_data import prepare


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRequest:
    """How to train one described network."""

    dataset: str
    epochs: int | None = None  # None: the recipe's
    seed: int = 0  # of the weights, the order of the images and the split
    test: bool = False  # train on the whole training set and read the test set
    image_size: int | None = None  # pixels; folders only
    color: bool | None = None  # folders only
    output: Path | None = None  # where to write the trained network
    prefix: str | None = None  # of a C header's symbols; by default the file's name
    data_dir: Path | None = None
    device: str = "auto"


def train_described(
    described: ArchitectureFile, request: TrainingRequest, on_epoch: Callable[[Epoch, int], None], report: Report
) -> dict[str, Any]:
    """Train the network of `described`; return what happened, ready for JSON.

    `on_epoch` is called after each epoch, with the number of all epochs; `report` takes what is done after the last.

    Raises:
        UsageError: `prefix` is given for a format without symbols.
        ExportError: the name of `output` says no format, or it cannot be written; its folder is made before the
            training.
        DataError: the images do not have the shape or the classes that the network is for.
    """
    output = request.output
    if output is not None:
        format_of(output)
        require_prefix_fits(output, request.prefix)
        make_folder(output)
    device = find_device(request.device)
    use_one_thread(device)
    dataset = load_dataset(request.dataset, request.data_dir, request.image_size, request.color)
    _require_fit(described, dataset)
    recipe = replace(described.recipe, epochs=request.epochs) if request.epochs else described.recipe
    parts = parts_of(dataset, request.seed)
    pair = (parts.whole_train, parts.test) if request.test else (parts.train, parts.validation)
    data = prepare(*pair, dataset.policy, device)
    layers = lower(described.architecture)
    torch.manual_seed(request.seed)
    module = build(layers)
    epochs = []
    for epoch in train_network(module, recipe, data, request.seed):
        on_epoch(epoch, recipe.epochs)
        epochs.append(epoch)
    result = _result(described, layers, dataset, request, device, epochs)
    if output is not None:
        mean, std = data.mean_and_std()
        weights = {name: tensor.detach().cpu().numpy() for name, tensor in module.state_dict().items()}
        network = TrainedNetwork(described.architecture, recipe, weights, mean, std, dataset.classes)
        claims = {"name": described.name, **_claims(result, dataset, request)}
        about = f"{described.name}, trained by nas on {claims['dataset']} with seed {request.seed}."

        def quantized() -> Quantized:
            return quantize_and_measure(
                network, *pair, dataset=dataset.name, is_test=request.test, seed=request.seed, report=report
            )

        result |= write_export(network, claims, about, output, request.prefix, quantized, report)
    return result


def _require_fit(described: ArchitectureFile, dataset: Dataset) -> None:
    if dataset.image_shape != described.input or dataset.num_classes != described.classes:
        raise DataError(
            f"{described.name} is for images {'x'.join(map(str, described.input))} of {described.classes} classes, "
            f"and {dataset.name} has {'x'.join(map(str, dataset.image_shape))} of {dataset.num_classes}; change "
            f"`input` and `classes` in the file, or take another `dataset`"
        )


def _result(
    described: ArchitectureFile,
    layers: list[Layer],
    dataset: Dataset,
    request: TrainingRequest,
    device: torch.device,
    epochs: list[Epoch],
) -> dict[str, Any]:
    accuracies = tuple(epoch.accuracy for epoch in epochs)
    seconds = sum(epoch.seconds for epoch in epochs)
    return {
        "name": described.name,
        **costs_of(layers).counts(),
        "digest": digest_of(layers),
        "dataset": dataset.name,
        "trained_on": "train" if request.test else "train without validation",
        "test_accuracy" if request.test else "validation_accuracy": accuracies,
        "figure": round(last_epochs_mean(accuracies), 4),
        "seed": request.seed,
        "device": str(device),
        "train_seconds": round(seconds, 2),
        "images_per_second": round(sum(epoch.images for epoch in epochs) / seconds),
    }


def _claims(result: dict[str, Any], dataset: Dataset, request: TrainingRequest) -> dict[str, Any]:
    """Return what the exported file says of itself."""
    counts = ("num_params", "deployed_params", "num_macs", "peak_activation_bytes", "digest")
    claims = {key: result[key] for key in counts}
    claims |= data_claims(dataset.name, dataset.fingerprint, request.seed, request.image_size, request.color)
    if request.test:
        last = result["test_accuracy"][-1]
        claims |= {"test_accuracy": result["figure"], "seeds": 1, "weights_test_accuracy": round(last, 4)}
    return claims
