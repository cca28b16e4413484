from __future__ import annotations

import json
import re
import resource
import statistics
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import typer.main

from nas.cli import app

if TYPE_CHECKING:
    from conftest import Nas, Study

# What each command's help says that it does.
COMMANDS = {
    "search": "smallest networks that do the job, within a hard parameter budget",
    "list": "what each was asked for",
    "status": "Trials by fate",
    "report": "trials.csv",
    "dashboard": "optuna-dashboard",
    "compare": "fronts of several studies",
    "predict": "likeliest classes",
    "confirm": "again from scratch with fresh seeds",
    "replay": "every draw and every early stop of a search again",
    "export": "plain Python module",
    "doctor": "what this machine is",
    "verify": "claims of an exported file again",
    "arch": "Look at a network described in a file",
    "arch show": "layer table",
    "arch train": "without any search",
    "space": "draw networks from them",
    "space list": "The spaces that come with nas",
    "space show": "least and most parameters",
    "space sample": "never exceed the budget",
}


def test_no_command_is_missing_here() -> None:
    names = []
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        names += [name, *(f"{name} {inner}" for inner in getattr(command, "commands", ()))]
    assert sorted(names) == sorted(COMMANDS)


def test_the_help_lists_every_command_and_where_to_start(nas: Nas) -> None:
    shown = nas("--help")
    assert shown.rc == 0
    assert shown.err == ""
    for command in (name for name in COMMANDS if " " not in name):
        assert re.search(rf"^\W*{command}\b", shown.out, re.MULTILINE), command
    assert "nas search --max-params 8000 --target 99.4" in shown.out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_says_what_it_does(command: str, nas: Nas) -> None:
    shown = nas(*command.split(), "-h" if " " in command else "--help")
    assert shown.rc == 0
    assert shown.err == ""
    assert f"nas {command}" in shown.out
    assert COMMANDS[command] in shown.out


def test_the_flags_of_search_are_these() -> None:
    """Few flags: the study file holds the settings. A new one is added here on purpose or not at all."""
    search = typer.main.get_command(app).commands["search"]  # type: ignore[attr-defined]
    flags = {flag for parameter in search.params for flag in (*parameter.opts, *parameter.secondary_opts)}
    assert flags == {
        "--max-params", "--count", "--max-macs", "--max-activation-bytes", "--target", "--stop-at-first", "--go-on",
        "--dataset", "--image-size", "--color", "--gray", "--space", "--study", "--name", "--studies", "--storage",
        "--warm-start", "--sampler", "--class-weights", "--augmentation-kind",
        "--max-flash", "--max-ram", "--board",
        "--trials", "--time", "--epochs", "--seeds", "--seed", "--workers", "--trials-per-device",
        "--cluster",
        "--device", "--data-dir", "--json",
    }  # fmt: skip


def test_importing_the_commands_loads_neither_torch_nor_optuna() -> None:
    code = "import sys, json, nas.cli; print(json.dumps(sorted(sys.modules)))"
    loaded = json.loads(subprocess.check_output([sys.executable, "-c", code], text=True))
    assert "nas.cli.study" in loaded
    heavy = ("torch", "torchvision", "optuna", "sklearn", "pandas", "plotly", "numpy")
    assert {name.partition(".")[0] for name in loaded} & set(heavy) == set()


@pytest.mark.parametrize("command", ["status small", "report small -o out"])
def test_looking_at_a_study_loads_no_torch(command: str, study_copy: Study) -> None:
    code = (
        "import sys, nas.cli, nas.dashboard.server\n"
        f"sys.argv = ['nas', *{command.split()}]\n"
        "try: nas.cli.main()\n"
        "except SystemExit: pass\n"
        "sys.exit('torch' in sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=study_copy.nas.cwd, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr


def test_the_help_answers_at_once(nas: Nas) -> None:
    def seconds() -> float:
        """Of the processor, which a busy machine does not stretch."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        nas("--help")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert statistics.median(seconds() for _ in range(3)) < 1.0


def test_a_mistyped_command_is_a_usage_error(nas: Nas) -> None:
    ended = nas("serach", "--max-params", 8000)
    assert ended.rc == 2
    assert ended.out == ""
    assert "No such command 'serach'" in ended.err
    assert "search" in ended.err.replace("serach", "")


@pytest.mark.parametrize("lines", [2, 2000])
def test_a_reader_that_has_seen_enough_is_no_error(lines: int, nas: Nas) -> None:
    """As `nas space sample … | head -1`."""
    process = nas.start("space", "sample", "tiny_digits", "--dataset", "digits", "-n", lines)
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    err = process.stderr.read()
    process.stderr.close()
    process.wait()
    assert all(line.startswith(("8: a convolution", "flash and RAM: ")) for line in err.splitlines()), err


def test_python_m_nas_is_the_command() -> None:
    ended = subprocess.run([sys.executable, "-m", "nas", "--help"], capture_output=True, text=True, check=False)
    assert ended.returncode == 0
    assert "nas search --max-params 8000 --target 99.4" in ended.stdout
