"""A search in a notebook, without one: IPython is a stand-in that keeps what is displayed."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import pytest
from made_up_studies import NETWORK, SETTINGS, made_up_records

from nas.arch import Recipe
from nas.coordinator.snapshot import RunningJob, Snapshot
from nas.terminal.live_view import SearchView
from nas.terminal.notebook_view import NotebookView, search_view
from nas.workers.messages import Job

JOB = Job((200, None), NETWORK, Recipe(), 0)


class Output:
    """What a cell shows."""

    def __init__(self) -> None:
        self.shown: list[str] = []
        self.num_displays = 0

    def display(self, html: str, *, display_id: bool) -> Output:
        assert display_id
        self.num_displays += 1
        self.update(html)
        return self

    def update(self, html: str) -> None:
        self.shown.append(html)


def install(monkeypatch: pytest.MonkeyPatch, shell: object) -> Output:
    output, ipython, display = Output(), ModuleType("IPython"), ModuleType("IPython.display")
    vars(ipython).update(get_ipython=lambda: shell, display=display)
    vars(display).update(HTML=str, display=output.display)
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    return output


def test_a_search_in_a_notebook_has_one_output_that_is_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    output = install(monkeypatch, SimpleNamespace(kernel=object()))
    records = made_up_records(200)
    with search_view() as view:
        assert isinstance(view, NotebookView)
        view.say("a <b>line</b>")
        assert "a &lt;b&gt;line" in output.shown[-1]
        view.update(Snapshot([], [], SETTINGS, 1, 0, 0, 0))
        before = len(output.shown)
        view.update(Snapshot(records, [RunningJob(JOB, 1_234, [])], SETTINGS, 2, 0, 0, 0))
        assert len(output.shown) == before  # too soon
    assert output.num_displays == 1
    last = output.shown[-1]  # the end is shown, however soon it came
    assert "<svg" in last
    assert "a &lt;b&gt;line" in last
    smallest = min(r.num_params for r in records if r.fate == "completed")
    assert f"<td>{smallest:,}</td>" in last
    assert "|  ended after 2s</p>" in last
    assert "running" not in last
    assert all("ended" not in earlier for earlier in output.shown[:-1])
    assert 'fill="white"' not in last  # it lies on what is around, which may be dark


def test_a_search_that_is_refused_at_once_leaves_no_output(monkeypatch: pytest.MonkeyPatch) -> None:
    output = install(monkeypatch, SimpleNamespace(kernel=object()))
    with pytest.raises(RuntimeError, match="refused"), search_view():
        raise RuntimeError("refused")
    assert output.shown == []


@pytest.mark.parametrize("shell", [None, SimpleNamespace()], ids=["plain", "terminal"])
def test_elsewhere_it_is_shown_on_standard_error(monkeypatch: pytest.MonkeyPatch, shell: object) -> None:
    install(monkeypatch, shell)
    assert isinstance(search_view(), SearchView)
