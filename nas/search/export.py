"""From a trial to a Python module with its weights beside it, and the accuracy of such a module derived again."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from nas.errors import StudyError, VerificationError
from nas.model import Check, ExportedModule, module_source
from nas.results.front import validation_front
from nas.results.records import TrialRecord
from nas.search.confirm import smallest_met
from nas.search.run import frozen_space, parts_of, study_dataset
from nas.search.settings import StudyFolder
from nas.search.store import Store
from nas.space import candidate
from nas.train.augment import AugmentationPolicy
from nas.train.data import Dataset, ImageSet, load_dataset
from nas.train.engine import PreparedData, evaluate, normalisation


def best_trial(store: Store) -> TrialRecord:
    """The trial that answers the study: the smallest that met the target, else the best confirmed, else by validation.

    Raises:
        StudyError: no trial has completed.
    """
    records, settings = store.records(), store.folder.settings()
    if settings.target is not None and (met := smallest_met(records, settings.target, settings.seeds)):
        return met
    confirmed = [(r.confirmed.mean, -r.num_params, r.number) for r in records if r.confirmed]
    if confirmed:
        return store.record(max(confirmed)[2])
    front = validation_front(records)
    if not front:
        name = store.folder.name
        raise StudyError(f"study {name!r} has no completed trial to export; go on with: nas search --name {name} …")
    return front[-1]


def export(folder: StudyFolder, record: TrialRecord, output: Path, data_dir: Path | None) -> dict[str, Any]:
    """Writes the module `output` and its weights beside it; returns what it claims.

    The weights are those of the first seed of the confirmation (the first, so that the test set does not choose), or
    of the trial itself where it was not confirmed.

    Raises:
        StudyError: the trial has no weights, or the files cannot be written.
    """
    if output.suffix != ".py":
        raise StudyError(f"-o {output}: the module needs a name that ends in .py")
    dataset = study_dataset(folder, data_dir)
    found = candidate(frozen_space(folder, dataset), record.genes)
    settings = folder.settings()
    if found is None or not settings.budget.admits(found.costs) or found.digest != record.digest:
        raise StudyError(f"trial {record.number} is not a network of this study's space and budget; it is not exported")
    seed = record.confirmations[0].seed if record.confirmations else None
    weights_file = folder.weights_file(record.number, seed)
    if not weights_file.is_file():
        raise StudyError(
            f"trial {record.number} ({record.fate}) has no weights at {weights_file}; "
            f"train it again with: nas confirm {folder.name} --trial {record.number}"
        )
    weights = torch.load(weights_file, map_location="cpu", weights_only=True)
    claims = _claims(folder, record, found.costs, dataset)
    mean, std = normalisation(_trained_on(folder, record, dataset).images)
    source = module_source(
        found.architecture,
        provenance=_provenance(folder, record),
        claims=claims,
        weights_name=output.with_suffix(".pt").name,
        mean=mean,
        std=std,
    )
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        torch.save(weights, output.with_suffix(".pt"))
        output.write_text(source)
    except (OSError, RuntimeError) as error:
        raise StudyError(f"cannot write {output}: {error}; choose another -o") from None
    return claims


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


def _trained_on(folder: StudyFolder, record: TrialRecord, dataset: Dataset) -> ImageSet:
    """The images that the exported weights were trained on, whose normalisation they need."""
    parts = parts_of(dataset, folder.settings().seed)
    return parts.whole_train if record.confirmations else parts.train


def verify_accuracy(exported: ExportedModule, data_dir: Path | None) -> Check | None:
    """The test accuracy of the exported weights beside its claim; None where none is claimed.

    Raises:
        VerificationError: the data are not those that the module was measured on.
    """
    claimed = exported.claims.get("weights_test_accuracy")
    if not isinstance(claimed, (int, float)):
        return None
    dataset = load_dataset(str(exported.claims.get("dataset")), data_dir)
    fingerprint = exported.claims.get("data_fingerprint")
    if fingerprint != dataset.fingerprint:
        raise VerificationError(
            f"{exported.path}: its accuracy was measured on data with fingerprint {fingerprint}, and these have "
            f"{dataset.fingerprint}; give the same data with --data-dir"
        )
    shape = (-1, 1, 1)
    data = PreparedData(
        dataset.test,
        dataset.test,
        torch.tensor(exported.mean).view(shape),
        torch.tensor(exported.std).view(shape),
        AugmentationPolicy(),
    )
    derived = evaluate(exported.net.to(memory_format=torch.channels_last), data)
    # One image of slack: another machine may round a tie between two classes the other way.
    slack = 100.0 / len(dataset.test)
    return Check("weights_test_accuracy", claimed, round(derived, 4), abs(derived - claimed) <= slack + 1e-3)
