from __future__ import annotations

import re
import signal
import urllib.request
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Study


@pytest.mark.parametrize(("number", "rc"), [(signal.SIGINT, (0, 130)), (signal.SIGTERM, (0, 130, 143, -15))])
def test_the_dashboard_is_served_on_the_loopback_until_a_signal(
    number: signal.Signals, rc: tuple[int, ...], digits_study: Study
) -> None:
    process = digits_study.nas.start("dashboard", "small", "--port", 0)
    assert process.stderr is not None
    line = process.stderr.readline()
    try:
        address = re.match(r"the study is at (http://127\.0\.0\.1:\d+)/dashboard \(Ctrl-C ends it\)", line)
        assert address is not None, line + process.stderr.read()
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"{address[1]}/dashboard", timeout=20) as page:
            assert page.status == 200
            assert b"<html" in page.read().lower()
        with opener.open(f"{address[1]}/api/studies", timeout=20) as studies:
            assert b'"small"' in studies.read()
    finally:
        process.send_signal(number)
        ended = digits_study.nas.finish(process, 20)
    assert ended.rc in rc
    assert ended.out == ""


def test_a_port_that_is_taken_is_named(digits_study: Study) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        ended = digits_study.nas("dashboard", "small", "--port", port)
    assert ended.rc == 1
    assert f"--port {port}: Address already in use; try --port 0 for a free one" in ended.err
