"""Times as people write and read them."""

from __future__ import annotations

import re

from nas.errors import UsageError

_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600}


def format_duration(seconds: float) -> str:
    """Return a time for people: '1h02m', '3m05s', '42s'."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60}h{minutes % 60:02d}m"
    return f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"


def parse_duration(text: str) -> float:
    """Return the seconds of '90', '90s', '30m' or '1.5h'.

    Raises:
        UsageError: it is none of these.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text.strip())
    if match is None:
        raise UsageError(f"{text!r} is no duration; write seconds, or 90s, 30m, 1.5h")
    return float(match[1]) * _SECONDS[match[2]]
