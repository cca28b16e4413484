"""Options that several commands share, and how results are printed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

Studies = Annotated[
    Path, typer.Option("--studies", envvar="NAS_STUDIES", help="Folder that holds the studies.", show_default=True)
]
DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        help="Where data sets lie, in torchvision's layout. Default: $NAS_DATA_DIR, else the user's cache.",
    ),
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document to standard output, nothing else.")]
StudyName = Annotated[str, typer.Argument(metavar="NAME", help="Name of the study.")]
TrialNumber = Annotated[
    int | None, typer.Option("--trial", min=0, help="Number of the trial. Default: the one that answers the study.")
]
DEFAULT_STUDIES = Path("studies")


def print_json(document: Any) -> None:
    """One JSON document on standard output."""
    print(json.dumps(document, indent=2))
