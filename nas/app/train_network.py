"""`nas arch train`: one network, one recipe, with a live display."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from nas.arch import ArchitectureFile, costs_of, digest_of, lower
from nas.data.load import load_dataset
from nas.data.split import parts_of
from nas.errors import DataError, NasError
from nas.export.python_module import module_source
from nas.model.build import build
from nas.study.records import last_epochs_mean
from nas.train.engine import find_device, prepare, use_one_thread
from nas.train.engine import train as train_network
from nas.train.epoch import Epoch


def train_described(
    described: ArchitectureFile,
    dataset_name: str,
    epochs: int | None,
    seed: int,
    test: bool,
    image_size: int | None,
    color: bool | None,
    output: Path | None,
    data_dir: Path | None,
    device: str,
) -> dict[str, Any]:
    """Trains the network of `described`; returns what happened, ready for JSON.

    Raises:
        DataError: the images do not have the shape or the classes that the network is for.
        NasError: `output` cannot be written; its folder is made before the training.
    """
    if output is not None:
        with _writing(output):
            output.parent.mkdir(parents=True, exist_ok=True)
    where = find_device(device)
    use_one_thread(where)
    dataset = load_dataset(dataset_name, data_dir, image_size, color)
    if dataset.image_shape != described.input or dataset.num_classes != described.classes:
        raise DataError(
            f"{described.name} is for images {'x'.join(map(str, described.input))} of {described.classes} classes, "
            f"and {dataset_name} has {'x'.join(map(str, dataset.image_shape))} of {dataset.num_classes}; change "
            f"`input` and `classes` in the file, or take another --dataset"
        )
    recipe = replace(described.recipe, epochs=epochs) if epochs else described.recipe
    parts = parts_of(dataset, seed)
    pair = (parts.whole_train, parts.test) if test else (parts.train, parts.validation)
    data = prepare(*pair, dataset.policy, where)
    layers = lower(described.architecture)
    torch.manual_seed(seed)
    network = build(layers)
    kind = "test" if test else "validation"
    done = list(_shown(train_network(network, recipe, data, seed), recipe.epochs, kind))
    curve = tuple(epoch.accuracy for epoch in done)
    result: dict[str, Any] = {
        "name": described.name,
        **asdict(costs_of(layers)),
        "digest": digest_of(layers),
        "dataset": dataset.name,
        "trained_on": "train" if test else "train without validation",
        f"{kind}_accuracy": curve,
        "figure": round(last_epochs_mean(curve), 4),
        "seed": seed,
        "device": str(where),
        "train_seconds": round(sum(epoch.seconds for epoch in done), 2),
        "images_per_second": round(sum(epoch.images for epoch in done) / sum(epoch.seconds for epoch in done)),
    }
    if output is not None:
        keys = ("num_params", "num_macs", "peak_activation_bytes", "digest", "dataset")
        claims = {key: result[key] for key in keys} | {"data_fingerprint": dataset.fingerprint}
        if test:
            claims |= {"test_accuracy": result["figure"], "seeds": 1, "weights_test_accuracy": round(curve[-1], 4)}
        means, stds = (tuple(round(v, 6) for v in t.flatten().tolist()) for t in (data.mean, data.std))
        source = module_source(
            described.architecture,
            provenance=f"{described.name}, trained by nas on {dataset_name} with seed {seed}.",
            claims=claims,
            weights_name=output.with_suffix(".pt").name,
            mean=means,
            std=stds,
        )
        weights = {k: v.detach().cpu().contiguous() for k, v in network.state_dict().items()}
        with _writing(output):
            torch.save(weights, output.with_suffix(".pt"))
            output.write_text(source)
    return result


@contextmanager
def _writing(output: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError) as error:  # torch meets a full disk with a RuntimeError
        raise NasError(f"cannot write {output}: {error}; choose another -o") from None


def _shown(training: Iterator[Epoch], total: int, kind: str) -> Iterator[Epoch]:
    """The epochs of `training`, each shown on standard error as it comes: a bar on a terminal, else a line."""
    console = Console(stderr=True)
    if not console.is_terminal:
        for epoch in training:
            print(_line(epoch, total, kind), file=sys.stderr, flush=True)
            yield epoch
        return
    columns = (BarColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(f"epoch 1/{total}", total=total)
        for epoch in training:
            progress.update(task, advance=1, description=_line(epoch, total, kind))
            yield epoch


def _line(epoch: Epoch, total: int, kind: str) -> str:
    return (
        f"epoch {epoch.number}/{total}  loss {epoch.train_loss:.4f}  {kind} {epoch.accuracy:.2f} %  "
        f"{epoch.images / epoch.seconds:,.0f} images/s"
    )
