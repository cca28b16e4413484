"""A search space that a Python program gives as a dict, kept in the folder of the study that is made with it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomli_w

from nas.errors import StudyError, UsageError
from nas.study.folder import StudyFolder

SPACE_FILE = "own_space.toml"  # in a study's folder


def keep_space(folder: StudyFolder, space: Mapping[str, Any]) -> Path:
    """Return the file in the study's folder that holds the space; write it if the study is new.

    Raises:
        UsageError: it holds what a TOML file cannot.
        StudyError: the study was made with another one, or the file cannot be written.
    """
    try:
        text = tomli_w.dumps(space)
    except (TypeError, AttributeError, RecursionError) as error:
        raise UsageError(
            f"`space` is not what a TOML file of a search space holds: {error}; give texts, numbers, lists and dicts"
        ) from None
    file = folder.path / SPACE_FILE
    try:
        if not folder.exists:
            folder.path.mkdir(parents=True, exist_ok=True)
            file.write_text(text, "utf-8")
        elif not file.is_file() or file.read_text("utf-8") != text:
            raise StudyError(f"study {folder.name!r} was made with another space; give this search another name")
    except OSError as error:
        raise StudyError(f"cannot write {file}: {error.strerror}; choose another folder for `studies`") from None
    return file
