"""`nas export` and `nas verify`: from a trial to a file to take away, and its claims derived again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nas.app.old_studies import upgrade
from nas.app.study_data import study_dataset
from nas.data.images import ImageSet
from nas.data.load import load_dataset
from nas.data.split import parts_of
from nas.errors import DataError, StudyError, VerificationError
from nas.export.formats import is_int8, load, write, write_int8
from nas.export.int8.network import QuantizedNetwork
from nas.export.int8.quantize import quantize
from nas.export.loaded import LoadedExport
from nas.export.python_module import PythonModule
from nas.export.verify import Check, verify_structure
from nas.model.image_network import ImageNetwork, image_network
from nas.model.thop_count import ThopCount, count_with_thop
from nas.model.trained_network import TrainedNetwork
from nas.study.claims import claims as claims_of
from nas.study.claims import provenance
from nas.study.folder import StudyFolder
from nas.study.networks import require_network
from nas.study.records import TrialRecord

CALIBRATION_IMAGES = 512  # training images that set the ranges of 8-bit activations


def export(folder: StudyFolder, record: TrialRecord, output: Path, data_dir: Path | None) -> dict[str, Any]:
    """Write the network of a trial to `output`, in the format that its name asks for; return what it claims.

    The images of the study are read for the 8-bit formats alone, which are calibrated and measured on them.

    Raises:
        StudyError: the trial has no network, or the files cannot be written.
        DataError: the format is one in 8 bits, and the images of the study are not there.
        ExportError: the name asks for no format, or the format needs a package that is missing, or cannot hold this
            network.
    """
    in_8_bits = is_int8(output)
    upgrade(folder, None, data_dir)
    network, document = require_network(folder, record), folder.document()
    claims = claims_of(document, record)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        if in_8_bits:
            quantized, measured = _quantize(network, folder, record, data_dir)
            claims |= measured
            write_int8(quantized, claims, output)
        else:
            write(network, claims, provenance(folder.name, document.settings, record), output)
    except (OSError, RuntimeError) as error:
        raise StudyError(f"cannot write {output}: {error}; choose another `output`") from None
    return claims


def load_network(folder: StudyFolder, record: TrialRecord, data_dir: Path | None) -> ImageNetwork:
    """Return the network of a trial with the weights that `export` writes, in eval mode.

    Raises:
        StudyError: the trial has no network.
    """
    upgrade(folder, None, data_dir)
    return image_network(require_network(folder, record))


def _quantize(
    network: TrainedNetwork, folder: StudyFolder, record: TrialRecord, data_dir: Path | None
) -> tuple[QuantizedNetwork, dict[str, Any]]:
    """Return the 8-bit network, and its size and accuracy as claims.

    The accuracy is that on the images by which the float network was judged.
    """
    try:
        dataset = study_dataset(folder, data_dir)
    except DataError as error:
        raise DataError(f"an 8-bit format is calibrated on the images of the study, and they fail: {error}") from None
    parts, is_confirmed = parts_of(dataset, folder.settings().seed), bool(record.confirmations)
    trained_on, judged_on = (parts.whole_train, parts.test) if is_confirmed else (parts.train, parts.validation)
    quantized = quantize(network, trained_on.images[:CALIBRATION_IMAGES])
    return quantized, {
        "num_bytes": quantized.num_bytes,
        "float_bytes": 4 * record.num_params,
        _accuracy_claim(is_test=is_confirmed): round(_accuracy(quantized, judged_on), 4),
    }


def verify(path: Path, data_dir: Path | None) -> tuple[list[Check], ThopCount | None]:
    """Return the claims of an exported file, derived from what the file holds and computes; and what thop counts in it.

    Only a Python module has layers for thop to count.

    Raises:
        VerificationError: the file cannot be read, or the data are not those that it was measured on.
        ExportError: reading the format needs a package or a compiler that is missing.
    """
    loaded = load(path)
    checks = verify_structure(loaded)
    accuracy = verify_accuracy(loaded, path, data_dir)
    thop = count_with_thop(loaded.net, loaded.input_shape) if isinstance(loaded, PythonModule) else None
    return [*checks, accuracy] if accuracy is not None else checks, thop


def verify_accuracy(loaded: LoadedExport, path: Path, data_dir: Path | None) -> Check | None:
    """Return the test accuracy of a file's weights beside its claim; None where none is claimed.

    Raises:
        VerificationError: the data are not those that the file was measured on.
    """
    claims = loaded.claims
    claimed = claims.get(_accuracy_claim(is_test=True))
    if not isinstance(claimed, (int, float)):
        return None
    image_size, color = claims.get("image_size"), claims.get("color")
    if not isinstance(image_size, int | None) or not isinstance(color, bool | None):
        raise VerificationError(f"{path}: image_size is {image_size!r} and color {color!r}; give the file as exported")
    dataset = load_dataset(str(claims.get("dataset")), data_dir, image_size, color)
    fingerprint = claims.get("data_fingerprint")
    if fingerprint != dataset.fingerprint:
        raise VerificationError(
            f"{path}: its accuracy was measured on data with fingerprint {fingerprint}, and these have "
            f"{dataset.fingerprint}; give the same data by `data_dir`"
        )
    derived = _accuracy(loaded, dataset.test)
    # One image of slack: another machine may round a tie between two classes the other way.
    slack = 100.0 / len(dataset.test)
    return Check("weights_test_accuracy", claimed, round(derived, 4), abs(derived - claimed) <= slack + 1e-3)


def _accuracy_claim(is_test: bool) -> str:
    return "weights_test_accuracy" if is_test else "weights_validation_accuracy"


def _accuracy(network: LoadedExport, images: ImageSet) -> float:
    """Return the percentage of `images` that the network classifies right."""
    right = network.logits(images.images).argmax(dim=1) == images.labels
    return 100.0 * float(right.float().mean())
