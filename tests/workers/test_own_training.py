"""Training by a person's own function: the same search around it, and clear words where the function goes wrong."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import own_training_function
import pytest
import torch
from torch import nn

import nas
from nas.app.verify import verify
from nas.arch import Architecture, Block, Input, Recipe
from nas.arch import Pool as MaxPool
from nas.data.images import ImageSet
from nas.data.policy import AugmentationPolicy
from nas.data.split import Parts
from nas.errors import MachineError, StudyError, UsageError
from nas.strategy.stopping import StoppingRule
from nas.train.epoch import Epoch
from nas.workers.interrupt import Interrupts
from nas.workers.messages import Finished, Job, JobEvent, Orders
from nas.workers.own_training import FunctionTrainer, Trial, TrialStopped, require_own_training
from nas.workers.process import local_workers

CPU = torch.device("cpu")
QUICK = {"max_params": 500, "dataset": "digits", "space": "tiny_digits", "device": "cpu", "epochs": 4, "num_seeds": 1}


def images(count: int) -> ImageSet:
    labels = torch.arange(count) % 2
    pixels = torch.zeros(count, 1, 8, 8, dtype=torch.uint8)
    pixels[labels == 1] = 200
    return ImageSet(pixels, labels)


PARTS = Parts(images(40), images(20), images(60), images(30), AugmentationPolicy(), ("dark", "bright"))


def job(number: int = 0, seed: int | None = None) -> Job:
    network = Architecture(Input(1, 8, 8), 2, (Block(4), MaxPool()))
    return Job((number, seed), network, Recipe(epochs=2, batch_size=20), 5)


def run(function: Callable[..., Any], *jobs: Job) -> list[Epoch | Finished]:
    trainer, told = FunctionTrainer(function, PARTS, CPU), list[JobEvent]()
    orders = Orders(start=jobs)
    while orders.start or not trainer.is_idle:
        told += trainer.exchange(orders).events
        orders = Orders()
    return [event.what for event in told]


def report_all(network: nn.Module, recipe: Recipe, trial: Trial) -> None:
    for epoch in range(1, recipe.epochs + 1):
        trial.report(epoch, trial.accuracy())


def test_a_search_by_ones_own_function_is_confirmed_exported_verified_and_resumed_with_it_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StoppingRule, "stops", lambda self, trial, goal: trial.number == 1)
    seen: dict[int, int] = {}
    stopped: list[int] = []

    def train(network: nn.Module, recipe: Recipe, trial: Trial) -> float:
        seen[trial.seed] = len(trial.evaluation_labels)
        try:
            return own_training_function.train(network, recipe, trial)
        except TrialStopped:
            stopped.append(trial.number)
            raise

    given = {**QUICK, "studies": tmp_path, "name": "own"}
    study = nas.search(**given, max_trials=4, train=train)  # type: ignore[arg-type]
    assert "a function of your own trains: accuracies are what it reports" in capsys.readouterr().err
    name = "test_a_search_by_ones_own_function_is_confirmed_exported_verified_and_resumed_with_it_alone.<locals>.train"
    assert study.settings.train == name
    records = {record.number: record for record in study._records()}
    assert stopped == [n for n, r in records.items() if r.fate == "stopped"] == [1]
    assert len(records[1].validation_curve) == 1
    assert {seen[record.seed] for record in records.values() if record.fate != "duplicate"} == {240}
    assert {seen[c.seed] for record in records.values() for c in record.confirmations} == {359}  # the test images
    best = study.front.dropna(subset=["test_accuracy"]).iloc[-1]
    claims = study.export(tmp_path / "net.py", int(best["trial"]))
    assert claims["trained_by"] == name
    checks, _ = verify(tmp_path / "net.py", None)
    assert [check.claim for check in checks if not check.holds] == []
    assert "weights_test_accuracy" in {check.claim for check in checks}
    with pytest.raises(
        UsageError, match=r"the study is trained by the function test_a_search.*: go on there, with train"
    ):
        nas.search(name="own", studies=tmp_path, max_trials=5)
    with pytest.raises(UsageError, match=r"is trained by the function .*, and report_all is given"):
        study.confirm(train=report_all)
    with pytest.raises(StudyError, match=r"exists with other settings: train was .* and is 'report_all'"):
        nas.search(**given, max_trials=5, train=report_all)  # type: ignore[arg-type]
    assert study.confirm(int(best["trial"]), num_seeds=2, train=train).num_seeds == 2


def test_an_error_before_any_epoch_ends_the_search_with_its_place(tmp_path: Path) -> None:
    def train(network: nn.Module, recipe: Recipe, trial: Trial) -> float:
        return undefined_name  # type: ignore[name-defined, no-any-return]  # noqa: F821

    line = train.__code__.co_firstlineno + 1
    text = (
        rf"\.train failed \(line {line} of .*test_own_training.py\): NameError: .*; nothing was counted against trial 0"
    )
    with pytest.raises(MachineError, match=text):
        nas.search(**QUICK, studies=tmp_path, max_trials=3, train=train)  # type: ignore[arg-type]


def test_later_errors_fail_the_trial_alone() -> None:
    def train(network: nn.Module, recipe: Recipe, trial: Trial) -> None:
        trial.report(1, trial.accuracy())
        if trial.number == 1:
            raise ValueError("too deep")
        trial.report(2, trial.accuracy())

    told = run(train, job(0), job(1), job(2))
    assert [type(what) for what in told] == [Epoch, Epoch, Finished, Epoch, Finished, Epoch, Epoch, Finished]
    ends = [what for what in told if isinstance(what, Finished)]
    assert [(bool(end.network), end.cause) for end in ends] == [
        (True, "training"),
        (False, "training"),
        (True, "training"),
    ]
    assert ends[1].reason.endswith("ValueError: too deep")


def silent(network: nn.Module, recipe: Recipe, trial: Trial) -> float:
    return 50.0


def out_of_turn(network: nn.Module, recipe: Recipe, trial: Trial) -> None:
    trial.report(2, 50.0)


def too_long(network: nn.Module, recipe: Recipe, trial: Trial) -> None:
    report_all(network, recipe, trial)
    trial.report(3, 50.0)


def no_percentage(network: nn.Module, recipe: Recipe, trial: Trial) -> None:
    trial.report(1, 101.0)


def boasting(network: nn.Module, recipe: Recipe, trial: Trial) -> float:
    report_all(network, recipe, trial)
    return min(trial.accuracy() + 6.0, 100.0) if trial.accuracy() < 95 else 90.0


def rebuilding(network: nn.Module, recipe: Recipe, trial: Trial) -> None:
    report_all(network, recipe, trial)
    network.net.extra = nn.Linear(2, 2)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (silent, "it returned with 0 epochs reported, and the search compares networks at 2: call trial.report"),
        (out_of_turn, "trial.report: epoch 2 is reported where 1 of 2 is due"),
        (too_long, "trial.report: epoch 3 is reported where 3 of 2 is due"),
        (no_percentage, "trial.report: the accuracy is 101.0, and no percentage from 0 to 100"),
        (boasting, r"and the network that it leaves classifies \d+\.\d\d % of the evaluation images right"),
        (rebuilding, "it has changed the network's layers: train the network that is given"),
    ],
)
def test_what_a_function_says_wrong_ends_the_search(function: Callable[..., Any], text: str) -> None:
    end = run(function, job())[-1]
    assert isinstance(end, Finished)
    assert end.cause == "machine"
    assert re.search(text, end.reason), end.reason
    assert not end.network


def test_a_stopped_training_ends_where_it_waits_even_where_it_will_not() -> None:
    left: list[str] = []

    def stubborn(network: nn.Module, recipe: Recipe, trial: Trial) -> None:
        try:
            trial.report(1, 50.0)
        except Exception:
            left.append("caught")  # never: TrialStopped is none
        finally:
            left.append("left")

    trainer = FunctionTrainer(stubborn, PARTS, CPU)
    trainer.exchange(Orders(start=(job(0),)))
    trainer.exchange(Orders(stop=((0, None),)))
    assert left == ["left"]
    assert trainer.is_idle


@pytest.mark.parametrize("function", [lambda network, recipe, trial: 1.0, functools.partial(lambda: 1.0)])
def test_other_processes_need_a_function_of_a_module(function: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot be given to other processes: .*; put it into a module of its own"):
        nas.search(**QUICK, studies=tmp_path, workers=2, train=function)  # type: ignore[arg-type]
    require_own_training(None, function, is_shared=False)
    require_own_training(None, own_training_function.train, is_shared=True)
    with pytest.raises(UsageError, match="trains one network at a time on this machine; leave `cluster`"):
        nas.search(**QUICK, studies=tmp_path, trials_per_device=2, train=function)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"`train` 'mixup': give a function train\(network, recipe, trial\)"):
        nas.search(**QUICK, studies=tmp_path, train="mixup")  # type: ignore[arg-type]


def test_processes_of_their_own_call_it() -> None:
    told: list[Epoch | Finished] = []
    with local_workers(PARTS, [CPU, CPU], None, Interrupts(), function=own_training_function.train) as workers:
        worker = workers[0]
        worker.submit(job(0))
        worker.flush()
        while worker.jobs:
            for ready in type(worker).ready([worker], 30.0):
                told += [event.what for event in ready.collect()]
    assert [type(what) for what in told] == [Epoch, Epoch, Finished]
    assert isinstance(told[-1], Finished)
    assert told[-1].network, told[-1].reason
