"""A study of which only the results are kept, and not the database: what `nas report` wrote of it, and a few networks.

Beside `study.json` (what `run/settings.json` is while a study runs) and `space.toml` lie trials.csv, front.json and
`networks/trial_N.safetensors`. What these do not hold is not known: accuracies by epoch and by seed, and what it took
to draw each network.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, TypeAlias

from nas.arch import outline
from nas.costs import COUNTED, Count
from nas.decode import MAX_FILE_BYTES, Bounds, decode
from nas.errors import InvalidError, NasError, StudyError
from nas.space import Candidate, Space, candidate, load_space
from nas.study.folder import StudyFolder
from nas.study.records import SIZES, ConfirmedFigure, Fate, Percent, Summary, TrialRecord

_Count: TypeAlias = Annotated[int, Bounds(0, 2**53)]
_Seconds: TypeAlias = Annotated[float, Bounds(0.0)]


@dataclass(frozen=True, slots=True)
class _Row:
    """A line of trials.csv, its genes aside."""

    trial: _Count
    fate: Fate
    num_params: _Count
    num_macs: _Count
    peak_activation_bytes: _Count
    epochs: _Count
    seeds: _Count
    train_seconds: _Seconds
    digest: str
    origin: str = ""
    reason: str = ""
    validation_accuracy: Percent | None = None
    test_accuracy: Percent | None = None
    test_spread: Annotated[float, Bounds(0.0)] | None = None
    flash_bytes: _Count | None = None
    ram_bytes: _Count | None = None
    deployed_params: _Count | None = None


_NUMBERS: Mapping[str, type[int] | type[float]] = {
    **dict.fromkeys(("trial", *SIZES, "epochs", "seeds"), int),
    **dict.fromkeys(("validation_accuracy", "test_accuracy", "test_spread", "train_seconds"), float),
}


@dataclass(frozen=True, slots=True)
class _FrontRow:
    """What a row of front.json says beyond that."""

    trial: _Count
    consistent: bool | None = None
    best_epoch: Percent | None = None
    weights_test_accuracy: Percent | None = None


@dataclass(frozen=True, slots=True)
class _Confirming:
    """What front.json says of all confirmations together."""

    confirmed: _Seconds
    readings: _Count  # of the test set: one a training


def kept_records(folder: StudyFolder) -> list[TrialRecord]:
    """Return every trial of a kept study, by number, each with a summary in place of its epochs.

    Raises:
        StudyError: a file is missing or damaged.
    """
    space, (front, seconds) = kept_space(folder), _front(folder)
    path = folder.path / "trials.csv"
    try:
        lines = _read(path).splitlines()
        rows, count = csv.DictReader(lines, strict=True), folder.count
        return [_counting(_record(row, front, seconds, space, path), count) for row in rows]
    except InvalidError as error:
        raise StudyError(f"{path} is damaged: {'; '.join(error.problems)}; restore it") from None
    except (csv.Error, ValueError) as error:
        raise StudyError(f"{path} is damaged: {error}; restore it") from None


def kept_space(folder: StudyFolder) -> Space:
    """Return the space of a study that knows its images.

    Raises:
        StudyError: it does not.
        NasError: the space's file is missing or damaged.
    """
    images = folder.document().images
    if images is None:
        raise StudyError(f"study {folder.name!r} does not say what its images are; restore its files")
    return load_space(str(folder.space_file), images.shape, images.num_classes)


def known_candidate(space: Space, record: TrialRecord) -> Candidate | None:
    """Return the network that the genes of a trial describe; None where that is not the one that was trained."""
    try:
        found = candidate(space, record.genes)
    except (NasError, KeyError, TypeError, ValueError):
        return None
    return found if found is not None and found.digest == record.digest else None


def _record(
    row: dict[str, str], front: Mapping[int, _FrontRow], seconds: float, space: Space, path: Path
) -> TrialRecord:
    names = _Row.__dataclass_fields__
    what = f"{path}, trial {row.get('trial')}"
    plain = {name: _NUMBERS.get(name, str)(row[name]) for name in names if row.get(name)}
    one = decode(_Row, plain, what)
    genes = {name: _gene(row[name], value) for name, value in space.plain_genes.items() if row.get(name)}
    figure = None
    if one.test_accuracy is not None:
        known = front.get(one.trial, _FrontRow(one.trial))
        figure = ConfirmedFigure(
            num_seeds=one.seeds,
            mean=one.test_accuracy,
            spread=one.test_spread if one.seeds > 1 else None,
            num_epochs=one.epochs,
            best_epoch=known.best_epoch,
            lowest=None,
            weights_accuracy=known.weights_test_accuracy,
            was_consistent=known.consistent,
        )
    if (one.epochs > 0) != (one.validation_accuracy is not None) or (figure is not None and not one.seeds * one.epochs):
        raise InvalidError(what, ["its epochs, seeds and accuracies do not go together"])
    record = TrialRecord(
        number=one.trial,
        genes=genes,
        seed=0,  # it is not known, and nothing asks for it without curves
        validation_curve=(),
        **{name: getattr(one, name) for name in (*SIZES, "fate", "digest", "train_seconds", "reason", "origin")},
        summary=Summary(one.epochs, one.validation_accuracy, figure, seconds * one.seeds),
    )
    found = known_candidate(space, record)
    return replace(record, network=outline(found.architecture)) if found else record


def _counting(record: TrialRecord, count: Count) -> TrialRecord:
    """Return the record of a study that goes by the parameters of `count`."""
    if getattr(record, COUNTED[count]) is None:
        raise InvalidError(f"trial {record.number}", [f"{COUNTED[count]}: missing, and the study goes by it"])
    return replace(record, count=count)


def _gene(text: str, like: Any) -> Any:
    return text == "True" if isinstance(like, bool) else type(like)(text)


def _front(folder: StudyFolder) -> tuple[dict[int, _FrontRow], float]:
    """Return what front.json says of the networks of the front, by trial, and the seconds that a confirmation took."""
    path = folder.path / "front.json"
    try:
        document = json.loads(_read(path))
        known = [
            {name: row[name] for name in _FrontRow.__dataclass_fields__ if name in row} for row in document["front"]
        ]
        rows = [decode(_FrontRow, one, str(path)) for one in known]
        spent = {"confirmed": document["train_seconds"].get("confirmed", 0), "readings": document["test_readings"]}
        confirming = decode(_Confirming, spent, str(path))
        return {row.trial: row for row in rows}, confirming.confirmed / max(confirming.readings, 1)
    except InvalidError as error:
        problem = "; ".join(error.problems)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        problem = str(error)
    raise StudyError(f"{path} is damaged: {problem}; restore it")


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(MAX_FILE_BYTES).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise StudyError(f"cannot read {path}: {error}; restore it") from None
