"""What is asked of this machine: installed software, the C compiler, the cache folder."""

from __future__ import annotations

import os
import shlex
import shutil
from importlib.metadata import version
from pathlib import Path

from nas.errors import UsageError

DISTRIBUTION = "nas-budget"  # this package on the package index, where `nas` is a stranger's


def versions(*packages: str) -> dict[str, str]:
    """Return the versions of this package, as 'nas', and of `packages`, as installed."""
    return {"nas": version(DISTRIBUTION), **{package: version(package) for package in packages}}


def compiler_command() -> list[str]:
    """The program, and the arguments that it always takes: `$CC`, or cc, gcc or clang; empty where there is none.

    Raises UsageError for a `$CC` that no shell could read.
    """
    given = os.environ.get("CC", "")
    try:
        command = shlex.split(given)
    except ValueError as error:
        raise UsageError(
            f"the environment variable CC is {given!r}: {str(error).lower()}; correct or unset it"
        ) from None
    return command or next(([path] for name in ("cc", "gcc", "clang") if (path := shutil.which(name))), [])


def cache_folder() -> Path:
    """Where unpacked and downloaded files go by default: $XDG_CACHE_HOME/nas or ~/.cache/nas."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "nas"
