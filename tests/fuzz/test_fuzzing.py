"""What the fuzz looks for is found."""

from __future__ import annotations

import random
from pathlib import Path

import fuzzing
import pytest
from fuzzing import TookTooLong, fuzz, mutated

from nas.errors import NasError

GOOD = b"a good file"


def test_a_strangers_error_is_found_and_its_input_is_kept(tmp_path: Path) -> None:
    def read(content: bytes) -> None:
        if content != GOOD:
            raise KeyError("a stranger's")

    with pytest.raises(KeyError) as found:
        fuzz(read, mutated([GOOD]), 100, tmp_path / "last")
    assert "of seed" in found.value.__notes__[0]
    assert (tmp_path / "last").read_bytes() != GOOD


def test_too_much_time_and_too_much_memory_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzzing, "SECONDS", 0.1)

    def turn(_: bytes) -> None:
        while True:
            pass

    with pytest.raises(TookTooLong):
        fuzz(turn, mutated([GOOD]), 1, tmp_path / "last")
    with pytest.raises(MemoryError):
        fuzz(lambda _: bytearray(3 << 30), mutated([GOOD]), 1, tmp_path / "last")


def test_where_all_is_read_or_all_refused_nothing_was_tried(tmp_path: Path) -> None:
    def refuse(_: bytes) -> None:
        raise NasError("refused")

    for read in (lambda _: None, refuse):
        with pytest.raises(AssertionError, match="inputs of one kind"):
            fuzz(read, mutated([GOOD]), 10, tmp_path / "last")


def test_an_input_is_made_from_its_number_alone() -> None:
    make = mutated([GOOD, b"another"])
    inputs = [[make(random.Random(f"0 {number}")) for number in range(50)] for _ in range(2)]
    assert inputs[0] == inputs[1]
    assert len(set(inputs[0])) > 25
