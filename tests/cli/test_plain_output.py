"""Output in encodings that lack what nas draws with."""

from __future__ import annotations

import io
import sys

import pytest

from nas.cli.plain_output import write_plainly


@pytest.mark.parametrize(
    ("encoding", "written"),
    [
        ("ascii", b"99.4 % +- 0.03 ... ## Z?rich ?"),
        ("latin-1", b"99.4 % \xb1 0.03 ... ## Z\xfcrich ?"),
        ("cp1252", b"99.4 % \xb1 0.03 \x85 ## Z\xfcrich ?"),
        ("utf-8", "99.4 % ± 0.03 … ▇▇ Zürich ?".encode()),
    ],
)
def test_what_an_encoding_lacks_is_written_plainly(
    encoding: str, written: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
    write_plainly()
    print("99.4 % ± 0.03 … ▇▇ Zürich \udcff", end="")  # the last is a byte of a file's name that is no text
    sys.stdout.flush()
    assert raw.getvalue() == written


def test_a_program_may_have_put_something_else_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    write_plainly()
    print("±")
    assert sys.stdout.getvalue() == "±\n"  # type: ignore[attr-defined]
