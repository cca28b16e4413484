"""Damaged networks: exported files, and the weights in a study's folder. Nothing but a NasError comes of them.

NAS_FUZZ=20000 pytest tests/fuzz/test_exports.py tries so many of each kind, in processes that may take 10 seconds
of processor time and 2 GiB for each; `-s` shows the counts. An input is made from kind, seed and number.
"""

from __future__ import annotations

import collections
import functools
import io
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))  # where this file is run as a program

from fuzzing import COUNT, SECONDS, SEED, mutate, spoil_json
from sampled import Sampled, sampled_network

from nas.app.old_studies import read_old_weights
from nas.arch import Architecture, Block, Head, Input, NormAct, Pool, digest_of, lower
from nas.costs import costs_of
from nas.errors import NasError
from nas.export.formats import load
from nas.export.int8_weights import write_int8_weights
from nas.export.module_text import read_module_network
from nas.export.onnx.float32 import write_onnx
from nas.export.onnx.int8 import write_int8_onnx
from nas.export.python_module import write_python_module
from nas.export.torch_program import write_torch_program
from nas.int8.quantize import quantize
from nas.model.exported_file import finite_module
from nas.model.trained_network import read_trained_network
from nas.verification.checks import count_classes, verify_structure
from nas.verification.reader import limit_process

SHORT = 30  # inputs of each kind in the check
NETWORKS = (
    Architecture(
        Input(1, 8, 8),
        3,
        (Block(4, norm_act=NormAct(activation="prelu", dropout=0.1)), Pool(), Block(4, shortcut="identity", repeat=2)),
        Head("conv_gap"),
    ),
    Architecture(
        Input(3, 7, 6),
        4,
        (Block(4, kind="separable", stride=2, norm_act=NormAct(activation="gelu")), Pool("average", 2, 1)),
        Head("flatten_linear"),
    ),
)
CLAIMS = {"num_params": 241, "dataset": "digits", "weights_test_accuracy": 91.5}

SOURCE = [
    "0",
    "-1",
    "3",
    "100000",
    "10**12",
    "None",
    "True",
    "''",
    "[]",
    "()",
    "1e400",
    "x",
    "nn",
    "torch",
    "lambda: 1",
]
FRAGMENTS = [
    "\n",
    "(",
    ")",
    "[",
    "]",
    ":",
    "=",
    "\\",
    "'",
    '"""',
    "#",
    "\0",
    "é",
    "    ",
    "raise SystemExit\n",
    "return x\n",
]


def spoil_zip(content: bytes, r: random.Random) -> bytes:
    """Change one file of an archive, so that its checksum is right; or the archive itself."""
    if r.random() < 0.2:
        return mutate(content, r)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    name = r.choice([*files, *[n for n in files if n.endswith((".json", ".pkl"))] * 5])
    files[name] = spoil_json(files[name], r) if name.endswith(".json") and r.random() < 0.8 else mutate(files[name], r)
    if r.random() < 0.05:
        files[r.choice(list(files))] = files.pop(name)
    result = io.BytesIO()
    with zipfile.ZipFile(result, "w", r.choice((zipfile.ZIP_STORED,) * 9 + (zipfile.ZIP_DEFLATED,))) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return result.getvalue()


def spoil_safetensors(content: bytes, r: random.Random) -> bytes:
    if r.random() < 0.4:
        return mutate(content, r)
    end = 8 + int.from_bytes(content[:8], "little")
    header = content[8:end]
    if r.random() < 0.5:
        about = json.loads(header)
        about["__metadata__"]["nas"] = spoil_json(about["__metadata__"]["nas"].encode(), r).decode()
        header = json.dumps(about).encode()
    else:
        header = spoil_json(header, r)
    return len(header).to_bytes(8, "little") + header + content[end:]


def spoil_source(content: bytes, r: random.Random) -> bytes:
    lines = content.decode().splitlines(keepends=True)
    for _ in range(r.randint(1, 3)):
        at = r.randrange(len(lines))
        tokens = [i for i, c in enumerate(lines[at]) if c.isdigit()]
        match r.randrange(6):
            case 0 | 1 if tokens:
                place = r.choice(tokens)
                lines[at] = lines[at][:place] + r.choice(SOURCE) + lines[at][place + 1 :]
            case 2:
                lines[at] = ""
            case 3:
                lines.insert(r.randrange(len(lines)), lines[at])
            case _:
                place = r.randrange(len(lines[at]) + 1)
                lines[at] = lines[at][:place] + r.choice(FRAGMENTS + SOURCE) + lines[at][place:]
    text = "".join(lines).encode()
    return mutate(text, r) if r.random() < 0.1 else text


def verify(path: Path) -> None:
    """As `nas verify` does in its own process, up to the data."""
    loaded = load(path)
    loaded.metadata.to_json()
    verify_structure(loaded)
    count_classes(loaded)


def use_weights(path: Path) -> None:
    """As `study.network()`."""
    finite_module(read_trained_network(path))


def write_module(sample: Sampled, path: Path) -> None:
    layers = lower(sample.architecture)
    shown = {**costs_of(layers).counts(), "digest": digest_of(layers)}
    write_python_module(sample.trained(), CLAIMS | shown, path.with_name("file.py"))


def read_module(path: Path) -> None:
    """As `nas export net.py` does in its own process, up to the data."""
    read_module_network(path.with_suffix(".py"))


Writer = Callable[[Sampled, Path], None]
KINDS: dict[str, tuple[str, Writer, Callable[[random.Random, bytes], bytes], Callable[[Path], None]]] = {
    "pt2": ("file.pt2", lambda s, path: write_torch_program(s.trained(), CLAIMS, path), spoil_zip, verify),
    "onnx": ("file.onnx", lambda s, path: write_onnx(s.trained(), CLAIMS, path), mutate, verify),
    "int8.pt": (
        "file.int8.pt",
        lambda s, path: write_int8_weights(quantize(s.trained(), s.calibration), CLAIMS, path),
        spoil_zip,
        verify,
    ),
    "int8.onnx": (
        "file.int8.onnx",
        lambda s, path: write_int8_onnx(quantize(s.trained(), s.calibration), CLAIMS, path),
        mutate,
        verify,
    ),
    "py": ("file.py", write_module, spoil_source, verify),
    "pt": ("file.pt", write_module, spoil_zip, lambda path: verify(path.with_suffix(".py"))),
    "py as data": ("file.py", write_module, spoil_source, read_module),
    "pt as data": ("file.pt", write_module, spoil_zip, read_module),
    "safetensors": (
        "trial_0.safetensors",
        lambda s, path: path.write_bytes(s.trained().to_bytes()) and None,
        spoil_safetensors,
        use_weights,
    ),
    "weights of 0.1": (
        "trial_0.pt",
        lambda s, path: torch.save(s.weights, path),
        spoil_zip,
        lambda path: read_old_weights(path) and None,
    ),
}
RUN_CODE = ("py", "pt")  # what runs a file's own code may end the process, which is not that of the command


@functools.cache
def good(kind: str) -> list[dict[str, bytes]]:
    """The files of some good networks."""
    _, write, _, _ = KINDS[kind]
    result = []
    for seed, architecture in enumerate(NETWORKS):
        with tempfile.TemporaryDirectory() as folder:
            write(sampled_network(architecture, seed), Path(folder) / KINDS[kind][0])
            result.append({path.name: path.read_bytes() for path in Path(folder).iterdir()})
    return result


def feed(kind: str, number: int, folder: Path) -> str:
    """What comes of one input."""
    name, _, spoil, read = KINDS[kind]
    r = random.Random(f"{SEED} {kind} {number}")
    for other, content in r.choice(good(kind)).items():
        (folder / other).write_bytes(spoil(content, r) if other == name else content)
    try:
        read(folder / name)
    except NasError as error:
        return "refused" if 0 < len(str(error)) < 20_000 else f"a text of {len(str(error))} characters"
    except Exception as error:
        return f"foreign {type(error).__name__}: {str(error)[:200]}"
    return "read"


@pytest.mark.parametrize("kind", KINDS)
def test_good_files_are_read(kind: str, tmp_path: Path) -> None:
    """Else everything would be refused at once, and nothing be learned."""
    name, _, _, read = KINDS[kind]
    for files in good(kind):
        for other, content in files.items():
            (tmp_path / other).write_bytes(content)
        read(tmp_path / name)


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files_are_read_or_refused(kind: str, tmp_path: Path) -> None:
    outcomes = [feed(kind, number, tmp_path) for number in range(SHORT)]
    assert {outcome for outcome in outcomes if outcome not in ("read", "refused")} == set()
    assert "refused" in outcomes


@pytest.mark.skipif(COUNT == 0, reason="NAS_FUZZ says how many")
@pytest.mark.parametrize("kind", KINDS)
def test_many_damaged_files_are_read_or_refused(kind: str, tmp_path: Path) -> None:
    """Where one ends the process that reads it, the next one gets another."""
    counts: collections.Counter[str] = collections.Counter()
    number = 0
    while number < COUNT:
        command = [sys.executable, __file__, kind, str(number), str(COUNT), str(tmp_path)]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False)
        outcomes = done.stdout.splitlines()
        counts.update(outcomes)
        number += len(outcomes)
        if number < COUNT:
            counts[f"ended by {signal.Signals(-done.returncode).name if done.returncode < 0 else done.returncode}"] += 1
            print(f"{kind} {number}: the process ended with {done.returncode}")
            number += 1
    print(kind, dict(counts))
    allowed = {"read", "refused", *(["ended by SIGPROF", "ended by SIGKILL"] if kind in RUN_CODE else [])}
    assert counts.keys() <= allowed


def main() -> None:
    """Try inputs `first` to `last` of a kind, and print a line for each."""
    kind, first, last, folder = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what an exported module prints
    good(kind)
    limit_process(None)
    for number in range(first, last):
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        outcome = feed(kind, number, folder)
        print(outcome.replace("\n", " "), file=out, flush=True)


if __name__ == "__main__":
    main()
