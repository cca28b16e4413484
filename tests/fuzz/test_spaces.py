"""Damaged spaces and architecture files."""

from __future__ import annotations

from pathlib import Path

from mutations import mutations, only_nas_errors

from nas.arch import Input, costs_of, digest_of, layer_table, lower, outline, read_architecture
from nas.space import SHIPPED, least_network, load_space

REFERENCE = Path(__file__).parents[2] / "studies" / "reference"


def test_spaces(tmp_path: Path) -> None:
    def read(content: bytes) -> None:
        (tmp_path / "space.toml").write_bytes(content)
        least_network(load_space(str(tmp_path / "space.toml"), Input(1, 28, 28), 10))

    only_nas_errors(mutations([path.read_bytes() for path in sorted(SHIPPED.glob("*.toml"))]), read)


def test_architectures(tmp_path: Path) -> None:
    def read(content: bytes) -> None:
        (tmp_path / "net.toml").write_bytes(content)
        described = read_architecture(tmp_path / "net.toml")
        layers = lower(described.architecture)
        costs_of(layers)
        digest_of(layers)
        layer_table(layers)
        outline(described.architecture)

    only_nas_errors(mutations([path.read_bytes() for path in sorted(REFERENCE.glob("*.toml"))]), read)
