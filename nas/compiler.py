"""The C compiler of this machine: it makes training on a CPU faster, and reads exported headers."""

from __future__ import annotations

import os
import shlex
import shutil


def compiler_command() -> list[str]:
    """The program, and the arguments that it always takes: `$CC`, or cc, gcc or clang; empty where there is none."""
    found = ([path] for name in ("cc", "gcc", "clang") if (path := shutil.which(name)))
    return shlex.split(os.environ.get("CC", "")) or next(found, [])
