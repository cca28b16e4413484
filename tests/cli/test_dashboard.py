from __future__ import annotations

import contextlib
import http.client
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

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


def test_the_dashboard_is_served_on_the_loopback_until_ctrl_c(study_copy: Study) -> None:
    process = study_copy.nas.start("dashboard", "small", "--port", 0)
    try:
        address = address_of(process)
        assert b"<html" in read(f"{address}/dashboard").lower()
        assert b'"small"' in read(f"{address}/api/studies")
    finally:
        process.send_signal(signal.SIGINT)
        ended = study_copy.nas.finish(process, 20)
    assert ended.rc in (0, 130)
    assert ended.out == ended.err == ""


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
    assert f"--port {port}: Address already in use; try --port 0 for a free one" in ended.err


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
def address(request: pytest.FixtureRequest, study_copy: Study) -> Iterator[str]:
    """Of the study in a dashboard, ours or Optuna's own."""
    if request.param == "optuna-dashboard":
        with plain_dashboard(study_copy) as address:
            yield address
        return
    process = study_copy.nas.start("dashboard", "small", "--port", 0)
    try:
        yield address_of(process)
    finally:
        process.send_signal(signal.SIGINT)
        study_copy.nas.finish(process, 20)


def test_any_dashboard_shows_what_was_found(address: str, study_copy: Study) -> None:
    study = json.loads(read(f"{address}/api/studies/1"))
    result = study_copy.search.json
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
    kept = {t["number"]: {a["filename"]: a for a in t["artifacts"]} for t in study["trials"] if t["artifacts"]}
    assert confirmed <= kept.keys()
    number = max(confirmed)
    drawing = kept[number][f"trial_{number}.png"]
    assert drawing["mimetype"] == "image/png"
    trial_id = next(t["trial_id"] for t in study["trials"] if t["number"] == number)
    assert read(f"{address}/artifacts/1/{trial_id}/{drawing['artifact_id']}").startswith(b"\x89PNG")


def attribute(trial: Any, name: str) -> str:
    return next(str(a["value"]) for a in trial["user_attrs"] if a["key"] == name)
