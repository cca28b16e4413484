"""How numbers are read from the command line."""

from __future__ import annotations

import pytest
import typer

from nas.cli.options import parse_count


@pytest.mark.parametrize(
    ("text", "number"),
    [("8000", 8000), ("8,000", 8000), ("8_000", 8000), ("8k", 8000), (" 8K ", 8000), ("1.5k", 1500),
     ("1.5M", 1_500_000), ("1,234,567", 1_234_567), ("1", 1), ("0.001k", 1), ("2g", 2_000_000_000)],
)  # fmt: skip
def test_counts_as_people_write_them(text: str, number: int) -> None:
    assert parse_count(text) == number


@pytest.mark.parametrize(
    "text", ["", "0", "-5", "8000.5", "8,00", "8k5", "eight", "1e3", "0x10", "1,5k", "k", "1.0001k"]
)
def test_what_is_no_count(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="at least 1"):
        parse_count(text)
