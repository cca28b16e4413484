"""An exported file, read in a process of its own: whatever the file does, nothing but a NasError comes of it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nas.errors import NasError, UsageError, VerificationError
from nas.model.exported_file import LoadedExport, batch_of
from nas.model.metadata import read_metadata
from nas.model.thop_count import ThopCount

PATIENCE = 60.0  # seconds on the clock for each answer; a machine may be busy
MAX_LINE = 10_000_000  # bytes of the JSON of an answer


class ChildExport(LoadedExport):
    """A file of any format that another process holds: in an empty folder, and with no study open.

    What that process answers is data that a stranger may have written.
    """

    def __init__(self, path: Path, patience: float = PATIENCE) -> None:
        """Start the process, and have it read the file.

        Raises:
            VerificationError: the file is missing, damaged, not one of ours, or does not let itself be read in time.
            UsageError: what reads it needs another setting of the environment.
        """
        self._path, self._patience, self._as_read = path, patience, os.path.abspath(path)
        self._scratch = tempfile.TemporaryDirectory(prefix="nas-")
        kept = {key: value for key, value in os.environ.items() if not key.startswith("NAS_")}
        package = Path(__file__).parents[2]
        python_path = os.pathsep.join([str(package), *filter(None, [kept.get("PYTHONPATH")])])
        with (Path(self._scratch.name) / "stderr").open("wb") as stderr:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "nas.verification.reader", self._as_read],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                cwd=self._scratch.name,
                env=kept | {"PYTHONPATH": python_path},
            )
        try:
            self.metadata = read_metadata(self._exchange(b"")[0].get("metadata"), path)
        except BaseException:
            self.close()
            raise

    def _logits(self, images: Tensor) -> Tensor:
        return torch.cat([self._run(part) for part in torch.split(images, batch_of(images))])

    def _derive(self) -> dict[str, object]:
        return dict(self._mapping(self._ask({"derive": 1})[0].get("derived")))

    def count_with_thop(self) -> ThopCount | None:
        """Return what thop counts in it; None for all but Python modules, which alone have layers to count."""
        counts = self._ask({"thop": 1})[0].get("thop")
        return ThopCount(*counts) if isinstance(counts, list) and [type(n) for n in counts] == [int, int] else None

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()
        self._scratch.cleanup()

    def __enter__(self) -> ChildExport:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self, images: Tensor) -> Tensor:
        _, content = self._ask({"images": len(images)}, images.numpy().tobytes(), 4 * len(images))
        return torch.frombuffer(bytearray(content), dtype=torch.float32).view(len(images), -1)

    def _ask(self, request: Mapping[str, int], content: bytes = b"", unit: int = 0) -> tuple[Mapping[str, Any], bytes]:
        return self._exchange(json.dumps(request).encode() + b"\n" + content, unit)

    def _exchange(self, request: bytes, unit: int = 0) -> tuple[Mapping[str, Any], bytes]:
        """Send a request and return the answer, and the bytes behind it: `unit` for each class."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        watch = threading.Timer(self._patience, self._process.kill)
        watch.start()
        try:
            with contextlib.suppress(OSError):  # it has ended; why is said below
                stdin.write(request)
                stdin.flush()
            line = stdout.readline(MAX_LINE)
            answer = self._mapping(json.loads(line)) if line.endswith(b"\n") else {}
            if unit and isinstance(answer.get("classes"), int):
                unit *= min(max(answer["classes"], 0), 10_000)
                content = stdout.read(unit)
                if not unit or len(content) != unit:
                    answer = {}
            else:
                content = b""
        except (ValueError, RecursionError):
            answer = {}
        finally:
            watch.cancel()
        if "error" in answer:
            error: type[NasError] = UsageError if answer.get("is_usage") is True else VerificationError
            raise error(str(answer["error"]).replace(self._as_read, str(self._path)))
        if not answer:
            raise VerificationError(self._ending())
        return answer, content

    def _ending(self) -> str:
        self._process.kill()
        code = self._process.wait()
        how = signal.Signals(-code).name if code < 0 else f"code {code}"
        said = (Path(self._scratch.name) / "stderr").read_bytes()[-2000:].decode(errors="replace").strip()
        last = said.splitlines()[-1][:200] if said else "it said nothing"
        return (
            f"{self._path} cannot be read: the process that reads it ended with {how} ({last}), or took longer than "
            f"{self._patience:.0f} seconds; give a file as it was exported"
        )

    @staticmethod
    def _mapping(value: object) -> Mapping[str, Any]:
        return value if isinstance(value, dict) else {}
