"""The study in optuna-dashboard, on the loopback interface."""

from __future__ import annotations

import socket
from collections.abc import Callable
from wsgiref.simple_server import WSGIRequestHandler, make_server

import optuna
import optuna_dashboard

from nas.errors import StudyError
from nas.search.settings import StudyFolder

LOOPBACK = "127.0.0.1"


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Says nothing for a request that went well."""


def serve(folder: StudyFolder, port: int, ready: Callable[[str], None]) -> None:
    """Serves until interrupted; `ready` gets the address once the server listens.

    Raises:
        StudyError: the port is taken.
    """
    storage = optuna.storages.get_storage(folder.storage_url)
    application = optuna_dashboard.wsgi(storage)
    try:
        server = make_server(LOOPBACK, port, application, handler_class=_Quiet)
    except (OSError, socket.gaierror) as error:
        raise StudyError(f"--port {port}: {error.strerror}; try --port 0 for a free one") from None
    with server:
        ready(f"http://{LOOPBACK}:{server.server_port}/dashboard")
        server.serve_forever()
