"""Faster layers for training on a CPU: c/, compiled on first use with the C compiler of the machine.

Where there is none, or the environment says `NAS_NATIVE=0`, torch's own layers do the same, only slower and with other
rounding errors. `nas.kernels.chain` has the layers.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shlex
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from nas.host import cache_folder, compiler_command, compiler_version

SOURCE = Path(__file__).with_name("c") / "chain.c"  # which includes the others
FLAGS = ("-O3", "-march=native", "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC")
# What each kernel takes: an address or a tensor's numbers (p), or a size (n).
SIGNATURES = {
    "chain_forward": "pnppnn",
    "chain_evaluate": "pnppnn",
    "chain_backward": "pnppppnn",
}
_TYPES: dict[str, Any] = {"p": ctypes.c_void_p, "n": ctypes.c_long}


@dataclass(frozen=True)
class _Loaded:
    library: ctypes.CDLL | None
    status: str  # see `kernel_status`


def load_kernels() -> ctypes.CDLL | None:
    """Return the compiled kernels, or None where they cannot be had and `kernel_status` says why.

    They are compiled on the first use on a machine and kept in the cache folder.

    Raises:
        UsageError: no shell could read `$CC`.
    """
    return _load().library


def kernel_status() -> str:
    """Return what the CPU kernels were compiled with, or why they are not used, in one line.

    Raises:
        UsageError: no shell could read `$CC`.
    """
    return _load().status


@functools.cache
def _load() -> _Loaded:
    if os.environ.get("NAS_NATIVE") == "0":
        return _Loaded(None, "not used: NAS_NATIVE=0")
    if sys.platform == "win32":
        return _Loaded(None, "not used: not made for Windows")
    compiler = compiler_command()
    if not compiler:
        return _Loaded(None, "not used: no C compiler")
    try:
        made_with = compiler_version(compiler)
        return _Loaded(_compile(compiler, made_with), f"compiled with {shlex.join(compiler)} ({made_with})")
    except subprocess.CalledProcessError as error:
        message = error.stderr.decode(errors="replace").strip().partition("\n")[0]
        reason = message or f"{shlex.join(compiler)} ended with exit code {error.returncode}"
    except OSError as error:
        reason = str(error)
    return _Loaded(None, f"not used: compiling failed: {reason}")


def _compile(compiler: list[str], version: str) -> ctypes.CDLL:
    """Return the kernels, compiled unless they are in the cache folder.

    Raises:
        CalledProcessError: the compiler fails.
        OSError: it cannot be started, the cache folder cannot be written, or the result cannot be loaded.
    """
    target = cache_folder() / "native" / f"kernels-{_fingerprint(compiler, version)}.so"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        # Compiled beside its place and then renamed: two processes may come here at once.
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            compiled = Path(folder) / target.name
            subprocess.run([*compiler, *FLAGS, "-o", compiled, SOURCE, "-lm"], check=True, capture_output=True)
            compiled.replace(target)
    library = ctypes.CDLL(str(target))
    for name, signature in SIGNATURES.items():
        getattr(library, name).argtypes = [_TYPES[letter] for letter in signature]
    return library


def _fingerprint(compiler: list[str], version: str) -> str:
    """Return a digest of all that decides the machine code: machines that are not alike may share a cache folder."""
    cpu = platform.machine()
    if (cpuinfo := Path("/proc/cpuinfo")).exists():
        cpu += next((line for line in cpuinfo.read_text().splitlines() if line.startswith(("flags", "Features"))), "")
    sources = [path.read_text("utf-8") for path in sorted(SOURCE.parent.iterdir()) if path.suffix in {".c", ".h"}]
    made_of = (sources, compiler, version, FLAGS, cpu)
    return hashlib.sha256(repr(made_of).encode()).hexdigest()[:16]


def call(name: str, *arguments: Any) -> None:
    """Call a kernel with the data of tensors.

    Raises:
        MemoryError: it found no memory for its working space.
    """
    kernel = getattr(_load().library, name)
    if kernel(*[a.data_ptr() if isinstance(a, Tensor) else a for a in arguments]):
        raise MemoryError(f"no memory for the working space of {name}")
