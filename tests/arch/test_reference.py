"""The seven networks of the reference documents come out exactly as their layer tables print them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from nas.arch import Layer, digest_of, lower, read_architecture
from nas.costs import costs_of
from nas.costs.table import layer_rows, layer_table

ROOT = Path(__file__).parents[2]
TABLES = ROOT / "tests" / "reference_tables"
NETWORKS = {
    # name: total, best test accuracy, batch size, epochs (of the log)
    "000": (10_876, 99.05, 64, 15),
    "001": (9_596, 99.32, 64, 15),
    "002": (26_314, 98.83, 128, 19),
    "003_model_1": (9_746, 99.14, 32, 15),
    "003_model_2": (9_914, 99.40, 32, 15),
    "003_model_3": (7_788, 99.45, 32, 15),
    "004": (19_122, 99.55, 64, 20),
}
PRINTED_ROW = re.compile(r"\s*(?P<kind>\w+)-(?P<number>\d+)\s+\[-1, (?P<shape>[\d, ]+)\]\s+(?P<params>[\d,]+)")


def reference_layers(name: str) -> list[Layer]:
    return lower(read_architecture(ROOT / "studies" / "reference" / f"{name}.toml").architecture)


def printed(name: str) -> tuple[list[tuple[str, int, tuple[int, ...], int]], int]:
    """Rows of (kind, number, output shape, parameters) and the total, as the document prints them."""
    header, *lines, total = (TABLES / f"{name}.txt").read_text().splitlines()
    assert header.split() == ["Layer", "(type)", "Output", "Shape", "Param", "#"]
    rows = []
    for line in lines:
        match = PRINTED_ROW.fullmatch(line)
        assert match, line
        shape = tuple(int(size) for size in match["shape"].split(","))
        rows.append((match["kind"], int(match["number"]), shape, int(match["params"].replace(",", ""))))
    return rows, int(total.removeprefix("Total params: ").replace(",", ""))


def test_every_reference_has_a_file_and_a_table() -> None:
    assert {path.stem for path in (ROOT / "studies" / "reference").glob("*.toml")} == set(NETWORKS)
    assert {path.stem for path in TABLES.glob("*.txt")} == set(NETWORKS)


@pytest.mark.parametrize("name", NETWORKS)
def test_layers_are_the_printed_rows(name: str) -> None:
    layers = reference_layers(name)
    modules = [layer for layer in layers if layer.group]
    ours = [(m.operation.kind, i, m.output_shape, m.num_params) for i, m in enumerate(modules, start=1)]
    rows, total = printed(name)
    assert ours == rows
    assert costs_of(layers).num_params == sum(row[3] for row in rows) == total == NETWORKS[name][0]


@pytest.mark.parametrize("name", NETWORKS)
def test_layer_rows_are_the_printed_rows(name: str) -> None:
    ours = [
        (row["name"], row["kind"], row["output_shape"], row["num_params"]) for row in layer_rows(reference_layers(name))
    ]
    rows, _ = printed(name)
    assert ours == [(f"{kind}-{number}", kind, list(shape), params) for kind, number, shape, params in rows]


@pytest.mark.parametrize("name", NETWORKS)
def test_layer_table_shows_every_printed_row(name: str) -> None:
    shown = {" ".join(line.split()[:-1]) for line in layer_table(reference_layers(name)).splitlines()}
    *rows, total = (TABLES / f"{name}.txt").read_text().splitlines()[1:]
    assert {" ".join(row.split()) for row in rows} <= shown
    assert total in layer_table(reference_layers(name)).splitlines()


@pytest.mark.parametrize("name", NETWORKS)
def test_recipe_and_publication_are_those_of_the_document(name: str) -> None:
    file = read_architecture(ROOT / "studies" / "reference" / f"{name}.toml")
    published = (file.published_best_test_accuracy, file.recipe.batch_size, file.recipe.epochs)
    assert published == NETWORKS[name][1:]
    assert file.dataset == "mnist"
    assert file.source.startswith(name[:3])
    assert file.recipe.schedule == ("step" if name == "003_model_3" else "constant")
    assert (file.recipe.augmentation > 0) == (name == "003_model_3")


def test_references_have_different_digests() -> None:
    assert len({digest_of(reference_layers(name)) for name in NETWORKS}) == len(NETWORKS)


def test_functions_of_004_are_no_rows() -> None:
    layers = reference_layers("004")
    assert [layer.operation.kind for layer in layers if not layer.group] == ["ReLU"] * 5
    noted = {row["name"]: row["then"] for row in layer_rows(layers) if "then" in row}
    assert noted == {f"Conv2d-{number}": ["relu"] for number in (1, 4, 9, 12, 17)}


def test_totals_by_arithmetic() -> None:
    # Bias-free 3x3 convolutions, 1x1 transition alone and 1x1 classifier.
    assert costs_of(reference_layers("000")).num_params == (
        1 * 12 * 9 + 12 * 16 * 9 + 16 * 10 + 10 * 16 * 9 + 16 * 20 * 9 + 20 * 24 * 9 + 24 * 10
    )
    # With biases and norms; a dense layer over 32 maps of 5x5.
    assert costs_of(reference_layers("002")).num_params == (
        (1 * 8 * 9 + 8 + 16)
        + (8 * 16 * 9 + 16 + 32)
        + (16 * 32 * 9 + 32 + 64)
        + (32 * 8 + 8 + 16)
        + (8 * 16 * 9 + 16 + 32)
        + (16 * 32 * 9 + 32 + 64)
        + (32 * 8 + 8 + 16)
        + (8 * 16 * 9 + 16 + 32)
        + (16 * 32 * 9 + 32)
        + (32 * 5 * 5 * 10 + 10)
    )
    # Norms without biases, and a linear layer without one.
    assert costs_of(reference_layers("003_model_3")).num_params == (
        9 * (1 * 8 + 8 * 12 + 12 * 16 + 16 * 16 + 16 * 11 + 11 * 10) + 2 * (8 + 12 + 16 + 16 + 11 + 10) + 10 * 10
    )
    # A 3x3 convolution to the classes.
    assert costs_of(reference_layers("004")).num_params == (
        (1 * 16 * 9 + 16 + 32)
        + (16 * 32 * 9 + 32 + 64)
        + (32 * 8 + 8)
        + (8 * 16 * 9 + 16 + 32)
        + (16 * 32 * 9 + 32 + 64)
        + (32 * 16 + 16)
        + (16 * 32 * 9 + 32)
        + (32 * 10 * 9 + 10)
    )
