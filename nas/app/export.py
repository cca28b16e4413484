"""`nas export` and `nas verify`: from a trial to a file to take away, and its claims derived again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from nas.app.old_studies import upgrade
from nas.app.search import study_dataset
from nas.data.images import Dataset, ImageSet
from nas.data.load import load_dataset
from nas.data.policy import AugmentationPolicy
from nas.data.split import parts_of
from nas.errors import StudyError, VerificationError
from nas.export.c.header import write_quantized_c
from nas.export.formats import READERS, format_of, write
from nas.export.int8.network import QuantizedNetwork, write_quantized
from nas.export.int8.quantize import quantize
from nas.export.metadata import LoadedExport
from nas.export.verify import Check, ExportedModule
from nas.model.image_network import ImageNetwork, image_network, state_dict_of
from nas.model.trained_network import TrainedNetwork
from nas.study.claims import claims as claims_of
from nas.study.claims import provenance
from nas.study.folder import StudyFolder
from nas.study.networks import require_network
from nas.study.records import TrialRecord
from nas.train.engine import PreparedData, evaluate

CALIBRATION_IMAGES = 512  # training images that set the ranges of 8-bit activations


def export(folder: StudyFolder, record: TrialRecord, output: Path, data_dir: Path | None) -> dict[str, Any]:
    """Write the network of a trial to `output`, in the format that its name asks for; return what it claims.

    The images of the study are read for the 8-bit formats alone, which are calibrated and measured on them.

    Raises:
        StudyError: the trial has no network, or the files cannot be written.
        ExportError: the name asks for no format, or the format needs a package that is missing, or cannot hold this
            network.
    """
    kind = format_of(output)
    upgrade(folder, None, data_dir)
    network, document = require_network(folder, record), folder.document()
    claims = claims_of(document, record)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        if ".int8" in kind:
            quantized, measured = _quantize(network, record, study_dataset(folder, data_dir), document.settings.seed)
            claims |= measured
            (write_quantized if kind == ".int8.pt" else write_quantized_c)(quantized, claims, output)
        else:
            write(network, claims, provenance(folder.name, document.settings, record), output)
    except (OSError, RuntimeError) as error:
        raise StudyError(f"cannot write {output}: {error}; choose another -o") from None
    return claims


def load_network(folder: StudyFolder, record: TrialRecord, data_dir: Path | None) -> ImageNetwork:
    """Return the network of a trial with the weights that `export` writes, in eval mode.

    Raises:
        StudyError: the trial has no network.
    """
    upgrade(folder, None, data_dir)
    return image_network(require_network(folder, record))


def _quantize(
    network: TrainedNetwork, record: TrialRecord, dataset: Dataset, seed: int
) -> tuple[QuantizedNetwork, dict[str, Any]]:
    """Return the 8-bit network, and its size and accuracy as claims."""
    parts = parts_of(dataset, seed)
    trained_on, judged_on = (parts.whole_train, parts.test) if record.confirmations else (parts.train, parts.validation)
    images = trained_on.images[:CALIBRATION_IMAGES]
    quantized = quantize(network.architecture, state_dict_of(network), network.mean, network.std, images)
    return quantized, _measured(quantized, judged_on, bool(record.confirmations), record.num_params)


def _measured(network: QuantizedNetwork, images: ImageSet, is_test: bool, num_params: int) -> dict[str, Any]:
    """The size of an 8-bit network, and its accuracy on the images that the float network was judged by."""
    return {
        "num_bytes": network.num_bytes,
        "float_bytes": 4 * num_params,
        _accuracy_claim(is_test): round(_accuracy(network, images), 4),
    }


def _accuracy_claim(is_test: bool) -> str:
    return "weights_test_accuracy" if is_test else "weights_validation_accuracy"


def _accuracy(network: LoadedExport, images: ImageSet) -> float:
    """Percent of `images` that the network gets right."""
    right = network.logits(images.images).argmax(dim=1) == images.labels
    return 100.0 * float(right.float().mean())


def verify_accuracy(exported: ExportedModule, data_dir: Path | None) -> Check | None:
    """The test accuracy of a module's weights beside its claim; None where none is claimed.

    Raises:
        VerificationError: the data are not those that the module was measured on.
    """

    def derived(test: ImageSet) -> float:
        shape = (-1, 1, 1)
        mean, std = torch.tensor(exported.mean).view(shape), torch.tensor(exported.std).view(shape)
        return evaluate(exported.net, PreparedData(test, test, mean, std, AugmentationPolicy()))

    return _accuracy_check(exported.path, exported.claims, derived, data_dir)


def verify_export(path: Path, data_dir: Path | None) -> list[Check]:
    """The claims of an exported file of any format but .py, derived from what the file itself holds and computes.

    Raises:
        VerificationError: the file cannot be read, or the data are not those that it was measured on.
        ExportError: reading the format needs a package or a compiler that is missing.
    """
    loaded = READERS[format_of(path)](path)
    checks = []
    for name in ("num_params", "num_bytes"):
        derived = getattr(loaded, name, None)
        if derived is not None and name in loaded.claims:
            checks.append(Check(name, loaded.claims[name], derived, loaded.claims[name] == derived))
    accuracy = _accuracy_check(path, loaded.claims, lambda test: _accuracy(loaded, test), data_dir)
    return [*checks, accuracy] if accuracy is not None else checks


def _accuracy_check(
    path: Path, claims: Mapping[str, object], derive: Callable[[ImageSet], float], data_dir: Path | None
) -> Check | None:
    claimed = claims.get(_accuracy_claim(is_test=True))
    if not isinstance(claimed, (int, float)):
        return None
    dataset = load_dataset(str(claims.get("dataset")), data_dir)
    fingerprint = claims.get("data_fingerprint")
    if fingerprint != dataset.fingerprint:
        raise VerificationError(
            f"{path}: its accuracy was measured on data with fingerprint {fingerprint}, and these have "
            f"{dataset.fingerprint}; give the same data with --data-dir"
        )
    derived = derive(dataset.test)
    # One image of slack: another machine may round a tie between two classes the other way.
    slack = 100.0 / len(dataset.test)
    return Check("weights_test_accuracy", claimed, round(derived, 4), abs(derived - claimed) <= slack + 1e-3)
