"""`nas export`: from a trial to a file to take away."""

from __future__ import annotations

import base64
import contextlib
from pathlib import Path
from typing import Any

import torch

from nas.app.old_studies import upgrade
from nas.app.quantize import Report, image_network, quantize_and_measure
from nas.app.study_data import study_dataset
from nas.app.write_export import Quantized, write_export
from nas.data.split import parts_of
from nas.errors import DataError, ExportError, VerificationError
from nas.export.c.firmware import Example
from nas.export.formats import format_of, require_prefix_fits
from nas.export.int8_weights import load_int8_weights, write_int8_weights
from nas.host import written_whole
from nas.model.image_network import ImageNetwork
from nas.model.trained_network import TrainedNetwork
from nas.study.claims import claims as claims_of
from nas.study.claims import provenance
from nas.study.folder import StudyFolder
from nas.study.networks import kept_digest, kept_file, require_network
from nas.study.records import TrialRecord

# Claims of the 8-bit network that a study keeps: the digest of the network's file, and the image of its firmware.
_MADE_FROM, _EXAMPLE = "made_from", "example"


def export(
    folder: StudyFolder,
    record: TrialRecord,
    output: Path,
    data_dir: Path | None,
    prefix: str | None = None,
    report: Report = lambda what: None,
) -> dict[str, Any]:
    """Write the network of a trial to `output`, in the format that its name asks for; return what it claims.

    The images of the study are read for the 8-bit formats alone, which are calibrated and measured on them, once: the
    8-bit network is kept beside the other.

    Args:
        folder: the study.
        record: the trial.
        output: the file to write, or the folder of firmware.
        data_dir: where named data sets lie.
        prefix: what the symbols of a C header begin with; by default the file's name.
        report: takes what is being done, as it goes on.

    Raises:
        StudyError: the trial has no network.
        DataError: the format is one in 8 bits, and the images of the study are not there.
        ExportError: the name asks for no format, the format needs a package that is missing or cannot hold this
            network, or the files cannot be written.
        UsageError: the format has no place for a prefix.
    """
    format_of(output)
    require_prefix_fits(output, prefix)
    upgrade(folder, None, data_dir)
    network, document = require_network(folder, record), folder.document()
    claims, about = claims_of(folder.name, document, record), provenance(folder.name, document.settings, record)

    def quantized() -> Quantized:
        return quantize_network(network, folder, record, data_dir, report)

    return claims | write_export(network, claims, about, output, prefix, quantized, report)


def load_network(folder: StudyFolder, record: TrialRecord, data_dir: Path | None) -> ImageNetwork:
    """Return the network of a trial with the weights that `export` writes, in eval mode.

    Raises:
        StudyError: the trial has no network.
        ExportError: its weights do not fit it.
    """
    upgrade(folder, None, data_dir)
    return image_network(require_network(folder, record))


def quantize_network(
    network: TrainedNetwork, folder: StudyFolder, record: TrialRecord, data_dir: Path | None, report: Report
) -> Quantized:
    """Return the 8-bit network, its size and accuracy as claims, and an image; those that the study keeps, if it does.

    The accuracy is that on the images by which the float network was judged. The image is the first of these that the
    8-bit network classifies right, or else the very first.

    Raises:
        DataError: the images of the study are not there.
        ExportError: the network's weights do not fit it.
    """
    kept, made_from = kept_file(folder, record).with_suffix(".int8.pt"), kept_digest(folder, record)
    with contextlib.suppress(VerificationError):  # there is none yet, or it is damaged
        found = load_int8_weights(kept)
        measured = dict(found.claims)
        if measured.pop(_MADE_FROM, None) == made_from and _EXAMPLE in measured and found.scales:
            return found, measured, _example_from_plain(measured.pop(_EXAMPLE), found.input_shape)
    quantized, measured, example = _quantize_anew(network, folder, record, data_dir, report)
    kept_claims = {_MADE_FROM: made_from, _EXAMPLE: _example_to_plain(example)}
    with contextlib.suppress(ExportError, OSError), written_whole(kept) as file:  # a study that may only be read
        write_int8_weights(quantized, measured | kept_claims, file)
    return quantized, measured, example


def _example_to_plain(example: Example) -> dict[str, Any]:
    pixels = base64.b64encode(example.pixels.numpy().tobytes()).decode()
    return {"what": example.what, "label": example.label, "pixels": pixels}


def _example_from_plain(plain: Any, shape: tuple[int, int, int]) -> Example:
    try:
        pixels = torch.frombuffer(bytearray(base64.b64decode(plain["pixels"])), dtype=torch.uint8)
        return Example(pixels.view(shape), int(plain["label"]), str(plain["what"]))
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise VerificationError(f"the image is damaged: {error}") from None


def _quantize_anew(
    network: TrainedNetwork, folder: StudyFolder, record: TrialRecord, data_dir: Path | None, report: Report
) -> Quantized:
    report("reading the images of the study")
    try:
        dataset = study_dataset(folder, data_dir)
    except DataError as error:
        raise DataError(f"an 8-bit format is calibrated on the images of the study, and they fail: {error}") from None
    seed, is_confirmed = folder.settings().seed, record.confirmed is not None
    parts = parts_of(dataset, seed)
    pair = (parts.whole_train, parts.test) if is_confirmed else (parts.train, parts.validation)
    return quantize_and_measure(network, *pair, dataset=dataset.name, is_test=is_confirmed, seed=seed, report=report)
