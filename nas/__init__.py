"""Neural architecture search under a hard parameter budget.

`nas.search(max_params=8000, target=99.4)` searches, `nas.open_study(name)` opens what was found; both give a `Study`.
`nas.studies()` lists them. `nas.register_block` adds a kind of block of one's own.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nas import callbacks
    from nas.api import Study, open_study, search, studies
    from nas.arch import BlockBuilder, register_block
    from nas.workers.own_training import Trial

__all__ = ["BlockBuilder", "Study", "Trial", "callbacks", "open_study", "register_block", "search", "studies"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # Here, so that importing a module of the package does not bring all of them.
    if name == "callbacks":
        return import_module("nas.callbacks")
    if name == "Trial":
        return import_module("nas.workers.own_training").Trial
    return getattr(import_module("nas.arch" if name in ("BlockBuilder", "register_block") else "nas.api"), name)
