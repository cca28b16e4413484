"""The commands that look at studies; they train nothing."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from nas.cli.options import (
    DEFAULT_STUDIES,
    AsJson,
    DataDir,
    LatestStudy,
    Studies,
    StudyName,
    TrialNumber,
    complete_study,
    print_json,
)
from nas.cli.results import command_line, print_result, suggest_next


def list_studies(studies: Studies = DEFAULT_STUDIES, as_json: AsJson = False) -> None:
    """The studies in the folder, the latest last, with what each was asked for and what it has found."""
    from nas.app.look import no_study_text, summary_rows
    from nas.study.tables import studies_text

    rows = summary_rows(studies)
    if as_json:
        print_json(rows)
    elif rows:
        print(studies_text(rows))
    else:
        print(no_study_text(studies), file=sys.stderr)


def status(name: LatestStudy = None, studies: Studies = DEFAULT_STUDIES, as_json: AsJson = False) -> None:
    """Trials by fate, the front so far and the answer as it stands; also while a search runs."""
    from nas.app.look import read_study

    folder, settings, records = read_study(studies, name or _latest(studies))
    print_result(folder, settings, records, as_json)
    suggest_next(folder, studies, records)


def _latest(studies: Path) -> str:
    from nas.app.look import latest_folder

    name = latest_folder(studies).name
    print(f"study {name!r}, the latest", file=sys.stderr)
    return name


def report(
    name: StudyName,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder to write to.  [default: the study's own]")
    ] = None,
    mistakes: Annotated[
        bool,
        typer.Option(
            "--mistakes",
            help="Read the study's images to show which classes the best network confuses, where that is not kept yet, "
            "and what it reaches in 8 bits.",
        ),
    ] = False,
    data_dir: DataDir = None,
    studies: Studies = DEFAULT_STUDIES,
    as_json: AsJson = False,
) -> None:
    """Write report.html, a page to look at offline; front.json, front.svg and front.png; every trial as trials.csv."""
    from nas.app.look import read_study
    from nas.report.files import write_report

    folder, _, records = read_study(studies, name)
    found = None
    if mistakes:
        from nas.terminal.waiting import show_waiting

        with show_waiting() as waiting:
            from nas.app.look import find_trial
            from nas.app.mistakes import mistakes_with_8_bits

            found = mistakes_with_8_bits(folder, find_trial(folder, None), data_dir, waiting)
    paths = [str(path) for path in write_report(folder, records, output, found)]
    if as_json:
        print_json({"written": paths})
    else:
        print("\n".join(f"wrote {path}" for path in paths))
        browse = "" if folder.is_kept else f", or browse with: {command_line('dashboard', name, studies=studies)}"
        print(f"open {paths[0]} in a browser{browse}", file=sys.stderr)


def dashboard(
    name: StudyName,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on the loopback interface.")] = 8080,
    studies: Studies = DEFAULT_STUDIES,
) -> None:
    """Serve the study in optuna-dashboard, on this machine alone. Ctrl-C ends it."""
    from nas.app.look import open_folder
    from nas.dashboard.server import serve

    serve(
        open_folder(studies, name),
        port,
        lambda address: print(f"the study is at {address} (Ctrl-C ends it)", file=sys.stderr, flush=True),
    )


def compare(
    names: Annotated[
        list[str], typer.Argument(metavar="NAME NAME...", help="Names of studies.", autocompletion=complete_study)
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE.html", help="Write the fronts as a figure that opens offline."),
    ] = None,
    studies: Studies = DEFAULT_STUDIES,
    as_json: AsJson = False,
) -> None:
    """The fronts of several studies of the same images in one table, or laid over each other."""
    from nas.app.compare import compare as compare_studies
    from nas.app.compare import write_figure
    from nas.study.tables import comparison_text

    compared = compare_studies(studies, names)
    if output is not None:
        write_figure(compared, output)
        print(f"wrote {output}", file=sys.stderr)
    if as_json:
        print_json([asdict(row) for row in compared.rows])
    else:
        print(comparison_text(compared.rows))


def predict(
    name: StudyName,
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Image files.")],
    trial: TrialNumber = None,
    studies: Studies = DEFAULT_STUDIES,
    as_json: AsJson = False,
) -> None:
    """What a network of a study takes images for: the likeliest classes of each, with their probabilities."""
    from nas.app.look import find_trial, open_folder
    from nas.app.predict import predict_files

    folder = open_folder(studies, name)
    predictions = predict_files(folder, find_trial(folder, trial), images)
    if as_json:
        print_json([{"file": str(p.file), "probabilities": p.probabilities} for p in predictions])
        return
    for prediction in predictions:
        print(f"{prediction.file}: {prediction}")


def add_to(app: typer.Typer) -> None:
    """Add these commands to the top level."""
    app.command("list")(list_studies)
    for command in (status, report, dashboard, compare, predict):
        app.command(command.__name__)(command)
