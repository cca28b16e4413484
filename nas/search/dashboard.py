"""The study in optuna-dashboard, on the loopback interface, with the front as a figure and the answer as its note."""

from __future__ import annotations

import math
import socket
import threading
import time
import warnings
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import optuna
import optuna_dashboard
from sqlalchemy.exc import SQLAlchemyError

from nas.errors import NasError, StudyError
from nas.results import summary
from nas.results.figures import front_figure
from nas.search.settings import StudyFolder
from nas.search.store import Store

LOOPBACK = "127.0.0.1"
REFRESH_EVERY = 10.0  # seconds at the least between two looks at the trials
FIGURE = "front"
_HEADING = "### What nas found\n"  # tells our note from a person's, which is left alone


class _Server(ThreadingMixIn, WSGIServer):
    """A thread a request: a browser opens connections ahead of need, which would keep one thread waiting."""

    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Says nothing for a request that went well."""


class _Fresh:
    """The dashboard, whose figure and note follow the trials.

    They are brought up to date ahead of an answer, while no other is made: a figure is stored in pieces, and a page
    that read them while they are written would get half of the old one and half of the new.
    """

    def __init__(self, folder: StudyFolder, application: Any) -> None:
        self._folder, self._application = folder, application
        self._shown: object = None
        self._looked = -math.inf  # by the monotonic clock, in seconds
        self._alone = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if not environ.get("PATH_INFO", "").startswith("/api/"):
            return self._answer(environ, start_response)
        with self._alone:
            if time.monotonic() - self._looked >= REFRESH_EVERY:
                self.refresh()
            return self._answer(environ, start_response)

    def _answer(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        answer: Iterable[bytes] = self._application(environ, start_response)
        return answer

    def refresh(self) -> None:
        """Brings both up to date where a trial or a confirmation has ended since; a study that is busy waits."""
        try:
            store = Store(self._folder)
            state = [(r.number, r.fate, len(r.confirmations)) for r in store.records()]
            if state != self._shown:
                refresh(store)
                self._shown = state
        except (NasError, SQLAlchemyError, optuna.exceptions.StorageInternalError):
            pass  # busy or not writable: the dashboard shows what there is, and the next look tries again
        self._looked = time.monotonic()


def refresh(store: Store) -> None:
    """Puts the front as a figure and the answer as a note into the study, for any optuna-dashboard to show.

    Raises:
        SQLAlchemyError, StorageInternalError: the storage cannot be written.
    """
    settings, records = store.folder.settings(), store.records()
    landmarks = summary.references(settings.dataset)
    figure = front_figure(records, settings.max_params, settings.target, landmarks)
    figure.update_layout(height=440, margin={"t": 60, "b": 45})  # what its card there holds
    note = (
        f"{_HEADING}\n**{summary.answer(records, settings.max_params, settings.target, settings.seeds)}**\n\n"
        f"```\n{summary.front_text(records, settings.target, landmarks)}\n```\n\n{summary.test_set_note(records)}\n"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        optuna_dashboard.save_plotly_graph_object(store.study, figure, graph_object_id=FIGURE)
        before = optuna_dashboard.get_note(store.study)
        if note != before and (not before or before.startswith(_HEADING)):
            optuna_dashboard.save_note(store.study, note)


def serve(folder: StudyFolder, port: int, ready: Callable[[str], None]) -> None:
    """Serves until interrupted; `ready` gets the address once the server listens.

    Raises:
        StudyError: the port is taken.
    """
    storage = optuna.storages.get_storage(folder.storage_url)
    application = _Fresh(folder, optuna_dashboard.wsgi(storage))
    try:
        server = make_server(LOOPBACK, port, application, server_class=_Server, handler_class=_Quiet)
    except (OSError, socket.gaierror) as error:
        raise StudyError(f"--port {port}: {error.strerror}; try --port 0 for a free one") from None
    with server:
        ready(f"http://{LOOPBACK}:{server.server_port}/dashboard")
        server.serve_forever()
