from __future__ import annotations

import contextlib
import http.client
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from conftest import Nas

if TYPE_CHECKING:
    from conftest import Study


def address_of(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    line = process.stderr.readline()
    address = re.match(r"the study is at (http://127\.0\.0\.1:\d+)/dashboard \(Ctrl-C ends it\)", line)
    assert address is not None, line + process.stderr.read()
    return address[1]


def read(url: str) -> bytes:
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=60) as page:
        content: bytes = page.read()
    return content


@pytest.fixture(scope="module")
def served(digits_study: Study, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a study in our dashboard, which ends quietly at Ctrl-C."""
    folder = tmp_path_factory.mktemp("dashboard")
    shutil.copytree(digits_study.path.parent, folder / "studies")
    nas = Nas(folder, folder / "home")
    process = nas.start("dashboard", "small", "--port", 0)
    try:
        yield address_of(process)
    finally:
        process.send_signal(signal.SIGINT)
        ended = nas.finish(process, 20)
    assert ended.rc in (0, 130)
    assert ended.out == ended.err == ""


def test_the_dashboard_is_served_on_the_loopback(served: str) -> None:
    assert b"<html" in read(f"{served}/dashboard").lower()
    assert b'"small"' in read(f"{served}/api/studies")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_it_answers_ends_it_too(number: signal.Signals, study_copy: Study) -> None:
    process = study_copy.nas.start("dashboard", "small", "--port", 0)
    try:
        address = address_of(process)

        def ask() -> None:
            with contextlib.suppress(OSError, http.client.HTTPException):  # it may end before or while it answers
                while True:
                    read(f"{address}/api/studies")

        asking = threading.Thread(target=ask)
        asking.start()
        time.sleep(0.5)
    finally:
        process.send_signal(number)
        ended = study_copy.nas.finish(process, 20)
    asking.join()
    assert ended.rc in (0, 130, -number)


def test_a_port_that_is_taken_is_named(digits_study: Study) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        ended = digits_study.nas("dashboard", "small", "--port", port)
    assert ended.rc == 1
    # The command line spells a setting as its option.
    assert re.search(rf"(`port`|--port) {port}: Address already in use; set (`port`|--port) to 0", ended.err)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("DELETE", "/api/studies/1", b""),
        ("POST", "/api/studies", b'{"study_name": "mine", "directions": ["minimize"]}'),
        ("POST", "/api/studies/1/rename", b'{"study_name": "mine"}'),
        ("PUT", "/api/studies/1/note", json.dumps({"version": 99, "body": "x" * 1_000_000}).encode()),
        ("PATCH", "/api/studies/1", b"{}"),
    ],
)
def test_the_dashboard_changes_nothing(method: str, path: str, body: bytes, served: str) -> None:
    before = json.loads(read(f"{served}/api/studies/1"))
    request = urllib.request.Request(f"{served}{path}", body, {"Content-Type": "application/json"}, method=method)
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60)
    assert refused.value.code == 405
    assert "nas dashboard only shows a study" in json.loads(refused.value.read())["reason"]
    assert json.loads(read(f"{served}/api/studies/1")) == before
    names = [study["study_name"] for study in json.loads(read(f"{served}/api/studies"))["study_summaries"]]
    assert names == ["small", "small (parameters, accuracy)"]


@contextlib.contextmanager
def plain_dashboard(study: Study) -> Iterator[str]:
    """Optuna's own command on the study's storage; its address."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    command = [Path(sys.executable).with_name("optuna-dashboard"), f"sqlite:///{study.path}/run/study.db"]
    arguments = ["--host", "127.0.0.1", "--port", str(port), "--artifact-dir", study.path / "run/artifacts"]
    process = subprocess.Popen([*command, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        address, end = f"http://127.0.0.1:{port}", time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError):
                read(f"{address}/api/studies")
                break
            assert time.monotonic() < end
            time.sleep(0.2)
        yield address
    finally:
        process.kill()
        process.wait()


@pytest.fixture(params=["nas dashboard", "optuna-dashboard"])
def address(request: pytest.FixtureRequest, served: str, study_copy: Study) -> Iterator[str]:
    """Of the study in a dashboard, ours or Optuna's own."""
    if request.param == "nas dashboard":
        yield served
        return
    with plain_dashboard(study_copy) as address:
        yield address


def test_any_dashboard_shows_what_was_found(address: str, digits_study: Study) -> None:
    study = json.loads(read(f"{address}/api/studies/1"))
    result = digits_study.search.json
    assert result["answer"] in study["note"]["body"]
    (figure,) = study["plotly_graph_objects"]
    assert figure["id"] == "front"
    names = {trace["name"] for trace in json.loads(figure["graph_object"])["data"] if "name" in trace}
    assert "confirmed on the test set" in names
    (best,) = study["best_trials"] if isinstance(study["best_trials"], list) else [study["best_trial"]]
    assert int(attribute(best, "num_params")) <= 2000
    for trial in study["trials"]:
        known = {a["key"] for a in trial["user_attrs"]}
        assert {"num_params", "num_macs", "digest", "seed", "train_seconds"} <= known
        assert {"recipe.learning_rate", "stage1.block1.width"} <= {p["name"] for p in trial["params"]}
    confirmed = {row["trial"] for row in result["front"] if row["seeds"]}
    kept = {a["filename"]: a for a in study["artifacts"]}
    assert {f"trial_{number}{kind}" for number in confirmed for kind in (".png", ".py", ".pt")} <= kept.keys()
    drawing = kept[f"trial_{max(confirmed)}.png"]
    assert drawing["mimetype"] == "image/png"
    assert read(f"{address}/artifacts/1/{drawing['artifact_id']}").startswith(b"\x89PNG")


def test_any_dashboard_has_a_pareto_page_of_what_was_completed(address: str) -> None:
    own, study = (json.loads(read(f"{address}/api/studies/{number}")) for number in (1, 2))
    assert study["directions"] == ["minimize", "maximize"]
    assert study["objective_names"] == ["parameters", "validation accuracy (%)"]
    completed = {trial["number"]: trial for trial in own["trials"] if trial["state"] == "Complete"}
    assert len(completed) == len(study["trials"])
    for trial in study["trials"]:
        original = completed[int(attribute(trial, "trial"))]
        assert trial["values"] == [int(attribute(original, "num_params")), pytest.approx(original["values"][0])]
        assert trial["params"] == original["params"]
    best = sorted(tuple(trial["values"]) for trial in study["best_trials"])
    assert [accuracy for _, accuracy in best] == sorted({accuracy for _, accuracy in best})
    assert max(accuracy for _, accuracy in best) == max(trial["values"][1] for trial in study["trials"])


def attribute(trial: Any, name: str) -> str:
    return next(str(a["value"]) for a in trial["user_attrs"] if a["key"] == name)
