"""The layer rows, the table and the sketch of networks with functions, shortcuts and shared weights."""

from __future__ import annotations

import json

from nas.arch import Architecture, Block, Head, Input, Layer, NormAct, Pool, lower
from nas.arch.description import BodyItem
from nas.costs import costs_of
from nas.costs.table import layer_rows, layer_table, sketch

FUNCTIONAL = NormAct(functional=True, order="activation_first")
GAP_LINEAR = Head()


def layers_of(*body: BodyItem, head: Head = GAP_LINEAR) -> list[Layer]:
    return lower(Architecture(Input(1, 8, 8), 10, body, head))


def test_rows_are_plain_and_add_up() -> None:
    layers = layers_of(Block(4), Block(4, repeat=2, shortcut="identity", norm_act=FUNCTIONAL), Pool())
    rows = layer_rows(layers)
    assert json.loads(json.dumps(rows)) == rows
    assert sum(row["num_params"] for row in rows) == costs_of(layers).num_params
    assert sum(row["num_macs"] for row in rows) == costs_of(layers).num_macs
    assert rows[0] == {
        "name": "Conv2d-1",
        "kind": "Conv2d",
        "output_shape": [4, 8, 8],
        "num_params": 4 * 9,
        "num_macs": 64 * 4 * 9,
    }
    assert rows[-1]["output_shape"] == [10]


def test_functions_are_noted_on_the_row_before_them() -> None:
    rows = layer_rows(layers_of(Block(1, shortcut="identity"), Block(4, shortcut="projection", norm_act=FUNCTIONAL)))
    assert [(row["name"], row.get("then")) for row in rows[:6]] == [
        ("Conv2d-1", None),
        ("BatchNorm2d-2", ["add image"]),
        ("ReLU-3", None),
        ("Conv2d-4", None),
        ("Conv2d-5", ["add Conv2d-4", "relu"]),
        ("BatchNorm2d-6", None),
    ]


def test_what_a_function_made_goes_by_the_row_that_it_follows() -> None:
    norm_act = NormAct(norm="none", functional=True)
    rows = layer_rows(layers_of(Block(4, norm_act=norm_act), Block(4, shortcut="identity", norm_act=norm_act)))
    assert [row.get("then") for row in rows[:2]] == [["relu"], ["add Conv2d-1", "relu"]]


def test_rows_with_shared_weights() -> None:
    rows = layer_rows(layers_of(Block(1, repeat=3)))[:9]
    shared = {row["name"]: row.get("shared_with") for row in rows}
    assert shared == {
        "Conv2d-1": None,
        "BatchNorm2d-2": None,
        "ReLU-3": None,
        "Conv2d-4": "Conv2d-1",
        "BatchNorm2d-5": "BatchNorm2d-2",
        "ReLU-6": None,
        "Conv2d-7": "Conv2d-1",
        "BatchNorm2d-8": "BatchNorm2d-2",
        "ReLU-9": None,
    }
    assert [row["num_params"] for row in rows] == [9, 2, 0, 0, 0, 0, 0, 0, 0]
    assert [row["num_macs"] for row in rows] == [64 * 9, 0, 0] * 3


def test_table() -> None:
    layers = layers_of(Block(1, repeat=2, norm_act=FUNCTIONAL), Block(16, kernel=5), head=Head(bias=False))
    assert layer_table(layers).splitlines() == [
        "         Layer (type)           Output Shape            Param #            MACs",
        "===============================================================================",
        "             Conv2d-1          [-1, 1, 8, 8]                  9             576",
        "               (relu)          [-1, 1, 8, 8]",
        "        BatchNorm2d-2          [-1, 1, 8, 8]                  2               0",
        "             Conv2d-3          [-1, 1, 8, 8]        as Conv2d-1             576",
        "               (relu)          [-1, 1, 8, 8]",
        "        BatchNorm2d-4          [-1, 1, 8, 8]   as BatchNorm2d-2               0",
        "             Conv2d-5         [-1, 16, 8, 8]                400          25,600",
        "        BatchNorm2d-6         [-1, 16, 8, 8]                 32               0",
        "               ReLU-7         [-1, 16, 8, 8]                  0               0",
        "  AdaptiveAvgPool2d-8         [-1, 16, 1, 1]                  0               0",
        "             Linear-9               [-1, 10]                160             160",
        "===============================================================================",
        "Total params: 603",
        "Deployed params (norms folded): 587",
        "Total MACs: 26,912",
        "Peak activation bytes: 4,352",
    ]


def test_sketch() -> None:
    layers = layers_of(Block(1, repeat=2), Pool(), Block(10, shortcut="projection", norm_act=FUNCTIONAL))
    # 80 columns less 16 + 2 + 8 + 2 in front of the bars and 1 + 3 behind leave 48 for the 110 of `fc`.
    assert sketch(layers).splitlines() == [
        "convblock1         1 x 8x8  ▇▇▇▇▇ 11",
        "convblock1         1 x 8x8  same weights, run 2",
        "pool1              1 x 4x4",
        "convblock2        10 x 4x4  ▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇ 90",
        "shortcut2         10 x 4x4  ▇▇▇▇ 10",
        "  add convblock2  10 x 4x4",
        "  relu            10 x 4x4",
        "tail2             10 x 4x4  ▇▇▇▇▇▇▇▇▇ 20",
        "gap               10 x 1x1",
        "fc                      10  ▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇ 110",
    ]


def test_sketch_and_table_fit_80_columns_and_the_longest_bar_fills_them() -> None:
    body = [Block(4), *(Block(4, shortcut="identity", norm_act=FUNCTIONAL) for _ in range(30)), Block(1_000)]
    layers = layers_of(*body)
    assert max(map(len, layer_table(layers).splitlines())) == 79
    widths = [len(line) for line in sketch(layers).splitlines()]
    assert max(widths) == 80
    assert "  add tail30" in sketch(layers)


def test_sketch_of_a_network_without_parameters_in_its_body() -> None:
    assert sketch(layers_of(Pool())).splitlines()[0] == "pool1  1 x 4x4"
