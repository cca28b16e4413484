"""The study in optuna-dashboard, served read-only on the loopback interface."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import optuna_dashboard

from nas.dashboard.artifacts import artifact_store
from nas.dashboard.content import Refresher
from nas.errors import StudyError
from nas.storage.study_store import Store
from nas.study.folder import StudyFolder

LOOPBACK = "127.0.0.1"
READ_ONLY = "nas dashboard only shows a study: change nothing here, and use the nas commands instead"
_READING = ("GET", "HEAD", "OPTIONS")


class _Server(ThreadingMixIn, WSGIServer):
    """A thread a request: a browser opens connections ahead of need, which would keep one thread waiting."""

    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing for a request that went well."""


class _ReadOnly:
    """The dashboard's application, which refuses all that would change the study, and looks at it before an answer."""

    def __init__(self, refresher: Refresher, application: Any) -> None:
        self._refresher, self._application = refresher, application
        self._alone = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ.get("REQUEST_METHOD", "GET") not in _READING:
            _drain(environ)
            headers = [("Content-Type", "application/json"), ("Allow", ", ".join(_READING))]
            start_response("405 Method Not Allowed", headers)
            return [json.dumps({"reason": READ_ONLY}).encode()]
        if environ.get("PATH_INFO", "").startswith("/api/"):
            with self._alone:
                self._refresher.look()
        answer: Iterable[bytes] = self._application(environ, start_response)
        return answer


def _drain(environ: dict[str, Any]) -> None:
    """Read a request's body: with some of it unread, the connection's end would overtake the answer."""
    length = environ.get("CONTENT_LENGTH") or "0"
    left = int(length) if length.isdecimal() else 0
    while left > 0 and (read := len(environ["wsgi.input"].read(min(left, 1 << 16)))):
        left -= read


def serve(folder: StudyFolder, port: int, ready: Callable[[str], None]) -> None:
    """Serve until interrupted; `ready` gets the address once the server listens.

    Raises:
        StudyError: the port is taken.
    """
    dashboard = optuna_dashboard.wsgi(Store(folder).storage, artifact_store=artifact_store(folder))
    application = _ReadOnly(Refresher(lambda: Store(folder)), dashboard)
    try:
        server = make_server(LOOPBACK, port, application, server_class=_Server, handler_class=_Quiet)
    except (OSError, socket.gaierror) as error:
        raise StudyError(f"`port` {port}: {error.strerror}; set `port` to 0 for a free one") from None
    with server:
        ready(f"http://{LOOPBACK}:{server.server_port}/dashboard")
        server.serve_forever()
