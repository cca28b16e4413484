"""From a trial to a file to take away, in the format that its name asks for, and its claims derived again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from nas.app.search import frozen_space, parts_of, study_dataset
from nas.arch import lower
from nas.data.images import Dataset, ImageSet, load_dataset
from nas.data.policy import AugmentationPolicy
from nas.errors import StudyError, VerificationError
from nas.export.c.header import write_c, write_quantized_c
from nas.export.c.load import load_c
from nas.export.int8.network import QuantizedNetwork, load_quantized, write_quantized
from nas.export.int8.quantize import quantize
from nas.export.metadata import LoadedExport
from nas.export.onnx import load_onnx, write_onnx
from nas.export.python_module import module_source
from nas.export.torch_program import load_exported_program, write_exported_program
from nas.export.verify import Check, ExportedModule
from nas.model.build import build
from nas.model.image_network import ImageNetwork
from nas.space import Candidate, candidate
from nas.study.records import TrialRecord
from nas.study.settings import StudyFolder
from nas.train.engine import PreparedData, evaluate, normalization

FORMATS = {
    ".py": "a Python module, weights beside it",
    ".onnx": "ONNX",
    ".pt2": "torch.export",
    ".h": "C99",
    ".int8.h": "C99 in 8 bits",
    ".int8.pt": "8-bit weights for torch",
}
_FLOAT_WRITERS = {".onnx": write_onnx, ".pt2": write_exported_program, ".h": write_c}
_READERS: dict[str, Callable[[Path], LoadedExport]] = {
    ".onnx": load_onnx,
    ".pt2": load_exported_program,
    ".h": load_c,
    ".int8.h": load_c,
    ".int8.pt": load_quantized,
}
CALIBRATION_IMAGES = 512  # training images that set the ranges of 8-bit activations


def export(folder: StudyFolder, record: TrialRecord, output: Path, data_dir: Path | None) -> dict[str, Any]:
    """Writes the network to `output`, in the format that its name asks for (`FORMATS`); returns what it claims.

    The weights are those of the first seed of the confirmation (the first, so that the test set does not choose), or
    of the trial itself where it was not confirmed.

    Raises:
        StudyError: the name asks for no format, the trial has no weights, or the files cannot be written.
        ExportError: the format needs a package that is missing, or cannot hold this network.
    """
    kind = _format_of(output)
    dataset = study_dataset(folder, data_dir)
    found, weights = _trained(folder, record, dataset)
    claims = _claims(folder, record, found.costs, dataset)
    trained_on, judged_on = _images_of(folder, record, dataset)
    mean, std = normalization(trained_on.images)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        if kind == ".py":
            source = module_source(
                found.architecture,
                provenance=_provenance(folder, record),
                claims=claims,
                weights_name=output.with_suffix(".pt").name,
                mean=mean,
                std=std,
            )
            torch.save(weights, output.with_suffix(".pt"))
            output.write_text(source)
        elif kind in _FLOAT_WRITERS:
            _FLOAT_WRITERS[kind](found.architecture, weights, mean, std, claims, output)
        else:
            network = quantize(found.architecture, weights, mean, std, trained_on.images[:CALIBRATION_IMAGES])
            claims |= _measured(network, judged_on, bool(record.confirmations), found.costs.num_params)
            (write_quantized if kind == ".int8.pt" else write_quantized_c)(network, claims, output)
    except (OSError, RuntimeError) as error:
        raise StudyError(f"cannot write {output}: {error}; choose another -o") from None
    return claims


def load_network(folder: StudyFolder, record: TrialRecord, data_dir: Path | None) -> ImageNetwork:
    """The network with the weights that `export` writes, in eval mode.

    Raises:
        StudyError: the trial has no weights, or the data are not those of the study.
    """
    dataset = study_dataset(folder, data_dir)
    found, weights = _trained(folder, record, dataset)
    net = build(lower(found.architecture))
    net.load_state_dict(weights)
    trained_on, _ = _images_of(folder, record, dataset)
    return ImageNetwork(net, *normalization(trained_on.images)).eval()


def _trained(folder: StudyFolder, record: TrialRecord, dataset: Dataset) -> tuple[Candidate, dict[str, torch.Tensor]]:
    """The trial's network and its weights."""
    found = candidate(frozen_space(folder, dataset), record.genes)
    settings = folder.settings()
    if found is None or not settings.budget.admits(found.costs) or found.digest != record.digest:
        raise StudyError(f"trial {record.number} is not a network of this study's space and budget; it is not exported")
    seed = record.confirmations[0].seed if record.confirmations else None
    weights_file = folder.weights_file(record.number, seed)
    if not weights_file.is_file():
        again = f"train it again with: nas confirm {folder.name} --trial {record.number}"
        raise StudyError(
            f"trial {record.number} ({record.fate}) has no weights at {weights_file}; "
            f"{again if record.validation_curve else 'export another trial'}"
        )
    weights: dict[str, torch.Tensor] = torch.load(weights_file, map_location="cpu", weights_only=True)
    return found, weights


def _format_of(output: Path) -> str:
    for suffix in sorted(FORMATS, key=len, reverse=True):
        if output.name.endswith(suffix) and output.name != suffix:
            return suffix
    known = ", ".join(f"{suffix} ({what})" for suffix, what in FORMATS.items())
    raise StudyError(f"-o {output}: the name says the format and must end in one of {known}")


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


def _claims(folder: StudyFolder, record: TrialRecord, costs: Any, dataset: Dataset) -> dict[str, Any]:
    claims: dict[str, Any] = {
        **asdict(costs),
        "digest": record.digest,
        "dataset": folder.settings().dataset,
        "data_fingerprint": dataset.fingerprint,
        "validation_accuracy": round(record.validation_accuracy, 4) if record.validation_curve else None,
    }
    if figure := record.confirmed:
        claims |= {
            "test_accuracy": round(figure.mean, 4),
            "test_spread": round(figure.spread, 4),
            "seeds": figure.num_seeds,
            "weights_test_accuracy": round(figure.confirmations[0].test_accuracy[-1], 4),
        }
    return claims


def _provenance(folder: StudyFolder, record: TrialRecord) -> str:
    figure = record.confirmed
    text = f"Trial {record.number} of the nas study '{folder.name}' on {folder.settings().dataset}."
    if figure is None:
        return text + "\n\nNot confirmed: its accuracy is known from the validation images alone."
    return text + (
        f"\n\nConfirmed by {figure.num_seeds} trainings from scratch on the whole training set: the figure is the mean "
        f"over seeds of the mean of the last 3 epochs, with a spread of {figure.spread:.3f} points. The weights beside "
        f"this file are those of the first seed after its last epoch."
    )


def _images_of(folder: StudyFolder, record: TrialRecord, dataset: Dataset) -> tuple[ImageSet, ImageSet]:
    """The images that the exported weights were trained on, whose normalization they need, and those that judged."""
    parts = parts_of(dataset, folder.settings().seed)
    return (parts.whole_train, parts.test) if record.confirmations else (parts.train, parts.validation)


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
    loaded = _READERS[_format_of(path)](path)
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
