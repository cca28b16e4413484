"""What a command does, said on standard error where it takes longer than two seconds."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

FIRST = 2.0  # seconds of silence before the first line
NEXT = 10.0  # seconds between two lines


@contextmanager
def show_waiting(first: float = FIRST, following: float = NEXT) -> Iterator[Callable[[str], None]]:
    """Yield a function that takes what is being done now; lines appear once it has taken long enough to wonder."""
    doing = ""
    ended = threading.Event()

    def say(what: str) -> None:
        nonlocal doing
        doing = what

    def show() -> None:
        pause = first
        while not ended.wait(pause):
            print(f"{doing or 'starting'} …", file=sys.stderr, flush=True)
            pause = following

    thread = threading.Thread(target=show, daemon=True)
    thread.start()
    try:
        yield say
    finally:
        ended.set()
        thread.join()
