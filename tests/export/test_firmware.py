from __future__ import annotations

import re
import subprocess
from pathlib import Path

import cortex_m
import pytest
import torch
from sampled import Sampled, distinct_architectures, sampled_network

from nas.arch import Architecture, Block, Head, Input, NormAct, Pool, lower
from nas.costs import flash_bytes, ram_bytes
from nas.errors import ExportError
from nas.export.c.firmware import Example, header_of, write_firmware
from nas.export.c.header import write_c
from nas.export.c.load import load_c
from nas.int8.network import LOGIT_ONE
from nas.int8.quantize import quantize

torch.set_num_threads(1)

EVERY_LAYER = Architecture(
    Input(3, 12, 10),
    4,
    (
        Block(6, norm_act=NormAct(activation="hardswish")),
        Pool(),
        Block(8, kind="separable", shortcut="projection", norm_act=NormAct(activation="relu")),
        Pool("average"),
    ),
    Head("gap_linear"),
)
SAMPLE = sampled_network(EVERY_LAYER, 0)
FILES = {"README.md", "Makefile", "main.c", "image.h", "cortex_m.c", "cortex_m.ld"}
CLAIMS = {
    "name": "trial 3 of study digits",
    "dataset": "digits",
    "weights_test_accuracy": 97.5,
    "float_weights_test_accuracy": 98.0,
}

emulated = pytest.mark.skipif(cortex_m.missing_tools() is not None, reason=str(cortex_m.missing_tools()))


def write(folder: Path, sample: Sampled = SAMPLE, prefix: str | None = None, image: int = 0) -> Path:
    quantized = quantize(sample.trained(), sample.calibration)
    return write_firmware(quantized, CLAIMS, Example(sample.images[image], 1, "test image 7 of digits"), folder, prefix)


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    flags = "CFLAGS=-std=c99 -pedantic -Wall -Wextra -Wconversion -Werror -Os"
    command = ["make", "-C", folder, "--silent", *arguments, flags]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_program_finds_the_logits_of_the_export(tmp_path: Path) -> None:
    header = write(tmp_path / "firmware")
    assert {path.name for path in header.parent.iterdir()} == FILES | {"net.h"}
    done = make(header.parent, "run")
    assert done.stderr == ""
    logits = quantize(SAMPLE.trained(), SAMPLE.calibration).logits(SAMPLE.images[:1])[0]
    assert done.stdout.splitlines() == [f"class {logits.argmax()}", "logits as expected"]
    expected = re.search(r"expected\[4\] = \{\n    (.*?)\}", (header.parent / "image.h").read_text())
    assert expected is not None
    assert [int(n) / LOGIT_ONE for n in expected[1].split(", ")] == logits.tolist()


def test_the_program_finds_another_image(tmp_path: Path) -> None:
    folder = write(tmp_path).parent
    text = (folder / "image.h").read_text()
    (folder / "image.h").write_text(re.sub(r"\[360\] = \{\n    ( *\d+, *\d+)", "[360] = {\n    99, 99", text))
    done = make(folder, "run")
    assert done.returncode != 0
    assert "logits DIFFER from those expected" in done.stdout


def test_the_prefix_is_the_header_too(tmp_path: Path) -> None:
    header = write(tmp_path, prefix="digits")
    assert header.name == "digits.h"
    assert header_of(tmp_path) == header
    assert make(tmp_path, "run").returncode == 0
    for name in FILES | {"digits.h"}:
        left = re.search(r"\bnas_|\bNAS_|\bnet_|\bNET_|\$[a-z]", (tmp_path / name).read_text())
        assert left is None, name
    with pytest.raises(ExportError, match=r"`prefix` 'A b' must be a lower-case C name"):
        write(tmp_path / "other", prefix="A b")


def test_the_readme_has_the_figures(tmp_path: Path) -> None:
    text = (write(tmp_path).parent / "README.md").read_text()
    layers = lower(EVERY_LAYER)
    assert text.startswith(
        "# net.h: trial 3 of study digits\n\n4 classes of digits, from an image of 3 x 12 x 10 bytes"
    )
    assert f"| flash | at most {flash_bytes(layers):,} bytes" in text
    assert f"| RAM | at most {ram_bytes(layers):,} bytes" in text
    assert "| accuracy | 97.50 % of the test images, 98.00 % in float32 |" in text


def test_a_file_in_the_way_is_said(tmp_path: Path) -> None:
    (tmp_path / "firmware").write_text("")
    with pytest.raises(ExportError, match=r"cannot write .*firmware: .*; choose another `output`"):
        write(tmp_path / "firmware")


def test_no_number_in_8_bits_is_a_float(tmp_path: Path) -> None:
    code = re.sub(r"/\*.*?\*/", "", write(tmp_path).read_text(), flags=re.DOTALL)
    assert re.search(r"\b(float|double)\b|\d\.\d|math\.h", code) is None


@pytest.mark.parametrize("kind", ["float", "int8"])
def test_channels_may_lie_side_by_side(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if kind == "int8":
        header = write(tmp_path)
    else:
        header = tmp_path / "net.h"
        write_c(SAMPLE.trained(), {}, header)
    expected = load_c(header).logits(SAMPLE.images)
    interleaved = SAMPLE.images.permute(0, 2, 3, 1).reshape(SAMPLE.images.shape)
    assert not torch.equal(load_c(header).logits(interleaved), expected)
    monkeypatch.setenv("CC", "cc -DNET_HWC=1")
    assert torch.equal(load_c(header).logits(interleaved), expected)


def test_constants_lie_where_they_are_put(tmp_path: Path) -> None:
    header = write(tmp_path)
    place = '-DNET_CONST=static const __attribute__((section(".weights")))'
    (tmp_path / "all.c").write_text(
        '#include "net.h"\nint f(const uint8_t *p);\nint f(const uint8_t *p) {return net_predict(p);}\n'
    )
    subprocess.run(["gcc", "-c", place, "-o", tmp_path / "all.o", tmp_path / "all.c"], check=True)
    sections = subprocess.check_output(["size", "-A", tmp_path / "all.o"], text=True)
    placed = re.search(r"^\.weights\s+(\d+)", sections, re.MULTILINE)
    assert placed is not None
    assert int(placed[1]) >= load_c(header).array_bytes


def test_the_folder_without_a_header_names_the_usual_one(tmp_path: Path) -> None:
    assert header_of(tmp_path) == tmp_path / "net.h"


@emulated
@pytest.mark.parametrize("cpu", cortex_m.CPUS)
def test_a_microcontroller_computes_the_same_logits_without_a_float(tmp_path: Path, cpu: str) -> None:
    for image in range(2):
        header = write(tmp_path, image=image)
        run = cortex_m.run_emulated(tmp_path, cpu)
        assert run.as_expected
        assert run.stack_bytes < 1024
    assert [member for member in cortex_m.linked_size(header, cpu).library if is_float(member)] == []
    write_c(SAMPLE.trained(), {}, tmp_path / "float.h")
    assert [member for member in cortex_m.linked_size(tmp_path / "float.h", cpu).library if is_float(member)]


def is_float(member: str) -> bool:
    """Whether a member of libgcc computes with floats: its name has the mode of its numbers, SF or DF."""
    return re.search(r"[sd]f|math", member) is not None


@emulated
def test_instructions_are_counted(tmp_path: Path) -> None:
    write(tmp_path)
    loop = '__asm__ volatile("1: sub %0, %0, #1\\ncmp %0, #0\\nbne 1b" : "+l"(n));'
    main = '#include <stdio.h>\nint main(void) {{ unsigned n = {}; {} puts("logits as expected"); return 0; }}\n'
    for turns in (10_000, 30_000_000):  # SysTick wraps after 1 million instructions' time for every MHz
        (tmp_path / "main.c").write_text(main.format(turns, loop))
        for cpu in cortex_m.CPUS:
            assert cortex_m.run_emulated(tmp_path, cpu).instructions == pytest.approx(3 * turns, abs=200)


@emulated
def test_a_network_takes_no_more_than_is_said(tmp_path: Path) -> None:
    for number, architecture in enumerate([EVERY_LAYER, *distinct_architectures(40)[::8]]):
        sample = sampled_network(architecture, number)
        header = tmp_path / f"net{number}.h"
        header = write(tmp_path / str(number), sample)
        layers = lower(architecture)
        for cpu in cortex_m.CPUS:
            size = cortex_m.linked_size(header, cpu)
            assert size.flash_bytes <= flash_bytes(layers)
            assert size.static_bytes <= ram_bytes(layers)
