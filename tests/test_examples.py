"""The example scripts run, and print what they promise."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

import nas
from nas.arch.kinds import KINDS
from nas.errors import InvalidError

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


def test_own_training_is_confirmed_and_exported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["own_training.py", "--trials", "2", "--epochs", "2"])
    runpy.run_path(str(EXAMPLES / "own_training.py"), run_name="__main__")
    answer, trained_by = capsys.readouterr().out.splitlines()
    assert answer.endswith("is the most accurate in validation within 1,000.")
    assert trained_by == "train_with_mixup"
    assert (tmp_path / "mixup.py").is_file()
    assert nas.open_study("mixup").settings.train == "train_with_mixup"


def test_own_block_is_searched_and_exported_and_read_where_nobody_knows_it(
    own_kinds: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["own_block.py", "--trials", "2", "--epochs", "2"])
    runpy.run_path(str(EXAMPLES / "own_block.py"), run_name="__main__")
    answer, checked = capsys.readouterr().out.splitlines()
    assert answer.endswith("is the most accurate in validation within 1,000.")
    assert checked == "7 of 7 claims of mixed.py hold"
    KINDS.pop("mixed")
    study = nas.open_study("mixed")
    assert sum(p.numel() for p in study.network().parameters()) <= 1000
    with pytest.raises(InvalidError, match=r"block\.kind: 'mixed' is not known"):
        nas.search(name="mixed", max_trials=3)
