"""Images a second: the textbook loop, our engine, and our engine in one process a core, interleaved in one run.

An image counts when it was trained on; the time holds its share of an epoch's evaluation too (a test image for every
six). So the ratios are those of trials an hour.

    python benchmarks/throughput.py --json

The floor is what arithmetic and memory alone would allow: operations over the rate of a large matrix product, and bytes
over the rate of a large copy, both measured in the same run. Operations: 2 a multiply-accumulate, and a training step
does three times the forward pass (forward, gradient of inputs, gradient of weights; Goyal et al. 2017 count likewise).
Bytes: every layer's output is written once and read once forward, and the same for its gradient: 4 passes of 4 bytes.
The profile says where our engine's own time goes, by torch operation.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from datetime import date
from math import prod
from pathlib import Path
from typing import Any

import textbook
import torch
import torch.multiprocessing
from torch.profiler import ProfilerActivity

from nas.arch import Architecture, Block, Input, Layer, Pool, Recipe, lower, outline, read_architecture
from nas.costs import costs_of
from nas.data.images import Dataset, ImageSet
from nas.data.load import load_dataset
from nas.host import available_cores, cache_folder, cpu_model
from nas.model.build import build
from nas.train.device import find_device, use_one_thread
from nas.train.engine import train
from nas.train.prepared_data import prepare

IMAGES = 30_000  # trained on in one measurement
TEST_IMAGES = IMAGES // 6  # evaluated after them: MNIST has one test image for six
ROUNDS = 5


def networks() -> dict[str, tuple[Architecture, Recipe]]:
    """Reference network 003 model 3 with its augmentation and dropout, and a separable network of about 3,000."""
    reference = read_architecture(Path(__file__).parents[1] / "studies/reference/003_model_3.toml")
    separable = [Block(8), Block(14, "separable"), Pool(), Block(18, "separable"), Block(20, "separable"), Pool()]
    small = Architecture(Input(1, 28, 28), 10, (*separable, Block(24, "separable"), Block(24, "separable")))
    recipe = Recipe(epochs=1, batch_size=128, augmentation=0.7)
    return {"003 model 3": (reference.architecture, recipe), "separable": (small, recipe)}


def ours(layers: list[Layer], recipe: Recipe, data: Dataset, device: torch.device) -> float:
    """Images a second of one epoch of our engine, in this process."""
    part = ImageSet(data.train.images[:IMAGES], data.train.labels[:IMAGES])
    test = ImageSet(data.test.images[:TEST_IMAGES], data.test.labels[:TEST_IMAGES])
    prepared = prepare(part, test, data.policy, device)
    (epoch,) = train(build(layers), recipe, prepared, seed=0)
    return epoch.images / epoch.seconds


def _ours_in_a_process(layers: list[Layer], recipe: Recipe, data: Dataset, results: Any, gate: Any) -> None:
    device = torch.device("cpu")
    use_one_thread(device)
    ours(layers, recipe, data, device)  # warm
    gate.wait()
    results.put(ours(layers, recipe, data, device))


def ours_on_all_cores(layers: list[Layer], recipe: Recipe, data: Dataset) -> float:
    """Images a second of one training a core at once, added up."""
    context = torch.multiprocessing.get_context("spawn")
    cores = available_cores()
    gate, results = context.Barrier(cores), context.Queue()
    processes = [
        context.Process(target=_ours_in_a_process, args=(layers, recipe, data, results, gate)) for _ in range(cores)
    ]
    for process in processes:
        process.start()
    total = sum(results.get() for _ in processes)
    for process in processes:
        process.join()
    return float(total)


def rival(layers: list[Layer], recipe: Recipe, device: torch.device) -> float:
    """Images a second of the textbook loop, with all the threads that torch takes by default."""
    loaders = textbook.loaders(cache_folder(), recipe.augmentation, recipe.batch_size, IMAGES, TEST_IMAGES)
    ((_, seconds),) = textbook.train(build(layers), *loaders, 1, recipe.learning_rate, device)
    return IMAGES / seconds


def rates(device: torch.device) -> tuple[float, float]:
    """(floating-point operations a second of a large matrix product, bytes a second of a large copy), one thread."""
    a = torch.randn(2048, 2048, device=device)
    source = torch.empty(64 * 2**20, dtype=torch.float32, device=device)
    target = torch.empty_like(source)
    flops, bandwidth = 0.0, 0.0
    for _ in range(3):
        started = time.perf_counter()
        torch.mm(a, a)
        _wait(device)
        flops = max(flops, 2 * 2048**3 / (time.perf_counter() - started))
        started = time.perf_counter()
        target.copy_(source)
        _wait(device)
        bandwidth = max(bandwidth, 2 * source.nbytes / (time.perf_counter() - started))
    return flops, bandwidth


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def floor(layers: list[Layer], flops: float, bandwidth: float) -> float:
    """Images a second, if arithmetic and memory were all there is and did not overlap."""
    operations = 3 * 2 * costs_of(layers).num_macs
    traffic = 4 * 4 * sum(prod(layer.output_shape) for layer in layers)
    return 1.0 / (operations / flops + traffic / bandwidth)


def profile_of(layers: list[Layer], recipe: Recipe, data: Dataset, device: torch.device) -> dict[str, float]:
    """The share of our engine's time in each torch operation, in percent, the largest first."""
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device.type == "cuda" else [])]
    with torch.profiler.profile(activities=activities) as profiler:
        ours(layers, recipe, data, device)
    times = {
        event.key: event.self_device_time_total if device.type == "cuda" else event.self_cpu_time_total
        for event in profiler.key_averages()
    }
    largest = sorted(times, key=lambda name: -times[name])[:12]
    return {name: round(100 * times[name] / sum(times.values()), 1) for name in largest}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON document to standard output")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    device = find_device(arguments.device)
    data = load_dataset("mnist")
    threads = torch.get_num_threads()
    document: dict[str, Any] = {
        "date": date.today().isoformat(),
        "hardware": cpu_model() if device.type == "cpu" else torch.cuda.get_device_name(device),
        "cores": available_cores(),
        "device": str(device),
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "rounds": arguments.rounds,
        "networks": {},
    }
    for name, (architecture, recipe) in networks().items():
        layers = lower(architecture)
        series: dict[str, list[float]] = {"textbook": [], "ours": [], "ours, all cores": [], "floor": []}
        for number in range(arguments.rounds):
            print(f"{name}: round {number + 1} of {arguments.rounds}", file=sys.stderr, flush=True)
            torch.set_num_threads(threads)
            series["textbook"].append(rival(layers, recipe, device))
            use_one_thread(device)
            series["ours"].append(ours(layers, recipe, data, device))
            series["floor"].append(floor(layers, *rates(device)))
            if device.type == "cpu":
                series["ours, all cores"].append(ours_on_all_cores(layers, recipe, data))
        medians = {key: round(statistics.median(values)) for key, values in series.items() if values}
        document["networks"][name] = {
            "outline": outline(architecture),
            "num_params": costs_of(layers).num_params,
            "num_macs": costs_of(layers).num_macs,
            "images_per_second": medians,
            "ratio_to_textbook": {key: round(value / medians["textbook"], 2) for key, value in medians.items()},
            "every_round": {key: [round(value) for value in values] for key, values in series.items()},
            "profile_percent": profile_of(layers, recipe, data, device),
        }
    if arguments.json:
        print(json.dumps(document, indent=2))
        return
    for name, result in document["networks"].items():
        print(f"{name}: {result['num_params']:,} parameters, {result['num_macs']:,} MACs")
        for key, value in result["images_per_second"].items():
            print(f"  {key:<16} {value:>9,} images/s  {result['ratio_to_textbook'][key]:>6} x textbook")
        for key, value in result["profile_percent"].items():
            print(f"    {value:>5} %  {key}")


if __name__ == "__main__":
    main()
