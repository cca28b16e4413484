from __future__ import annotations

import os
from pathlib import Path

import pytest

from nas.errors import UsageError
from nas.host import available_cores, cache_folder, compiler_command, compiler_version, cpu_model


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


def test_compiler_says_its_version(tmp_path: Path) -> None:
    compiler = tmp_path / "cc"
    compiler.write_text("#!/bin/sh\nprintf 'cc of %s 1.0\\nCopyright\\n' \"$*\"\n")
    compiler.chmod(0o700)
    assert compiler_version([str(compiler), "-m64"]) == "cc of -m64 --version 1.0"
    assert compiler_version(["sh", "-c", ":"]) == ""
    with pytest.raises(FileNotFoundError):
        compiler_version([str(tmp_path / "none")])


def test_cpu_has_a_name() -> None:
    assert cpu_model()
    assert cpu_model() == cpu_model().strip()


def test_cores_that_this_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {1, 5, 9}, raising=False)
    monkeypatch.setattr(os, "process_cpu_count", lambda: 2, raising=False)
    assert available_cores() == 2
    monkeypatch.delattr(os, "process_cpu_count")
    assert available_cores() == 3
    monkeypatch.delattr(os, "sched_getaffinity")  # as on macOS
    assert available_cores() == 64
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert available_cores() == 1


def test_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert cache_folder() == Path("/elsewhere/nas")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert cache_folder() == Path("/home/me/.cache/nas")


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Take home folder and name from this user; return the folder of temporary files."""

    def no_such_user(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr("pwd.getpwuid", no_such_user)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_cache_folder_of_a_user_without_a_home_is_temporary(nobody: Path) -> None:
    folder = nobody / f"nas-{os.getuid()}"
    assert cache_folder() == folder
    assert folder.stat().st_mode & 0o777 == 0o700
    assert cache_folder() == folder  # and again


def test_temporary_cache_of_another_user_is_refused(nobody: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else everybody could have this user load code."""
    monkeypatch.setattr(os, "getuid", lambda: 4321)
    (nobody / "nas-4321").mkdir()
    with pytest.raises(UsageError, match="nas-4321 belongs to another user; set XDG_CACHE_HOME to a folder"):
        cache_folder()
