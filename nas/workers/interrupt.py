"""Ctrl-C, SIGTERM and a closed terminal without a torn study: they are honored between two writes, never within one."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")  # Windows has no SIGHUP
STOP_SIGNALS = tuple(getattr(signal, name) for name in _NAMES if hasattr(signal, name))


def signals_to_handle() -> tuple[signal.Signals, ...]:
    """Return the signals that end a search: none outside the main thread; not those that `nohup` has ignored."""
    if threading.current_thread() is not threading.main_thread():
        return ()
    return tuple(s for s in STOP_SIGNALS if s != getattr(signal, "SIGHUP", None) or not _is_ignored(s))


def _is_ignored(number: signal.Signals) -> bool:
    return signal.getsignal(number) is signal.SIG_IGN


class Interrupts:
    """While active, a signal sets `requested`; it raises KeyboardInterrupt only inside `raising`.

    Training in this process may be left at any point, so it runs inside `raising`; writing to the storage may not.
    """

    def __init__(self) -> None:
        self.requested = False
        self._may_raise = False

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        self.requested = True
        if self._may_raise:
            raise KeyboardInterrupt

    @contextmanager
    def active(self) -> Iterator[None]:
        """Take over the signals that end a search for the body, unless another thread than the main one runs it."""
        before = {number: signal.signal(number, self._handle) for number in signals_to_handle()}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def raising(self) -> Iterator[None]:
        """Let a signal cut the body short.

        Raises:
            KeyboardInterrupt: a signal came, before the body or within it.
        """
        self._may_raise = True
        try:
            if self.requested:
                raise KeyboardInterrupt
            yield
        finally:
            self._may_raise = False
