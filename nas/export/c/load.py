"""An exported C header, compiled and run: what it computes is what the compiler makes of it, not what it says."""

from __future__ import annotations

import ctypes
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nas.errors import ExportError, VerificationError
from nas.export.c.header import METADATA
from nas.export.metadata import LoadedExport, Metadata, checked_images, in_batches, read_metadata
from nas.host import compiler_command

FLAGS = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-O2")
_SOURCE = """
#include "network.h"
void run(const uint8_t *pixels, int64_t count, float *logits);
void run(const uint8_t *pixels, int64_t count, float *logits)
{
    for (int64_t i = 0; i < count; i++)
        PREFIX_forward(pixels + i * (MACRO_CHANNELS * MACRO_HEIGHT * MACRO_WIDTH), logits + i * MACRO_CLASSES);
}
int predict(const uint8_t *pixels);
int predict(const uint8_t *pixels)
{
    return PREFIX_predict(pixels);
}
"""
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
    _library: Any

    def logits(self, images: Tensor) -> Tensor:
        """Raw uint8 images (N, C, H, W) to float32 logits (N, classes), computed by the compiled C.

        Raises:
            VerificationError: the images are not uint8 of the file's shape.
        """
        return in_batches(self._batch, checked_images(images, self.input_shape))

    def predictions(self, images: Tensor) -> Tensor:
        """Raw uint8 images (N, C, H, W) to classes (N,), each computed by the header's own `predict`."""
        images = checked_images(images, self.input_shape)
        return torch.tensor([self._library.predict(ctypes.c_void_p(image.data_ptr())) for image in images])

    def _batch(self, images: Tensor) -> Tensor:
        images = images.contiguous()
        logits = torch.empty(len(images), self.classes)
        self._library.run(
            ctypes.c_void_p(images.data_ptr()), ctypes.c_int64(len(images)), ctypes.c_void_p(logits.data_ptr())
        )
        return logits


def load_c(path: Path) -> CNetwork:
    """The header at `path`, compiled with $CC, or the first of cc, gcc and clang. Its code runs: trust it first.

    Raises:
        ExportError: there is no C compiler.
        VerificationError: the file is missing, was not written by `write_c`, or does not compile without a warning.
    """
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise VerificationError(f"cannot read {path}: {error}; give a header that `nas export` wrote") from None
    line = re.search(rf"^ \* {METADATA}(.*)$", text, re.MULTILINE)
    about = read_metadata(line and line[1], path)
    guard = re.search(r"^#define ([A-Z][A-Z0-9_]*)_NETWORK_H$", text, re.MULTILINE)
    if guard is None:
        raise VerificationError(f"{path} is not a header that `nas export` wrote")
    macro = guard[1]
    constants = dict(re.findall(rf"^#define {macro}_([A-Z_]+) (\d+)$", text, re.MULTILINE))
    sizes = tuple(int(constants.get(name, 0)) for name in ("CHANNELS", "HEIGHT", "WIDTH"))
    if sizes != about.input_shape or "CLASSES" not in constants:
        raise VerificationError(f"{path} takes images of {sizes}, and says that it takes {about.input_shape}")
    arrays = [
        (kind, name, values.count(",") + 1)
        for kind, name, values in re.findall(r"^static const (\w+) (\w+)\[\d+\] = \{([^}]*)\}", text, re.MULTILINE)
    ]
    return CNetwork(
        path,
        about,
        int(constants["CLASSES"]),
        sum(count for _, name, count in arrays if name.endswith(("_weight", "_bias"))),
        sum(count * _BYTES.get(kind, 0) for kind, _, count in arrays),
        int(constants.get("WORK_BYTES", 0)),
        _compiled(path, text, _SOURCE.replace("PREFIX", macro.lower()).replace("MACRO", macro)),
    )


def _compiled(path: Path, header: str, source: str) -> Any:
    compiler = compiler_command()
    if not compiler:
        raise ExportError("a C header is read by compiling it, and there is no C compiler; install gcc, or set CC")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "network.h").write_text(header)
        Path(folder, "network.c").write_text(source)
        library = str(Path(folder, "network.so"))
        command = [*compiler, *FLAGS, "-shared", "-fPIC", "-o", library, str(Path(folder, "network.c")), "-lm"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except OSError as error:
            raise ExportError(f"the C compiler {compiler[0]!r} does not start: {error.strerror}; set CC") from None
        if done.returncode:
            raise VerificationError(f"{path} does not compile: {done.stderr.strip()[:2000]}")
        return ctypes.CDLL(library)
