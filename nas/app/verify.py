"""`nas verify`: the claims of an exported file, derived again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from nas.data.images import Dataset
from nas.data.known import KNOWN_DATASETS
from nas.data.load import load_dataset
from nas.errors import DataError, VerificationError
from nas.export.c.firmware import header_of
from nas.export.formats import FIRMWARE, format_of
from nas.model.exported_file import LoadedExport, require_file
from nas.model.thop_count import ThopCount
from nas.study.claims import accuracy_claim
from nas.verification.checks import Check, accuracy, verify_structure
from nas.verification.child import ChildExport

Report = Callable[[str], None]


def verify(
    path: Path, data_dir: Path | None, data: Path | None = None, report: Report = lambda what: None
) -> tuple[list[Check], ThopCount | None]:
    """Return the claims of an exported file, derived from what the file holds and computes; and what thop counts in it.

    The file is read in a process of its own. Only a Python module has layers for thop to count.

    Args:
        path: the file, or a folder of firmware.
        data_dir: where named data sets lie.
        data: where the images that it was measured on lie now, if they are a person's own.
        report: takes what is being done, as it goes on.

    Raises:
        VerificationError: the file cannot be read, or the data are not those that it was measured on.
        DataError: the data are not there.
        ExportError: the name says no format.
    """
    if format_of(path) == FIRMWARE:
        path = header_of(path)
    require_file(path)
    report(f"reading {path}")
    with ChildExport(path) as loaded:
        checks = verify_structure(loaded)
        measured = verify_accuracy(loaded, path, data_dir, data, report)
        return [*checks, measured] if measured is not None else checks, loaded.count_with_thop()


def verify_accuracy(
    loaded: LoadedExport, path: Path, data_dir: Path | None, data: Path | None, report: Report
) -> Check | None:
    """Return the test accuracy of a file's weights beside its claim; None where none is claimed.

    Raises:
        VerificationError: the data are not those that the file was measured on.
        DataError: they are not there.
    """
    claimed = loaded.claims.get(accuracy_claim(is_test=True))
    if not isinstance(claimed, (int, float)):
        return None
    test = images_to_measure(loaded.claims, loaded.input_shape, path, data_dir, data, report).test
    derived = accuracy(loaded.logits, test, report)
    # One image of slack: another machine may round a tie between two classes the other way.
    slack = 100.0 / len(test)
    return Check(accuracy_claim(is_test=True), claimed, round(derived, 4), abs(derived - claimed) <= slack + 1e-3)


def images_to_measure(
    claims: Mapping[str, object],
    input_shape: tuple[int, int, int],
    path: Path,
    data_dir: Path | None,
    data: Path | None,
    report: Report,
) -> Dataset:
    """Return the images that the file at `path` claims to be measured on, for a network of that input shape.

    Raises:
        VerificationError: those that are found are not the same.
        DataError: there are none.
    """
    image_size, color = claims.get("image_size"), claims.get("color")
    if not isinstance(image_size, int | None) or not isinstance(color, bool | None):
        raise VerificationError(f"{path}: image_size is {image_size!r} and color {color!r}; give the file as exported")
    report("reading the images that it was measured on")
    dataset = _dataset(str(claims.get("dataset")), data_dir, data, image_size, color)
    fingerprint = claims.get("data_fingerprint")
    if fingerprint != dataset.fingerprint:
        raise VerificationError(
            f"{path}: its accuracy was measured on data with fingerprint {fingerprint}, and {dataset.name} has "
            f"{dataset.fingerprint}; say by `data` where the same images are now"
        )
    if dataset.image_shape != input_shape:
        raise VerificationError(f"{path} takes images of {input_shape}, and {dataset.name} has others")
    return dataset


def _dataset(
    name: str, data_dir: Path | None, data: Path | None, image_size: int | None, color: bool | None
) -> Dataset:
    """Return the images that a file names: a known data set, or the last part of the path of a person's own images."""
    if data is None and name in KNOWN_DATASETS:
        return load_dataset(name, data_dir, image_size, color)
    if data is None:
        places = [Path(name), *([data_dir / name, data_dir] if data_dir else [])]
        data = next((place for place in places if place.exists()), None)
    if data is None:
        raise DataError(f"its accuracy was measured on images called {name!r}; say by `data` where they are")
    return load_dataset(str(data.absolute()), data_dir, image_size, color)
