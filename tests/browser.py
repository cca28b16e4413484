"""A headless Chromium, driven over its DevTools pipe: what a page logs, asks for and shows."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--remote-debugging-pipe",
)  # fmt: skip


def chromium() -> str:
    """Its path; skips the test where there is none, unless $NAS_REQUIRE_CHROMIUM is 1."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        text = "no chromium was found; install it (Debian: apt-get install chromium)"
        if os.environ.get("NAS_REQUIRE_CHROMIUM") == "1":
            pytest.fail(text)
        pytest.skip(text)
    return found


class Browser:
    """One browser with one page. Messages of the DevTools protocol end with a zero byte on the pipe."""

    def __init__(self, to_browser: IO[bytes], from_browser: IO[bytes]) -> None:
        self._write, self._read = to_browser, from_browser
        self._buffer = b""
        self._last = 0
        self._session: str | None = None
        self.requests: list[str] = []  # addresses that the page asked for
        self.complaints: list[str] = []  # errors and warnings of the page's console, and exceptions
        os.set_blocking(from_browser.fileno(), False)
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The answer to one command; events that come before it are taken note of."""
        self._last += 1
        number = self._last
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        self._write.write(json.dumps(message).encode() + b"\0")
        end = time.monotonic() + 60
        while time.monotonic() < end:
            for answer in self._messages():
                if answer.get("id") == number:
                    assert "error" not in answer, answer["error"]
                    result: dict[str, Any] = answer["result"]
                    return result
                self._note(answer)
            time.sleep(0.005)
        raise AssertionError(f"the browser did not answer {method} within a minute")

    def _messages(self) -> Iterator[dict[str, Any]]:
        self._buffer += self._read.read() or b""
        while b"\0" in self._buffer:
            message, self._buffer = self._buffer.split(b"\0", 1)
            yield json.loads(message)

    def _note(self, event: dict[str, Any]) -> None:
        parameters = event.get("params", {})
        if event.get("method") == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])
        elif event.get("method") == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(parameters["exceptionDetails"]))
        elif event.get("method") == "Runtime.consoleAPICalled" and parameters["type"] in ("error", "warning", "assert"):
            self.complaints.append(json.dumps(parameters["args"]))
        elif event.get("method") == "Log.entryAdded" and parameters["entry"]["level"] in ("error", "warning"):
            self.complaints.append(parameters["entry"]["text"])

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def view(self, width: int, height: int, dark: bool = False) -> None:
        """The size of the page in pixels, and the colors that it is asked for; at most 600 wide is a phone."""
        phone = width <= 600
        size = {"width": width, "height": height, "deviceScaleFactor": 2 if phone else 1}
        self.call("Emulation.setDeviceMetricsOverride", mobile=phone, **size)
        self.call("Emulation.setTouchEmulationEnabled", enabled=phone)
        scheme = "dark" if dark else "light"
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def open(self, address: str, ready: str, timeout: float = 30) -> None:
        """Opens a page and waits until the expression `ready` is true in it."""
        self.requests.clear()
        self.complaints.clear()
        self.call("Page.navigate", url=address)
        self.wait(ready, timeout)

    def wait(self, expression: str, timeout: float = 30) -> None:
        """Until the expression is true in the page."""
        end = time.monotonic() + timeout
        while not self.evaluate(f"Boolean({expression})"):
            assert time.monotonic() < end, f"not within {timeout} s: {expression}; the console said {self.complaints}"
            time.sleep(0.05)

    def screenshot(self, path: Path, whole: bool = True) -> None:
        """The page as a PNG file, all of it or what is in view."""
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(shot["data"]))


@contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    """A new browser whose profile is the empty folder `profile`."""
    path = chromium()
    ends = [*os.pipe(), *os.pipe()]
    # The browser reads from 3 and writes to 4: out of the way first, so that neither takes the other's place.
    reads, to_browser, from_browser, writes = (fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends)
    for end in ends:
        os.close(end)
    silent = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_WRONLY, 0) for fd in (1, 2)]
    process = os.posix_spawn(
        path,
        [path, *FLAGS, f"--user-data-dir={profile}", "about:blank"],
        os.environ,
        file_actions=[(os.POSIX_SPAWN_DUP2, reads, 3), (os.POSIX_SPAWN_DUP2, writes, 4), *silent],
        setpgroup=0,
    )
    os.close(reads)
    os.close(writes)
    try:
        with os.fdopen(to_browser, "wb", 0) as write, os.fdopen(from_browser, "rb") as read:
            yield Browser(write, read)
    finally:
        os.killpg(process, signal.SIGKILL)
        os.waitpid(process, 0)
