"""What is asked of this machine: installed software, the C compiler, the CPU, memory, the cache folder."""

from __future__ import annotations

import contextlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from nas.errors import UsageError

DISTRIBUTION = "nas-budget"  # this package on the package index, where `nas` is a stranger's


def versions(*packages: str) -> dict[str, str]:
    """Return the versions of this package, as 'nas', and of `packages`, as installed."""
    return {"nas": version(DISTRIBUTION), **{package: version(package) for package in packages}}


def compiler_command() -> list[str]:
    """Return the C compiler and the arguments that it always takes: `$CC`, else cc, gcc or clang; else an empty list.

    Raises:
        UsageError: no shell could read `$CC`.
    """
    given = os.environ.get("CC", "")
    try:
        command = shlex.split(given)
    except ValueError as error:
        raise UsageError(
            f"the environment variable CC is {given!r}: {str(error).lower()}; correct or unset it"
        ) from None
    return command or next(([path] for name in ("cc", "gcc", "clang") if (path := shutil.which(name))), [])


def compiler_version(command: list[str]) -> str:
    """Return the first line of what the compiler says of its version; it may be empty.

    Raises:
        OSError: there is no such program.
    """
    asked = subprocess.run([*command, "--version"], capture_output=True, text=True, errors="replace", check=False)
    return asked.stdout.strip().partition("\n")[0]


def cpu_model() -> str:
    """Return the name of the CPU; where the system does not say it, its architecture."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()


def available_cores() -> int:
    """Return the number of cores that this process may use, at least 1."""
    if hasattr(os, "process_cpu_count"):  # from Python 3.13 on
        return os.process_cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class SharedMemory(NamedTuple):
    """Bytes of the memory that processes share."""

    total: int
    free: int


def shared_memory() -> SharedMemory | None:
    """Return how much memory processes may share; None where no limit of its own is known. In Docker it is 64 MB."""
    try:
        usage = shutil.disk_usage("/dev/shm")
    except OSError:  # not Linux
        return None
    return SharedMemory(usage.total, usage.free)


def free_bytes(folder: Path) -> int:
    """Return how much may still be written to the disk of `folder`."""
    return shutil.disk_usage(folder).free


def machine_name() -> str:
    """Return what this machine calls itself in a network."""
    return platform.node() or "this machine"


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield where to write what is to be at `path`: it is put there after the body, or nothing is after an error.

    Whoever reads `path` meanwhile, in this process or another, never sees half of it.
    """
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def cache_folder() -> Path:
    """Return the folder of downloaded, unpacked and compiled files: $XDG_CACHE_HOME/nas, or ~/.cache/nas.

    For a user without a home folder it is one in the system's folder of temporary files.

    Raises:
        UsageError: the user has no home folder, and that temporary folder belongs to another user or cannot be made.
    """
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "nas"
    except RuntimeError:
        return _temporary_cache()


def _temporary_cache() -> Path:
    user = os.getuid() if hasattr(os, "getuid") else 0  # Windows has none, and says so of its files too
    folder = Path(tempfile.gettempdir()) / f"nas-{user}"
    try:
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        # Compiled code is loaded from there, and everybody could have made that folder.
        if folder.lstat().st_uid == user:
            return folder
        problem = "belongs to another user"
    except OSError as error:
        problem = f"cannot be made ({error.strerror})"
    raise UsageError(f"{folder} {problem}; set XDG_CACHE_HOME to a folder of your own")
