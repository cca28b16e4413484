"""Ctrl-C and SIGTERM in the middle of a search: nothing torn, nothing left running, and the line that resumes it."""

from __future__ import annotations

import os
import re
import shlex
import signal
import sqlite3
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Nas

TRIALS = 8

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are looked up in /proc")


def query(study: Path, sql: str) -> list[tuple[str, int]]:
    database = study / "run/study.db"
    if not database.exists():
        return []
    try:
        with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
            return connection.execute(sql).fetchall()
    except sqlite3.OperationalError:  # its tables are being made
        return []


def states(study: Path) -> dict[str, int]:
    return dict(query(study, "select state, count(*) from trials group by state"))


def alive_in_session(session: int) -> list[str]:
    """The processes, zombies aside, of the session that the command led."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, _, _, sid = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
                if int(sid) == session and state != "Z":
                    found.append(f"{entry.name}: {(entry / 'cmdline').read_text()}")
            except OSError:
                continue  # it has just ended
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_group_leaves_a_study_that_resumes(number: signal.Signals, nas: Nas) -> None:
    study = nas.cwd / "somewhere else/cut"
    arguments = ("--dataset", "digits", "--space", "tiny_digits", "--max-params", 2000, "--studies", "somewhere else")
    settings = ("--trials", TRIALS, "--epochs", 6, "--seeds", 1, "--name", "cut")
    process = nas.start("search", *arguments, *settings, "--workers", 2, "--json")
    deadline = time.monotonic() + 90
    in_training = (
        "select 'x', count(*) from trial_intermediate_values join trials using (trial_id) where state = 'RUNNING'"
    )
    while not (states(study).get("COMPLETE") and query(study, in_training)[0][1]):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(process.pid, number)
    ended = nas.finish(process, 30)

    assert ended.rc == 130, ended.err
    assert ended.json["trials"]["completed"] >= 1  # one document, also now
    line = re.search(r"^interrupted; resume with: nas (.*)$", ended.err, re.MULTILINE)
    assert line is not None, ended.err
    assert shlex.split(line[1]) == ["search", "--name", "cut", "--studies", "somewhere else"]
    cut = states(study)
    assert "RUNNING" not in cut
    assert cut.get("COMPLETE", 0) + cut.get("PRUNED", 0) < TRIALS, "it came too late to interrupt anything"
    assert ended.json["trials"]["interrupted"] >= 1
    assert alive_in_session(process.pid) == []

    resumed = nas(*shlex.split(line[1]), "--json")
    assert resumed.rc == 0, resumed.err
    trials = resumed.json["trials"]
    assert sum(trials.get(fate, 0) for fate in ("completed", "stopped", "failed")) == TRIALS
    assert trials["interrupted"] == ended.json["trials"]["interrupted"]
    assert "RUNNING" not in states(study)
    assert "failed" not in trials

    number_cut = cut_trial(study)
    confirmed = nas("confirm", "cut", "--studies", "somewhere else", "--trial", number_cut, "--json", "--workers", 1)
    assert confirmed.rc in (0, 1), confirmed.err
    assert nas("status", "cut", "--studies", "somewhere else").rc == 0
    assert nas("report", "cut", "--studies", "somewhere else").rc == 0


def cut_trial(study: Path) -> int:
    found = query(
        study,
        "select value_json, number from trials join trial_user_attributes using (trial_id) "
        "where key = 'fate' and value_json = '\"interrupted\"' order by number",
    )
    return found[0][1]


def test_a_second_search_of_one_process_group_is_quick_to_stop(nas: Nas) -> None:
    """A signal before the first trial, while modules load or workers start, ends the command as well."""
    process = nas.start("search", "--dataset", "digits", "--max-params", 2000, "--workers", 2, "--name", "early")
    assert process.stderr is not None
    assert "new study" in process.stderr.readline()
    os.killpg(process.pid, signal.SIGINT)
    ended = nas.finish(process, 30)
    assert ended.rc == 130, ended.err
    assert alive_in_session(process.pid) == []
