"""Resolve what a search is asked for: what is given now, over the study's own settings or a study file, or defaults."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from nas.data.known import KNOWN_DATASETS
from nas.decode import decode, encode
from nas.errors import UsageError
from nas.study.duration import parse_duration
from nas.study.folder import StudyFolder
from nas.study.settings import StudySettings, read_settings, with_present_names


def given_settings(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of `arguments` that are settings and were given; None stands for not given."""
    names = [field.name for field in fields(StudySettings)]
    return {name: arguments[name] for name in names if arguments.get(name) not in (None, [])}


def resolve_settings(
    changes: Mapping[str, Any], studies: Path, name: str | None = None, file: Path | None = None
) -> tuple[StudyFolder, StudySettings]:
    """Return a study and its settings: `changes`, over those that the study or the file `file` has; checked as one.

    Without a name, a study is named by its file, else by its data, space and budget. Paths become absolute, so that a
    study resumes from anywhere: those of a study file start at its folder, others at the working folder.

    Raises:
        InvalidError: with every value that a study cannot hold.
        UsageError: there is no study or file to take the budget from, and none is given; or the name is none, or a
            time.
    """
    plain: dict[str, Any] = {}
    if file is not None:
        plain = _with_absolute_paths(encode(read_settings(file)), file.parent)
        name = name or file.stem
    elif name is not None and (folder := StudyFolder(studies, name)).exists:
        plain = encode(folder.settings())
    plain |= _with_absolute_paths(with_present_names(changes), Path())
    if isinstance(plain.get("max_seconds"), str):
        plain["max_seconds"] = parse_duration(plain["max_seconds"])
    if "max_params" not in plain:
        raise UsageError("`max_params` is missing; for example: nas search --max-params 8000 --target 99.4")
    settings = decode(StudySettings, plain, "this search")
    if settings.target is not None and settings.target <= 1:
        percent = f"{100 * settings.target:g}"
        raise UsageError(f"`target` {settings.target:g}: give it in percent; did you mean {percent}?")
    if name is None:
        name = default_name(settings.dataset, Path(settings.space).stem, settings.max_params)
    return StudyFolder(studies, name), settings


def default_name(dataset: str, space: str, max_params: int | None) -> str:
    """Return what a study is called whose name nobody gave, by its data, the name of its space and its budget."""
    data = re.sub(r"[^A-Za-z0-9_-]+", "-", Path(dataset).name).strip("-") or "images"
    return f"{data}-{space}-{max_params}"


def _with_absolute_paths(plain: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """`plain` settings in which data, space and architecture files are named by their whole paths."""
    found = dict(plain)
    if "dataset" in found:
        found["dataset"] = dataset_path(str(found["dataset"]), folder)
    if "space" in found:
        found["space"] = _file_path(str(found["space"]), folder)
    if "warm_start" in found:
        given = found["warm_start"]
        names = [given] if isinstance(given, (str, Path)) else list(given)
        found["warm_start"] = [_file_path(str(one), folder) for one in names]
    return found


def dataset_path(name: str, folder: Path = Path()) -> str:
    """Return the whole path of a person's own images, which start at `folder`; a known name stays as it is."""
    path = folder / os.path.expanduser(name)  # unlike Path's, it leaves the name of a user who is not known as it is
    return name if name in KNOWN_DATASETS or not path.exists() else str(path.resolve())


def _file_path(name: str, folder: Path) -> str:
    return str((folder / name).resolve()) if name.endswith(".toml") else name
