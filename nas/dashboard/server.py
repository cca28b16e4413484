"""The study in optuna-dashboard, served on the loopback interface."""

from __future__ import annotations

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


class _Server(ThreadingMixIn, WSGIServer):
    """A thread a request: a browser opens connections ahead of need, which would keep one thread waiting."""

    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Says nothing for a request that went well."""


class _Fresh:
    """The dashboard's application, which looks at the study ahead of an answer."""

    def __init__(self, refresher: Refresher, application: Any) -> None:
        self._refresher, self._application = refresher, application
        self._alone = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ.get("PATH_INFO", "").startswith("/api/"):
            with self._alone:
                self._refresher.look()
        answer: Iterable[bytes] = self._application(environ, start_response)
        return answer


def serve(folder: StudyFolder, port: int, ready: Callable[[str], None]) -> None:
    """Serves until interrupted; `ready` gets the address once the server listens.

    Raises:
        StudyError: the port is taken.
    """
    dashboard = optuna_dashboard.wsgi(Store(folder).study._storage, artifact_store=artifact_store(folder))
    application = _Fresh(Refresher(lambda: Store(folder)), dashboard)
    try:
        server = make_server(LOOPBACK, port, application, server_class=_Server, handler_class=_Quiet)
    except (OSError, socket.gaierror) as error:
        raise StudyError(f"--port {port}: {error.strerror}; try --port 0 for a free one") from None
    with server:
        ready(f"http://{LOOPBACK}:{server.server_port}/dashboard")
        server.serve_forever()
