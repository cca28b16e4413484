"""Damaged spaces and architecture files."""

from __future__ import annotations

from pathlib import Path

from fuzzing import fuzz, mutated

from nas.arch import Input, digest_of, lower, outline, read_architecture
from nas.costs import costs_of, layer_table
from nas.space import SHIPPED, least_network, load_space

REFERENCE = Path(__file__).parents[2] / "studies" / "reference"


def test_spaces(tmp_path: Path) -> None:
    file = tmp_path / "space.toml"

    def read(_: bytes) -> None:
        least_network(load_space(str(file), Input(1, 28, 28), 10))

    fuzz(read, mutated([path.read_bytes() for path in sorted(SHIPPED.glob("*.toml"))]), 150, file)


def test_architectures(tmp_path: Path) -> None:
    file = tmp_path / "net.toml"

    def read(_: bytes) -> None:
        described = read_architecture(file)
        layers = lower(described.architecture)
        costs_of(layers)
        digest_of(layers)
        layer_table(layers)
        outline(described.architecture)

    fuzz(read, mutated([path.read_bytes() for path in sorted(REFERENCE.glob("*.toml"))]), 150, file)
