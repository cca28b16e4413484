"""Architectures written when `norm_act` was called `dress`, in files and in exported networks. They still open.

A transition had the norm and activation of its file with `dressed = true`. A table of its own changed them only then,
and was whole in itself otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nas.arch.description import NormAct
from nas.decode import encode


def with_new_names(plain: Any) -> Any:
    """Return the document `plain` with today's names; what has them already, or is no document, as it is."""
    if not isinstance(plain, Mapping):
        return plain
    plain = dict(plain)
    if "dress" in plain and "norm_act" not in plain:
        plain["norm_act"] = plain.pop("dress")
    if isinstance(plain.get("body"), list):
        plain["body"] = [_item_with_new_names(item) for item in plain["body"]]
    return plain


def _item_with_new_names(item: Any) -> Any:
    if not isinstance(item, Mapping) or "norm_act" in item or not {"dress", "dressed"} & item.keys():
        return item
    item = dict(item)
    if item.get("type") == "transition":
        takes_default = item.pop("dressed", False)
        own = item.pop("dress", takes_default)
        if not isinstance(takes_default, bool):
            own = takes_default  # which is then reported
        elif isinstance(own, Mapping) and not takes_default:
            own = {**encode(NormAct()), **own}
        item["norm_act"] = own
    elif "dress" in item:
        item["norm_act"] = item.pop("dress")
    return item
