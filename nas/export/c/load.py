"""An exported C header, compiled and run: what it computes is what the compiler makes of it, not what it says."""

from __future__ import annotations

import ctypes
import re
import subprocess
import tempfile
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nas.errors import ExportError, VerificationError
from nas.export.c.templates import read_template
from nas.host import compiler_command
from nas.model.exported_file import LoadedExport, check_images, run_in_batches
from nas.model.metadata import Metadata, read_metadata

FLAGS = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-O2")
METADATA = r"^ \* nas: (.*)$"  # the line of JSON in the header's comment
_BYTES = {"float": 4, "int8_t": 1, "uint8_t": 1, "int32_t": 4}


@dataclass(frozen=True, slots=True)
class CNetwork(LoadedExport):
    """A C header that was compiled."""

    path: Path
    metadata: Metadata
    classes: int
    num_weights: int  # weights, biases and slopes in the header, counted in its arrays; batch norm is folded
    array_bytes: int  # of all constant arrays
    work_bytes: int  # of the static block of memory for maps
    is_in_8_bits: bool
    _library: Any

    def _logits(self, images: Tensor) -> Tensor:
        return run_in_batches(self._run_batch, images)

    def predictions(self, images: Tensor) -> Tensor:
        """Return the classes (N,) of raw uint8 images (N, C, H, W), each computed by the header's own `predict`."""
        images = check_images(images, self.input_shape)
        return torch.tensor([self._library.predict(ctypes.c_void_p(image.data_ptr())) for image in images])

    def _derive(self) -> dict[str, object]:
        """Return the numbers in float32: batch norm is folded. In 8 bits every convolution has a bias, and none is."""
        return {} if self.is_in_8_bits else {"deployed_params": self.num_weights}

    def _run_batch(self, images: Tensor) -> Tensor:
        images = images.contiguous()
        logits = torch.empty(len(images), self.classes)
        self._library.run(
            ctypes.c_void_p(images.data_ptr()),
            ctypes.c_int64(len(images)),
            ctypes.c_int64(prod(self.input_shape)),
            ctypes.c_void_p(logits.data_ptr()),
            ctypes.c_int64(self.classes),
        )
        return logits


def load_c(path: Path) -> CNetwork:
    """Return the header at `path`, compiled with $CC, or the first of cc, gcc and clang. Its code runs: trust it first.

    Raises:
        ExportError: there is no C compiler.
        VerificationError: the file is missing, was not written by `write_c`, or does not compile without a warning.
    """
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise VerificationError(f"cannot read {path}: {error}; give a header that `nas export` wrote") from None
    line = re.search(METADATA, text, re.MULTILINE)
    about = read_metadata(line and line[1], path)
    guard = re.search(r"^#define ([A-Z][A-Z0-9_]*)_NETWORK_H$", text, re.MULTILINE)
    if guard is None:
        raise VerificationError(f"{path} is not a header that `nas export` wrote")
    macro = guard[1]
    constants = dict(re.findall(rf"^#define {macro}_([A-Z_]+) (\d+)$", text, re.MULTILINE))
    sizes = tuple(int(constants.get(name, 0)) for name in ("CHANNELS", "HEIGHT", "WIDTH"))
    if sizes != about.input_shape or "CLASSES" not in constants:
        raise VerificationError(f"{path} takes images of {sizes}, and says that it takes {about.input_shape}")
    array = rf"^(?:{macro}_CONST|static const) (\w+) (\w+)\[\d+\] = \{{([^}}]*)\}}"
    arrays = [(kind, name, values.count(",") + 1) for kind, name, values in re.findall(array, text, re.MULTILINE)]
    return CNetwork(
        path,
        about,
        int(constants["CLASSES"]),
        sum(count for _, name, count in arrays if name.endswith(("_weight", "_bias"))),
        sum(count * _BYTES.get(kind, 0) for kind, _, count in arrays),
        int(constants.get("WORK_BYTES", 0)),
        "LOGIT_ONE" in constants,
        _compile(path, text, macro.lower(), constants.get("LOGIT_ONE")),
    )


def _compile(path: Path, header: str, prefix: str, logit_one: str | None) -> Any:
    """Return the header as a library. `logit_one` is what stands for 1 in logits that are whole numbers."""
    compiler = compiler_command()
    if not compiler:
        raise ExportError("a C header is read by compiling it, and there is no C compiler; install gcc, or set CC")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "network.h").write_text(header, "utf-8")
        (folder / "run.c").write_text(read_template("run.c"), "utf-8")
        macros = [f"-DFORWARD={prefix}_forward", f"-DPREDICT={prefix}_predict"]
        macros += [] if logit_one is None else ["-DLOGIT=int32_t", f"-DONE={logit_one}"]
        files = "-include", folder / "network.h", "-o", folder / "network.so", folder / "run.c"
        command = [*compiler, *FLAGS, *macros, "-shared", "-fPIC", *map(str, files), "-lm"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except OSError as error:
            raise ExportError(f"the C compiler {compiler[0]!r} does not start: {error.strerror}; set CC") from None
        if done.returncode:
            raise VerificationError(f"{path} does not compile: {done.stderr.strip()[:2000]}")
        return ctypes.CDLL(str(folder / "network.so"))
