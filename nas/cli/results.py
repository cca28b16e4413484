"""What commands print of a study, and of what a person may type next."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from nas.cli.options import DEFAULT_STUDIES, print_json

if TYPE_CHECKING:
    from nas.study.folder import StudyFolder
    from nas.study.records import TrialRecord
    from nas.study.settings import StudySettings


def open_study(name: str, studies: Path) -> tuple[StudyFolder, StudySettings, list[TrialRecord]]:
    """Return a study, what it was asked for, and its trials."""
    from nas.app.look import open_folder
    from nas.storage.study_store import read_records

    folder = open_folder(studies, name)
    return folder, folder.settings(), read_records(folder)


def command_line(*words: str, studies: Path) -> str:
    """The line that a person types next, for the same folder of studies."""
    elsewhere = () if studies == DEFAULT_STUDIES else ("--studies", str(studies))
    return shlex.join(("nas", *words, *elsewhere))


def suggest_next(folder: StudyFolder, studies: Path, records: list[TrialRecord]) -> None:
    """What to type next, on standard error: how to look at the study, and to take what it has found."""
    name, pages = folder.name, ("report",) if folder.is_kept else ("report", "dashboard")
    looks = [command_line(page, name, studies=studies) for page in pages]
    print(f"look at it with: {'  or  '.join(looks)}", file=sys.stderr)
    if any(r.fate == "completed" for r in records):
        print(f"take the best with: {command_line('export', name, '-o', 'net.py', studies=studies)}", file=sys.stderr)
    else:
        print(f"go on with: {command_line('search', '--name', name, studies=studies)}", file=sys.stderr)


def print_result(folder: StudyFolder, settings: StudySettings, records: list[TrialRecord], as_json: bool) -> None:
    """Print the front, the network that answers, what it took and the answer."""
    from nas.report.document import study_document
    from nas.study.answer import best_record
    from nas.study.duration import format_duration
    from nas.study.front import front_records
    from nas.study.ledger import count_draws, warm_started
    from nas.study.networks import device_costs, device_text, kept_network

    result, best = study_document(folder.name, settings, records), best_record(records, settings)
    network = kept_network(folder, best) if best is not None else None
    costs = device_costs(network)
    if as_json:
        print_json(result | costs)
        return
    from nas.terminal.study_view import print_front, print_network

    print_front(records, settings)
    if best is not None and network is not None:
        print_network(best, network)
    trials = ", ".join(f"{count} {fate}" for fate, count in result["trials"].items())
    spent = ", ".join(f"{fate} {format_duration(s)}" for fate, s in result["train_seconds"].items())
    print(f"trials: {trials or 'none'}")
    if spent:
        print(f"training time: {spent}")
    if drawn := count_draws(records):
        print(f"candidates: {drawn}")
    if known := warm_started(records, front_records(records), best):
        print(f"warm start: {known}")
    if costs:
        print(f"on a microcontroller, in 8 bits: {device_text(costs, settings)}")
    print(f"{result['test_set']}\n\n{result['answer']}")
