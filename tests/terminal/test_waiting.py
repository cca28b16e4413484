from __future__ import annotations

import threading

import pytest

from nas.terminal import waiting
from nas.terminal.waiting import show_waiting


def test_what_takes_long_is_said(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    shown = threading.Event()
    printed: list[str] = []

    def show(text: str, **_: object) -> None:
        printed.append(text)
        if "7 of 9" in text:
            shown.set()

    monkeypatch.setattr(waiting, "print", show, raising=False)
    with show_waiting(first=0.001, following=0.001) as report:
        report("measuring: 7 of 9")
        assert shown.wait(60)
    assert printed[-1] == "measuring: 7 of 9 …"
    assert set(printed) <= {"starting …", "measuring: 7 of 9 …"}
    assert capsys.readouterr().out == ""


def test_what_is_quick_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    with show_waiting(first=600.0) as report:
        report("reading")
    assert capsys.readouterr() == ("", "")
