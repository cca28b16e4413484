"""`nas export net.py`: from a module that was exported to a file in another format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nas.app.quantize import Report, quantize_and_measure
from nas.app.verify import images_to_measure
from nas.app.write_export import Quantized, write_export
from nas.data.split import parts_of
from nas.errors import DataError, UsageError, VerificationError
from nas.export.formats import format_of, require_prefix_fits
from nas.export.module_text import read_module_network


def export_module(
    module: Path,
    output: Path,
    data_dir: Path | None,
    data: Path | None = None,
    prefix: str | None = None,
    report: Report = lambda what: None,
) -> dict[str, Any]:
    """Write the network of a Python module to `output`, as its study would; return what the file claims.

    The module is read and not run. Images are read for the 8-bit formats alone, as `nas.app.verify` finds them.

    Args:
        module: the file, its weights beside it.
        output: the file to write, or the folder of firmware.
        data_dir: where named data sets lie.
        data: where the images that the network was measured on lie now, if they are a person's own.
        prefix: what the symbols of a C header begin with; by default the file's name.
        report: takes what is being done, as it goes on.

    Raises:
        VerificationError: the module cannot be read, its parts do not agree, or the images are not those that it was
            measured on.
        DataError: the format is one in 8 bits, and the images are not there.
        ExportError: the name asks for no format, the format needs a package that is missing or cannot hold this
            network, or the file cannot be written.
        UsageError: the format has no place for a prefix, or `output` is the module itself.
    """
    format_of(output)
    require_prefix_fits(output, prefix)
    if output.resolve() == module.resolve():
        raise UsageError(f"{output} is the module itself; choose another `output`")
    report(f"reading {module}")
    found = read_module_network(module)
    claims, stem = found.claims, found.network.architecture.input

    def quantized() -> Quantized:
        seed, is_test = claims.get("split_seed"), "test_accuracy" in claims
        if type(seed) is not int or seed < 0:
            raise VerificationError(f"{module}: split_seed is {seed!r}; give the file as exported")
        try:
            shape = (stem.channels, stem.height, stem.width)
            dataset = images_to_measure(claims, shape, module, data_dir, data, report)
        except DataError as error:
            raise DataError(f"an 8-bit format is calibrated on the images of the network: {error}") from None
        parts = parts_of(dataset, seed)
        pair = (parts.whole_train, parts.test) if is_test else (parts.train, parts.validation)
        return quantize_and_measure(
            found.network, *pair, dataset=dataset.name, is_test=is_test, seed=seed, report=report
        )

    return {**claims} | write_export(found.network, claims, found.provenance, output, prefix, quantized, report)
