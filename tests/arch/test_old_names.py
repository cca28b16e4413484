"""Architectures written when `norm_act` was called `dress`. The literals are what the code of that time printed."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from nas.arch import Block, NormAct, Pool, Transition, architecture_from_plain, digest_of, lower, read_architecture
from nas.errors import InvalidError

STUDIES = Path(__file__).parents[2] / "studies"
HEADER = 'name = "a"\ninput = [3, 8, 6]\nclasses = 7\n'


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "a.toml"
    path.write_text(text)
    return path


def test_a_file_with_every_old_name(tmp_path: Path) -> None:
    text = """
        dress = { bias = true, dropout = 0.1 }
        body = [
          { type = "block", width = 4, kind = "separable", kernel = 5, shortcut = "projection" },
          { type = "block", width = 4, repeat = 2, dress = { dropout = 0.0, norm = "none" } },
          { type = "transition", width = 5 },
          { type = "transition", width = 6, dressed = true },
          { type = "transition", width = 7, dressed = true, dress = { activation = "silu" } },
          { type = "transition", width = 8, dress = { norm = "none" } },
          { type = "transition", width = 8, dressed = false, dress = { norm = "none" } },
          { type = "transition", width = 9, dressed = false },
          { type = "pool", kind = "average", size = 3, stride = 2 },
        ]
    """
    norm_act = NormAct(bias=True, dropout=0.1)
    assert read_architecture(write(tmp_path, HEADER + text)).body == (
        Block(4, "separable", 5, shortcut="projection", norm_act=norm_act),
        Block(4, repeat=2, norm_act=NormAct(bias=True, norm="none")),
        Transition(5),
        Transition(6, norm_act),
        Transition(7, NormAct(bias=True, activation="silu", dropout=0.1)),
        Transition(8, NormAct(norm="none")),
        Transition(8, NormAct(norm="none")),
        Transition(9),
        Pool("average", 3, 2),
    )


@pytest.mark.parametrize(
    ("item", "problem"),
    [
        ('{ type = "transition", width = 8, dressed = "yes" }', "norm_act: 'yes' is not true, false or a table"),
        (
            '{ type = "transition", width = 8, dressed = 1, dress = {} }',
            "norm_act: 1 is not true, false or a table",
        ),
        ('{ type = "block", width = 8, dress = 3 }', "norm_act: 3 is not true, false or a table"),
        (
            '{ type = "block", width = 8, dressed = true }',
            "dressed: unknown key; known: expansion, groups, kernel, kind, layers, norm_act, "
            "options, padding, repeat, shortcut, stride, width",
        ),
        (
            '{ type = "block", width = 8, dress = {}, norm_act = {} }',
            "dress: unknown key; known: expansion, groups, kernel, kind, layers, norm_act, "
            "options, padding, repeat, shortcut, stride, width",
        ),
    ],
)
def test_problems_of_an_old_file(tmp_path: Path, item: str, problem: str) -> None:
    path = write(tmp_path, HEADER + f"body = [{item}]")
    with pytest.raises(InvalidError, match=re.escape(f"{path}: body[0].{problem}")):
        read_architecture(path)


@pytest.mark.parametrize(
    ("file", "digest"),
    [
        ("mnist-1400/warm_start/t1.toml", "2a809febb884417e"),
        ("mnist-1400/warm_start/t4.toml", "a270869217520232"),
        ("mnist-3300-b/warm_start/guess1.toml", "6c9141d3569b8715"),
        ("mnist-3300-b/warm_start/guess2.toml", "afdb9bdc0cc64ce0"),
        ("mnist-3300-b/warm_start/guess3.toml", "7e4e2ff1dd67f02d"),
        ("mnist-3300-b/warm_start/guess4.toml", "9f91ae221b8be5ac"),
        ("mnist-3300-b/warm_start/guess5.toml", "b3b748d9effe3581"),
        ("mnist-3300-b/warm_start/guess6.toml", "7e4e2ff1dd67f02d"),
    ],
)
def test_files_of_kept_studies_describe_the_networks_that_they_did(file: str, digest: str) -> None:
    assert digest_of(lower(read_architecture(STUDIES / file).architecture)) == digest


# As an exported network holds it.
PLAIN = """{"input": {"channels": 1, "height": 8, "width": 8}, "classes": 4, "body": [
{"type": "block", "width": 6, "kind": "plain", "kernel": 3, "stride": 1, "padding": "same", "shortcut": "none",
"repeat": 1, "dress": {"bias": true, "norm": "none", "activation": "silu", "order": "norm_first", "dropout": 0.1,
"dropout_kind": "element", "functional": false}},
{"type": "transition", "width": 3, "dress": {"bias": false, "norm": "none", "activation": "none",
"order": "norm_first", "dropout": 0.0, "dropout_kind": "element", "functional": false}},
{"type": "pool", "kind": "max", "size": 2, "stride": 0}],
"head": {"kind": "gap_linear", "bias": true, "kernel": 1, "padding": "valid"}}"""


def test_the_plain_form_in_an_old_export() -> None:
    assert architecture_from_plain(json.loads(PLAIN)).body == (
        Block(6, norm_act=NormAct(bias=True, norm="none", activation="silu", dropout=0.1)),
        Transition(3),
        Pool(),
    )
