"""Options that cannot be used: a clear text on standard error, nothing on standard output, exit code 1 or 2."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from nas.arch import Input
from nas.costs import Budget
from nas.errors import BudgetError
from nas.space import load_space, require_reachable

if TYPE_CHECKING:
    from conftest import Finished, Nas


def assert_refused(ended: Finished, rc: int, text: str) -> None:
    assert ended.rc == rc, ended.err
    assert ended.out == ""
    assert re.search(text, ended.err), ended.err


# A budget that cannot be met


def test_an_impossible_budget_is_refused_before_any_data_is_read(nas: Nas, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    ended = nas("search", "--max-params", 20, "--target", 99.4, "--data-dir", tmp_path / "empty")
    assert_refused(
        ended, 1, r"--max-params 20: the smallest network of space 'general' has \d+ parameters \(.* to .* has \d+"
    )
    least = re.search(r"smallest network .* has (\d+) parameters", ended.err)
    assert least is not None
    assert f"raise --max-params to {least[1]} or more" in ended.err
    assert "download" not in ended.err
    assert list((tmp_path / "empty").iterdir()) == []
    assert not (nas.cwd / "studies").exists()


def test_an_impossible_budget_is_judged_at_once() -> None:
    space = load_space("separable", Input(1, 27, 27), 10)  # a shape of its own, so that nothing is known yet
    started = time.process_time()
    with pytest.raises(BudgetError, match="the smallest network of space 'separable' has"):
        require_reachable(space, Budget(20))
    assert time.process_time() - started < 2.0


def test_the_size_that_is_named_is_one_that_can_be_had(nas: Nas) -> None:
    def sample(budget: int) -> Finished:
        return nas("space", "sample", "tiny_digits", "--dataset", "digits", "--max-params", budget, "-n", 3, "--json")

    refused = sample(5)
    assert_refused(refused, 1, r"raise --max-params to \d+")
    least = int(re.search(r"raise --max-params to (\d+)", refused.err)[1])  # type: ignore[index]
    assert {network["num_params"] for network in sample(least).json} == {least}
    assert_refused(sample(least - 1), 1, rf"has {least} parameters")


@pytest.mark.parametrize(
    ("option", "what"),
    [("--max-macs", "with the fewest multiply-accumulates has"), ("--max-activation-bytes", "holds")],
)
def test_the_other_budgets_are_refused_too(option: str, what: str, nas: Nas) -> None:
    ended = nas("space", "sample", "tiny_digits", "--dataset", "digits", option, 3)
    assert_refused(
        ended, 1, rf"{option} 3: .* of space 'tiny_digits' {what} [\d,]+ .*; raise {option} to [\d,]+ or more"
    )


def test_draws_keep_to_a_budget_of_deployed_parameters(nas: Nas) -> None:
    def sizes(*count: str) -> list[tuple[int, int]]:
        settings = ("--dataset", "digits", "--max-params", 700, "-n", 20, *count)
        drawn = nas("space", "sample", "tiny_digits", *settings, "--json").json
        return [(network["num_params"], network["deployed_params"]) for network in drawn]

    assert all(trained <= 700 for trained, _ in sizes())
    by_deployed = sizes("--count", "deployed")
    assert all(deployed <= 700 for _, deployed in by_deployed)
    assert any(trained > 700 for trained, _ in by_deployed)


def test_draws_keep_to_the_memory_of_a_microcontroller(nas: Nas) -> None:
    def memory(*limits: str) -> list[int]:
        drawn = nas("space", "sample", "separable", "--max-params", 8000, "-n", 6, "--json", *limits).json
        return [network["ram_bytes"] for network in drawn]

    assert max(memory()) > 16 * 1024
    assert max(memory("--board", "microbit")) <= 16 * 1024
    assert max(memory("--max-ram", "8k")) <= 8 * 1024


# Numbers


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--max-params", "-5"], "Invalid value for '--max-params': .*no number of at least 1"),
        (["--max-params", "0"], "Invalid value for '--max-params': .*whole number of at least 1"),
        (["--max-params", "8000.5"], "Invalid value for '--max-params': .*whole number"),
        (["--target", "101"], "Invalid value for '--target': .*less than or equal to 100"),
        (["--target", "high"], "Invalid value for '--target'"),
        (["--time", "soon"], r"'soon' is no duration; write seconds, or 90s, 30m, 1\.5h"),
        (["--trials", "0"], "Invalid value for '--trials'"),
        (["--workers", "0"], "Invalid value for '--workers'"),
        (["--trials-per-device", "33"], "Invalid value for '--trials-per-device': .*less than or equal to 32"),
        (["--max-parms", "8000"], "No such option: --max-parms .*--max-params"),
    ],
)
def test_a_number_that_cannot_be(arguments: list[str], text: str, nas: Nas) -> None:
    ended = nas("search", "--dataset", "digits", "--space", "tiny_digits", *arguments)
    assert_refused(ended, 2, text)


def test_the_budget_must_be_given(nas: Nas) -> None:
    assert_refused(nas("search"), 2, "--max-params is missing; for example: nas search --max-params 8000 --target 99.4")


def test_numbers_beyond_what_a_study_holds_are_refused_together(nas: Nas) -> None:
    """A study that could not be opened again must not be made."""
    ended = nas("search", "--dataset", "digits", "--max-params", 2000, "--seed", 2**31, "--epochs", 10**5)
    assert_refused(ended, 1, rf"this search has 2 problems:\n(.*\n)? +seed: {2**31} exceeds {2**31 - 1}, the most")
    assert "epochs: 100000 exceeds 10000, the most" in ended.err
    assert not (nas.cwd / "studies").exists()


def test_a_seed_beyond_all_bounds_is_refused(nas: Nas, tmp_path: Path) -> None:
    assert_refused(nas("arch", "train", tmp_path / "net.toml", "--seed", 10**20), 2, "Invalid value for '--seed'")


# Names


def test_a_mistyped_dataset_has_near_misses(nas: Nas) -> None:
    ended = nas("search", "--dataset", "fashon_mnist", "--max-params", 8000)
    assert_refused(ended, 1, "unknown data set 'fashon_mnist', and no folder of that name .*did you mean 'fashion_mnis")
    ended = nas("space", "show", "tiny_digits", "--dataset", "digit")
    assert_refused(ended, 1, r"--dataset digit: unknown data set; did you mean 'digits'\?")


@pytest.mark.parametrize(
    ("name", "hint"), [("seperable", r"did you mean 'separable'"), ("qqq", "known: .*separable, .*tiny_digits")]
)
def test_a_mistyped_space_has_near_misses(name: str, hint: str, nas: Nas) -> None:
    assert_refused(nas("space", "show", name), 1, f"unknown space '{name}'; {hint}.*path of a .toml file")


def test_search_names_the_near_misses_of_a_space(nas: Nas) -> None:
    ended = nas("search", "--space", "seperable", "--max-params", 8000)
    assert_refused(ended, 1, r"unknown space 'seperable'; did you mean 'separable'")


@pytest.mark.parametrize("name", ["../x", ""])
def test_a_study_name_is_one_plain_name(name: str, nas: Nas, tmp_path: Path) -> None:
    ended = nas("search", "--dataset", "digits", "--max-params", 2000, "--name", name)
    assert_refused(ended, 2, re.escape(repr(name)) + ": a study name has 1 to 100 letters, digits")
    assert not (tmp_path / "x").exists()


# Machines


def test_a_device_that_is_none(nas: Nas) -> None:
    ended = nas("search", "--dataset", "digits", "--max-params", 2000, "--device", "banana")
    assert_refused(ended, 1, "--device banana: not a device; use auto, cpu, cuda or cuda:0")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_a_gpu_that_is_not_there(nas: Nas) -> None:
    ended = nas("search", "--dataset", "digits", "--max-params", 2000, "--device", "cuda")
    assert_refused(ended, 1, "--device cuda: this machine has 0 CUDA devices; use --device cpu or auto")


def test_a_studies_folder_that_cannot_be_written(nas: Nas) -> None:
    (nas.cwd / "a_file").write_text("in the way")
    ended = nas("search", "--dataset", "digits", "--space", "tiny_digits", "--max-params", 2000, "--studies", "a_file")
    assert_refused(ended, 1, r"cannot write a_file/digits-tiny_digits-2000/run: .*; give another --studies")
