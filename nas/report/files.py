"""What a study leaves to look at: the report, the table of trials and the front, from the storage to files."""

from __future__ import annotations

import json
import platform
import shlex
from dataclasses import fields
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

from nas.errors import StudyError
from nas.report.front_svg import front_svg
from nas.report.page import StudyFacts, report_html
from nas.report.png import png_of
from nas.storage.study_store import Store
from nas.study.answer import best_record, rungs_reached, study_result
from nas.study.networks import architectures, study_images
from nas.study.settings import StudyFolder, StudySettings
from nas.study.tables import references, trials_table

_SOFTWARE = ("nas", "torch", "optuna")


def write_report(folder: StudyFolder, output: Path) -> list[Path]:
    """Writes report.html, front.json, trials.csv, front.svg and front.png to `output`; returns their paths.

    Raises:
        StudyError: the storage cannot be read, or `output` cannot be written.
    """
    settings, store = folder.settings(), Store(folder)
    records, landmarks = store.records(), references(settings.dataset)
    images, num_parts = study_images(folder, settings)
    best = best_record(records, settings)
    facts = study_facts(folder, settings, num_parts)
    picture = front_svg(records, settings.max_params, settings.target, landmarks)
    contents: dict[str, str | bytes] = {
        "report.html": report_html(
            facts,
            records,
            landmarks,
            architectures(folder, records, images),
            best.number if best else None,
            rungs_reached(records),
        ),
        "front.json": json.dumps(study_result(folder.name, settings, records), indent=2) + "\n",
        "trials.csv": trials_table(records).to_csv(index=False),
        "front.svg": picture,
        "front.png": png_of(picture),
    }
    try:
        output.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            (output / name).write_bytes(content.encode() if isinstance(content, str) else content)
    except OSError as error:
        raise StudyError(f"cannot write {output}: {error.strerror}; choose another -o") from None
    return [output / name for name in contents]


def study_facts(folder: StudyFolder, settings: StudySettings, num_parts: tuple[int, int] | None) -> StudyFacts:
    """What the report says of the study besides its trials; `num_parts` counts its validation and test images."""
    validation, test = num_parts or (None, None)
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
        validation_images=validation,
        test_images=test,
    )


def search_command(name: str, settings: StudySettings) -> str:
    """The line that runs a study with these settings; what is as by default is left out."""
    words = ["nas", "search", "--name", name]
    for f in fields(StudySettings):
        value = getattr(settings, f.name)
        if value == f.default:
            continue
        flag = f"--{f.name.replace('_', '-')}"
        if isinstance(value, bool):
            words.append(flag if value else "--gray")
        else:
            for one in value if isinstance(value, tuple) else (value,):
                words += [flag, f"{one:g}" if isinstance(one, float) else str(one)]
    return shlex.join(words)
