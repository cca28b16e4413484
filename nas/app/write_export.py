"""A trained network written in the format that a file's name asks for, whatever it was taken from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nas.app.quantize import Report
from nas.errors import ExportError
from nas.export.c.firmware import Example
from nas.export.formats import input_text, is_int8, write, write_int8
from nas.int8.network import QuantizedNetwork
from nas.model.trained_network import TrainedNetwork

# A network in 8 bits, its size and accuracy as claims, and an image to try it with.
Quantized = tuple[QuantizedNetwork, dict[str, Any], Example]


def write_export(
    network: TrainedNetwork,
    claims: Mapping[str, Any],
    provenance: str,
    output: Path,
    prefix: str | None,
    quantized: Callable[[], Quantized],
    report: Report,
) -> dict[str, Any]:
    """Write a network to `output`, its folder included; return what the file claims beside `claims`, or in their place.

    Args:
        network: with its weights.
        claims: what the file says of itself, whatever its format.
        provenance: where the network comes from; only a Python module has a place for it.
        output: the file to write, or the folder of firmware.
        prefix: what the symbols of a C header begin with; by default the file's name.
        quantized: gives the network in 8 bits; called for the 8-bit formats alone.
        report: takes what is being done, as it goes on.

    Raises:
        ExportError: the name asks for no format, the format needs a package that is missing or cannot hold this
            network, or the file cannot be written.
        UsageError: the format has no place for a prefix.
    """
    added: dict[str, Any] = {"input": input_text(output, network.architecture.input)}
    make_folder(output)
    if is_int8(output):
        in_8_bits, measured, example = quantized()
        added |= measured
        with _writing(output):
            write_int8(in_8_bits, {**claims, **added}, output, prefix, example)
    else:
        report(f"writing {output}")
        with _writing(output):
            write(network, {**claims, **added}, provenance, output, prefix)
    return added


def make_folder(output: Path) -> None:
    """Make the folder that `output` is to lie in. Raises ExportError where that cannot be."""
    with _writing(output):
        output.parent.mkdir(parents=True, exist_ok=True)


@contextmanager
def _writing(output: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError) as error:  # torch meets a full disk with a RuntimeError
        raise ExportError(f"cannot write {output}: {error}; choose another `output`") from None
