"""What callbacks hear of a search, and that none can harm it. The trackers run offline."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import nas
from nas.callbacks import Callback, EpochReport, MLflow, TensorBoard, WandB
from nas.errors import UsageError
from nas.study.records import Confirmation, TrialRecord
from nas.study.settings import StudySettings

QUICK = {"max_params": 1000, "dataset": "digits", "space": "tiny_digits", "workers": 1, "device": "cpu"}


class Hearing(Callback):
    def __init__(self) -> None:
        self.heard: list[tuple[Any, ...]] = []
        self.records: dict[int, TrialRecord] = {}
        self.curves: dict[tuple[int, int | None], tuple[float, ...]] = {}

    def on_start(self, study: str, settings: StudySettings) -> None:
        self.heard.append(("start", study))

    def on_epoch(self, report: EpochReport) -> None:
        key = report.trial, report.seed
        self.curves[key] = (*self.curves.get(key, ()), report.accuracy)
        assert report.epoch == len(self.curves[key])
        assert report.train_loss > 0
        self.heard.append(("epoch", report.trial))

    def on_trial(self, record: TrialRecord) -> None:
        self.records[record.number] = record
        self.heard.append(("trial", record.number))

    def on_confirmation(self, record: TrialRecord, confirmation: Confirmation) -> None:
        assert self.curves[record.number, confirmation.seed] == confirmation.test_accuracy
        self.heard.append(("confirmation", record.number))

    def on_end(self) -> None:
        self.heard.append(("end",))


class Failing(Callback):
    def on_epoch(self, report: EpochReport) -> None:
        raise ValueError("the tracker is down")


class Ending(Callback):
    def on_trial(self, record: TrialRecord) -> None:
        raise KeyboardInterrupt


def test_each_epoch_trial_and_confirmation_is_heard_once_and_a_failing_callback_harms_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hearing = Hearing()
    settings = {**QUICK, "epochs": 2, "num_seeds": 1, "studies": tmp_path, "name": "heard"}
    study = nas.search(**settings, max_trials=3, callbacks=[Failing(), hearing])  # type: ignore[arg-type]
    err = capsys.readouterr().err
    assert err.count("Failing is left out from here on, as it failed: ValueError: the tracker is down") == 1
    records = {record.number: record for record in study._records()}
    assert hearing.records.keys() == records.keys()
    assert {n: hearing.curves[n, None] for n in records} == {n: r.validation_curve for n, r in records.items()}
    assert hearing.heard[0] == ("start", "heard")
    assert hearing.heard[-1] == ("end",)
    assert hearing.heard.count(("confirmation", min(records))) <= 1
    assert sum(what[0] == "confirmation" for what in hearing.heard) == sum(
        len(r.confirmations) for r in records.values()
    )

    more = Hearing()
    nas.search(**settings, max_trials=4, callbacks=[more])  # type: ignore[arg-type]
    assert list(more.records) == [3]  # a resume tells what is new


def test_a_callback_may_end_the_search_and_what_is_none_is_refused(tmp_path: Path) -> None:
    settings = {**QUICK, "epochs": 1, "studies": tmp_path, "name": "ended"}
    study = nas.search(**settings, max_trials=50, callbacks=[Ending()])  # type: ignore[arg-type]
    assert list(study.trials["fate"]) == ["completed"]
    with pytest.raises(UsageError, match=r"`callbacks` has <class .*Failing'>: give instances of nas.callbacks.Callb"):
        nas.search(**settings, callbacks=[Failing])  # type: ignore[arg-type]


@pytest.mark.parametrize(("kind", "extra"), [(TensorBoard, "tensorboard"), (MLflow, "mlflow"), (WandB, "wandb")])
def test_a_tracker_that_is_missing_names_its_extra(
    kind: type[Callback], extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, extra, None)
    with pytest.raises(
        UsageError, match=rf"this callback needs {extra}, which is .*pip install 'nas-budget\[{extra}\]'"
    ):
        kind()


RECORD = TrialRecord(
    3, "completed", 500, 9_000, 2_000, "d" * 16, {"width": 8, "kind": "plain"}, 1, (80.0, 90.0), 1.0,
    confirmations=(Confirmation(7, (81.0, 91.0), 1.0),),
)  # fmt: skip


def tell(callback: Callback) -> None:
    """Tell what a search of one trial, one confirmation, and a trial that is cut off tells."""
    callback.on_start("study", StudySettings(1000))
    for trial, seed, accuracies in ((3, None, (80.0, 90.0)), (3, 7, (81.0, 91.0)), (4, None, (50.0,))):
        for epoch, accuracy in enumerate(accuracies, 1):
            callback.on_epoch(EpochReport(trial, seed, epoch, accuracy, 0.5, 1.0, 500))
        if trial == 3 and seed is None:
            callback.on_trial(RECORD)
        elif trial == 3:
            callback.on_confirmation(RECORD, RECORD.confirmations[0])
    callback.on_end()


def test_tensorboard_writes_event_files(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    tell(TensorBoard(tmp_path))
    assert sorted(path.name for path in (tmp_path / "study").iterdir()) == ["trial-3", "trial-3-seed-7", "trial-4"]
    found = EventAccumulator(str(tmp_path / "study/trial-3")).Reload()
    assert [(e.step, e.value) for e in found.Scalars("accuracy/validation")] == [(1, 80.0), (2, 90.0)]
    assert [e.value for e in found.Scalars("hparam/num_params")] == [500.0]
    found = EventAccumulator(str(tmp_path / "study/trial-3-seed-7")).Reload()
    assert [e.value for e in found.Scalars("accuracy/test")] == [81.0, 91.0]


@pytest.mark.filterwarnings("ignore")  # of MLflow itself
def test_mlflow_keeps_runs_in_a_local_store(tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow")
    store = f"sqlite:///{tmp_path}/mlflow.db"
    tell(MLflow(tracking_uri=store))
    client = mlflow.MlflowClient(store)
    experiment = client.get_experiment_by_name("study")
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert {name: run.info.status for name, run in runs.items()} == {
        "trial 3": "FINISHED", "trial 3 seed 7": "FINISHED", "trial 4": "KILLED",
    }  # fmt: skip
    trial = runs["trial 3"]
    assert trial.data.params == {"width": "8", "kind": "plain"}
    assert trial.data.metrics["num_params"] == 500
    assert "deployed_params" not in trial.data.metrics  # not known of this one
    curve = client.get_metric_history(trial.info.run_id, "validation_accuracy")
    assert [(m.step, m.value) for m in curve] == [(1, 80.0), (2, 90.0)]
    assert runs["trial 3 seed 7"].data.metrics["figure"] == 86.0


def test_mlflow_is_called_as_its_client_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in that has the signatures of MLflow 3, for where that is not installed."""
    batches: list[tuple[str, int, int]] = []
    ended: dict[str, str] = {}

    class Client:
        def __init__(self, tracking_uri: str | None = None, registry_uri: str | None = None) -> None: ...

        def get_experiment_by_name(self, name: str) -> None:
            return None

        def create_experiment(self, name: str, artifact_location: str | None = None, tags: object = None) -> str:
            return "1"

        def create_run(
            self, experiment_id: str, start_time: object = None, tags: object = None, run_name: object = None
        ) -> object:
            return SimpleNamespace(info=SimpleNamespace(run_id=run_name))

        def log_batch(self, run_id: str, metrics: Any = (), params: Any = (), tags: Any = ()) -> None:
            batches.append((run_id, len(metrics), len(params)))

        def set_tag(self, run_id: str, key: str, value: object, synchronous: object = None) -> None: ...

        def set_terminated(self, run_id: str, status: str | None = None, end_time: int | None = None) -> None:
            ended[run_id] = status or ""

    entities = SimpleNamespace(
        Metric=lambda key, value, timestamp, step: (key, value, timestamp, step), Param=lambda key, value: (key, value)
    )
    monkeypatch.setitem(sys.modules, "mlflow", SimpleNamespace(MlflowClient=Client, entities=entities))  # type: ignore[arg-type]
    tell(MLflow())
    assert ("trial 3", 2, 0) in batches
    assert ("trial 3", 0, 2) in batches
    assert ended == {"trial 3": "FINISHED", "trial 3 seed 7": "FINISHED", "trial 4": "KILLED"}


def test_wandb_logs_one_run_for_the_study(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in that has the signatures of W&B, whose offline mode starts a process for seconds."""
    logged: list[dict[str, Any]] = []
    begun: dict[str, Any] = {}

    class Run:
        def define_metric(self, name: str, step_metric: str | None = None, *, hidden: bool | None = None) -> None: ...

        def log(self, data: dict[str, Any], step: int | None = None, commit: bool | None = None) -> None:
            logged.append(data)

        def finish(self, exit_code: int | None = None, quiet: bool | None = None) -> None:
            logged.append({"finished": True})

    def init(project: object = None, name: object = None, config: Any = None, mode: object = None) -> Run:
        begun.update(project=project, name=name, config=config, mode=mode)
        return Run()

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init))  # type: ignore[arg-type]
    tell(WandB("ours", mode="offline"))
    assert (begun["project"], begun["name"], begun["mode"]) == ("ours", "study", "offline")
    assert begun["config"]["max_params"] == 1000
    assert logged[:2] == [{"epoch": 1, "validation/trial 3": 80.0}, {"epoch": 2, "validation/trial 3": 90.0}]
    assert logged[2]["trial/num_params"] == 500
    assert logged[5] == {"trial": 3, "trial/test_accuracy": 86.0, "trial/seeds": 1}
    assert logged[-1] == {"finished": True}
