"""The files of a report: the page, the front as JSON, SVG and PNG, and every trial as CSV."""

from __future__ import annotations

import json
import platform
import shlex
from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime
from pathlib import Path

from nas.errors import StudyError
from nas.host import versions
from nas.report.document import rungs_reached, study_document
from nas.report.front_svg import front_svg
from nas.report.page import StudyFacts, report_html
from nas.report.png import png_of
from nas.study.answer import best_record
from nas.study.folder import StudyFolder
from nas.study.front import front_records
from nas.study.landmarks import references
from nas.study.networks import kept_network
from nas.study.records import TrialRecord
from nas.study.settings import StudySettings
from nas.study.tables import trials_table

_FLAGS = {"max_trials": "trials", "max_seconds": "time", "num_seeds": "seeds"}  # where they are called otherwise


def write_report(folder: StudyFolder, records: Sequence[TrialRecord], output: Path) -> list[Path]:
    """Write report.html, front.json, trials.csv, front.svg and front.png to `output`; return their paths.

    Raises:
        StudyError: the study's folder cannot be read, or `output` cannot be written.
    """
    settings = folder.settings()
    landmarks = references(settings.dataset)
    best = best_record(records, settings)
    shown = {r.number: r for r in [*front_records(records), *(r for r in records if r.confirmed)]}
    networks = {number: network for number, r in shown.items() if (network := kept_network(folder, r))}
    picture = front_svg(records, settings.max_params, settings.target, landmarks)
    contents: dict[str, str | bytes] = {
        "report.html": report_html(
            study_facts(folder),
            records,
            landmarks,
            {number: network.architecture for number, network in networks.items()},
            best.number if best else None,
            rungs_reached(records),
        ),
        "front.json": json.dumps(study_document(folder.name, settings, records), indent=2) + "\n",
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


def study_facts(folder: StudyFolder) -> StudyFacts:
    """Return what the report says of the study besides its trials."""
    document = folder.document()
    return StudyFacts(
        name=folder.name,
        document=document,
        space_text=folder.space_file.read_text(),
        command=search_command(folder.name, document.settings),
        written=f"{datetime.now().astimezone():%Y-%m-%d %H:%M %Z}",
        versions={"python": platform.python_version(), **versions("torch", "optuna")},
    )


def search_command(name: str, settings: StudySettings) -> str:
    """The line that runs a study with these settings; what is as by default is left out."""
    words = ["nas", "search", "--name", name]
    for f in fields(StudySettings):
        value = getattr(settings, f.name)
        if value == f.default:
            continue
        flag = f"--{_FLAGS.get(f.name, f.name).replace('_', '-')}"
        if isinstance(value, bool):
            words.append(flag if value else "--gray")
        else:
            for one in value if isinstance(value, tuple) else (value,):
                words += [flag, f"{one:g}" if isinstance(one, float) else str(one)]
    return shlex.join(words)
