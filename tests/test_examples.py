"""The example scripts run, and print what they promise."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_plain_optuna_script_prints_a_front_within_its_budget() -> None:
    command = [sys.executable, "-W", "error", EXAMPLES / "plain_optuna.py", "--trials", "5", "--max-params", "300"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    first, *front = done.stdout.splitlines()
    assert re.fullmatch(r"5 trials, \d of them stopped early, in \d+ s; the front within 300 parameters:", first)
    rows = [re.fullmatch(r" *(\d+) parameters +(\d+\.\d\d) %  trial \d", line) for line in front]
    points = [(int(row[1]), float(row[2])) for row in rows if row]
    assert points
    assert len(points) == len(front)
    assert points == sorted(set(points))
    assert [accuracy for _, accuracy in points] == sorted({accuracy for _, accuracy in points})
    assert points[-1][0] <= 300
