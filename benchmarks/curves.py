"""Trains every network of a small space within a budget, once each, and keeps the learning curves as a table.

    python benchmarks/curves.py --dataset digits --max-params 3000
    python benchmarks/curves.py --dataset mnist --train-images 5000 --validation-images 2500 --epochs 8

`search_quality.py` replays the table: whatever a search proposes, its curve is known, and a search of an hour is over
in a second. The same command goes on where it was interrupted, at the cost of the one training that was under way.

Seconds in the table are those of the processor, of one thread: on a quiet machine they are what the clock says, and on
a busy one they do not count the others.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import platform
import random
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import torch

from nas.arch import Input, Recipe, recipe_digest
from nas.data.images import Dataset, ImageSet
from nas.data.load import load_dataset
from nas.data.split import split
from nas.decode import encode
from nas.model.build import build
from nas.space import Candidate, Space, candidate, load_space, recipe_of
from nas.study.records import last_epochs_mean
from nas.train.device import use_one_thread
from nas.train.engine import train
from nas.train.prepared_data import PreparedData, prepare

TABLES = Path(__file__).parent / "curves"
SPLIT_SEED = 0


@dataclass(frozen=True)
class Settings:
    """What a table was made with; a table goes on with the same ones only."""

    dataset: str
    fingerprint: str  # of the data
    space: str  # digest
    max_params: int
    train_images: int
    validation_images: int
    epochs: int
    seed: int


@dataclass(frozen=True)
class Curve:
    """One training."""

    num_params: int
    accuracy: tuple[float, ...]  # percent of the validation images, one an epoch
    seconds: tuple[float, ...]  # of the processor, one an epoch


Key = tuple[str, str]  # digest of the network, digest of its recipe


@dataclass(frozen=True)
class Table:
    """Every network of a space within a budget, with its learning curve."""

    settings: Settings
    space: Space
    curves: dict[Key, Curve]

    def key(self, network: Candidate) -> Key:
        """Where `network`'s curve stands."""
        return network.digest, recipe_digest(table_recipe(self.space, network.genes, self.settings.epochs))


def table_recipe(space: Space, genes: dict[str, Any], epochs: int) -> Recipe:
    """The recipe of `genes`, with the table's number of epochs."""
    return replace(recipe_of(space, genes), epochs=epochs)


def networks(space: Space, epochs: int) -> dict[Key, Candidate]:
    """Every distinct network and recipe of `space`, of any size."""
    found: dict[Key, Candidate] = {}
    for values in itertools.product(*(domain.values() for domain in space.genes.values())):
        network = candidate(space, dict(zip(space.genes, values, strict=True)))
        if network is not None:
            key = network.digest, recipe_digest(table_recipe(space, network.genes, epochs))
            found.setdefault(key, network)
    return found


def read_table(name: str, folder: Path = TABLES) -> Table:
    """The table `NAME.csv` with the settings beside it.

    Raises:
        ValueError: the space has changed since.
    """
    document = json.loads((folder / f"{name}.json").read_text())
    settings = Settings(**document["settings"])
    space = load_space(str(TABLES / "space.toml"), Input(*document["image_shape"]), document["classes"])
    if space.digest != settings.space:
        raise ValueError(f"{TABLES / 'space.toml'} is not the space of table {name}; make the table again")
    return Table(settings, space, dict(_rows(folder / f"{name}.csv")))


def _rows(path: Path) -> Iterator[tuple[Key, Curve]]:
    """The whole lines of a table; a last one that was cut off is passed over."""
    with path.open(newline="") as file:
        lines = [line for line in file if line.endswith("\n")]
    for row in csv.DictReader(lines):
        numbers = {what: tuple(float(x) for x in row[what].split()) for what in ("accuracy", "seconds")}
        yield (row["digest"], row["recipe"]), Curve(int(row["num_params"]), **numbers)


def _data(dataset: Dataset, train_images: int | None, validation_images: int) -> PreparedData:
    """A fixed, stratified part of the training set to train on, and others to validate on; the test set is not read."""
    rest, validation = split(dataset.train.labels, validation_images / len(dataset.train), SPLIT_SEED)
    if train_images is not None and train_images < len(rest):
        _, chosen = split(dataset.train.labels[rest], train_images / len(rest), SPLIT_SEED)
        rest = rest[chosen]
    parts: list[ImageSet] = [dataset.train.subset(rest), dataset.train.subset(validation)]
    return prepare(*parts, dataset.policy, torch.device("cpu"))


def _train(network: Candidate, recipe: Recipe, data: PreparedData, table_seed: int) -> Curve:
    seed = random.Random(f"{table_seed}:{network.digest}").randrange(2**31)
    torch.manual_seed(seed)
    accuracies, seconds = [], []
    started = time.process_time()
    for epoch in train(build(network.layers), recipe, data, seed):
        now = time.process_time()
        accuracies.append(round(epoch.accuracy, 3))
        seconds.append(round(now - started, 4))
        started = now
    return Curve(network.costs.num_params, tuple(accuracies), tuple(seconds))


def _start(name: str, folder: Path, settings: Settings, dataset: Dataset) -> dict[Key, Curve]:
    """Writes the settings and the header, or reads what is there and cuts off a torn last line.

    Raises:
        SystemExit: the table was begun with other settings.
    """
    path, beside = folder / f"{name}.csv", folder / f"{name}.json"
    if path.exists():
        before = Settings(**json.loads(beside.read_text())["settings"])
        if before != settings:
            sys.exit(f"{path} was made with {before}, not with {settings}; remove it, or give another --name")
        text = path.read_text()
        path.write_text(text[: text.rfind("\n") + 1])
        return dict(_rows(path))
    folder.mkdir(parents=True, exist_ok=True)
    document = {
        "settings": encode(settings),
        "image_shape": dataset.image_shape,
        "classes": dataset.num_classes,
        "date": date.today().isoformat(),
        "hardware": f"{platform.processor() or platform.machine()}, one thread",
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
    }
    beside.write_text(json.dumps(document, indent=2) + "\n")
    path.write_text("digest,recipe,num_params,accuracy,seconds\n")
    return {}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="digits")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--max-params", type=int, default=3000)
    parser.add_argument("--train-images", type=int, help="all that do not validate, unless given")
    parser.add_argument("--validation-images", type=int, default=500)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--name", help="of the table; the data set's unless given")
    parser.add_argument(
        "--at-least", type=float, help="percent; leaves out networks that end below it in the data set's own table"
    )
    parser.add_argument("--folder", type=Path, default=TABLES)
    parser.add_argument("--limit", type=int, help="trainings after which to stop; the same command goes on")
    options = parser.parse_args()
    use_one_thread(torch.device("cpu"))
    dataset = load_dataset(options.dataset, options.data_dir)
    space = load_space(str(TABLES / "space.toml"), Input(*dataset.image_shape), dataset.num_classes)
    data = _data(dataset, options.train_images, options.validation_images)
    settings = Settings(
        dataset=options.dataset,
        fingerprint=dataset.fingerprint,
        space=space.digest,
        max_params=options.max_params,
        train_images=len(data.train),
        validation_images=len(data.evaluation),
        epochs=options.epochs,
        seed=options.seed,
    )
    name = options.name or options.dataset
    done = _start(name, options.folder, settings, dataset)
    everything = networks(space, options.epochs)
    wanted = {k: n for k, n in everything.items() if n.costs.num_params <= options.max_params}
    if options.at_least is not None:
        own = read_table(options.dataset).curves
        wanted = {k: n for k, n in wanted.items() if last_epochs_mean(own[k].accuracy) >= options.at_least}
    print(f"{len(everything)} networks, {len(wanted)} within {options.max_params:,} parameters, {len(done)} trained")
    missing = [(key, network) for key, network in wanted.items() if key not in done][: options.limit]
    for _, network in missing[:1]:  # the first training of a process is slower than the others
        _train(network, table_recipe(space, network.genes, 1), data, 0)
    started = time.monotonic()
    with (options.folder / f"{name}.csv").open("a", newline="") as file:
        for count, (key, network) in enumerate(missing, start=1):
            curve = _train(network, table_recipe(space, network.genes, options.epochs), data, options.seed)
            numbers = [" ".join(f"{x:g}" for x in column) for column in (curve.accuracy, curve.seconds)]
            csv.writer(file, lineterminator="\n").writerow([*key, curve.num_params, *numbers])
            file.flush()
            left = (time.monotonic() - started) / count * (len(missing) - count)
            print(
                f"{count}/{len(missing)}: {curve.num_params:,} parameters, {curve.accuracy[-1]:.1f} %, "
                f"{sum(curve.seconds):.2f} s; {left / 60:.1f} minutes left",
                flush=True,
            )


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print("interrupted; the same command goes on", file=sys.stderr)
        sys.exit(130)
