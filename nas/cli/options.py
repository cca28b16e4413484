"""Options that several commands share, and how results are printed."""

from __future__ import annotations

import glob
import json
import re
from dataclasses import fields
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import typer

from nas.costs import Count
from nas.study.command import DEFAULT_STUDIES as DEFAULT_STUDIES
from nas.study.command import option_of
from nas.study.folder import SHIPPED_STUDIES, study_names
from nas.study.settings import StudySettings

# What an error text may name in backticks: the settings, and the arguments that are not kept with a study.
_ARGUMENTS = {"name", "studies", "storage", "study", "device", "workers", "trials_per_device", "cluster", "data_dir"}
_NAMES = {field.name for field in fields(StudySettings)} | _ARGUMENTS | {"trial", "output", "port", "prefix", "data"}


def with_options(text: str) -> str:
    """Return an error text in which settings and arguments, named in backticks, are options of the command line."""
    return re.sub(r"`([a-z_]+)`", lambda match: option_of(match[1]) if match[1] in _NAMES else match[0], text)


def parse_count(text: str | int) -> int:
    """Return the number that is written as '8000', '8,000', '8_000', '8k' or '1.5M'. Defaults are numbers already."""
    if isinstance(text, int):
        return text
    match = re.fullmatch(r"(\d{1,3}(?:,\d{3})+|\d[\d_]*(?:\.\d+)?)([kKmMgG]?)", text.strip())
    if match is None:
        raise typer.BadParameter(f"{text!r} is no number of at least 1; write 8000, 8,000, 8k or 1.5M")
    number = Decimal(re.sub("[,_]", "", match[1])) * {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}[match[2].lower()]
    if number < 1 or number != int(number):
        raise typer.BadParameter(f"{text!r} is {number.normalize():f}; give a whole number of at least 1")
    return int(number)


def parse_bytes(text: str | int) -> int:
    """Return the number of bytes that is written as '32768', '32k' or '1M': as memory is sold, k is 1,024."""
    if isinstance(text, int):
        return text
    match = re.fullmatch(r"(\d+)(?:([kKmM])(?:i?[bB])?)?", text.strip().replace(",", ""))
    if match is None or not int(match[1]):
        raise typer.BadParameter(f"{text!r} is no number of bytes of at least 1; write 32768, 32k or 1M")
    return int(match[1]) * {"": 1, "k": 1024, "m": 1024**2}[(match[2] or "").lower()]


def complete_study(ctx: typer.Context, incomplete: str) -> list[str]:
    """The studies in the folder that the command line names so far, and those that come with nas."""
    own = study_names(Path(ctx.params.get("studies") or DEFAULT_STUDIES))
    names = sorted({*own, *study_names(SHIPPED_STUDIES)})
    return [name for name in names if name.startswith(incomplete)]


def complete_study_or_module(ctx: typer.Context, incomplete: str) -> list[str]:
    """The studies, and Python modules."""
    return [*complete_study(ctx, incomplete), *_begun(incomplete, ".py")]


def complete_known_dataset(incomplete: str) -> list[str]:
    """The known data sets."""
    from nas.data.known import KNOWN_DATASETS

    return [name for name in KNOWN_DATASETS if name.startswith(incomplete)]


def complete_dataset(incomplete: str) -> list[str]:
    """The known data sets, and what may hold a person's own images."""
    own = [f"{path}/" for path in _begun(incomplete) if Path(path).is_dir()]
    return [*complete_known_dataset(incomplete), *own, *_begun(incomplete, ".npz")]


def complete_space(incomplete: str) -> list[str]:
    """The shipped spaces, and TOML files."""
    from nas.space import SHIPPED

    names = sorted(path.stem for path in SHIPPED.glob("*.toml"))
    return [*(name for name in names if name.startswith(incomplete)), *_begun(incomplete, ".toml")]


def complete_sampler(incomplete: str) -> list[str]:
    """Our own sampler and Optuna's, by their names here."""
    return [name for name in ("auto", "cmaes", "gp", "nsgaii", "random", "tpe") if name.startswith(incomplete)]


def complete_class_weights(incomplete: str) -> list[str]:
    """The ways to weigh classes."""
    return [name for name in ("balanced", "none") if name.startswith(incomplete)]


def complete_augmentation_kind(incomplete: str) -> list[str]:
    """The ways to vary images in training."""
    return [name for name in ("data", "glyphs", "photos") if name.startswith(incomplete)]


def complete_warm_start(ctx: typer.Context, incomplete: str) -> list[str]:
    """The studies, the reference networks, and TOML files."""
    names = [*complete_study(ctx, incomplete), *(["reference"] if "reference".startswith(incomplete) else [])]
    return [*names, *_begun(incomplete, ".toml")]


def _begun(incomplete: str, suffix: str = "") -> list[str]:
    """The files and folders whose path a person has begun to type, as typed."""
    folder, slash, name = incomplete.rpartition("/")
    found = sorted(Path(folder + slash).glob(f"{glob.escape(name)}*{suffix}")) if incomplete else []
    return [f"{folder}{slash}{path.name}" for path in found]


Studies = Annotated[
    Path, typer.Option("--studies", envvar="NAS_STUDIES", help="Folder that holds the studies.", show_default=True)
]
DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        help="Where data sets lie, in torchvision's layout, or a study's own images if they have moved. Default: "
        "$NAS_DATA_DIR, else the user's cache.",
    ),
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]
TrialsPerDevice = Annotated[
    int | None,
    typer.Option(
        "--trials-per-device",
        min=1,
        max=32,
        help="Trials that each worker trains in turn on its device.  [default: what a GPU's memory holds; on the CPU "
        "1, where more gain nothing]",
    ),
]
Cluster = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="Train on a Ray cluster (pip install 'nas-budget[ray]'): HOST:PORT or, on a machine of it, auto. Start "
        "one with: ray start --head; further machines, each with this nas, join with: ray start --address=HOST:PORT",
    ),
]
Counted = Annotated[
    Count | None,
    typer.Option(
        "--count",
        help="What --max-params limits and sizes go by: parameters as trained, or as deployed, with batch norms folded "
        "into convolutions.  [default: trained]",
    ),
]
MaxMacs = Annotated[
    int | None,
    typer.Option("--max-macs", parser=parse_count, metavar="COUNT", help="Also limit multiply-accumulates an image."),
]
MaxActivationBytes = Annotated[
    int | None,
    typer.Option(
        "--max-activation-bytes",
        parser=parse_count,
        metavar="COUNT",
        help="Also limit the peak bytes of activations (float32, one image).",
    ),
]
MaxFlash = Annotated[
    int | None,
    typer.Option(
        "--max-flash",
        parser=parse_bytes,
        metavar="BYTES",
        help="Also limit the flash of a microcontroller, in 8 bits: 32k (k is 1,024), 1M.",
    ),
]
MaxRam = Annotated[
    int | None,
    typer.Option(
        "--max-ram",
        parser=parse_bytes,
        metavar="BYTES",
        help="Also limit its RAM, in 8 bits, the stack included: 16k.",
    ),
]
Board = Annotated[
    str | None,
    typer.Option(
        "--board", metavar="BOARD", help="Both of a board: microbit, microbit-v2, pico, nano33ble, bluepill, …"
    ),
]
Prefix = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="What the names in a C header (.h) begin with.  [default: the file's name]"),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document to standard output, nothing else.")]
StudyName = Annotated[str, typer.Argument(metavar="NAME", help="Name of the study.", autocompletion=complete_study)]
LatestStudy = Annotated[
    str | None,
    typer.Argument(
        metavar="[NAME]",
        help="Name of the study.  [default: the one that has changed last]",
        autocompletion=complete_study,
        show_default=False,
    ),
]
TrialNumber = Annotated[
    int | None, typer.Option("--trial", min=0, help="Number of the trial. Default: the one that answers the study.")
]


def print_json(document: Any) -> None:
    """One JSON document on standard output."""
    print(json.dumps(document, indent=2))
