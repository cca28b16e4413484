from __future__ import annotations

import json
from pathlib import Path

import cortex_m
import pytest

from nas.arch import Architecture, Block, Head, Input, Pool, lower
from nas.costs import Budget, costs_of, flash_bytes, ram_bytes
from nas.costs.boards import BOARDS, board_of, limits_of
from nas.errors import UsageError

MEASURED = json.loads((cortex_m.ROOT / "benchmarks" / "results" / "cortex_m.json").read_text())["networks"]
CHAIN = Architecture(Input(1, 8, 8), 10, (Block(8), Pool(), Block(12)), Head("gap_linear"))


def test_arrays_are_counted_to_the_byte() -> None:
    """What a wider last layer adds is what it stores."""
    wider = Architecture(Input(1, 8, 8), 14, CHAIN.body, CHAIN.head)
    assert flash_bytes(lower(wider)) - flash_bytes(lower(CHAIN)) == 4 * (12 + 4 + 4)  # weights, bias, scale


def test_ram_is_the_largest_pair_of_maps() -> None:
    most = 8 * 8 * 8 + 8 * 4 * 4  # the first block and its pool; the ReLU is part of the convolution
    assert ram_bytes(lower(CHAIN)) == most + 4 * 10 + 512


@pytest.mark.parametrize("measured", MEASURED, ids=lambda m: m["study"])
def test_kept_networks_took_no_more_when_they_were_built(measured: dict[str, object]) -> None:
    folder = cortex_m.ROOT / "studies" / str(measured["study"])
    layers = lower(cortex_m.kept_architecture(folder, str(measured["digest"])))
    for cpu in cortex_m.CPUS:
        took = measured[cpu]
        assert isinstance(took, dict)
        assert took["flash_bytes"] <= flash_bytes(layers) <= 1.25 * took["flash_bytes"]
        assert took["static_bytes"] + took["stack_bytes"] <= ram_bytes(layers) <= 1.06 * took["static_bytes"]


def test_limits_are_hard() -> None:
    costs = costs_of(lower(CHAIN))
    flash, ram = costs.flash_bytes, costs.ram_bytes
    assert Budget(10_000, max_flash=flash, max_ram=ram).admits(costs)
    assert Budget(10_000, max_flash=flash - 1).excesses(costs) == [f"flash_bytes {flash:,} exceeds {flash - 1:,}"]
    assert Budget(10_000, max_ram=ram - 1).excesses(costs) == [f"ram_bytes {ram:,} exceeds {ram - 1:,}"]


def test_a_board_sets_what_is_not_given() -> None:
    assert board_of("microbit") == (256 * 1024, 16 * 1024)
    assert limits_of("microbit", None, None) == {"max_flash": 262_144, "max_ram": 16_384}
    assert limits_of("microbit", None, 8_192) == {"max_flash": 262_144, "max_ram": 8_192}
    assert limits_of(None, 1, None) == {"max_flash": 1, "max_ram": None}
    with pytest.raises(UsageError, match=r"unknown `board` 'micro-bit'; did you mean 'microbit'"):
        board_of("micro-bit")


def test_boards_stand_in_the_guide() -> None:
    guide = Path(cortex_m.ROOT / "docs" / "devices.md").read_text()
    for name, board in BOARDS.items():
        assert f"| `{name}` |" in guide
        assert f"| {board.flash // 1024:,} KiB | {board.ram // 1024} KiB |" in guide
