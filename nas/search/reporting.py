"""What a study leaves to look at: the report, the table of trials and the front, from the storage to files."""

from __future__ import annotations

import json
import platform
import shlex
from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from nas.arch import Architecture, Input
from nas.errors import NasError, StudyError
from nas.results.picture import front_svg
from nas.results.records import TrialRecord
from nas.results.report import StudyFacts, report_html
from nas.results.summary import references, trials_table
from nas.search.export import best_trial
from nas.search.run import study_dataset
from nas.search.settings import StudyFolder, StudySettings
from nas.search.store import Store
from nas.space import KNOWN_IMAGES, candidate, load_space
from nas.train.data import VALIDATION_FRACTION

# Images of the training and the test part, so that a report needs no data.
KNOWN_PARTS = {
    "mnist": (60_000, 10_000),
    "fashion_mnist": (60_000, 10_000),
    "kmnist": (60_000, 10_000),
    "emnist_letters": (124_800, 20_800),
    "cifar10": (50_000, 10_000),
    "cifar100": (50_000, 10_000),
    "svhn": (73_257, 26_032),
    "digits": (1_438, 359),
}
_SOFTWARE = ("nas", "torch", "optuna")


def write_report(folder: StudyFolder, output: Path, result: Mapping[str, Any]) -> list[Path]:
    """Writes report.html, front.json (`result`), trials.csv and front.svg into `output`; returns their paths.

    Raises:
        StudyError: the storage cannot be read, or `output` cannot be written.
    """
    settings, store = folder.settings(), Store(folder)
    records, landmarks = store.records(), references(settings.dataset)
    images, num_parts = _images(folder, settings)
    best = best_trial(store).number if any(r.fate == "completed" for r in records) else None
    facts = study_facts(folder, settings, num_parts)
    contents = {
        "report.html": report_html(facts, records, landmarks, architectures(folder, records, images), best),
        "front.json": json.dumps(result, indent=2) + "\n",
        "trials.csv": trials_table(records).to_csv(index=False),
        "front.svg": front_svg(records, settings.max_params, settings.target, landmarks),
    }
    try:
        output.mkdir(parents=True, exist_ok=True)
        for name, text in contents.items():
            (output / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise StudyError(f"cannot write {output}: {error.strerror}; choose another -o") from None
    return [output / name for name in contents]


def architectures(
    folder: StudyFolder, records: list[TrialRecord], images: tuple[Input, int] | None
) -> dict[int, Architecture]:
    """The networks of the trials, made again from their genes and the frozen space; none without the images' shape."""
    if images is None:
        return {}
    space = load_space(str(folder.space_file), *images)
    made = {r.number: (r, candidate(space, r.genes)) for r in records}
    return {number: c.architecture for number, (r, c) in made.items() if c is not None and c.digest == r.digest}


def study_facts(folder: StudyFolder, settings: StudySettings, num_parts: tuple[int, int] | None) -> StudyFacts:
    """What the report says of the study besides its trials; `num_parts` counts its training and test images."""
    training, test = num_parts or (None, None)
    return StudyFacts(
        name=folder.name,
        dataset=settings.dataset,
        max_params=settings.max_params,
        max_macs=settings.max_macs,
        max_activation_bytes=settings.max_activation_bytes,
        target=settings.target,
        seeds=settings.seeds,
        seed=settings.seed,
        space=settings.space,
        space_text=folder.space_file.read_text(),
        command=search_command(folder.name, settings),
        written=f"{datetime.now().astimezone():%Y-%m-%d %H:%M %Z}",
        versions={"python": platform.python_version(), **{name: version(name) for name in _SOFTWARE}},
        fingerprints=folder.fingerprints(),
        validation_images=round(training * VALIDATION_FRACTION) if training else None,
        test_images=test,
    )


def search_command(name: str, settings: StudySettings) -> str:
    """The line that runs a study with these settings; what is as by default is left out."""
    words = ["nas", "search", "--name", name]
    for f in fields(StudySettings):
        value = getattr(settings, f.name)
        if value == f.default:
            continue
        if isinstance(value, bool):
            words.append("--colour" if value else "--grey")
        else:
            words += [f"--{f.name.replace('_', '-')}", f"{value:g}" if isinstance(value, float) else str(value)]
    return shlex.join(words)


def _images(folder: StudyFolder, settings: StudySettings) -> tuple[tuple[Input, int] | None, tuple[int, int] | None]:
    """The shape and classes of the images, and how many there are; a folder's own images have to be there for it."""
    if settings.dataset in KNOWN_IMAGES:
        return KNOWN_IMAGES[settings.dataset], KNOWN_PARTS.get(settings.dataset)
    try:
        dataset = study_dataset(folder, None)
    except NasError:
        return None, None
    return (Input(*dataset.image_shape), dataset.num_classes), (len(dataset.train), len(dataset.test))
