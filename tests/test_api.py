"""The same jobs from Python: `nas.search(...)` and what it gives, in scripts of their own as a user runs them."""

from __future__ import annotations

import inspect
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import fields
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
import pytest
import torch
from optuna.samplers import RandomSampler, TPESampler

import nas
from nas.api import Study
from nas.cli import study as commands
from nas.coordinator.replay import replay
from nas.data.load import load_dataset
from nas.errors import DataError, InvalidError, StudyError, UsageError
from nas.study.settings import StudySettings

ROOT = Path(__file__).resolve().parents[1]
QUICK = {"max_params": 1000, "space": "tiny_digits", "trials": 3, "epochs": 2, "seeds": 1, "workers": 1}


def pairs() -> tuple[tuple[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]:
    digits = load_dataset("digits")
    return (digits.train.images, digits.train.labels), (digits.test.images, digits.test.labels)


def python(folder: Path, code: str) -> subprocess.Popen[str]:
    script = folder / "script.py"
    script.write_text(textwrap.dedent(code))
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "error"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, script], cwd=folder, env=environment, text=True, **pipes)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return nas.search(**QUICK, dataset=pairs(), studies=tmp_path_factory.mktemp("api"), name="own")


def test_importing_nas_is_light() -> None:
    code = "import sys, json, nas; nas.search; nas.open_study; print(json.dumps(sorted(sys.modules)))"
    loaded = json.loads(subprocess.check_output([sys.executable, "-c", code], text=True))
    assert "nas.api" in loaded
    assert {"torch", "optuna", "pandas", "numpy", "plotly"} & set(loaded) == set()


def test_the_package_is_called_whatever_of_it_was_imported() -> None:
    code = (
        "import nas.storage.study_store; import nas, inspect; print(list(inspect.signature(nas.search).parameters)[:2])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "['max_params', 'target']\n"
    with pytest.raises(AttributeError, match="no attribute 'serach'"):
        _ = nas.serach  # type: ignore[attr-defined]


def test_what_was_found_as_tables_and_figure(study: Study) -> None:
    assert isinstance(study.front, pd.DataFrame)
    assert study.front["num_params"].is_monotonic_increasing
    assert list(study.trials["trial"]) == list(range(len(study.trials)))
    assert study.trials["num_params"].max() <= 1000
    assert isinstance(study.figure(), go.Figure)
    assert study.answer in repr(study)
    assert study._repr_html_().count("<svg") == 1


def test_the_network_takes_images_as_they_are(study: Study, tmp_path: Path) -> None:
    best = study.front.dropna(subset=["test_accuracy"]).sort_values("test_accuracy").iloc[-1]
    network = study.network()
    assert sum(p.numel() for p in network.parameters()) == best["num_params"]
    _, (images, labels) = pairs()
    with torch.no_grad():
        accuracy = 100 * float((network(images).argmax(dim=1) == labels).float().mean())
    claims = study.export(tmp_path / "net.py")
    assert accuracy == pytest.approx(claims["weights_test_accuracy"], abs=1e-3)
    torch.save(network, tmp_path / "whole.pt")
    assert study.report().read_text().startswith("<!DOCTYPE html>")


def test_images_are_predicted_as_the_network_takes_them(study: Study) -> None:
    _, (images, labels) = pairs()
    predicted = study.predict(images)
    with torch.no_grad():
        expected = study.network()(images).softmax(1).numpy()
    assert list(predicted.columns) == [str(label) for label in sorted(set(labels.tolist()))]
    assert predicted.to_numpy() == pytest.approx(expected, abs=1e-6)
    with pytest.raises(DataError, match="the images are float32; give uint8, 0 to 255"):
        study.predict(images.float())
    with pytest.raises(DataError, match=r"the images have the shape \(1, 4, 4\), and the network takes \(1, 8, 8\)"):
        study.predict(images[..., :4, :4])


def test_curves_and_another_confirmation(study: Study) -> None:
    record = study.front.dropna(subset=["test_accuracy"]).iloc[-1]
    trial = int(record["trial"])
    before = study.curves(trial)
    figure = study.confirm(trial, num_seeds=int(record["seeds"]) + 1, workers=1)
    after = study.curves(trial)
    assert figure.num_seeds == record["seeds"] + 1
    more = after[~after["seed"].isin(before["seed"])]
    assert list(more["part"].unique()) == ["train", "test"]
    train, *tests = more["epoch"]
    assert tests == list(range(1, train + 1))
    ends = after[after["part"] == "test"].groupby("seed")["accuracy"].apply(lambda curve: curve.tail(3).mean())
    assert figure.mean == pytest.approx(ends.mean())
    assert nas.studies(study.folder.path.parent)[-1].name == study.name


def test_a_time_may_be_written(tmp_path: Path) -> None:
    folder = tmp_path
    timed = nas.search(**QUICK, dataset="digits", studies=folder, name="timed", max_seconds="2m")  # type: ignore[arg-type]
    assert timed.settings.max_seconds == 120
    with pytest.raises(UsageError, match=r"'soon' is no duration; write seconds, or 90s, 30m, 1\.5h"):
        nas.search(**QUICK, dataset="digits", studies=folder, name="timed", max_seconds="soon")  # type: ignore[arg-type]


def test_a_study_is_opened_by_its_name_and_resumed(study: Study) -> None:
    folder = study.folder.path.parent
    assert nas.open_study("own", studies=folder).answer == study.answer
    before = len(study.trials)
    more = nas.search(name="own", studies=folder, max_trials=before + 1, workers=1)
    assert len(more.trials) > before
    with pytest.raises(StudyError, match=r"no study 'other'; studies in .*: own; make one with"):
        nas.open_study("other", studies=folder)


def test_an_earlier_study_begins_another(study: Study) -> None:
    folder, settings = study.folder.path.parent, {**QUICK, "trials": len(study.front)}
    known = set(study.front["digest"])
    more = nas.search(**settings, dataset=pairs(), studies=folder, name="more", warm_start="own")  # type: ignore[arg-type]
    assert more.settings.warm_start == ("own",)
    assert set(more.trials["digest"]) == known
    assert more.trials["origin"].str.match(r"trial \d+ of own").all()


def test_a_resume_refuses_other_images(study: Study) -> None:
    train, (images, labels) = pairs()
    with pytest.raises(StudyError, match="study 'own' was made with other images; give this search another name"):
        nas.search(**QUICK, dataset=(train, (255 - images, labels)), studies=study.folder.path.parent, name="own")


def test_what_cannot_be_searched_for_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"`max_params` is missing; for example: nas.search\(max_params=8000"):
        nas.search(target=99.4, studies=tmp_path)
    with pytest.raises(UsageError, match="`dataset` has 4 parts where 2 or 3 belong"):
        nas.search(**QUICK, dataset=(1, 2, 3, 4), studies=tmp_path)
    with pytest.raises(DataError, match=r"training part is int; give \(images, labels\)"):
        nas.search(**QUICK, dataset=(1, 2, 3), studies=tmp_path)
    with pytest.raises(DataError, match=r"images are float32 \(4, 64\) and must be \(N, H, W\)"):
        nas.search(**QUICK, dataset=((torch.zeros(4, 64), [0, 1, 0, 1]),) * 2, studies=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_threads_and_random_numbers_are_left_as_they_were(study: Study) -> None:
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        nas.search(name="own", studies=study.folder.path.parent, max_trials=len(study.trials) + 1, workers=1)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert torch.equal(torch.rand(1), expected)


def test_a_script_without_a_main_guard_uses_workers(tmp_path: Path) -> None:
    process = python(
        tmp_path,
        """
        import nas
        print("once")
        study = nas.search(1000, dataset="digits", space="tiny_digits", max_trials=2, epochs=1, num_seeds=1, workers=2)
        print(set(study.trials["fate"]))
        """,
    )
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert out.startswith("once\n{")
    assert out.count("once") == 1
    assert "'failed'" not in out


def test_an_interrupt_loses_nothing(tmp_path: Path) -> None:
    process = python(
        tmp_path,
        """
        import nas
        try:
            nas.search(1000, dataset="digits", space="tiny_digits", max_trials=1000, epochs=2, workers=1, name="cut")
        except KeyboardInterrupt as interrupt:
            print(interrupt)
            print(len(nas.open_study("cut").trials))
        """,
    )
    networks = tmp_path / "studies/cut/run/networks"
    end = time.monotonic() + 60
    while len(list(networks.glob("*.safetensors"))) < 2 and time.monotonic() < end:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    said, trials = out.splitlines()
    assert said.startswith("all that was found is kept: nas.search(name='cut') goes on, nas.open_study('cut') looks")
    assert int(trials) >= 2


def test_the_example_runs(tmp_path: Path) -> None:
    text = (ROOT / "examples/notebook.py").read_text()
    for long, short in (
        ("max_trials=8", "max_trials=3"),
        ("epochs=6", "epochs=2"),
        ("num_seeds=1", "num_seeds=1, workers=1"),
        ("num_seeds=2", "num_seeds=1, workers=1"),
    ):
        assert long in text
        text = text.replace(long, short)
    (tmp_path / "example.py").write_text(text)
    process = python(tmp_path, f"import runpy; runpy.run_path({str(tmp_path / 'example.py')!r}, run_name='__main__')")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert "% of all digits" in out
    assert out.splitlines()[-1].endswith("is the most accurate in validation within 500.")
    assert (tmp_path / "first_steps.py").is_file()
    assert (tmp_path / "studies/first-steps/report.html").is_file()


def test_a_sampler_of_ones_own_is_given_again_on_resume_and_taken_as_given_by_a_replay(tmp_path: Path) -> None:
    settings = QUICK | {"dataset": "digits", "studies": tmp_path, "name": "given", "device": "cpu"}
    study = nas.search(**settings, sampler=RandomSampler(3))
    assert study.settings.sampler == "python:RandomSampler"
    assert study.trials["num_params"].max() <= 1000
    again = nas.search(**settings | {"trials": 5}, sampler=RandomSampler(4))
    assert len(again.trials) == 5
    with pytest.raises(UsageError, match=r"`sampler` RandomSampler was given in Python: resume it there"):
        nas.search(name="given", studies=tmp_path, trials=6)
    with pytest.raises(StudyError, match="sampler was 'python:RandomSampler' and is 'python:TPESampler'"):
        nas.search(name="given", studies=tmp_path, trials=6, sampler=TPESampler())
    with pytest.raises(UsageError, match="`sampler` 7: give one of auto, tpe"):
        nas.search(**settings | {"name": "other"}, sampler=7)
    result = replay(study.folder)
    assert result.difference is None
    assert (result.draws, result.from_python) == (0, 5)
    assert str(result).endswith("all derived again; 5 draws of a sampler given in Python were taken as given")
    assert [c.seed for record in study._records() for c in record.confirmations]  # confirms by our own rules


def test_a_space_may_be_a_dict(tmp_path: Path) -> None:
    space = {"name": "few", "block": {"width": {"choices": [4, 6]}}, "head": {"bias": [True, False]}}
    asked = QUICK | {"trials": 1, "dataset": "digits", "space": space, "studies": tmp_path}
    study = nas.search(**asked)
    assert study.name == "digits-few-1000"
    assert set(study.trials.filter(like="width").iloc[0].dropna()) <= {4, 6}
    assert len(nas.search(**asked | {"trials": 2}).trials) == 2
    with pytest.raises(StudyError, match="'digits-few-1000' was made with another space; give this search another"):
        nas.search(**asked | {"space": space | {"head": {"bias": True}}})
    with pytest.raises(UsageError, match=r"`space` is not what a TOML file .* holds: .*None"):
        nas.search(**asked | {"space": {"name": "odd", "head": None}})
    with pytest.raises(InvalidError, match=r"block\.widht: unknown key; did you mean"):
        nas.search(**asked | {"space": {"name": "odd", "block": {"widht": 3}}})


def test_every_setting_of_a_study_can_be_given_in_python_and_on_the_command_line() -> None:
    settings = {field.name for field in fields(StudySettings)}
    assert settings <= set(inspect.signature(nas.search).parameters)
    assert settings - {"train"} <= set(inspect.signature(commands.search).parameters)  # a function, in Python alone
