"""The process that reads an exported file for `nas.verification.child`: `python -m nas.verification.reader FILE`.

A Python module runs when it is read, and a header is compiled and run; whatever comes of it ends with this process,
which holds no study and may use a bounded time and memory. Requests come on standard input, a line of JSON each, with
the bytes of images behind it; each answer is a line of JSON with the bytes of logits behind it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import BinaryIO

import torch

from nas.errors import NasError, UsageError, VerificationError
from nas.export.formats import load
from nas.export.python_module import PythonModule
from nas.model.exported_file import LoadedExport
from nas.model.thop_count import count_with_thop

SECONDS = 10  # of processor time, until the file has answered for one image
MEMORY = 2**31  # bytes beyond what Python and torch take
MAX_TEXT = 2_000  # characters of an error


def main() -> None:
    """Read the file that the command line names, and answer requests until there are no more."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    # What the file itself prints or asks for must not mix with these.
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the command, and that ends this process
    limit_process(SECONDS)
    try:
        loaded = load(Path(sys.argv[1]))
        _send(answers, {"metadata": loaded.metadata.to_json()})
        for line in requests:
            _answer(loaded, json.loads(line), requests, answers)
    except BaseException as error:  # the code of the file may raise anything, and raise again when that is shown
        _send(answers, {"error": _text_of(error), "is_usage": isinstance(error, UsageError)})


def limit_process(seconds: int | None) -> None:
    """Bound the memory of this process, and its processor time from now on, where the system has such bounds.

    None lifts the bound on time.
    """
    try:
        import resource
    except ImportError:  # Windows
        return

    def set_limit(which: int, soft: int | None) -> None:
        _, hard = resource.getrlimit(which)
        if soft is None or (hard != resource.RLIM_INFINITY and soft > hard):
            soft = hard
        resource.setrlimit(which, (soft, hard))

    used = resource.getrusage(resource.RUSAGE_SELF)
    set_limit(resource.RLIMIT_CPU, seconds and int(used.ru_utime + used.ru_stime) + 1 + seconds)
    pages = Path("/proc/self/statm")
    if pages.exists():  # not on macOS
        size = int(pages.read_text().split()[0]) * resource.getpagesize()
        set_limit(resource.RLIMIT_AS, size + MEMORY)


def _answer(loaded: LoadedExport, request: dict[str, int], requests: BinaryIO, answers: BinaryIO) -> None:
    if "images" in request:
        count = request["images"]
        shape = (count, *loaded.input_shape)
        content = bytearray(requests.read(torch.Size(shape).numel()))
        logits = loaded.logits(torch.frombuffer(content, dtype=torch.uint8).view(shape))
        if logits.ndim != 2 or len(logits) != count or logits.dtype != torch.float32:
            raise VerificationError(f"the network gives {logits.dtype} {tuple(logits.shape)} for {count} images")
        _send(answers, {"classes": logits.shape[1]}, logits.contiguous().numpy().tobytes())
        limit_process(None)  # it has shown what it is, and a whole test set may take longer
    elif "thop" in request:
        counts = count_with_thop(loaded.net, loaded.input_shape) if isinstance(loaded, PythonModule) else None
        _send(answers, {"thop": counts})
    else:
        _send(answers, {"derived": loaded.derive()})


def _send(answers: BinaryIO, answer: dict[str, object], content: bytes = b"") -> None:
    answers.write(json.dumps(answer).encode() + b"\n" + content)
    answers.flush()


def _text_of(error: BaseException) -> str:
    try:
        text = str(error) if isinstance(error, NasError) else f"{type(error).__name__}: {error}"
    except Exception:
        text = "an error that cannot be shown"
    return text[:MAX_TEXT]


if __name__ == "__main__":
    main()
