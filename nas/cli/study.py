"""The commands that train, or train again: `nas search`, `nas confirm`, `nas replay`."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nas.cli.options import (
    DEFAULT_STUDIES,
    AsJson,
    Board,
    Cluster,
    Counted,
    DataDir,
    Device,
    MaxActivationBytes,
    MaxFlash,
    MaxMacs,
    MaxRam,
    Studies,
    StudyName,
    TrialNumber,
    TrialsPerDevice,
    complete_augmentation_kind,
    complete_class_weights,
    complete_dataset,
    complete_sampler,
    complete_space,
    complete_study,
    complete_warm_start,
    parse_count,
    print_json,
)
from nas.cli.results import command_line, print_result, suggest_next
from nas.errors import StudyError, UsageError
from nas.study.duration import parse_duration

if TYPE_CHECKING:
    from nas.study.records import TrialRecord

TARGET_NOT_CONFIRMED = 3
INTERRUPTED = 130


def _seconds(text: str) -> float:
    try:
        return parse_duration(text)
    except UsageError as error:
        raise typer.BadParameter(str(error)) from None


def search(
    max_params: Annotated[
        int | None,
        typer.Option(
            parser=parse_count, metavar="COUNT", help="The hard budget: most parameters of any network: 8000, 8k."
        ),
    ] = None,
    count: Counted = None,
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
    class_weights: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="In training, balanced gives rare classes the same weight as frequent ones.  [default: none]",
            autocompletion=complete_class_weights,
        ),
    ] = None,
    augmentation_kind: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="How to vary images in training: as photos (mirror, shift, cutout, colors), as glyphs (turn, shift, "
            "scale, shear), or as is usual for the data.  [default: data]",
            autocompletion=complete_augmentation_kind,
        ),
    ] = None,
    num_seeds: Annotated[
        int | None, typer.Option("--seeds", min=1, help="Trainings of a confirmation.  [default: 3]")
    ] = None,
    max_macs: MaxMacs = None,
    max_activation_bytes: MaxActivationBytes = None,
    max_flash: MaxFlash = None,
    max_ram: MaxRam = None,
    board: Board = None,
    image_size: Annotated[int | None, typer.Option(min=4, help="Resize to this many pixels; folders only.")] = None,
    color: Annotated[
        bool | None, typer.Option("--color/--gray", help="Folders only.  [default: as the images]")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of the study.  [default: 0]")] = None,
    sampler: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="What chooses the networks to try: auto (our own), or Optuna's tpe, gp, nsgaii, cmaes or random.  "
            "[default: auto]",
            autocompletion=complete_sampler,
        ),
    ] = None,
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
    from nas.costs.boards import limits_of
    from nas.storage.address import StorageAddress
    from nas.study.answer import is_target_met
    from nas.study.resolve_settings import given_settings, resolve_settings
    from nas.terminal.live_view import SearchView

    address = StorageAddress.parse(storage) if storage is not None else None
    limits = limits_of(board, max_flash, max_ram)
    folder, settings = resolve_settings(given_settings(arguments | limits), studies, name, study)
    folder.require_resumable()
    name = folder.name
    verb = "resuming" if folder.exists else "new"
    print(
        f"{verb} study {name!r}: {settings.dataset}, at most {settings.max_params:,} {settings.budget.unit}",
        file=sys.stderr,
    )
    with SearchView() as view:
        machine = Machine(device, workers, data_dir, trials_per_device, cluster)
        outcome = run_search(folder, settings, machine, [view], address, began)
    print_result(folder, settings, outcome.records, as_json)
    if outcome.interrupted:
        print(f"interrupted; resume with: {command_line('search', '--name', name, studies=studies)}", file=sys.stderr)
        raise typer.Exit(INTERRUPTED)
    _require_completed(outcome.records)
    suggest_next(folder, studies, outcome.records)
    if not is_target_met(outcome.records, settings):
        raise typer.Exit(TARGET_NOT_CONFIRMED)


def _require_completed(records: list[TrialRecord]) -> None:
    """Raises a StudyError where every training that was begun has failed."""
    failed = [r for r in records if r.fate == "failed"]
    if failed and not any(r.fate == "completed" for r in records):
        raise StudyError(
            f"all {len(failed)} trainings failed, the last because: {failed[-1].reason}; "
            "`nas search` with another --space (of lower learning rates, say) and another --name tries again"
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
    from nas.app.look import find_trial, open_folder
    from nas.app.search import Machine
    from nas.app.search import confirm as run_confirm
    from nas.terminal.live_view import SearchView

    folder = open_folder(studies, name)
    settings, record = folder.settings(), find_trial(folder, trial)
    settings = replace(settings, num_seeds=seeds or settings.num_seeds)
    with SearchView() as view:
        machine = Machine(device, workers, data_dir, trials_per_device, cluster)
        outcome = run_confirm(folder, settings, record.number, machine, [view])
    print_result(folder, settings, outcome.records, as_json)
    if outcome.interrupted:
        raise typer.Exit(INTERRUPTED)
    take = command_line("export", name, "--trial", str(record.number), "-o", "net.py", studies=studies)
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
    from nas.app.look import open_folder
    from nas.app.replay import do_again

    found = do_again(open_folder(studies, name), trial, data_dir)
    if as_json:
        print_json({"same": found.is_same, **asdict(found)})
    else:
        print(found)
    if not found.is_same:
        raise typer.Exit(1)


def add_to(app: typer.Typer) -> None:
    """Add these commands to the top level."""
    for command in (search, confirm, replay):
        app.command(command.__name__)(command)
