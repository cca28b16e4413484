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
    from nas.app.look import result_of

    result = result_of(folder, settings, records)
    if as_json:
        print_json(result.document)
    else:
        from nas.terminal.study_view import print_study

        print_study(records, settings, result.document, result.network)
