"""The epochs of one training, on standard error as they come: a bar on a terminal, else a line each."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from nas.train.epoch import Epoch


@contextmanager
def show_epochs(kind: str) -> Iterator[Callable[[Epoch, int], None]]:
    """Yield a function that shows an epoch out of so many; `kind` is 'test' or 'validation', the accuracy's images."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda epoch, total: print(_line(epoch, total, kind), file=sys.stderr, flush=True)
        return
    columns = (BarColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("epoch 1", total=None)
        yield lambda epoch, total: progress.update(task, total=total, advance=1, description=_line(epoch, total, kind))


def _line(epoch: Epoch, total: int, kind: str) -> str:
    return (
        f"epoch {epoch.number}/{total}  loss {epoch.train_loss:.4f}  {kind} {epoch.accuracy:.2f} %  "
        f"{epoch.images / epoch.seconds:,.0f} images/s"
    )
