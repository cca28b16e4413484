from __future__ import annotations

import itertools
import random
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sampled import difference, distinct_architectures, sampled_network

from nas.arch import IMAGE, Architecture, Block, Head, Input, Layer, NormAct, Pool, Transition, lower
from nas.costs import Budget, costs_of, plan_memory
from nas.errors import ExportError, VerificationError
from nas.export.c import templates
from nas.export.c.header import prefix_of, write_c, write_quantized_c
from nas.export.c.load import load_c
from nas.int8.quantize import quantize
from nas.model.fold_batch_norm import fold
from nas.space import draw_network, load_space

torch.set_num_threads(1)

NETWORK = Architecture(
    Input(2, 9, 7),
    4,
    (
        Block(6, norm_act=NormAct(activation="prelu", dropout=0.1)),
        Block(6, kind="separable", shortcut="identity", repeat=2, norm_act=NormAct(activation="gelu")),
        Pool(kind="average"),
        Transition(5, NormAct(activation="silu", order="activation_first")),
    ),
    Head("gap_linear", bias=False),
)
SAMPLE = sampled_network(NETWORK, 0)
EVERY_ACTIVATION = [
    Architecture(
        Input(1, 8, 8),
        3,
        (Block(4, shortcut="projection", norm_act=NormAct(activation=kind)), Pool(), Pool("average")),
        Head(head),
    )
    for kind, head in (("relu", "gap_linear"), ("leaky_relu", "conv_gap"), ("hardswish", "flatten_linear"))
]
TEMPLATES = Path(templates.__file__).parent
CLAIMS = {"num_params": 309, "dataset": 'a */ b /* c ??/ PREFIX MACRO \\ " \n'}


def write(path: Path, prefix: str | None = "nas", **change: Any) -> Path:
    write_c(SAMPLE.trained(**change), CLAIMS, path, prefix)
    return path


@pytest.fixture(scope="module")
def header(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("c") / "net.h")


@pytest.mark.parametrize("path", sorted(TEMPLATES.glob("*.[ch]")), ids=lambda p: p.name)
def test_a_compiler_accepts_each_template_as_it_is(path: Path) -> None:
    flags = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-fsyntax-only")
    done = subprocess.run(["cc", *flags, path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_class_names_are_a_table_and_metadata(tmp_path: Path) -> None:
    names = ('a "quoted" ??/ name', "Größe", "*/ back\\slash", "nas_forward\nNAS_")
    loaded = load_c(write(tmp_path / "net.h", class_names=names))
    assert loaded.class_names == names
    table = re.search(r"nas_class_names\[NAS_CLASSES\] = \{(.*?)\};", (tmp_path / "net.h").read_text(), re.DOTALL)
    assert table is not None
    program = "#include <stdio.h>\nint main(void) { const char *t[] = {%s}; for (int i = 0; i < 4; i++) puts(t[i]); }"
    (tmp_path / "main.c").write_text(program % table[1])
    subprocess.run(["cc", "-std=c99", "-o", tmp_path / "main", tmp_path / "main.c"], check=True)
    assert subprocess.check_output([tmp_path / "main"], text=True) == "\n".join(names) + "\n"


def test_a_header_of_the_version_before_is_read(header: Path, tmp_path: Path) -> None:
    text = re.sub(r', "classes": \[.*?\]\}$', "}", header.read_text(), count=1, flags=re.MULTILINE)
    assert "class 0" in text  # in the table alone
    (tmp_path / "net.h").write_text(text)
    assert load_c(tmp_path / "net.h").class_names == ()


def test_header_says_what_it_is_and_computes_it(header: Path) -> None:
    loaded = load_c(header)
    assert loaded.claims == CLAIMS
    assert loaded.input_shape == (2, 9, 7)
    assert difference(loaded.logits(SAMPLE.images), SAMPLE.logits) < 1e-6
    assert torch.equal(loaded.predictions(SAMPLE.images), SAMPLE.logits.argmax(1))


def test_both_counts_stand_in_the_header(header: Path) -> None:
    stored = (
        (6 * 2 * 3 * 3 + 6 + 1)  # the norm is a bias now
        + (6 * 3 * 3 + 6 + 6 * 6 + 6)
        + (5 * 6 + 2 * 5)  # no convolution precedes this norm
        + 4 * 5
    )
    num_params = costs_of(lower(NETWORK)).num_params
    assert load_c(header).num_weights == stored == costs_of(lower(NETWORK)).deployed_params
    assert load_c(header).derive() == {"deployed_params": stored}
    assert f"A network of {num_params:,} parameters, here {stored:,} numbers of float32\n" in header.read_text()


def test_bytes_are_counted(header: Path) -> None:
    loaded = load_c(header)
    assert loaded.array_bytes == 4 * (loaded.num_weights + 2 + 2)  # mean and std
    assert loaded.work_bytes == 4 * 6 * 9 * 7 * 3  # a separable block and its shortcut: three maps at once


def test_header_needs_no_memory_beyond_its_own(header: Path) -> None:
    text = header.read_text()
    assert "malloc" not in text
    assert [line for line in text.splitlines() if line.startswith("#include")] == [
        "#include <math.h>",
        "#include <stdint.h>",
    ]


def test_two_networks_fit_in_one_program(tmp_path: Path) -> None:
    """The names in a header are those of its file, so that it takes no thought to include two."""
    write(tmp_path / "one-digit.h", prefix=None)
    write_quantized_c(quantize(SAMPLE.trained(), SAMPLE.calibration), CLAIMS, tmp_path / "Letters v2.int8.h")
    (tmp_path / "main.c").write_text(
        '#include "one-digit.h"\n#include "Letters v2.int8.h"\n#include <stdio.h>\n'
        "int main(void)\n{\n    static uint8_t p[ONE_DIGIT_CHANNELS * ONE_DIGIT_HEIGHT * ONE_DIGIT_WIDTH];\n"
        '    printf("%d %d\\n", one_digit_predict(p), letters_v2_int8_predict(p));\n'
        "    return ONE_DIGIT_CLASSES - LETTERS_V2_INT8_CLASSES;\n}\n"
    )
    flags = ("-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror")
    subprocess.run(["cc", *flags, "-o", tmp_path / "main", tmp_path / "main.c", "-lm"], check=True)
    first, second = map(int, subprocess.check_output([tmp_path / "main"], text=True).split())
    zero = torch.zeros(1, 2, 9, 7, dtype=torch.uint8)
    assert first == load_c(tmp_path / "one-digit.h").predictions(zero).item()
    assert second == load_c(tmp_path / "Letters v2.int8.h").predictions(zero).item()


@pytest.mark.parametrize(
    ("name", "prefix"),
    [
        ("net.h", "net"),
        ("net.int8.h", "net_int8"),
        ("My Net-2.H", "my_net_2"),
        ("3x3.h", "net_3x3"),
        ("größe.h", "gr_e"),
        ("§.h", "net"),
        ("int8.h", "net_int8"),  # INT8_WIDTH is C23's own
        ("uint.h", "net_uint"),
    ],
)
def test_names_come_from_the_file(name: str, prefix: str) -> None:
    assert prefix_of(Path("folder") / name) == prefix


def test_a_prefix_leaves_the_names_of_classes_alone(tmp_path: Path) -> None:
    names = ("nas_dog", "a NAS_cat", "x nas_", "plain")
    write(tmp_path / "net.h", prefix=None, class_names=names)
    text = (tmp_path / "net.h").read_text()
    table = re.search(r"net_class_names\[NET_CLASSES\] = \{(.*?)\};", text, re.DOTALL)
    assert table is not None
    assert re.findall(r'"(.*?)"', table[1]) == list(names)
    assert load_c(tmp_path / "net.h").class_names == names


@pytest.mark.parametrize("sums", ["double", "float"])
def test_no_number_changes_its_type_unasked(tmp_path: Path, sums: str) -> None:
    """Where double is slow, or a house rule forbids what is implicit, the header still compiles without a warning."""
    samples = [SAMPLE, *(sampled_network(architecture, 1) for architecture in EVERY_ACTIVATION)]
    flags = ("-std=c99", "-pedantic", "-Wall", "-Wextra", "-Wdouble-promotion", "-Wconversion", "-Wshadow", "-Werror")
    for number, sample in enumerate(samples):
        write_c(sample.trained(), {}, tmp_path / f"f{number}.h")
        write_quantized_c(quantize(sample.trained(), sample.calibration), {}, tmp_path / f"q{number}.h")
    names = [f"{kind}{number}" for kind in "fq" for number in range(len(samples))]
    macros = "".join(f"#define {name}_sum {sums}\n" for name in names if name.startswith("f"))
    includes = "".join(f'#include "{name}.h"\n' for name in names)
    calls = " + ".join(f"{name}_predict(pixels)" for name in names)
    main = f"int main(void) {{ static uint8_t pixels[500]; return {calls}; }}\n"
    (tmp_path / "main.c").write_text(macros + includes + main)
    done = subprocess.run(
        ["cc", *flags, "-fsyntax-only", tmp_path / "main.c"], capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    assert done.returncode == 0


def test_changed_weight_changes_the_logits(header: Path, tmp_path: Path) -> None:
    lines = header.read_text().splitlines()
    at = lines.index("NAS_CONST float nas_fc_weight[20] = {") + 1
    lines[at] = "    9.0f," + lines[at].split(",", 1)[1]
    changed = tmp_path / "net.h"
    changed.write_text("\n".join(lines) + "\n")
    assert difference(load_c(changed).logits(SAMPLE.images), SAMPLE.logits) > 0.1


def test_network_in_8_bits(tmp_path: Path) -> None:
    network = quantize(SAMPLE.trained(), SAMPLE.calibration)
    write_quantized_c(network, CLAIMS, tmp_path / "net.h")
    loaded = load_c(tmp_path / "net.h")
    assert loaded.claims == CLAIMS
    assert torch.equal(loaded.logits(SAMPLE.images), network.logits(SAMPLE.images))
    assert torch.equal(loaded.predictions(SAMPLE.images), network.logits(SAMPLE.images).argmax(1))
    zeros = network.parameters["zeros"].numel()  # these stand in the calls and not in an array
    assert loaded.array_bytes + zeros == network.num_bytes
    assert loaded.num_weights == network.num_weights
    assert loaded.derive() == {}
    assert loaded.work_bytes == 6 * 9 * 7 * 3
    assert f"{network.num_bytes:,} bytes with all scales" in (tmp_path / "net.h").read_text()


def _maps_alive(layers: list[Layer], offsets: list[int], image: int) -> list[list[tuple[int, int]]]:
    """For each layer the places of what it writes and of what it or a later layer still reads, but not its own."""
    places = {IMAGE: image} | dict(enumerate(offsets))
    elements = {IMAGE: torch.Size(layers[0].input_shape).numel()}
    elements |= {i: torch.Size(layer.output_shape).numel() for i, layer in enumerate(layers)}
    result = []
    for index, layer in enumerate(layers[:-1]):
        later = {s for after in layers[index + 1 :] for s in after.sources if s < index}
        in_place = places[layer.sources[0]] == places[index]
        needed = later | set(layer.sources[1 if in_place else 0 :]) | {index}
        result.append([(places[m], places[m] + elements[m]) for m in needed])
    return result


def test_maps_never_overlap_and_need_no_more_than_the_peak() -> None:
    for architecture in distinct_architectures(200):
        layers = fold(lower(architecture)).layers
        plan = plan_memory(layers)
        for alive in _maps_alive(layers, plan.offsets, plan.image):
            alive.sort()
            assert all(end <= start for (_, end), (start, _) in itertools.pairwise(alive))
            assert alive[-1][1] <= plan.size
        assert plan.size * 4 <= costs_of(lower(architecture)).peak_activation_bytes


def test_chain_needs_exactly_the_peak() -> None:
    body = (Block(8), Block(12), Pool(), Block(16), Block(5), Pool(), Block(20))
    layers = lower(Architecture(Input(1, 28, 28), 10, body))
    assert plan_memory(fold(layers).layers).size * 4 == costs_of(layers).peak_activation_bytes == 4 * 20 * 28 * 28


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"(?s)the weights do not fit the architecture.*Missing key"):
        write(tmp_path / "net.h", weights={})
    nan = torch.full_like(SAMPLE.weights["fc.weight"], float("nan"))
    with pytest.raises(ExportError, match="the weights are not finite numbers; train the network again"):
        write(tmp_path / "net.h", weights=SAMPLE.weights | {"fc.weight": nan})


@pytest.mark.parametrize("prefix", ["", "9", "Nas", "a-b", "a b"])
def test_prefix_must_be_a_name(tmp_path: Path, prefix: str) -> None:
    with pytest.raises(ExportError, match=rf"`prefix` '{prefix}' must be a lower-case C name"):
        write(tmp_path / "net.h", prefix=prefix)


def test_unwritable_path_says_so(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"cannot write .*: No such file or directory; choose another `output`"):
        write(tmp_path / "no" / "net.h")


def test_no_compiler_says_so(header: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(ExportError, match="the C compiler 'no-such-compiler' does not start"):
        load_c(header)
    monkeypatch.delenv("CC")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ExportError, match="there is no C compiler; install gcc, or set CC"):
        load_c(header)


def test_compiler_may_have_arguments(header: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "cc -DUNUSED")
    assert load_c(header).claims == CLAIMS
    monkeypatch.setenv("CC", "cc -DNAS_HEIGHT=1")
    with pytest.raises(VerificationError, match=r"(?s)does not compile: .*NAS_HEIGHT"):
        load_c(header)


def test_other_files_are_refused(header: Path, tmp_path: Path) -> None:
    path = tmp_path / "net.h"
    with pytest.raises(VerificationError, match="cannot read"):
        load_c(path)
    path.write_text("int x;\n")
    with pytest.raises(VerificationError, match="does not say what it is"):
        load_c(path)
    path.write_text(header.read_text().replace("static float nas_work", "static flot nas_work"))
    with pytest.raises(VerificationError, match=r"(?s)does not compile: .*flot"):
        load_c(path)
    path.write_text(header.read_text().replace("NAS_HEIGHT 9", "NAS_HEIGHT 7"))
    with pytest.raises(VerificationError, match=r"takes images of \(2, 7, 7\), and says that it takes \(2, 9, 7\)"):
        load_c(path)


GENERAL = load_space("general", Input(1, 12, 12), 3)


@given(st.integers(0, 10_000), st.integers(100, 8_000))
@settings(max_examples=10, deadline=None)
def test_networks_drawn_by_their_deployed_parameters_are_exported_with_as_many(seed: int, max_params: int) -> None:
    """No more than the budget, and exactly the numbers that the header holds, besides those of the normalization."""
    budget = Budget(max_params, count="deployed")
    found = draw_network(GENERAL, budget, random.Random(seed), ceiling=max_params).candidate
    network = sampled_network(found.architecture, seed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "net.h")
        write_c(network.trained(), {}, path)
        arrays = re.findall(r"^NET_CONST float (net_\w+)\[(\d+)\] = ", path.read_text(), re.MULTILINE)
    sizes = {name: int(size) for name, size in arrays}
    exported = sum(sizes.values()) - sizes["net_mean"] - sizes["net_std"]
    assert exported == found.costs.deployed_params <= max_params
