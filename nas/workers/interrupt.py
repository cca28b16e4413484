"""Ctrl-C and SIGTERM without a torn study: a request to stop is honored between two writes, never within one."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


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
        """Take over SIGINT and SIGTERM for the body, unless another thread than the main one runs it."""
        ours = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
        before = {number: signal.signal(number, self._handle) for number in ours}
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
