"""Kept networks in 8 bits on emulated Cortex-M: flash, RAM, stack, instructions, and whether the logits are the host's.

    python benchmarks/cortex_m.py --json

It takes arm-none-eabi-gcc with newlib, and qemu-system-arm; `apt-get install gcc-arm-none-eabi qemu-system-arm`.

Flash and RAM are those of a program that does nothing but `predict`, as the linker places it: no start-up code, no
names of classes. Instructions and stack are those of the exported program (`make run CPU=…`): QEMU counts an
instruction as 1 ns (`-icount shift=0`), which SysTick shows; the stack is filled beforehand, and looked at afterwards.
Instructions are no cycles: a Cortex-M0 takes one for most, two for a load, three for a branch taken; flash may wait.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import torch

from nas.arch import Architecture, Recipe, digest_of, lower
from nas.costs import costs_of, flash_bytes, ram_bytes
from nas.data.images import ImageSet
from nas.data.known import KNOWN_DATASETS
from nas.data.load import load_dataset
from nas.data.sample import stratified_sample
from nas.data.split import parts_of
from nas.export.c.firmware import Example, write_firmware
from nas.export.python_module import load_python_module
from nas.int8.quantize import quantize
from nas.model.trained_network import TrainedNetwork
from nas.space import candidate, load_space
from nas.space.domains import Domain, Value
from nas.verification.checks import accuracy

ROOT = Path(__file__).parents[1]
STUDIES = ("mnist-1400", "mnist-3300-b", "mnist-separable-8000")
CPUS = ("cortex-m0", "cortex-m4")
TOOLS = ("make", "arm-none-eabi-gcc", "arm-none-eabi-size", "qemu-system-arm")
MICROBIT_RAM = 16 * 1024
# A program for a Cortex-M0 is one for a Cortex-M4 too, which has a board with more memory.
LARGE_BOARD = ("BOARD_cortex-m0=mps2-an386", "CLOCK_cortex-m0=25", "FLASH_cortex-m0=4M", "RAM_cortex-m0=4M")
CALIBRATION_IMAGES = 512
FLAGS = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-Os", "-mthumb", "-ffunction-sections", "-fdata-sections")


@dataclass(frozen=True, slots=True)
class Size:
    """What `predict` alone takes, as linked."""

    flash_bytes: int  # code and constants, and what they need of the compiler's libraries
    static_bytes: int  # of RAM: the maps
    library: tuple[str, ...]  # the members of the compiler's libraries that are linked


@dataclass(frozen=True, slots=True)
class Run:
    """What the exported program said in the emulator."""

    as_expected: bool  # the logits are those of the export, to the bit
    instructions: int
    stack_bytes: int


def missing_tools() -> str | None:
    """Return what is missing to measure, or None."""
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        return f"{', '.join(missing)} missing; apt-get install make gcc-arm-none-eabi qemu-system-arm"
    found = subprocess.run(["arm-none-eabi-gcc", "-print-file-name=libc.a"], capture_output=True, text=True, check=True)
    return None if Path(found.stdout.strip()).is_absolute() else "newlib missing; apt-get install gcc-arm-none-eabi"


def linked_size(header: Path, cpu: str) -> Size:
    """Link a program of `predict` alone, whose prefix is the header's name."""
    prefix = header.stem
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        main = f"int main(int count, char **image) {{ return count + {prefix}_predict((const uint8_t *)*image); }}\n"
        (folder / "main.c").write_text(f'#include "{header.absolute()}"\n{main}')
        link = "-nostartfiles", f"-Wl,--gc-sections,-e,main,-Map={folder / 'main.map'}"
        command = ["arm-none-eabi-gcc", *FLAGS, f"-mcpu={cpu}", *link, "-o", folder / "main.elf", folder / "main.c"]
        subprocess.run([*command, "-lm"], check=True)
        said = subprocess.run(["arm-none-eabi-size", folder / "main.elf"], capture_output=True, text=True, check=True)
        text, data, bss = map(int, said.stdout.splitlines()[1].split()[:3])
        members = re.findall(r"^\S*/lib(?:gcc|c|m)\.a\((\w+)\.o\)$", (folder / "main.map").read_text(), re.MULTILINE)
    return Size(text + data, data + bss, tuple(sorted(set(members))))


def run_emulated(folder: Path, cpu: str, *board: str, timeout: float = 300) -> Run:
    """Build the program of an exported folder for a processor, and run it in QEMU, on its own board or on `board`."""
    flags = "CFLAGS=-std=c99 -Wall -Wextra -Werror -Os"
    command = ["make", "-C", folder, "--silent", "run", f"CPU={cpu}", flags, *board]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL, check=False
    )
    said = done.stdout + done.stderr
    numbers = dict(re.findall(r"^(stack in bytes|instructions): (\d+)$", said, re.MULTILINE))
    if len(numbers) != 2:
        raise SystemExit(f"{' '.join(map(str, command))} failed:\n{said}")
    as_expected = done.returncode == 0 and "logits as expected" in said
    return Run(as_expected, int(numbers["instructions"]), int(numbers["stack in bytes"]))


def kept_network(study: str) -> TrainedNetwork:
    """Return the network that answers a study of `studies/`, with the weights that lie there."""
    folder = ROOT / "studies" / study
    module = load_python_module(folder / "net.py")
    architecture = kept_architecture(folder, str(module.claims["digest"]))
    weights = {name: tensor.numpy() for name, tensor in module.net.state_dict().items()}
    names = module.class_names or tuple(map(str, range(architecture.classes)))
    return TrainedNetwork(architecture, Recipe(), weights, module.metadata.mean, module.metadata.std, names)


def kept_architecture(folder: Path, digest: str) -> Architecture:
    """Return the network of that digest among the trials of a study of `studies/`."""
    with (folder / "trials.csv").open(newline="") as file:
        row = next(row for row in csv.DictReader(file) if row["digest"] == digest)
    space = load_space(str(folder / "space.toml"), *KNOWN_DATASETS["mnist"].images)
    genes = {name: _value(row[name], domain) for name, domain in space.genes.items()}
    found = candidate(space, genes)
    assert found is not None
    assert found.digest == digest
    return found.architecture


def _value(text: str, domain: Domain) -> Value:
    """Return what a cell of the table of trials says of a gene."""
    found = [value for value in _readings(text) if domain.contains(value)]
    return found[0]


def _readings(text: str) -> Iterator[Value]:
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            yield kind(text)
    yield {"True": True, "False": False}.get(text, text)


def measure(study: str, train: ImageSet, test: ImageSet, num_images: int) -> dict[str, Any]:
    """Return what a kept network takes on each processor, and what it computes."""
    network = kept_network(study)
    quantized = quantize(network, train.images[stratified_sample(train.labels, CALIBRATION_IMAGES, 0)])
    layers = lower(network.architecture)
    found: dict[str, Any] = {
        "study": study,
        **costs_of(layers).counts(),
        "digest": digest_of(layers),
        "stored_bytes": quantized.num_bytes,
        "test_accuracy_in_8_bits": round(accuracy(quantized.logits, test, lambda _: None), 2),
        "bounds": {"flash_bytes": flash_bytes(layers), "ram_bytes": ram_bytes(layers)},
    }
    for cpu in CPUS:
        fits = cpu != "cortex-m0" or ram_bytes(layers) <= MICROBIT_RAM
        runs = []
        with tempfile.TemporaryDirectory() as scratch:
            for index in range(num_images):
                example = Example(test.images[index], int(test.labels[index]), f"test image {index}")
                header = write_firmware(quantized, {}, example, Path(scratch))
                runs.append(run_emulated(Path(scratch), cpu, *(() if fits else LARGE_BOARD)))
            size = linked_size(header, cpu)
        instructions = statistics.mean(run.instructions for run in runs)
        found[cpu] = {
            "flash_bytes": size.flash_bytes,
            "static_bytes": size.static_bytes,
            "stack_bytes": max(run.stack_bytes for run in runs),
            "instructions": round(instructions),
            "instructions_per_mac": round(instructions / found["num_macs"], 2),
            "images": num_images,
            "as_on_the_host": all(run.as_expected for run in runs),
            "library": size.library,
            "fits_its_board": fits,
        }
        print(f"{study} {cpu}: {found[cpu]}", file=sys.stderr, flush=True)
    return found


def versions() -> dict[str, str]:
    """Return the versions of the tools."""

    def first_line(*command: str) -> str:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[0]

    gcc, qemu = first_line("arm-none-eabi-gcc", "--version"), first_line("qemu-system-arm", "--version")
    return {"gcc": gcc, "qemu": qemu, "python": platform.python_version(), "torch": torch.__version__}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("studies", nargs="*", default=STUDIES, help="folders of studies/")
    parser.add_argument("--images", type=int, default=3, help="test images to classify")
    parser.add_argument("--json", action="store_true", help="print one JSON document to standard output")
    options = parser.parse_args()
    if missing := missing_tools():
        raise SystemExit(missing)
    dataset = load_dataset("mnist")
    parts = parts_of(dataset, 0)
    networks = [measure(study, parts.whole_train, parts.test, options.images) for study in options.studies]
    document = {"date": date.today().isoformat(), "versions": versions(), "flags": FLAGS, "networks": networks}
    print(json.dumps(document, indent=2) if options.json else _table(networks))


def _table(networks: list[dict[str, Any]]) -> str:
    lines = [f"{'study':<22}{'processor':<12}{'flash':>8}{'static':>8}{'stack':>7}{'instructions':>14}{'a MAC':>7}"]
    for network in networks:
        for cpu in CPUS:
            m = network[cpu]
            sizes = f"{m['flash_bytes']:>8,}{m['static_bytes']:>8,}{m['stack_bytes']:>7,}"
            work = f"{m['instructions']:>14,}{m['instructions_per_mac']:>7.1f}"
            same = "" if m["as_on_the_host"] else "  LOGITS DIFFER"
            lines.append(f"{network['study']:<22}{cpu:<12}{sizes}{work}{same}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
