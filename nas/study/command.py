"""The line to type that runs a study."""

from __future__ import annotations

import shlex
from dataclasses import fields
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nas.study.settings import StudySettings  # the command line imports this module, and has to answer at once

DEFAULT_STUDIES = Path("studies")
_SHORT = {"max_trials": "trials", "max_seconds": "time", "num_seeds": "seeds"}  # options that are named otherwise


def option_of(name: str) -> str:
    """Return the option of the command line for a setting or an argument: '--max-params' for 'max_params'."""
    return f"--{_SHORT.get(name, name).replace('_', '-')}"


def format_search_command(
    name: str, settings: StudySettings, studies: Path = DEFAULT_STUDIES, storage: str | None = None
) -> str:
    """Return the line that runs a study with exactly these settings; what has its default is left out.

    A study with a function to train or a sampler that were given in Python has none but a comment.

    Args:
        name: of the study.
        settings: what the study is asked for.
        studies: the folder of studies.
        storage: the address of its trials, without a password; None for SQLite in the study's folder.
    """
    if given := settings.given_in_python:
        arguments = "".join(f", {argument}={value}" for argument, value in given.items())
        return f"# in Python: nas.search(name={name!r}{arguments})"
    words = ["nas", "search", "--name", name]
    for field in fields(settings):
        value = getattr(settings, field.name)
        if value == field.default:
            continue
        option = option_of(field.name)
        if field.name == "color":
            words.append("--color" if value else "--gray")
        elif isinstance(value, bool):
            words.append(option)
        else:
            for one in value if isinstance(value, tuple) else (value,):
                words += [option, _format_number(one) if isinstance(one, float) else str(one)]
    if studies != DEFAULT_STUDIES:
        words += ["--studies", str(studies)]
    if storage is not None:
        words += ["--storage", storage]
    return shlex.join(words)


def _format_number(value: float) -> str:
    """Return every digit of a number of at least 0, without an exponent: a duration is not read with one."""
    text = f"{Decimal(repr(abs(value))):f}"
    return text.removesuffix(".0")
