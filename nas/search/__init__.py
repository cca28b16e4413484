"""The search: the only place that imports Optuna. The package can be called, as `nas.search(max_params=8000)`."""

from __future__ import annotations

import inspect
import sys
from types import ModuleType

from nas.search.api import search as _search


class _CallablePackage(ModuleType):
    # Importing any `nas.search.…` makes the name `nas.search` this package: a function beside it would be lost.
    __call__ = staticmethod(_search)


__signature__ = inspect.signature(_search)  # for whoever asks what it takes: a notebook, `help`
sys.modules[__name__].__class__ = _CallablePackage
