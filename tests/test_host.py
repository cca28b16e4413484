from __future__ import annotations

import pytest

from nas.errors import UsageError
from nas.host import compiler_command


@pytest.mark.parametrize(("given", "command"), [("cc", ["cc"]), ("ccache 'my cc' -m64", ["ccache", "my cc", "-m64"])])
def test_compiler_comes_with_its_arguments(given: str, command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", given)
    assert compiler_command() == command


def test_compiler_is_looked_for_where_none_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", {"gcc": "/somewhere/gcc"}.get)
    for nothing in ("", "  "):
        monkeypatch.setenv("CC", nothing)
        assert compiler_command() == ["/somewhere/gcc"]
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert compiler_command() == []


def test_unreadable_compiler_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "gcc 'unfinished")
    with pytest.raises(UsageError, match=r'the environment variable CC is "gcc \'unfinished": no closing quotation'):
        compiler_command()
