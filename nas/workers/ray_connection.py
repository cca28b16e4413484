"""A connection to a Ray cluster. Ray is loaded only when one is asked for."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from typing import Any

from nas.errors import StudyError, UsageError, describe

CONNECT_SECONDS = 10.0
DEFAULT_PORT = 6379  # of `ray start --head`

# Read by Ray when it is imported. `log_to_driver=False` alone leaves one kind of line, that an actor has died, on
# standard output, where results go.
_QUIET = {"RAY_DEDUP_LOGS_SKIP_REGEX": "."}


@contextlib.contextmanager
def connect(address: str) -> Iterator[Any]:
    """Yield the module `ray`, connected to the cluster at `address`: HOST:PORT, HOST, or 'auto'.

    Raises:
        UsageError: this program is connected to a Ray cluster already.
        StudyError: there is no cluster, or it does not let this process in.
    """
    os.environ.update(_QUIET)
    ray = _join(address)
    try:
        yield ray
    finally:
        ray.shutdown()


def _join(address: str) -> Any:
    import ray

    if ray.is_initialized():
        raise UsageError("`cluster`: this program is connected to Ray already; call ray.shutdown() first")
    if address != "auto":
        host, _, port = address.rpartition(":") if ":" in address else (address, "", str(DEFAULT_PORT))
        try:
            # Ray itself would try for a minute and write of it to standard error.
            socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
        except (OSError, ValueError) as error:
            raise StudyError(
                f"`cluster` {address}: nothing answers there ({error}); start a cluster with: ray start --head"
            ) from None
        address = f"{host}:{port}"
    try:
        with _keep_signal_handlers():
            ray.init(address=address, log_to_driver=False, logging_level=logging.CRITICAL)
    except (ray.exceptions.RayError, ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise StudyError(
            f"`cluster` {address}: cannot be joined: {describe(error)}; start a cluster with: ray start --head"
        ) from None
    return ray


@contextlib.contextmanager
def _keep_signal_handlers() -> Iterator[None]:
    """Put back the handlers of SIGINT and SIGTERM, which Ray replaces: the coordinator decides what signals mean."""
    ours = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
    before = {number: signal.getsignal(number) for number in ours}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
