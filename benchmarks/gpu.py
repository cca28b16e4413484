"""What one GPU does: is it right, how fast is one training, how many at once, and how soon does a search answer.

    python benchmarks/gpu.py --output benchmarks/results/gpu.json

Reference network 003 model 3, its batch of 128 and its augmentation and dropout, all of MNIST; about five minutes on an
H100. Each part is a function below. A process of its own runs them, which is ended and replaced where a part takes too
long or breaks the device: what that part had reported is kept, and the next one runs. `--output` is written anew with
every figure. `--device cpu --quick` runs the same parts on digits, to see that the script itself is whole: what it
prints then means nothing.
"""

from __future__ import annotations

import argparse
import atexit
import contextlib
import json
import math
import os
import platform
import queue
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from datetime import date
from multiprocessing import get_context
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from nas.arch import Architecture, Block, Input, NormAct, Pool, Recipe, read_architecture
from nas.host import available_cores, cache_folder

if TYPE_CHECKING:
    import torch
    from torch import nn

    from nas.data.images import Dataset
    from nas.train.device_interface import Device
    from nas.train.device_sharing import SharedDevice
    from nas.train.engine import Training
    from nas.train.epoch import Epoch
    from nas.train.prepared_data import PreparedData

SEEDS = (0, 1, 2)
START_SECONDS = 120.0  # for a process to load torch, find the device and read the images
REFERENCE = Path(__file__).parents[1] / "studies/reference/003_model_3.toml"
Report = Callable[..., None]


@dataclass(frozen=True)
class Task:
    """What is measured: sizes for a GPU, or tiny ones."""

    architecture: Architecture
    recipe: Recipe
    dataset: Dataset
    device: Device
    quick: bool

    def data(self, device: Device | None = None, images: int | None = None) -> PreparedData:
        from nas.data.images import ImageSet
        from nas.train.prepared_data import prepare

        train = ImageSet(self.dataset.train.images[:images], self.dataset.train.labels[:images])
        return prepare(train, self.dataset.test, self.dataset.policy, device or self.device)

    def network(self, seed: int, architecture: Architecture | None = None) -> nn.Module:
        import torch

        from nas.model.build import build

        torch.manual_seed(seed)
        return build(architecture or self.architecture)

    def training(self, data: PreparedData, seed: int, recipe: Recipe | None = None, graphs: bool = True) -> Training:
        from nas.train.engine import Training

        return Training(self.network(seed), recipe or self.recipe, data, seed, graphs)


def make_task(device: str, quick: bool) -> Task:
    import torch

    from nas.data.load import load_dataset
    from nas.train.device import device_of, find_device, use_one_thread

    use_one_thread(torch.device("cpu"))
    here = device_of(find_device(device))
    if quick:
        norm_act = NormAct(order="activation_first", dropout=0.1)
        small = Architecture(Input(1, 8, 8), 10, (Block(8, norm_act=norm_act), Pool(), Block(12, norm_act=norm_act)))
        recipe = Recipe(epochs=4, batch_size=64, augmentation=0.7)
        digits, few = load_dataset("digits"), torch.arange(512)
        digits = replace(digits, train=digits.train.subset(few))
        return Task(small, recipe, digits, here, quick)
    recipe = Recipe(epochs=15, batch_size=128, augmentation=0.7)
    architecture = read_architecture(REFERENCE).architecture
    return Task(architecture, recipe, load_dataset("mnist"), here, quick)


def epochs_of(trainings: Sequence[Training], shared: SharedDevice) -> Iterator[tuple[Training, Epoch]]:
    """Train to the end, in turn, and yield epochs as they end. An error of one training ends it all."""
    for training in trainings:
        shared.add(training)
    while not all(training.is_done for training in trainings):
        for report in shared.advance():
            if isinstance(report.what, Exception):
                raise report.what
            yield report.training, report.what


def run_at_once(task: Task, trainings: Sequence[Training]) -> dict[str, Any]:
    """Train to the end, in turn; return seconds, images a second and bytes."""
    from nas.train.device_sharing import SharedDevice

    shared, started = SharedDevice(task.device, trials_per_device=32), time.perf_counter()
    first: dict[Training, float] = {}  # when its first epoch ended: before, its work is captured
    images = later = 0
    for training, epoch in epochs_of(trainings, shared):
        images += epoch.images
        if len(first) == len(trainings):
            later += epoch.images
        first.setdefault(training, time.perf_counter())
    ended, warm = time.perf_counter(), max(first.values())
    return {
        "seconds": round(ended - started, 3),
        "images_per_second": round(images / (ended - started)),
        "images_per_second_when_warm": round(later / (ended - warm)) if later else None,
        "bytes_each": shared.bytes_each,
    }


def seconds_of(call: Callable[[], Any]) -> float:
    started = time.perf_counter()
    call()
    return round(time.perf_counter() - started, 3)


# The parts: each gets the task, and reports figures as soon as it has them


def equal(task: Task, report: Report) -> None:
    """Largest difference of any weight after 20 and 100 steps, dropout and all, from kernels queued one by one."""
    import torch

    from nas.train.device_sharing import SharedDevice
    from nas.train.engine import Training

    batch = 32
    data, recipe = task.data(images=20 * batch), replace(task.recipe, epochs=5, batch_size=batch, averaging=0.9)

    def weights(graphs: bool, others: int = 0) -> list[torch.Tensor]:
        """After each epoch of one training, with `others` that take turns with it."""
        network, found = task.network(0), []
        training = Training(network, recipe, data, 0, graphs)
        rivals = [task.training(data, seed, recipe, graphs) for seed in range(1, others + 1)]
        for trained, _ in epochs_of([training, *rivals], SharedDevice(task.device, 32)):
            if trained is training:
                found.append(torch.cat([p.detach().flatten().clone() for p in network.parameters()]))
        return found

    chunk, deterministic = task.device.chunk, torch.backends.cudnn.deterministic
    torch.backends.cudnn.deterministic = True
    task.device.chunk = 5 * batch  # four turns an epoch, so that augmentation becomes a graph too
    try:
        eager, graphs, packed = weights(False), weights(True), weights(True, others=3)
    finally:
        torch.backends.cudnn.deterministic, task.device.chunk = deterministic, chunk
    largest = 0.0
    for name, found in (("graphs", graphs), ("packed", packed)):
        differences = [(one - other).abs().max().item() for one, other in zip(found, eager, strict=True)]
        report(**{f"{name}_after_20_steps": differences[0], f"{name}_after_100_steps": differences[-1]})
        largest = max(largest, differences[0])
    report(equal=largest <= 1e-4, capture_problem=task.device.capture_problem)


def fallback(task: Task, report: Report) -> None:
    """A function that cannot be captured: does the training go on without graphs, and does it draw the same numbers."""
    import torch

    from nas.train.device import device_of
    from nas.train.streams import WARM_UP_CALLS, GraphedFunction, TrainingStream

    # Set up in the same way twice; the second one waits for the device, which no capture allows.
    drawn = []
    for waits in (False, True):
        device = device_of(task.device.torch_device)
        dropout = device.generator().manual_seed(1)
        generator = device.generator().manual_seed(2)

        def draw(x: torch.Tensor, waits: bool = waits, generator: torch.Generator = generator) -> torch.Tensor:
            out = torch.nn.functional.dropout(x + torch.rand(x.shape, generator=generator, device=x.device), 0.5)
            return out * 1 if waits and out.sum().item() else out

        stream, found = TrainingStream(device, dropout), []
        with stream.active():
            function: Any = draw
            if device.queues:
                function = GraphedFunction(device, draw, [generator, dropout])
            for _ in range(WARM_UP_CALLS + 4):
                found.append(function(torch.ones(64, device=device.torch_device)).clone())
            end = device.record()
        while not end.is_done():
            time.sleep(1e-3)
        device.empty_cache()
        drawn.append(torch.stack(found).cpu())
        report(**{"problem" if waits else "problem_of_what_can_be_captured": device.capture_problem})
    same = torch.equal(*drawn)
    report(same_numbers=same, still_works=task.device.still_works())
    one = run_at_once(task, [task.training(task.data(images=1_280), 0, replace(task.recipe, epochs=5))])
    report(captures_again=not task.device.capture_problem, next_training=one)


def one(task: Task, report: Report) -> None:
    """The whole training, 15 epochs, with graphs and without."""
    from nas.train.device_sharing import SharedDevice

    data, rows = task.data(), []
    for seed in SEEDS:
        started = time.perf_counter()
        accuracies, seconds = [], []
        for _, epoch in epochs_of([task.training(data, seed)], SharedDevice(task.device)):
            accuracies.append(epoch.accuracy)
            seconds.append(round(epoch.seconds, 3))
        total = time.perf_counter() - started
        rows.append({"seconds": round(total, 3), "epochs": seconds, "figure": statistics.mean(accuracies[-3:])})
        report(rows=rows, median_seconds=statistics.median(row["seconds"] for row in rows))
        report(images_per_second=round(len(data.train) * task.recipe.epochs / min(row["seconds"] for row in rows)))
    eager = replace(task.recipe, epochs=2)
    report(eager=run_at_once(task, [task.training(data, 0, eager, graphs=False)]))


def packed(task: Task, report: Report) -> None:
    """1 to 32 trainings at once, of a few epochs each: the reference network, and a separable one in batches of 32."""
    from nas.train.engine import Training

    epochs = 2 if task.quick else 3
    cases = {"reference": (task.architecture, replace(task.recipe, epochs=epochs))}
    cases["separable"] = separable_network(task), Recipe(epochs=epochs, batch_size=32, augmentation=0.7, averaging=0.99)
    data = task.data()
    for name, (architecture, recipe) in cases.items():
        rows: list[dict[str, Any]] = []
        for count in (1, 2) if task.quick else (1, 4, 16, 32):
            made = time.perf_counter()
            trainings = [Training(task.network(seed, architecture), recipe, data, seed) for seed in range(count)]
            row = {"trainings": count, "seconds_to_make": round(time.perf_counter() - made, 3)}
            rows.append(row | run_at_once(task, trainings))
            del trainings
            warm = "images_per_second_when_warm"
            rows[-1]["times_one"] = round((rows[-1][warm] or 0) / (rows[0][warm] or 1), 2)
            report(**{name: rows, f"{name}_most": max(row["times_one"] for row in rows)})


def separable_network(task: Task) -> Architecture:
    """Return a network of the kind that searches train most."""
    if task.quick:
        return task.architecture
    body: list[Block | Pool] = []
    for first, second in ((8, 16), (24, 24), (32, 32)):
        body += [Block(first, "separable" if body else "plain"), Block(second, "separable"), Pool()]
    return Architecture(task.architecture.input, 10, tuple(body[:-1]))


def seeds(task: Task, report: Report) -> None:
    """A confirmation's three seeds: one after the other, and at once."""
    data, recipe = task.data(), replace(task.recipe, epochs=2 if task.quick else 5)

    def serial() -> None:
        for seed in SEEDS:
            run_at_once(task, [task.training(data, seed, recipe)])

    ways = {"serial": serial, "packed": lambda: run_at_once(task, [task.training(data, s, recipe) for s in SEEDS])}
    for name, way in ways.items():
        report(**{f"{name}_seconds": min(seconds_of(way) for _ in range(2))})


def agreement(task: Task, report: Report) -> None:
    """The same networks and recipes on the CPU and on the device, several seeds: accuracy, with 95 % intervals."""
    from nas.kernels.cpu import load_kernels
    from nas.train.device_sharing import SharedDevice
    from nas.train.engine import Training

    count, images, epochs = (3, 512, 3) if task.quick else (12, 20_000, 6)
    cases = {"plain": (task.architecture, replace(task.recipe, epochs=epochs))}
    if not task.quick:
        recipe = Recipe(epochs=epochs, batch_size=64, augmentation=0.7, averaging=0.99, label_smoothing=0.1)
        cases["separable, averaged"] = separable_network(task), recipe
    jobs = [(name, seed) for seed in range(count) for name in cases]
    found: dict[str, dict[str, list[float]]] = {name: {"device": [], "cpu": []} for name in cases}
    started = time.perf_counter()
    data = task.data(images=images)
    trainings = {}
    for name, seed in jobs:
        architecture, recipe = cases[name]
        trainings[Training(task.network(seed, architecture), recipe, data, seed)] = name
    for training, epoch in epochs_of(list(trainings), SharedDevice(task.device, 32)):
        if training.is_done:
            found[trainings[training]]["device"].append(epoch.accuracy)
    report(device_seconds=round(time.perf_counter() - started, 1))
    load_kernels()  # compiled once, before all processes want them at once
    started, name_of_dataset = time.perf_counter(), task.dataset.name
    processes = 1 if task.quick else min(available_cores(), len(jobs))
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        futures = [pool.submit(train_on_cpu, name_of_dataset, images, *cases[name], seed) for name, seed in jobs]
        for (name, _), future in zip(jobs, futures, strict=True):
            found[name]["cpu"].append(future.result())
            if len(found[name]["cpu"]) > 2:
                report(**{name: comparison(found[name]["device"], found[name]["cpu"])})
    report(cpu_seconds=round(time.perf_counter() - started, 1))
    report(agree=all(comparison(of["device"], of["cpu"])["agree"] for of in found.values()))


def train_on_cpu(dataset: str, images: int | None, architecture: Architecture, recipe: Recipe, seed: int) -> float:
    """Test accuracy (percent) after the last epoch, trained in a process of its own."""
    import torch

    from nas.data.load import load_dataset
    from nas.model.build import build
    from nas.train.engine import train
    from nas.train.prepared_data import prepare

    torch.set_num_threads(1)
    loaded = load_dataset(dataset)
    part = loaded.train.subset(torch.arange(images)) if images else loaded.train
    torch.manual_seed(seed)
    data = prepare(part, loaded.test, loaded.policy, torch.device("cpu"))
    *_, last = train(build(architecture), recipe, data, seed)
    return last.accuracy


def comparison(here: list[float], cpu: list[float]) -> dict[str, Any]:
    """Means, and the 95 % interval of their difference (Welch, normal quantile)."""
    error = math.sqrt(statistics.variance(here) / len(here) + statistics.variance(cpu) / len(cpu))
    difference = statistics.mean(here) - statistics.mean(cpu)
    interval = [round(difference - 1.96 * error, 4), round(difference + 1.96 * error, 4)]
    figures = {name: {"mean": statistics.mean(of), "sd": statistics.stdev(of), "seeds": len(of)} for name, of in (
        ("device", here), ("cpu", cpu))}  # fmt: skip
    # Three standard errors, or one in forty runs would cry wolf.
    return {**figures, "difference": difference, "interval": interval, "agree": abs(difference) <= 3 * error + 1e-9}


def search(task: Task, report: Report) -> None:
    """The main command, to the first network that meets the target, in a process of its own."""
    arguments = ["--max-params", "8000", "--target", "99.4", "--stop-at-first"]
    if task.quick:
        arguments = ["--dataset", "digits", "--space", "tiny_digits", "--max-params", "2000", "--target", "11"]
        arguments += ["--epochs", "2", "--trials", "4", "--seeds", "2", "--workers", "1", "--stop-at-first"]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "nas", "search", *arguments, "--device", str(task.device.torch_device)]
        command += ["--studies", folder, "--name", "gpu", "--json"]
        report(command=" ".join(command[1:]))
        started, lines = time.perf_counter(), list[str]()
        with (Path(folder) / "out").open("w+") as out:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.PIPE, text=True)
            assert process.stderr
            with process.stderr:
                for line in process.stderr:
                    seconds = time.perf_counter() - started
                    lines.append(f"{seconds:7.2f} {line.rstrip()}")
                    report(said=lines[-60:])
                    if line.startswith("target met"):
                        report(seconds_to_target=round(seconds, 2))
            report(exit_code=process.wait(), seconds=round(time.perf_counter() - started, 2))
            out.seek(0)
            text = out.read()
        if text:
            document = json.loads(text)
            report(answer=document.get("answer"), trials=document.get("trials"), front=document.get("front"))


def kernels(task: Task, report: Report) -> None:
    """Where the time of a step goes: kernels of steps queued one by one, by total time."""
    from torch.profiler import ProfilerActivity, profile

    data = task.data(images=40 * task.recipe.batch_size)
    training = task.training(data, 0, replace(task.recipe, epochs=2), graphs=False)
    epochs = training.epochs()
    next(epochs)
    on_gpu = task.device.torch_device.type == "cuda"
    with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]) as profiler:
        next(epochs)
    of_device = "self_device_time_total" if on_gpu else "self_cpu_time_total"
    events = [e for e in profiler.key_averages() if getattr(e, of_device, 0) > 0]
    if on_gpu:
        events = [e for e in events if str(e.device_type).endswith("CUDA")]
    events.sort(key=lambda e: -getattr(e, of_device))
    total = sum(getattr(e, of_device) for e in events)
    report(kernels_a_step=round(sum(e.count for e in events) / 40, 1), device_microseconds_a_step=round(total / 40, 1))
    report(
        most=[f"{getattr(e, of_device) / total:6.1%} {e.count / 40:6.1f} a step  {e.key[:110]}" for e in events[:30]]
    )


def variants(task: Task, report: Report) -> None:
    """What else could be faster, three epochs each: the layout of maps, cuDNN's choice by trial, the size of a turn."""
    import torch

    data, recipe, device = task.data(), replace(task.recipe, epochs=3), task.device
    before = device.layout, torch.backends.cudnn.benchmark, device.chunk
    tried: dict[str, tuple[Any, bool, int]] = {
        "as it is": before,
        "channels last": (torch.channels_last, *before[1:]),
        "cudnn benchmark": (before[0], True, before[2]),
        "channels last, cudnn benchmark": (torch.channels_last, True, before[2]),
        "turns of 1,024": (*before[:2], 1_024),
        "turns of 16,384": (*before[:2], 16_384),
    }
    try:
        for name, (device.layout, torch.backends.cudnn.benchmark, device.chunk) in tried.items():
            report(**{name: run_at_once(task, [task.training(data, 0, recipe)])})
    finally:
        device.layout, torch.backends.cudnn.benchmark, device.chunk = before


def rival(task: Task, report: Report) -> None:
    """One epoch of the loop that a good course teaches, on the same device."""
    import textbook
    from torch.utils.data import DataLoader, TensorDataset

    batches: Any
    tests: Any
    if task.quick:
        part = task.dataset.train
        set_ = TensorDataset(part.images.float(), part.labels)
        batches = DataLoader(set_, batch_size=task.recipe.batch_size, shuffle=True)
        tests = DataLoader(set_, batch_size=1000)
    else:
        batches, tests = textbook.loaders(cache_folder(), task.recipe.augmentation, task.recipe.batch_size)
    device = task.device.torch_device
    ((_, theirs),) = textbook.train(task.network(0), batches, tests, 1, task.recipe.learning_rate, device)
    report(textbook_seconds_an_epoch=theirs)
    row = run_at_once(task, [task.training(task.data(), 0, replace(task.recipe, epochs=4))])
    ours = len(task.dataset.train) / (row["images_per_second_when_warm"] or row["images_per_second"])
    report(ours_seconds_an_epoch=ours, ratio=theirs / ours)


PARTS = {
    part.__name__: part for part in (equal, one, packed, seeds, search, agreement, kernels, rival, variants, fallback)
}


# The process that runs parts, and the one that watches it


def serve(names: Sequence[str], device: str, quick: bool) -> None:
    """Run parts, and write to standard output what they report, a JSON document a line."""
    # What libraries print must not get between these lines.
    lines = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    atexit.register(lines.close)

    def end_with_watcher() -> None:
        sys.stdin.read()
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=end_with_watcher, daemon=True).start()

    def write(**values: Any) -> None:
        print(json.dumps(values), file=lines, flush=True)

    import torch

    task = make_task(device, quick)
    where = task.device.torch_device
    name = torch.cuda.get_device_name(where) if where.type == "cuda" else platform.machine()
    versions = {"python": platform.python_version(), "torch": torch.__version__, "cuda": torch.version.cuda}
    write(device=name, versions=versions, cores=available_cores())
    images = 20 * task.recipe.batch_size
    run_at_once(task, [task.training(task.data(images=images), 0, replace(task.recipe, epochs=4))])  # warms up
    for name in names:
        write(begins=name)
        try:
            PARTS[name](task, lambda name=name, **values: write(of=name, **values))
        except Exception as error:
            traceback.print_exc()
            write(of=name, error=f"{type(error).__name__}: {error}")
            if not task.device.still_works():
                return  # every further part would fail too
        write(ends=name)


def watch(names: list[str], arguments: argparse.Namespace, document: dict[str, Any], save: Callable[[], None]) -> None:
    """Run the parts `names` in processes of their own, and take what they report into `document`."""
    begun = time.monotonic()
    while names:
        left = arguments.seconds - (time.monotonic() - begun)
        if left <= 0:
            document["left_out"] = names
            return
        options = ["--device", arguments.device, *(["--quick"] if arguments.quick else [])]
        command = [
            sys.executable,
            *(f"-W{option}" for option in sys.warnoptions),
            __file__,
            *options,
            "--serve",
            *names,
        ]
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        assert process.stdin
        assert process.stdout
        lines: queue.Queue[str | None] = queue.Queue()
        reader = threading.Thread(target=_read, args=(process.stdout, lines))
        reader.start()
        part, part_begun, limit = "start", time.monotonic(), min(START_SECONDS, left)
        try:
            while True:
                try:
                    line = lines.get(timeout=max(part_begun + limit - time.monotonic(), 0))
                except queue.Empty:
                    document.setdefault(part, {})["cut"] = f"after {limit:.0f} seconds"
                    print(f"{part}: cut after {limit:.0f} seconds", file=sys.stderr, flush=True)
                    break
                if line is None:
                    if part not in ("start", "end"):
                        document.setdefault(part, {}).setdefault("error", "the process ended")
                    break
                values = json.loads(line)
                if "begins" in values:
                    part, part_begun = values["begins"], time.monotonic()
                    limit = min(arguments.limit, arguments.seconds - (part_begun - begun))
                    document[part] = {}
                    print(f"{part}: {PARTS[part].__doc__}", file=sys.stderr, flush=True)
                elif "ends" in values:
                    document[part]["part_seconds"] = round(time.monotonic() - part_begun, 1)
                    print(f"  {json.dumps(document[part])[:1500]}", file=sys.stderr, flush=True)
                    names.remove(part)
                    part, part_begun = "end", time.monotonic()
                elif "of" in values:
                    document[values.pop("of")] |= values
                else:
                    document |= values
                save()
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # the session that was started for it, with all that it started
            process.wait()
            reader.join()
            process.stdin.close()
        if part == "start":
            document.setdefault("start", {}).setdefault("error", "the process ended before its first part")
            return
        if part in names:
            names.remove(part)
        save()


def _read(stream: IO[str], lines: queue.Queue[str | None]) -> None:
    with stream:
        for line in stream:
            lines.put(line)
    lines.put(None)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON document to standard output at the end")
    parser.add_argument("--output", type=Path, help="a file that is written anew with every figure")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that the script is whole")
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=list(PARTS), help="which, in which order")
    parser.add_argument("--limit", type=float, default=120.0, help="seconds, for each part")
    parser.add_argument("--seconds", type=float, default=420.0, help="for all parts together")
    parser.add_argument("--serve", nargs="*", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve is not None:
        serve(arguments.serve, arguments.device, arguments.quick)
        return 0
    from nas.errors import NasError
    from nas.train.device import find_device

    try:
        find_device(arguments.device)
    except NasError as error:
        print(f"this benchmark needs a CUDA device: {error}; or --device cpu --quick", file=sys.stderr)
        return 1
    document: dict[str, Any] = {"date": date.today().isoformat(), "quick": arguments.quick}

    def save() -> None:
        if arguments.output:
            partial = arguments.output.with_suffix(".partial")
            partial.write_text(json.dumps(document, indent=2) + "\n")
            partial.replace(arguments.output)

    watch(list(arguments.parts), arguments, document, save)
    save()
    if arguments.json:
        print(json.dumps(document, indent=2))
    bad = [name for name, part in document.items() if isinstance(part, dict) and {"error", "cut"} & part.keys()]
    return int(bool(bad or "left_out" in document))


if __name__ == "__main__":
    sys.exit(main())
