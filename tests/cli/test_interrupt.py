"""Ctrl-C and SIGTERM in the middle of a search: nothing torn, nothing left running, and the line that resumes it."""

from __future__ import annotations

import os
import re
import shlex
import signal
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Nas

TRIALS = 2
# Epochs of tenths of a second, and so many of them that a signal finds the first training still running.
SLOW = """
[stages]
count = 1
blocks = 2
[block]
width = 32
repeat = 3
[recipe]
epochs = {epochs}
batch_size = 64
learning_rate = {{ low = 0.001, high = 0.01, log = true }}
"""

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are looked up in /proc")


def query(study: Path, sql: str) -> list[tuple[str, int]]:
    database = study / "run/study.db"
    if not database.exists():
        return []
    try:
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
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


def assert_none_alive(session: int) -> None:
    deadline = time.monotonic() + 5  # the last of them may still be on their way out
    while alive_in_session(session) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert alive_in_session(session) == []


@pytest.mark.parametrize(
    ("number", "workers", "epochs"),
    [(signal.SIGINT, 2, 20), (signal.SIGTERM, 1, 1000), (signal.SIGHUP, 1, 1000)],  # the first is trained to its end
)
def test_a_signal_to_the_group_leaves_a_study_that_resumes(
    number: signal.Signals, workers: int, epochs: int, nas: Nas
) -> None:
    (nas.cwd / "slow.toml").write_text(SLOW.format(epochs=epochs))
    study = nas.cwd / "somewhere else/cut"
    arguments = ("--dataset", "digits", "--space", "slow.toml", "--max-params", 12000, "--studies", "somewhere else")
    settings = ("--trials", TRIALS, "--seeds", 1, "--name", "cut")
    before = signal.signal(number, signal.SIG_DFL)  # under nohup, a command would inherit that SIGHUP is ignored
    process = nas.start("search", *arguments, *settings, "--workers", workers, "--json")
    signal.signal(number, before)
    deadline = time.monotonic() + 90
    while not query(study, "select 'epochs', count(*) from trial_intermediate_values having count(*) > 0"):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(0.2)
    os.killpg(process.pid, number)
    ended = nas.finish(process, 30)

    assert ended.rc == 130, ended.err
    cut = ended.json["trials"]
    assert cut["interrupted"] >= 1
    assert cut.keys() <= {"interrupted", "completed"}
    line = re.search(r"^interrupted; resume with: nas (.*)$", ended.err, re.MULTILINE)
    assert line is not None, ended.err
    assert shlex.split(line[1]) == ["search", "--name", "cut", "--studies", "somewhere else"]
    assert "RUNNING" not in states(study)
    assert_none_alive(process.pid)

    if number != signal.SIGINT:  # the others leave the same
        return
    resumed = nas(*shlex.split(line[1]), "--workers", 1, "--json")
    assert resumed.rc == 0, resumed.err
    assert resumed.json["trials"] == {"completed": TRIALS}  # those that were cut off among them
    assert "RUNNING" not in states(study)


@pytest.mark.parametrize(("number", "workers"), [(signal.SIGINT, 0), (signal.SIGTERM, 2)])
def test_a_signal_before_the_first_epoch_ends_it_too(number: signal.Signals, workers: int, nas: Nas) -> None:
    """While the command itself gets ready, and while its workers do."""
    process = nas.start("search", "--dataset", "digits", "--max-params", 2000, "--workers", 2, "--name", "early")
    assert process.stderr is not None
    assert "new study" in process.stderr.readline()
    while sum("spawn_main" in command for command in alive_in_session(process.pid)) < workers:
        time.sleep(0.05)
    time.sleep(0.5 if workers else 0.0)
    os.killpg(process.pid, number)
    ended = nas.finish(process, 30)
    assert ended.rc == 130 or (workers == 0 and ended.rc == -number), ended.err
    assert_none_alive(process.pid)


@pytest.mark.parametrize("delay", [0.3, 1.0, 4.0])
def test_ctrl_c_twice_at_once_ends_it_without_a_traceback(delay: float, nas: Nas) -> None:
    """In the first second, while it still imports, or later: what there is then goes on with the same command."""
    command = ("search", "--dataset", "digits", "--space", "tiny_digits", "--max-params", 2000, "--name", "twice")
    process = nas.start(*command, "--trials", 400, "--workers", 1)
    time.sleep(delay)
    for _ in range(2):
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGINT)
        time.sleep(0.05)
    ended = nas.finish(process, 60)
    assert ended.rc in (130, -signal.SIGINT), ended.err
    assert_none_alive(process.pid)
    assert "RUNNING" not in states(nas.cwd / "studies/twice")
