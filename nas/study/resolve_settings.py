"""What a search is asked for: the settings given now, over those of the study, of a study file, or the defaults."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from nas.decode import decode, encode
from nas.errors import UsageError
from nas.study.settings import StudyFolder, StudySettings, read_settings


def requested(
    changes: Mapping[str, Any], studies: Path, name: str | None = None, file: Path | None = None
) -> tuple[StudyFolder, StudySettings]:
    """The study and its settings, `changes` over those that it has, or the file has; checked as one.

    Without a name, a study is named by its file, else by its data, space and budget.

    Raises:
        InvalidError: with every value that a study cannot hold.
        UsageError: there is no study or file to take the budget from, and none is given; or the name is none.
    """
    base: StudySettings | None = None
    if file is not None:
        base = read_settings(file)
        name = name or file.stem
    elif name is not None:
        folder = StudyFolder(studies, name)
        base = folder.settings() if folder.exists else None
    if "warm_start" in changes:
        # Files by their whole path, so that the study resumes from anywhere.
        given = changes["warm_start"]
        names = map(str, [given] if isinstance(given, (str, Path)) else given)
        whole = tuple(str(Path(name).resolve()) if name.endswith(".toml") else name for name in names)
        changes = {**changes, "warm_start": whole}
    if base is None and "max_params" not in changes:
        raise UsageError("--max-params is missing; for example: nas search --max-params 8000 --target 99.4")
    settings = _checked(replace(base, **changes) if base is not None else StudySettings(**changes))
    if name is None:
        data = re.sub(r"[^A-Za-z0-9_-]+", "-", Path(settings.dataset).name).strip("-") or "images"
        name = f"{data}-{Path(settings.space).stem}-{settings.max_params}"
    return StudyFolder(studies, name), settings


def _checked(settings: StudySettings) -> StudySettings:
    # Who asks knows fewer bounds than the file that the study keeps, which must be readable when it is opened again.
    return decode(type(settings), encode(settings), "this search")
