"""A connection to Ray: to a cluster, or to a Ray of one's own on this machine that nobody else can reach.

Ray is loaded only when one is asked for.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from nas.errors import NasError, StudyError, UsageError
from nas.workers import ray_keeper

LOCAL = "local"  # the address that starts Ray here
CONNECT_SECONDS = 10.0
DEFAULT_PORT = 6379  # of `ray start --head`
_MESSAGE_BYTES = 80 * 2**20  # of the object store, beside what is put there; Ray takes no less

# Read by Ray when it is imported, here and in all that it starts.
_LOOPBACK = {
    # Ray replaces 127.0.0.1 by an address that others reach, and listens on all interfaces; where this switch, made for
    # other systems, says that there are no other machines, it stays on the loopback interface.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    # Else every user of this machine could run code as this one; a token of our own leaves no file in the home folder.
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": secrets.token_hex(32),
}
# `log_to_driver=False` leaves one kind of line, that an actor has died, on standard output, where results go.
_QUIET = {"RAY_DEDUP_LOGS_SKIP_REGEX": "."}


@dataclass(frozen=True)
class RayConnection:
    """The module `ray`, connected."""

    ray: Any
    keeper: subprocess.Popen[str] | None  # of a Ray that was started here

    def require(self) -> None:
        """Raises StudyError where a Ray that was started here has ended."""
        if self.keeper is not None and self.keeper.poll() is not None:
            raise StudyError("Ray has ended on this machine; resume with the same command")


@contextlib.contextmanager
def connected(address: str, object_bytes: int) -> Iterator[RayConnection]:
    """Ray at `address`, HOST:PORT, 'auto' or 'local', with room for objects of `object_bytes` if it is started here.

    Raises:
        UsageError: this program uses a Ray already.
        StudyError: there is no cluster, or it does not let this process in.
    """
    with contextlib.ExitStack() as stack:
        keeper = None
        os.environ.update(_QUIET)
        if address == LOCAL:
            os.environ.update(_LOOPBACK)
            keeper = stack.enter_context(_local_ray(object_bytes))
            address = _address_of(keeper)
        ray = _connect(address)
        stack.callback(ray.shutdown)
        yield RayConnection(ray, keeper)


@contextlib.contextmanager
def _local_ray(object_bytes: int) -> Iterator[subprocess.Popen[str]]:
    """A process that keeps a Ray for as long as the body, or this process, lives."""
    arguments = (str(len(os.sched_getaffinity(0))), str(object_bytes + _MESSAGE_BYTES))
    keeper = subprocess.Popen(
        [sys.executable, "-P", ray_keeper.__file__, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # signals of the terminal are for the search alone
    )
    with keeper:
        try:
            yield keeper
        finally:
            assert keeper.stdin is not None
            keeper.stdin.close()
            keeper.wait()


def _address_of(keeper: subprocess.Popen[str]) -> str:
    assert keeper.stdout is not None
    assert keeper.stderr is not None
    address = keeper.stdout.readline().strip()
    if not address:
        last = keeper.stderr.read().strip().rpartition("\n")[2]
        raise StudyError(f"--cluster {LOCAL}: Ray did not start here: {last}")
    return address


def _connect(address: str) -> Any:
    """The module `ray`, connected.

    Raises:
        UsageError: this program uses a Ray already.
        StudyError: there is no cluster at `address`, or it does not let this process in.
    """
    import ray

    if ray.is_initialized():
        raise UsageError("--cluster: this program is connected to Ray already; call ray.shutdown() first")
    if address != "auto":
        host, _, port = address.rpartition(":") if ":" in address else (address, "", str(DEFAULT_PORT))
        try:
            # Ray itself would try for a minute and write of it to standard error.
            socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
        except (OSError, ValueError) as error:
            raise StudyError(
                f"--cluster {address}: nothing answers there ({error}); start a cluster with: ray start --head"
            ) from None
        address = f"{host}:{port}"
    try:
        with _signal_handlers_kept():
            ray.init(address=address, log_to_driver=False, logging_level=logging.CRITICAL)
    except (ray.exceptions.RayError, ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise StudyError(f"--cluster {address}: cannot be joined: {first_line(error)}") from None
    return ray


@contextlib.contextmanager
def _signal_handlers_kept() -> Iterator[None]:
    """Ray takes SIGTERM; what it means is the coordinator's to decide."""
    ours = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
    before = {number: signal.getsignal(number) for number in ours}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def first_line(error: BaseException) -> str:
    """What happened, in one line: our own errors speak for themselves, others are named."""
    text = str(error).partition("\n")[0][:300]
    return text if isinstance(error, NasError) else f"{type(error).__name__}: {text}"
