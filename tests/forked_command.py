"""Run `nas` in a process forked from one that has imported its libraries, so that tests pay for the imports once."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

# What commands import when they need it. The server itself runs nothing and has one thread, so forking it is safe.
_IMPORTED = ["nas.cli", "nas.app.search", "nas.app.export", "nas.app.train_network", "nas.app.look", "nas.app.verify"]
_IMPORTED += ["nas.coordinator.replay", "nas.dashboard.server", "nas.report.files", "nas.terminal.study_view"]
_IMPORTED += ["nas.terminal.live_view", "alembic.config", "alembic.migration", "optuna.storages.journal"]
_IMPORTED += ["optuna.storages._rdb.models", "plotly.graph_objects", "sklearn.datasets", "sqlalchemy.dialects.sqlite"]
_IMPORTED += ["torchvision", "typer._adapters"]
assert all(map(find_spec, _IMPORTED))  # the server passes over what it cannot find
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(_IMPORTED)


def run_forked(
    arguments: Sequence[str], cwd: Path, environment: Mapping[str, str], timeout: float
) -> tuple[int, str, str]:
    """Return exit code, standard output and standard error of `nas` with `arguments`.

    Raises:
        TimeoutError: it took more than `timeout` seconds; it was killed with all that it started.
    """
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        process = _FORKS.Process(target=_run, args=(list(arguments), cwd, dict(environment), out, err))
        process.start()
        process.join(timeout)
        if process.exitcode is None:
            os.killpg(process.pid or 0, signal.SIGKILL)
            process.join()
            raise TimeoutError(f"nas {' '.join(arguments)} took more than {timeout} s: {err.read_text()}")
        return process.exitcode, out.read_text(), err.read_text()


def _run(arguments: list[str], cwd: Path, environment: dict[str, str], out: Path, err: Path) -> None:
    os.setsid()
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    for path, descriptor in ((out, 1), (err, 2)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), descriptor)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    warnings.resetwarnings()
    warnings.simplefilter("error")
    sys.argv = ["nas", *arguments]

    from nas.cli import main

    main()
