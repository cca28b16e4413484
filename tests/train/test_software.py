"""What accuracies depend on is in the log of a search: without the CPU kernels they are others."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from nas.kernels.cpu import load_kernels

if TYPE_CHECKING:
    from conftest import Nas

SEARCH = ("search", "--dataset", "digits", "--space", "tiny_digits", "--max-params", 2000)
SETTINGS = ("--trials", 1, "--epochs", 1, "--seeds", 1, "--workers", 1, "--device", "cpu", "--name", "plain")


@pytest.mark.skipif(load_kernels() is None, reason="no CPU kernels here")
def test_a_search_without_cpu_kernels_says_so_and_its_replay_shows_the_difference(nas: Nas) -> None:
    ended = nas(*SEARCH, *SETTINGS, env={"NAS_NATIVE": "0"})
    assert ended.rc == 0, ended.err
    assert ended.err.count("the CPU kernels are not used: NAS_NATIVE=0") == 1
    log = (nas.cwd / "studies/plain/run/log.jsonl").read_text()
    began = json.loads(next(line for line in log.splitlines() if line))
    assert "CPU kernels not used: NAS_NATIVE=0" in began["versions"]
    again = nas("replay", "plain", "--trial", 0, "--json").json
    assert again["versions_then"] == began["versions"]
    assert "CPU kernels compiled with " in again["versions_now"]
