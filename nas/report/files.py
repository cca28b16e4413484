"""The files of a report: the page, the front as JSON, SVG and PNG, and every trial as CSV."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from nas.errors import StudyError
from nas.report.document import study_document
from nas.report.front_svg import front_svg
from nas.report.page import StudyFacts, report_html
from nas.report.png import png_of
from nas.study.answer import best_record
from nas.study.command import format_search_command
from nas.study.folder import StudyFolder
from nas.study.front import front_records
from nas.study.mistakes import Mistakes, kept_mistakes
from nas.study.networks import device_costs, kept_digest, kept_network
from nas.study.records import TrialRecord
from nas.study.tables import trials_table


def write_report(
    folder: StudyFolder, records: Sequence[TrialRecord], output: Path | None = None, mistakes: Mistakes | None = None
) -> list[Path]:
    """Write report.html, front.json, trials.csv, front.svg and front.png to `output`; return their paths.

    By default that is the study's folder, or a new one in it where only the results are kept: those stay as they are.
    `mistakes` are those of the network that answers the study, by default what the study keeps of them.

    Raises:
        StudyError: the study's folder cannot be read, or `output` cannot be written.
    """
    output = output or (folder.path / "report" if folder.is_kept else folder.path)
    document = folder.document()
    settings = document.settings
    shown = {r.number: r for r in [*front_records(records), *(r for r in records if r.confirmed)]}
    networks = {number: network for number, r in shown.items() if (network := kept_network(folder, r))}
    facts = StudyFacts(
        name=folder.name,
        document=document,
        space_text=folder.space_file.read_text("utf-8"),
        command=""
        if folder.is_kept
        else format_search_command(folder.name, settings, folder.path.parent, document.storage),
    )
    best = best_record(records, settings)
    if mistakes is None and best is not None and best.number in networks:
        mistakes = kept_mistakes(folder, best, kept_digest(folder, best))
    picture, architectures = front_svg(records, settings), {n: network.architecture for n, network in networks.items()}
    found = study_document(folder.name, settings, records) | device_costs(networks.get(best.number) if best else None)
    contents: dict[str, str | bytes] = {
        "report.html": report_html(facts, records, architectures, mistakes),
        "front.json": json.dumps(found, indent=2) + "\n",
        "trials.csv": trials_table(records).to_csv(index=False),
        "front.svg": picture,
        "front.png": png_of(picture),
    }
    try:
        output.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            (output / name).write_bytes(content.encode() if isinstance(content, str) else content)
    except OSError as error:
        raise StudyError(f"cannot write {output}: {error.strerror}; choose another `output`") from None
    return [output / name for name in contents]
