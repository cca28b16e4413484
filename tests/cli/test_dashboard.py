from __future__ import annotations

import contextlib
import re
import signal
import socket
import subprocess
import threading
import time
import urllib.request
from typing import TYPE_CHECKING

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
            with contextlib.suppress(OSError):  # it may end before it has answered
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
