"""Neural architecture search under a hard parameter budget.

`nas.search(max_params=8000, target=99.4)` searches, `nas.open_study(name)` opens what was found; both give a `Study`.
`nas.studies()` lists them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nas.api import Study, open_study, search, studies

__all__ = ["Study", "open_study", "search", "studies"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from nas import api  # here, so that importing a module of the package does not bring all of them

    return getattr(api, name)
