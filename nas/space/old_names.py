"""Spaces written when `norm_act` was called `dress`. They still open, and their studies resume.

A study keeps the names and values of its genes in its storage, and a digest of its space. So a space that was read
from such a file has genes and a digest as they were; within `nas.space` it has today's keys and values.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nas.space.domains import Choice, Domain, Value

_NAMES = {
    **{
        f"norm_act.{n}": f"dress.{n}"
        for n in ("bias", "norm", "activation", "order", "dropout", "dropout_kind", "last", "middle")
    },
    "transition.norm_act": "transition.dress",
}
_VALUES: dict[str, dict[Value, Value]] = {
    "norm_act.last": {"none": "bare"},
    "transition.norm_act": {"none": "bare", "blocks": "dressed"},
}


def old_name(key: str) -> str:
    """Return what `key` was called."""
    return _NAMES.get(key, key)


def old_value(key: str, value: Value) -> Value:
    """Return what `value` of `key` was called."""
    return _VALUES.get(key, {}).get(value, value)


def old_domain(key: str, domain: Domain) -> Domain:
    """Return `domain` of `key` with the values that it had."""
    if key in _VALUES and isinstance(domain, Choice):
        return Choice(tuple(old_value(key, option) for option in domain.options))
    return domain


def new_value(key: str, value: Value) -> Value:
    """Return what the old `value` of `key` is called today."""
    return next((new for new, old in _VALUES.get(key, {}).items() if old == value), value)


def has_old_names(plain: Mapping[str, Any]) -> bool:
    """Return whether the document `plain` has the old names, and none of today's."""
    transition = plain.get("transition")
    tables = [plain, transition if isinstance(transition, Mapping) else {}]
    return any("dress" in table for table in tables) and not any("norm_act" in table for table in tables)


def with_new_values(key: str, content: Any) -> Any:
    """Return what an old file holds for `key` (a value, a list, or a table with `choices`) with today's values."""
    if key not in _VALUES:
        return content
    if isinstance(content, list):
        return [with_new_values(key, item) for item in content]
    if isinstance(content, Mapping):
        return {k: with_new_values(key, v) for k, v in content.items()}
    return new_value(key, content)
