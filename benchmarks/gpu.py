"""What one GPU does: is it right, how fast is one training, how many at once, and three seeds in three ways.

    python benchmarks/gpu.py --json --output benchmarks/results/gpu.json

Reference network 003 model 3, its batch of 128 and its augmentation and dropout, all of MNIST, 15 epochs; under eight
minutes on an H100. Each section is printed, and written to `--output`, as soon as it is there; one that fails is
recorded and does not keep the next from running. `--device cpu --quick` runs the same sections on digits, in seconds,
to see that the script itself is whole: what it prints then means nothing.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import textbook
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from nas.arch import Architecture, Block, Input, NormAct, Pool, Recipe, read_architecture
from nas.data.images import Dataset, ImageSet
from nas.data.load import load_dataset
from nas.errors import NasError
from nas.host import cache_folder
from nas.model.build import build
from nas.train import engine
from nas.train.device import find_device, use_one_thread
from nas.train.device_sharing import SharedDevice
from nas.train.engine import Training
from nas.train.epoch import Epoch
from nas.train.prepared_data import PreparedData, prepare

SECONDS = 420  # no section begins later than this
SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Task:
    """What is measured: sizes for a GPU, or tiny ones."""

    architecture: Architecture
    recipe: Recipe
    dataset: Dataset
    device: torch.device
    quick: bool

    def data(self, device: torch.device | None = None, images: int | None = None) -> PreparedData:
        train = ImageSet(self.dataset.train.images[:images], self.dataset.train.labels[:images])
        return prepare(train, self.dataset.test, self.dataset.policy, device or self.device)

    def network(self, seed: int) -> nn.Module:
        torch.manual_seed(seed)
        return build(self.architecture)

    def training(self, data: PreparedData, seed: int, recipe: Recipe | None = None, graphs: bool = True) -> Training:
        return Training([self.network(seed)], recipe or self.recipe, data, [seed], graphs)


def make_task(device: torch.device, quick: bool) -> Task:
    if quick:
        norm_act = NormAct(order="activation_first", dropout=0.1)
        small = Architecture(Input(1, 8, 8), 10, (Block(8, norm_act=norm_act), Pool(), Block(12, norm_act=norm_act)))
        recipe = Recipe(epochs=4, batch_size=64, augmentation=0.7)
        return Task(small, recipe, load_dataset("digits"), device, quick)
    reference = read_architecture(Path(__file__).parents[1] / "studies/reference/003_model_3.toml")
    recipe = Recipe(epochs=15, batch_size=128, augmentation=0.7)
    return Task(reference.architecture, recipe, load_dataset("mnist"), device, quick)


def run(training: Training) -> list[tuple[Epoch, ...]]:
    return list(training.epochs())


def seconds_of(call: Callable[[], Any]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def run_at_once(trainings: list[Training], device: torch.device) -> SharedDevice:
    shared = SharedDevice(device)
    for training in trainings:
        shared.add(training)
    while not all(training.is_done for training in trainings):
        for report in shared.advance():
            if isinstance(report.what, Exception):
                raise report.what
    return shared


# The sections: each gets the task and returns what goes into the document


def cpu_and_device_agree(task: Task) -> dict[str, Any]:
    """Two epochs on the CPU and on the device; orders and draws differ, so no more than accuracy can agree."""
    images = None if task.quick else 12_800
    recipe = replace(task.recipe, epochs=2)
    accuracies = {}
    for device in (torch.device("cpu"), task.device):
        data = task.data(device, images)
        accuracies[str(device)] = [run(task.training(data, seed, recipe))[-1][0].accuracy for seed in SEEDS]
    cpu, here = statistics.mean(accuracies["cpu"]), statistics.mean(accuracies[str(task.device)])
    spread = max(statistics.stdev(values) for values in accuracies.values())
    # Two means of three: three standard errors of their difference, and the noise of the evaluation set.
    allowed = 3 * spread * (2 / len(SEEDS)) ** 0.5 + 0.3
    return {"accuracies": accuracies, "difference": here - cpu, "allowed": allowed, "agree": abs(here - cpu) <= allowed}


def graphs_equal_eager_steps(task: Task) -> dict[str, Any]:
    """Largest difference of any weight after 20 and 100 steps, dropout and all, from kernels queued one by one."""
    batch, key = 32, task.device.type
    data, recipe = task.data(images=20 * batch), replace(task.recipe, epochs=5, batch_size=batch, averaging=0.9)

    def weights(graphs: bool, others: int = 0) -> list[torch.Tensor]:
        """After each epoch of one training, with `others` that take turns with it."""
        network, found = task.network(0), []
        shared, training = SharedDevice(task.device), Training([network], recipe, data, [0], graphs)
        shared.add(training)
        for seed in range(1, others + 1):
            shared.add(task.training(data, seed, recipe, graphs))
        while not training.is_done:
            for report in shared.advance():
                if isinstance(report.what, Exception):
                    raise report.what
                if report.training is training:
                    found.append(torch.cat([p.detach().flatten().clone() for p in network.parameters()]))
        return found

    before = torch.backends.cudnn.deterministic, engine.CHUNK[key]
    torch.backends.cudnn.deterministic = True
    engine.CHUNK[key] = 5 * batch  # four turns an epoch, so that augmentation becomes a graph too
    try:
        eager, graphs, packed = weights(False), weights(True), weights(True, others=3)
    finally:
        torch.backends.cudnn.deterministic, engine.CHUNK[key] = before
    result: dict[str, Any] = {}
    for name, found in (("graphs", graphs), ("packed", packed)):
        differences = [(one - other).abs().max().item() for one, other in zip(found, eager, strict=True)]
        result |= {f"{name}_after_20_steps": differences[0], f"{name}_after_100_steps": differences[-1]}
    return result | {"equal": max(result["graphs_after_20_steps"], result["packed_after_20_steps"]) <= 1e-4}


def one_training(task: Task) -> dict[str, Any]:
    """The whole training, three times, the first of which warms up."""
    data = task.data()
    seconds, accuracies = [], []
    for seed in SEEDS:
        started = time.perf_counter()
        epochs = run(task.training(data, seed))
        seconds.append(time.perf_counter() - started)
        accuracies.append(statistics.mean(epoch[0].accuracy for epoch in epochs[-3:]))
    eager_epoch = replace(task.recipe, epochs=1)
    return {
        "seconds": seconds,
        "median_seconds": statistics.median(seconds),
        "figures": accuracies,
        "images_per_second": len(data.train) * task.recipe.epochs / statistics.median(seconds),
        "without_graphs_seconds_an_epoch": seconds_of(lambda: run(task.training(data, 0, eager_epoch, graphs=False))),
    }


def layouts(task: Task) -> dict[str, Any]:
    """Which layout of maps is the faster: three epochs each."""
    data, recipe, before = task.data(), replace(task.recipe, epochs=3), engine.LAYOUT[task.device.type]
    result = {}
    try:
        for name, layout in (("contiguous", torch.contiguous_format), ("channels_last", torch.channels_last)):
            engine.LAYOUT[task.device.type] = layout
            times = [seconds_of(lambda: run(task.training(data, 0, recipe))) for _ in range(2)]
            result[f"{name}_seconds"] = min(times)
    finally:
        engine.LAYOUT[task.device.type] = before
    return result


def against_the_textbook(task: Task) -> dict[str, Any]:
    """One epoch of the loop that a good course teaches, and one of ours (the second, when all is warm)."""
    network = task.network(0)
    if task.quick:
        part = task.dataset.train
        set_ = TensorDataset(part.images.float(), part.labels)
        batches: Any = DataLoader(set_, batch_size=task.recipe.batch_size, shuffle=True)
        tests: Any = DataLoader(set_, batch_size=1000)
    else:
        batches, tests = textbook.loaders(cache_folder(), task.recipe.augmentation, task.recipe.batch_size)
    ((_, theirs),) = textbook.train(network, batches, tests, 1, task.recipe.learning_rate, task.device)
    ours = [epoch[0].seconds for epoch in run(task.training(task.data(), 0, replace(task.recipe, epochs=4)))]
    return {
        "textbook_seconds_an_epoch": theirs,
        "ours_seconds_an_epoch": statistics.median(ours[1:]),
        "ratio": theirs / statistics.median(ours[1:]),
    }


def packed(task: Task) -> dict[str, Any]:
    """Trials an hour with 1, 2, 4, 8 and 16 trainings at once, of five epochs each, scaled to whole trainings."""
    data, recipe = task.data(), replace(task.recipe, epochs=2 if task.quick else 5)
    rows: list[dict[str, Any]] = []
    for count in (1, 2) if task.quick else (1, 2, 4, 8, 16):
        times = []
        for _ in range(1 if count > 4 else 2):
            started = time.perf_counter()
            trainings = [task.training(data, seed, recipe) for seed in range(count)]
            shared = run_at_once(trainings, task.device)
            times.append(time.perf_counter() - started)
            del trainings
        trials = 3600 * count / (min(times) * task.recipe.epochs / recipe.epochs)
        rows.append({"trainings": count, "seconds": times, "trials_an_hour": trials})
        rows[-1]["times_serial"] = trials / rows[0]["trials_an_hour"]
        rows[-1]["bytes_each"] = shared.bytes_each
        print(f"  {rows[-1]}", file=sys.stderr, flush=True)
    return {"rows": rows, "most_times_serial": max(row["times_serial"] for row in rows)}


def three_seeds(task: Task) -> dict[str, Any]:
    """A confirmation's three seeds: one after the other, at once, and as one batch."""
    data, recipe = task.data(), replace(task.recipe, epochs=2 if task.quick else 5)

    def as_batch() -> None:
        run(Training([task.network(seed) for seed in SEEDS], recipe, data, SEEDS))

    ways = {
        "serial": lambda: [run(task.training(data, seed, recipe)) for seed in SEEDS],
        "packed": lambda: run_at_once([task.training(data, seed, recipe) for seed in SEEDS], task.device),
        "batched": as_batch,
    }
    return {f"{name}_seconds": min(seconds_of(way) for _ in range(2)) for name, way in ways.items()}


SECTIONS = (
    cpu_and_device_agree,
    graphs_equal_eager_steps,
    one_training,
    packed,
    three_seeds,
    against_the_textbook,
    layouts,
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON document to standard output at the end")
    parser.add_argument("--output", type=Path, help="a file that is written anew after each section")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that the script is whole")
    parser.add_argument("--only", nargs="*", choices=[section.__name__ for section in SECTIONS])
    arguments = parser.parse_args()
    try:
        device = find_device(arguments.device)
    except NasError as error:
        print(f"this benchmark needs a CUDA device: {error}; or --device cpu --quick", file=sys.stderr)
        return 1
    if device.type == "cuda":
        device = torch.device("cuda", device.index or 0)
    use_one_thread(torch.device("cpu"))
    task = make_task(device, arguments.quick)
    document: dict[str, Any] = {
        "date": date.today().isoformat(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine(),
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "cuda": torch.version.cuda},
        "quick": arguments.quick,
    }
    started, failed = time.perf_counter(), False
    for section in SECTIONS:
        name = section.__name__
        if arguments.only and name not in arguments.only:
            continue
        begun = time.perf_counter()
        if begun - started > SECONDS and not arguments.quick:
            document[name] = {"skipped": f"{SECONDS} seconds were over"}
            continue
        print(f"{name}: {section.__doc__}", file=sys.stderr, flush=True)
        try:
            document[name] = section(task)
        except Exception as error:  # the next section may still be measured
            traceback.print_exc()
            document[name] = {"error": f"{type(error).__name__}: {error}"}
            failed = True
        document[name]["section_seconds"] = round(time.perf_counter() - begun, 1)
        print(f"  {json.dumps(document[name])}", file=sys.stderr, flush=True)
        if arguments.output:
            arguments.output.write_text(json.dumps(document, indent=2) + "\n")
    if arguments.json:
        print(json.dumps(document, indent=2))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
