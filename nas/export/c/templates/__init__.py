"""The C code of exported headers, in files that a compiler accepts as they are.

Their symbols begin with `nas_` and `NAS_`, which a header replaces by its own prefix. A function begins after a blank
line and holds none; what precedes the first function of a file goes into every header that takes functions from it.
"""

from __future__ import annotations

import re
from importlib.resources import files
from typing import NamedTuple


class Functions(NamedTuple):
    """The content of one C file."""

    prelude: str  # what precedes the first function: includes and macros
    texts: dict[str, str]  # by name without prefix, in the order of the file


def read_template(name: str) -> str:
    """Return the text of a file of this folder."""
    return (files(__name__) / name).read_text("utf-8")


def read_functions(name: str) -> Functions:
    """Return what a C file of this folder defines."""
    prelude, texts = [], {}
    for block in read_template(name).rstrip("\n").split("\n\n"):
        definition = re.search(r"^static inline \w+ nas_(\w+)\(", block, re.MULTILINE)
        if definition:
            texts[definition[1]] = block
        else:
            prelude.append(block)
    return Functions("\n\n".join(prelude), texts)


def with_prefix(text: str, prefix: str) -> str:
    """Return C code whose symbols begin with `prefix` in place of `nas`; text in quotes stays as it is."""
    prefixes = {"nas": prefix, "NAS": prefix.upper()}
    return re.sub(r'"[^"\n]*"|\b(nas|NAS)_', lambda m: f"{prefixes[m[1]]}_" if m[1] else m[0], text)
