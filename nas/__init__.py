"""Neural architecture search under a hard parameter budget.

`nas.search(max_params=8000, target=99.4)` searches, `nas.open_study(name)` opens what was found; both give a `Study`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nas.search.api import Study, open_study, search

__all__ = ["Study", "open_study", "search"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    package = import_module("nas.search")  # which can be called, see there
    return package if name == "search" else getattr(import_module("nas.search.api"), name)
