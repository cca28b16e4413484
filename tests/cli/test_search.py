"""Whole searches on digits: to the end, again, further, to a target, and what is written of them."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import re
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import pytest
from conftest import COMMAND, STUDY_TRIALS
from optuna.trial import TrialState

if TYPE_CHECKING:
    from conftest import Nas, Study

FINISHED = ("completed", "stopped", "failed")
RESULT_KEYS = {
    "study", "answer", "target_confirmed", "trials", "train_seconds", "candidates", "warm_start", "rank_correlations",
    "front", "references", "test_readings", "test_set", "flash_bytes", "ram_bytes",
}  # fmt: skip
FRONT_KEYS = {
    "trial", "num_params", "deployed_params", "num_macs", "peak_activation_bytes", "flash_bytes", "ram_bytes",
    "validation_accuracy",
    "test_accuracy", "test_spread", "seeds", "consistent", "best_epoch", "weights_test_accuracy", "digest",
}  # fmt: skip


def finished(result: Any) -> int:
    return sum(result["trials"].get(fate, 0) for fate in FINISHED)


def stored_trials(study: Path) -> list[tuple[int, str]]:
    """Number and Optuna state of every trial of the search's own study, read behind the command's back."""
    with closing(sqlite3.connect(f"file:{study / 'run/study.db'}?mode=ro", uri=True)) as connection:
        return connection.execute("select number, state from trials where study_id = 1 order by number").fetchall()


def test_a_search_ends_at_its_trials_and_confirms_its_front(digits_study: Study) -> None:
    result = digits_study.search.json
    assert result.keys() == RESULT_KEYS
    assert result["study"] == "small"
    assert finished(result) == STUDY_TRIALS
    assert result["target_confirmed"] is None
    drawn = result["candidates"]
    assert drawn.keys() == {"redrawn", "over_budget", "repaired", "repeated", "duplicates"}
    assert drawn["duplicates"] == result["trials"].get("duplicate", 0)
    assert drawn["repaired"] > 0
    assert result["warm_start"] is None
    assert [c["epoch"] for c in result["rank_correlations"]] == [1, 2]
    assert {c["trials"] for c in result["rank_correlations"]} == {result["trials"]["completed"]}
    assert result["references"] == []  # the reference networks are for another data set
    front = result["front"]
    assert {frozenset(row) for row in front} == {frozenset(FRONT_KEYS)}
    sizes = [row["num_params"] for row in front]
    accuracies = [row["test_accuracy"] for row in front if row["test_accuracy"] is not None]
    assert sizes == sorted(sizes)
    assert max(sizes) <= 2000
    assert accuracies == sorted(accuracies)
    assert {row["seeds"] for row in front if row["test_accuracy"] is not None} == {2}
    best = max((row for row in front if row["test_accuracy"]), key=lambda row: row["test_accuracy"])
    sizes = f"{best['num_params']:,} parameters ({best['deployed_params']:,} deployed)"
    assert f"{sizes} reach {best['test_accuracy']:.2f} % ± " in result["answer"]
    readings = re.search(r"The test set was read after (\d+) trainings? of (\d+) networks?", result["test_set"])
    assert readings is not None
    assert int(readings[1]) == 2 * int(readings[2]) == result["test_readings"]


def test_what_is_said_while_it_runs_goes_to_standard_error(digits_study: Study) -> None:
    err = digits_study.search.err
    assert "new study 'small': digits, at most 2,000 parameters" in err
    assert re.search(r"trial \d+, [\d,]+ parameters \([\d,]+ deployed\): test [\d.]+ % ± [\d.]+ over 2 of 2 seeds", err)
    assert "take the best with: nas export small -o net.py" in err


def test_the_same_command_again_trains_nothing(study_copy: Study) -> None:
    before = study_copy.search.json
    weights = {path: path.stat().st_mtime_ns for path in study_copy.path.glob("run/weights/*")}
    arguments = ("--dataset", "digits", "--space", "tiny_digits", "--max-params", 2000, "--epochs", 3)
    again = study_copy.nas("search", *arguments, "--trials", STUDY_TRIALS, "--seeds", 2, "--name", "small", "--json")
    assert again.rc == 0
    assert "resuming study 'small'" in again.err
    assert again.json == before
    assert {path: path.stat().st_mtime_ns for path in study_copy.path.glob("run/weights/*")} == weights


def test_more_trials_go_on_from_there(study_copy: Study) -> None:
    before = stored_trials(study_copy.path)
    on = study_copy.nas("search", "--name", "small", "--trials", STUDY_TRIALS + 2, "--workers", 1, "--json")
    assert on.rc == 0
    assert finished(on.json) == STUDY_TRIALS + 2
    after = stored_trials(study_copy.path)
    assert after[: len(before)] == before
    assert len(after) >= len(before) + 2


def test_an_unmet_target_has_an_exit_code_of_its_own(study_copy: Study) -> None:
    ended = study_copy.nas("search", "--name", "small", "--target", 100, "--json")
    assert ended.rc == 3
    assert ended.json["target_confirmed"] is False
    assert ended.json["answer"].startswith(
        "The target of 100 % is not confirmed within 2,000 parameters; the best is trial"
    )
    assert finished(ended.json) == STUDY_TRIALS
    status = study_copy.nas("status", "small", "--json")
    assert (status.rc, status.json) == (0, ended.json)


def test_a_met_target_names_the_smallest_network_that_met_it(study_copy: Study) -> None:
    # Between the two best figures, so that one network alone can be the answer.
    figures = sorted(row["test_accuracy"] for row in study_copy.search.json["front"] if row["test_accuracy"])
    target = round((figures[-1] + figures[-2]) / 2, 2)
    ended = study_copy.nas("search", "--name", "small", "--target", target, "--json", "--workers", 1)
    assert ended.rc == 0
    assert ended.json["target_confirmed"] is True
    met = min(
        (row for row in ended.json["front"] if row["test_accuracy"] and row["test_accuracy"] >= target),
        key=lambda row: row["num_params"],
    )
    sizes = f"{met['num_params']:,} parameters ({met['deployed_params']:,} deployed)"
    assert ended.json["answer"].startswith(f"{sizes} reach {met['test_accuracy']:.2f} % ± ")
    assert ended.json["answer"].endswith(f"the target of {target:g} % is met within 2,000 by trial {met['trial']}.")


def test_a_search_begins_with_an_earlier_study_and_ends_at_the_first_that_meets_the_target(study_copy: Study) -> None:
    settings = ("--dataset", "digits", "--space", "tiny_digits", "--max-params", 2000, "--epochs", 3, "--seeds", 1)
    asked = ("--warm-start", "small", "--target", 20, "--stop-at-first", "--trials", 50, "--workers", 1, "--json")
    ended = study_copy.nas("search", *settings, "--name", "next", *asked)
    assert ended.rc == 0, ended.err
    assert "warm start: the first trials are trial " in ended.err
    assert re.search(r"target met by trial .* reach 20 %; the search ends here, as it was asked to", ended.err)
    assert finished(ended.json) < 50
    assert ended.json["warm_start"]["trials"] >= 1
    status = study_copy.nas("status", "next")
    assert re.search(r"^warm start: \d+ known networks taken over, \d+ of them on the front;", status.out, re.MULTILINE)
    # What the study began with is its own by now; another beginning is another study.
    resumed = study_copy.nas("search", "--name", "next", "--json")
    assert (resumed.rc, resumed.json) == (0, ended.json)
    other = study_copy.nas("search", "--name", "next", "--warm-start", "reference")
    assert other.rc == 1
    assert "warm_start was ['small'] and is ['reference']" in other.err


def test_a_sampler_of_optuna_searches_within_the_budget_and_resumes(nas: Nas) -> None:
    settings = ("--dataset", "digits", "--space", "tiny_digits", "--max-params", 800, "--epochs", 2, "--seeds", 1)
    asked = ("--sampler", "tpe", "--target", 20, "--workers", 1, "--name", "by-tpe")
    ended = nas("search", *settings, *asked, "--trials", 8, "--json")
    assert ended.rc == 0, ended.err
    resumed = nas("search", "--name", "by-tpe", "--trials", 13, "--workers", 1, "--json")
    assert resumed.rc == 0, resumed.err
    assert finished(resumed.json) == 13
    assert all(row["num_params"] <= 800 for row in resumed.json["front"])
    replayed = nas("replay", "by-tpe")
    assert replayed.rc == 0, replayed.out
    assert re.match(r"1\d draws and \d+ stopping decisions: all derived again$", replayed.out)
    other = nas("search", "--name", "by-tpe", "--sampler", "auto")
    assert other.rc == 1
    assert "sampler was 'tpe' and is 'auto'; resume it with its own, or give this search another --name" in other.err
    unknown = nas("search", *settings, "--sampler", "bohb", "--name", "other")
    assert unknown.rc == 2
    assert unknown.err.endswith("error: --sampler 'bohb' is not known; known: auto, cmaes, gp, nsgaii, random, tpe\n")
    assert not (nas.cwd / "studies/other").exists()


def test_a_search_by_deployed_parameters(nas: Nas) -> None:
    """The budget, the front and the answer go by them, and the network that is exported holds as many."""
    settings = ("--dataset", "digits", "--space", "tiny_digits", "--max-params", 700, "--epochs", 2, "--seeds", 1)
    asked = ("--count", "deployed", "--target", 15, "--workers", 1, "--name", "by-deployed")
    ended = nas("search", *settings, *asked, "--trials", 8, "--json")
    assert ended.rc == 0, ended.err
    assert "at most 700 parameters deployed" in ended.err
    front = ended.json["front"]
    sizes = [row["deployed_params"] for row in front]
    assert sizes == sorted(sizes)
    assert nas("report", "by-deployed").rc == 0
    with (nas.cwd / "studies/by-deployed/trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert max(int(row["deployed_params"]) for row in rows) <= 700 < max(int(row["num_params"]) for row in rows)
    met = [r for r in rows if r["test_accuracy"] and float(r["test_accuracy"]) >= 15]
    best = min(met, key=lambda row: int(row["deployed_params"]))
    said = f"{int(best['deployed_params']):,} parameters deployed ({int(best['num_params']):,} trained) reach "
    assert ended.json["answer"].startswith(said)
    exported = nas("export", "by-deployed", "-o", "net.h")
    assert exported.rc == 0, exported.err
    checks = nas("verify", "net.h", "--json").json["checks"]
    (check,) = (check for check in checks if check["claim"] == "deployed_params")
    assert (check["claimed"], check["derived"]) == (int(best["deployed_params"]),) * 2
    replayed = nas("replay", "by-deployed")
    assert replayed.rc == 0, replayed.out
    other = nas("search", "--name", "by-deployed", "--count", "trained")
    assert other.rc == 1
    assert "count was 'deployed' and is 'trained'; resume it with its own, or give this search another" in other.err
    unknown = nas("search", *settings, "--count", "folded", "--name", "other")
    assert "'folded' is not one of 'trained', 'deployed'" in unknown.err
    assert unknown.rc == 2


def test_a_search_without_the_target_ends_with_exit_code_3(nas: Nas) -> None:
    """From nothing, and by a study file; a flag goes before the file."""
    (nas.cwd / "mine.toml").write_text(
        'dataset = "digits"\nspace = "tiny_digits"\nmax_params = 1500\n'
        "target = 100\ntrials = 9\nepochs = 1\nseeds = 1\n"
    )
    ended = nas("search", "--study", "mine.toml", "--trials", 4, "--studies", "elsewhere", "--workers", 1)
    assert ended.rc == 3, ended.err
    assert "new study 'mine': digits, at most 1,500 parameters" in ended.err
    assert "The target of 100 % is not confirmed within 1,500 parameters" in ended.out
    assert re.search(r"^trials: .*\bcompleted", ended.out, re.MULTILINE)
    assert len(stored_trials(nas.cwd / "elsewhere/mine")) == 4
    # The lines that are offered next work as they are.
    assert "nas report mine --studies elsewhere" in ended.err
    assert nas("status", "mine", env={"NAS_STUDIES": "elsewhere"}).out == ended.out


WILD = """
name = "wild"
summary = "Learning rates that no training survives."
stages = { count = 1, blocks = 1 }
block = { first = "plain", kind = ["plain"], width = { low = 2, high = 8 } }
norm_act = { norm = "none", activation = ["relu"] }
head = { kind = ["gap_linear"], bias = [true] }
recipe = { epochs = 2, optimizer = "sgd", batch_size = [32], learning_rate = { low = 90.0, high = 100.0 } }
"""


def test_a_search_whose_trainings_all_fail_is_an_error(nas: Nas) -> None:
    (nas.cwd / "wild.toml").write_text(WILD)
    settings = ("--max-params", 500, "--trials", 2, "--workers", 1)
    done = nas("search", "--dataset", "digits", "--space", "wild.toml", *settings, "--json")
    assert done.rc == 1
    assert done.json["trials"] == {"failed": 2}
    assert re.search(r"error: all 2 trainings failed, the last because: the loss is \w+ in epoch 1", done.err)


def test_the_status_shows_the_front_and_the_answer(digits_study: Study) -> None:
    shown = digits_study.nas("status", "small")
    result = digits_study.search.json
    assert shown.rc == 0
    assert shown.out.startswith("parameters"), "kept in a file, it has no empty first line"
    assert "take the best with: nas export small -o net.py" in shown.err
    assert shown.out.rstrip().endswith(result["answer"])
    assert result["test_set"] in shown.out
    assert f"candidates: {result['candidates']['redrawn']} drawn again for their size, " in shown.out
    for row in result["front"]:
        line = next(line for line in shown.out.splitlines() if line.split()[-1:] == [str(row["trial"])])
        assert line.split()[0] == f"{row['num_params']:,}"
    for fate, count in result["trials"].items():
        assert f"{count} {fate}" in shown.out


def on_a_terminal(study: Study, command: str, term: str) -> str:
    """What a command prints to a terminal of that name."""
    ours, theirs = os.openpty()
    environment = {key: value for key, value in os.environ.items() if key != "NO_COLOR"}
    environment |= {"TERM": term, "COLUMNS": "100", "PYTHONIOENCODING": "utf-8"}
    try:
        subprocess.run([COMMAND, *command.split()], cwd=study.nas.cwd, stdout=theirs, stderr=theirs, env=environment)
        os.set_blocking(ours, False)
        shown = b""
        with contextlib.suppress(BlockingIOError):
            while piece := os.read(ours, 4096):
                shown += piece
        return shown.decode().replace("\r\n", "\n")
    finally:
        os.close(ours)
        os.close(theirs)


@pytest.mark.parametrize(("term", "mark", "bar"), [("xterm-256color", "●", "▇"), ("dumb", "O", "#")])
def test_the_status_draws_the_front_and_the_network(term: str, mark: str, bar: str, digits_study: Study) -> None:
    shown = on_a_terminal(digits_study, "status small", term)
    assert bool(re.search(r"\x1b\[[\d;]+m●", shown)) == (term != "dumb")
    assert f"{mark} confirmed, test %" in re.sub(r"\x1b\[[\d;]+m", "", shown)
    front = [row for row in digits_study.search.json["front"] if row["test_accuracy"] is not None]
    best = max(front, key=lambda row: row["test_accuracy"])
    drawing = shown.partition(f"\ntrial {best['trial']}: ")[2].partition("\ntrials: ")[0].splitlines()[2:]
    counts = [line.rpartition(f"{bar} ")[2] for line in drawing if bar in line]
    assert sum(int(count.replace(",", "")) for count in counts) == best["num_params"]
    piped = digits_study.nas("status", "small").out
    assert "● confirmed, test %" in piped
    assert "\x1b" not in piped


def test_the_report_holds_every_trial(study_copy: Study) -> None:
    report = study_copy.nas("report", "small", "--json")
    assert report.rc == 0
    assert report.json.keys() == {"written"}
    assert {f"studies/small/{name}" for name in ("front.json", "trials.csv", "front.svg", "front.png")} <= set(
        report.json["written"]
    )
    assert json.loads((study_copy.path / "front.json").read_text()) == study_copy.search.json
    with (study_copy.path / "trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["trial"]) for row in rows] == [number for number, _ in stored_trials(study_copy.path)]
    assert {"fate", "num_params", "validation_accuracy", "test_accuracy", "seeds", "digest"} <= rows[0].keys()
    assert all(int(row["num_params"]) <= 2000 for row in rows)
    tree = ElementTree.parse(study_copy.path / "front.svg")
    assert tree.getroot().tag == "{http://www.w3.org/2000/svg}svg"


def test_the_report_goes_where_it_is_asked_for(digits_study: Study, tmp_path: Path) -> None:
    report = digits_study.nas("report", "small", "-o", tmp_path / "a/b")
    assert report.rc == 0
    written = sorted(line.removeprefix("wrote ") for line in report.out.splitlines())
    assert written == sorted(map(str, (tmp_path / "a/b").iterdir()))


def test_confirming_a_trial_adds_seeds(study_copy: Study) -> None:
    row = next(row for row in study_copy.search.json["front"] if row["seeds"] == 2)
    confirmed = study_copy.nas("confirm", "small", "--trial", row["trial"], "--seeds", 3, "--workers", 1, "--json")
    assert confirmed.rc == 0
    assert confirmed.json.keys() == RESULT_KEYS
    assert re.search(rf"trial {row['trial']}, .* over 3 of 3 seeds", confirmed.err)
    assert " over 2 of 3 seeds" not in confirmed.err  # the two that there were are not trained again
    with closing(sqlite3.connect(study_copy.path / "run/study.db")) as connection:
        keys = [key for (key,) in connection.execute("select key from study_user_attributes")]
    assert sum(key.startswith(f"confirmation:{row['trial']}:") for key in keys) == 3


def test_a_trial_that_was_stopped_can_be_confirmed_and_exported(study_copy: Study) -> None:
    number = study_copy.add_trial("stopped", TrialState.PRUNED, epochs=1)
    confirmed = study_copy.nas("confirm", "small", "--trial", number, "--seeds", 1, "--workers", 1)
    assert confirmed.rc == 0, confirmed.err
    exported = study_copy.nas("export", "small", "--trial", number, "-o", "net.py", "--json")
    assert exported.rc == 0, exported.err
    assert exported.json["seeds"] == 1
    assert study_copy.nas("verify", "net.py").rc == 0
