"""Output that a terminal, a pipe or a log cannot encode: letters in place of what it does not know, never an error."""

from __future__ import annotations

import codecs
import io
import sys

# What is drawn or written here, and how it is written with the letters of a typewriter.
_PLAIN = str.maketrans(
    {"…": "...", "±": "+-", "×": "x", "·": ".", "▇": "#", "→": "->", "←": "<-", "↑": "^", "↓": "v", "•": "*", "–": "-",
     "—": "-", "≥": ">=", "≤": "<=", "─": "-", "│": "|", "└": "+", "┤": "+", "●": "O", "◆": "*", "“": '"', "”": '"',
     "’": "'"}
)  # fmt: skip


def _write_plainly(error: UnicodeError) -> tuple[str, int]:
    """Return what to write in place of characters that the encoding lacks; a handler for `codecs`."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end].translate(_PLAIN)
    return text.encode("ascii", "replace").decode("ascii"), error.end


def write_plainly() -> None:
    """Have standard output and error write plainly what they cannot encode."""
    codecs.register_error("nas.plain", _write_plainly)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a program may have put something else there
            stream.reconfigure(errors="nas.plain")
