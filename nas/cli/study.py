"""`nas search` and the commands that look at a study."""

from __future__ import annotations

import re
import shlex
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas.cli.options import (
    DEFAULT_STUDIES,
    AsJson,
    Cluster,
    DataDir,
    Device,
    Studies,
    StudyName,
    TrialNumber,
    TrialsPerDevice,
    complete_dataset,
    complete_space,
    complete_study,
    complete_warm_start,
    parse_bytes,
    parse_count,
    print_json,
)
from nas.errors import StudyError

if TYPE_CHECKING:
    from nas.study.folder import StudyFolder
    from nas.study.records import TrialRecord
    from nas.study.settings import StudySettings

TARGET_NOT_CONFIRMED = 3
INTERRUPTED = 130


def _seconds(text: str) -> float:
    """'90', '90s', '30m', '1.5h' in seconds."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text.strip())
    if match is None:
        raise typer.BadParameter(f"{text!r} is no duration; write seconds, or 90s, 30m, 1.5h")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]


def search(
    max_params: Annotated[
        int | None,
        typer.Option(
            parser=parse_count, metavar="COUNT", help="The hard budget: most parameters of any network: 8000, 8k."
        ),
    ] = None,
    target: Annotated[
        float | None, typer.Option(min=0, max=100, help="Test accuracy in percent; the smallest network with it wins.")
    ] = None,
    stop_at_first: Annotated[
        bool | None,
        typer.Option(
            "--stop-at-first/--go-on", help="End at the first network that meets the target.  [default: go on]"
        ),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            help="mnist, fashion_mnist, kmnist, emnist_letters, cifar10, cifar100, svhn, digits (needs no download), "
            "or your own images: a folder, or an .npz file.  [default: mnist]",
            autocompletion=complete_dataset,
        ),
    ] = None,
    space: Annotated[
        str | None,
        typer.Option(
            help="A shipped space (nas space list) or a .toml file.  [default: general]",
            autocompletion=complete_space,
        ),
    ] = None,
    warm_start: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Begin with known networks: the front of an earlier study, 'reference' (the published ones), or an "
            "architecture .toml file. May be given several times.",
            autocompletion=complete_warm_start,
        ),
    ] = None,
    study: Annotated[Path | None, typer.Option("--study", help="A study file (TOML) with these settings.")] = None,
    name: Annotated[
        str | None,
        typer.Option(
            help="Name of the study; the same name again resumes it.  [default: DATASET-SPACE-BUDGET]",
            autocompletion=complete_study,
        ),
    ] = None,
    max_trials: Annotated[
        int | None,
        typer.Option(
            "--trials",
            parser=parse_count,
            metavar="COUNT",
            help="End at this many finished trials.  [default: 100 unless --time is given]",
        ),
    ] = None,
    max_seconds: Annotated[
        float | None,
        typer.Option(
            "--time",
            parser=_seconds,
            metavar="DURATION",
            help="End after this, all runs of the study together: 90s, 30m, 1.5h.",
        ),
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs of a training.  [default: the space's]")] = None,
    num_seeds: Annotated[
        int | None, typer.Option("--seeds", min=1, help="Trainings of a confirmation.  [default: 3]")
    ] = None,
    max_macs: Annotated[
        int | None, typer.Option(parser=parse_count, metavar="COUNT", help="Also limit multiply-accumulates an image.")
    ] = None,
    max_activation_bytes: Annotated[
        int | None,
        typer.Option(
            parser=parse_count, metavar="COUNT", help="Also limit the peak bytes of activations (float32, one image)."
        ),
    ] = None,
    max_flash: Annotated[
        int | None,
        typer.Option(
            parser=parse_bytes,
            metavar="BYTES",
            help="Also limit the flash of a microcontroller, in 8 bits: 32k (k is 1,024), 1M.",
        ),
    ] = None,
    max_ram: Annotated[
        int | None,
        typer.Option(
            parser=parse_bytes, metavar="BYTES", help="Also limit its RAM, in 8 bits, the stack included: 16k."
        ),
    ] = None,
    board: Annotated[
        str | None,
        typer.Option(metavar="BOARD", help="Both of a board: microbit, microbit-v2, pico, nano33ble, bluepill, …"),
    ] = None,
    image_size: Annotated[int | None, typer.Option(min=4, help="Resize to this many pixels; folders only.")] = None,
    color: Annotated[
        bool | None, typer.Option("--color/--gray", help="Folders only.  [default: as the images]")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of the study.  [default: 0]")] = None,
    storage: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Keep the trials in postgresql://USER:PASSWORD@HOST/DATABASE (the password rather in PGPASSWORD or "
            "~/.pgpass) or in journal:///FOLDER/FILE.  [default: SQLite in the study's folder]",
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, max=256, help="Processes that train.  [default: one a core, or one a GPU]")
    ] = None,
    trials_per_device: TrialsPerDevice = None,
    cluster: Cluster = None,
    device: Device = "auto",
    data_dir: DataDir = None,
    studies: Studies = DEFAULT_STUDIES,
    as_json: AsJson = False,
) -> None:
    """Find the smallest networks that do the job, within a hard parameter budget.

    Ends at --trials or --time. The answer to --target is the smallest network whose confirmation meets it, so the
    search goes on below the first, unless --stop-at-first is given. Exit code 0 when done, 3 when the target was not
    confirmed, 130 when interrupted; the same command again goes on from there.
    """
    arguments, began = locals(), time.monotonic()
    from nas.app.search import Machine
    from nas.app.search import search as run_search
    from nas.arch.boards import limits_of
    from nas.storage.address import StorageAddress
    from nas.study.answer import is_target_met
    from nas.study.resolve_settings import given_settings, resolve_settings
    from nas.terminal.live_view import SearchView

    address = StorageAddress.parse(storage) if storage is not None else None
    limits = limits_of(board, max_flash, max_ram)
    folder, settings = resolve_settings(given_settings(arguments | limits), studies, name, study)
    name = folder.name
    verb = "resuming" if folder.exists else "new"
    print(f"{verb} study {name!r}: {settings.dataset}, at most {settings.max_params:,} parameters", file=sys.stderr)
    with SearchView() as view:
        machine = Machine(device, workers, data_dir, trials_per_device, cluster)
        outcome = run_search(folder, settings, machine, [view], address, began)
    _print_result(folder, settings, outcome.records, as_json)
    if outcome.interrupted:
        print(f"interrupted; resume with: {_command('search', '--name', name, studies=studies)}", file=sys.stderr)
        raise typer.Exit(INTERRUPTED)
    _require_completed(outcome.records)
    _suggest(name, studies, outcome.records)
    if not is_target_met(outcome.records, settings):
        raise typer.Exit(TARGET_NOT_CONFIRMED)


def _command(*words: str, studies: Path) -> str:
    """The line that a person types next, for the same folder of studies."""
    elsewhere = () if studies == DEFAULT_STUDIES else ("--studies", str(studies))
    return shlex.join(("nas", *words, *elsewhere))


def _require_completed(records: list[TrialRecord]) -> None:
    """Raises a StudyError where every training that was begun has failed."""
    failed = [r for r in records if r.fate == "failed"]
    if failed and not any(r.fate == "completed" for r in records):
        raise StudyError(
            f"all {len(failed)} trainings failed, the last because: {failed[-1].reason}; "
            "`nas search` with another --space (of lower learning rates, say) and another --name tries again"
        )


def _suggest(name: str, studies: Path, records: list[TrialRecord]) -> None:
    """What to type next, on standard error: how to look at the study, and to take what it has found."""
    looks = [_command(what, name, studies=studies) for what in ("report", "dashboard")]
    print(f"look at it with: {'  or  '.join(looks)}", file=sys.stderr)
    if any(r.fate == "completed" for r in records):
        print(f"take the best with: {_command('export', name, '-o', 'net.py', studies=studies)}", file=sys.stderr)
    else:
        print(f"go on with: {_command('search', '--name', name, studies=studies)}", file=sys.stderr)


def _print_result(folder: StudyFolder, settings: StudySettings, records: list[TrialRecord], as_json: bool) -> None:
    from nas.report.document import study_document
    from nas.study.answer import best_record
    from nas.study.front import front_records
    from nas.study.ledger import candidates, format_duration, warm_started
    from nas.study.networks import device_costs, device_text

    result, best = study_document(folder.name, settings, records), best_record(records, settings)
    if as_json:
        print_json(result | device_costs(folder, best))
        return
    from nas.terminal.study_view import print_front, print_network

    print_front(records, settings)
    if best is not None:
        print_network(folder, best)
    trials = ", ".join(f"{count} {fate}" for fate, count in result["trials"].items())
    spent = ", ".join(f"{fate} {format_duration(s)}" for fate, s in result["train_seconds"].items())
    print(f"trials: {trials or 'none'}")
    if spent:
        print(f"training time: {spent}")
    if records:
        print(f"candidates: {candidates(records)}")
    if known := warm_started(records, front_records(records), best):
        print(f"warm start: {known}")
    if found := device_costs(folder, best):
        print(f"on a microcontroller, in 8 bits: {device_text(found, settings)}")
    print(f"{result['test_set']}\n\n{result['answer']}")


def status(name: StudyName, studies: Studies = DEFAULT_STUDIES, as_json: AsJson = False) -> None:
    """Trials by fate, the front so far and the answer as it stands; also while a search runs."""
    folder, settings, records = _open(name, studies)
    _print_result(folder, settings, records, as_json)
    _suggest(name, studies, records)


def _open(name: str, studies: Path) -> tuple[StudyFolder, StudySettings, list[TrialRecord]]:
    from nas.app.look import open_folder, read_records

    folder = open_folder(studies, name)
    return folder, folder.settings(), read_records(folder)


def report(
    name: StudyName,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder to write to.  [default: the study's own]")
    ] = None,
    studies: Studies = DEFAULT_STUDIES,
    as_json: AsJson = False,
) -> None:
    """Write report.html, a page to look at offline; front.json, front.svg and front.png; every trial as trials.csv."""
    from nas.report.files import write_report

    folder, _, records = _open(name, studies)
    paths = [str(path) for path in write_report(folder, records, output or folder.path)]
    if as_json:
        print_json({"written": paths})
    else:
        print("\n".join(f"wrote {path}" for path in paths))
        print(
            f"open {paths[0]} in a browser, or browse with: {_command('dashboard', name, studies=studies)}",
            file=sys.stderr,
        )


def dashboard(
    name: StudyName,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on the loopback interface.")] = 8080,
    studies: Studies = DEFAULT_STUDIES,
) -> None:
    """Serve the study in optuna-dashboard, on this machine alone. Ctrl-C ends it."""
    from nas.dashboard.server import serve

    folder, _, _ = _open(name, studies)
    serve(
        folder, port, lambda address: print(f"the study is at {address} (Ctrl-C ends it)", file=sys.stderr, flush=True)
    )


def confirm(
    name: StudyName,
    trial: TrialNumber = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Trainings in all.  [default: the study's]")] = None,
    workers: Annotated[int | None, typer.Option(min=1, max=256, help="Processes that train.")] = None,
    trials_per_device: TrialsPerDevice = None,
    cluster: Cluster = None,
    device: Device = "auto",
    data_dir: DataDir = None,
    studies: Studies = DEFAULT_STUDIES,
    as_json: AsJson = False,
) -> None:
    """Train a network again from scratch with fresh seeds on the whole training set, and read the test set."""
    from nas.app.look import find_trial
    from nas.app.search import Machine
    from nas.app.search import confirm as run_confirm
    from nas.terminal.live_view import SearchView

    folder, settings, _ = _open(name, studies)
    record = find_trial(folder, trial)
    settings = replace(settings, num_seeds=seeds or settings.num_seeds)
    with SearchView() as view:
        machine = Machine(device, workers, data_dir, trials_per_device, cluster)
        outcome = run_confirm(folder, settings, record.number, machine, [view])
    _print_result(folder, settings, outcome.records, as_json)
    if outcome.interrupted:
        raise typer.Exit(INTERRUPTED)
    take = _command("export", name, "--trial", str(record.number), "-o", "net.py", studies=studies)
    print(f"take it with: {take}", file=sys.stderr)


def replay(
    name: StudyName,
    trial: Annotated[
        int | None, typer.Option(min=0, help="Train this trial again, on the CPU, and compare its accuracies instead.")
    ] = None,
    data_dir: DataDir = None,
    studies: Studies = DEFAULT_STUDIES,
    as_json: AsJson = False,
) -> None:
    """Derive every draw and every early stop of a search again, from its seed and its log; train nothing."""
    folder, _, _ = _open(name, studies)
    if trial is None:
        from nas.coordinator.replay import replay as run_replay

        replayed = run_replay(folder)
        _print_again(str(replayed), asdict(replayed), replayed.difference is None, as_json)
    else:
        from nas.app.study_data import study_dataset
        from nas.coordinator.retrain import retrain

        retrained = retrain(folder, trial, study_dataset(folder, data_dir))
        _print_again(str(retrained), asdict(retrained), retrained.is_same, as_json)


def _print_again(text: str, result: dict[str, Any], is_same: bool, as_json: bool) -> None:
    if as_json:
        print_json({"same": is_same, **result})
    else:
        print(text)
    if not is_same:
        raise typer.Exit(1)


def add_to(app: typer.Typer) -> None:
    """Add these commands to the top level."""
    for command in (search, status, report, dashboard, confirm, replay):
        app.command(command.__name__)(command)
