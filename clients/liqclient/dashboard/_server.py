"""The HTTP side of the page: files, figures as JSON, and live updates as server-sent events."""

from __future__ import annotations

import json
import logging
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from typing import Any, Self, cast
from urllib.parse import parse_qs, urlsplit

import plotly.offline

from liqclient._client import Client
from liqclient._errors import (
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    LiqClientError,
    NotFound,
    OutOfRange,
    Unavailable,
)
from liqclient._stream import LevelsUpdate
from liqclient.dashboard import _views
from liqclient.dashboard._coverage import shown_age
from liqclient.dashboard._question import VIEWS, Question, View, read_question
from liqclient.plot._common import shown_time

_LOOPBACK = "127.0.0.1"
# Seconds: word of the server must not take longer than people wait.
_STATE_TIMEOUT = 3.0
# More often a reader cannot follow, and each update draws a whole figure anew.
_LIVE_RATE = 2.0
_SCRIPT = "text/javascript; charset=utf-8"
_FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/app.js": ("app.js", _SCRIPT),
    "/style.css": ("style.css", "text/css; charset=utf-8"),
}
# Millions of bytes that a browser may keep for a year, as they have another name in another version.
_PLOTLY = f"/plotly-{plotly.offline.get_plotlyjs_version()}.min.js"
_HEADERS = {
    # Nothing from anywhere else; Plotly writes styles of its own and makes pictures from data URLs.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
_STATUS: tuple[tuple[type[Exception], HTTPStatus], ...] = (
    (NotFound, HTTPStatus.NOT_FOUND),
    (InvalidArgument, HTTPStatus.BAD_REQUEST),
    (OutOfRange, HTTPStatus.BAD_REQUEST),
    (FailedPrecondition, HTTPStatus.CONFLICT),
    (Unavailable, HTTPStatus.SERVICE_UNAVAILABLE),
    (DeadlineExceeded, HTTPStatus.GATEWAY_TIMEOUT),
    (LiqClientError, HTTPStatus.BAD_GATEWAY),
    (ValueError, HTTPStatus.BAD_REQUEST),
)
_log = logging.getLogger(__name__)


class Dashboard:
    """Serves the page on this machine until closed; use it as a context manager.

    Parameters
    ----------
    client
        Asks the server, which need not run yet; its timeout is that of a view. It stays the caller's to close, after
        the dashboard.
    port
        Port of 127.0.0.1 to listen on; 0 for a free one.

    Attributes
    ----------
    url : str
        Address of the page.

    Raises
    ------
    OSError
        If the port cannot be listened on.
    """

    def __init__(self, client: Client, *, port: int = 8050) -> None:
        self._http = _Http(client, port)
        self.url = f"http://{_LOOPBACK}:{self._http.server_port}/"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def serve_forever(self) -> None:
        """Answer until `shutdown` is called from another thread."""
        self._http.serve_forever(poll_interval=0.1)

    def shutdown(self) -> None:
        """Have `serve_forever` return; waits until it does."""
        self._http.shutdown()

    def close(self) -> None:
        """Stop listening, and end the connections that are open."""
        self._http.server_close()
        self._http.end_connections()


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, client: Client, port: int) -> None:
        self.client = client
        self._guard = threading.Lock()
        self._open: set[socket.socket] = set()
        super().__init__((_LOOPBACK, port), _Handler)
        folder = resources.files("liqclient.dashboard") / "static"
        self.files = {
            path: ((folder / name).read_bytes().replace(b"/plotly.min.js", _PLOTLY.encode()), kind)
            for path, (name, kind) in _FILES.items()
        }
        self.files[_PLOTLY] = (plotly.offline.get_plotlyjs().encode(), _SCRIPT)
        # A page elsewhere whose name is made to point at this machine must not read what is here.
        self.names = {f"{name}:{self.server_port}" for name in (_LOOPBACK, "localhost")}

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401
        with self._guard:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:  # noqa: ANN401
        with self._guard:
            self._open.discard(request)
        super().shutdown_request(request)

    def end_connections(self) -> None:
        """End what browsers keep open: their threads would answer on."""
        with self._guard:
            for connection in self._open:
                # A browser that ended it in the same moment leaves nothing to end.
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401
        # A browser that went away is no failure of ours.
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            _log.exception("a request failed")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Seconds: an idle connection is closed, and a browser that reads nothing is given up.
    timeout = 60

    @property
    def _http(self) -> _Http:
        return cast("_Http", self.server)

    def do_GET(self) -> None:
        """Answer one request."""
        url = urlsplit(self.path)
        if self.headers.get("Host", "") not in self._http.names:
            self._text(HTTPStatus.FORBIDDEN, "this page is served to the machine it runs on, by its own name")
        elif url.path in self._http.files:
            content, kind = self._http.files[url.path]
            self._send(HTTPStatus.OK, content, kind)
        elif url.path == "/api/live":
            self._live(url.query)
        elif url.path == "/api/state" or url.path.startswith("/api/figure/"):
            self._api(url.path, url.query)
        else:
            self._text(HTTPStatus.NOT_FOUND, f"there is nothing at {url.path}")

    def _api(self, path: str, query: str) -> None:
        client = self._http.client
        try:
            if path == "/api/state":
                answer = json.dumps(_views.state(client, timeout=_STATE_TIMEOUT))
            else:
                view = _view(path.removeprefix("/api/figure/"))
                answer = _views.view(client, view, _views.chosen(client, read_question(query)))
        except (LiqClientError, ValueError) as error:
            status = next(status for kind, status in _STATUS if isinstance(error, kind))
            self._send(status, json.dumps(_views.failure(error)).encode(), "application/json")
            return
        except Exception as error:
            _log.exception("%s failed", path)
            message = f"the dashboard failed: {type(error).__name__}: {error}"
            failed = {"error": {"code": "INTERNAL", "reason": None, "message": message}}
            self._send(HTTPStatus.INTERNAL_SERVER_ERROR, json.dumps(failed).encode(), "application/json")
            return
        self._send(HTTPStatus.OK, answer.encode(), "application/json")

    def _live(self, query: str) -> None:
        """Send events until the browser goes away, or until the server refuses."""
        self.close_connection = True
        self._head(HTTPStatus.OK, "text/event-stream", {"Connection": "close"})
        try:
            question = read_question(query)
            view = _view(parse_qs(query).get("view", ["map"])[0])
            for name, data in _events(self._http.client, view, question):
                self.wfile.write(f"event: {name}\ndata: {data}\n\n".encode())
        except (LiqClientError, ValueError) as error:
            self.wfile.write(f"event: failed\ndata: {json.dumps(_views.failure(error))}\n\n".encode())

    def _text(self, status: HTTPStatus, text: str) -> None:
        self._send(status, text.encode(), "text/plain; charset=utf-8")

    def _send(self, status: HTTPStatus, content: bytes, kind: str) -> None:
        self._head(status, kind, {"Content-Length": str(len(content))})
        self.wfile.write(content)

    def _head(self, status: HTTPStatus, kind: str, more: dict[str, str]) -> None:
        self.send_response(status)
        kept = "private, max-age=31536000, immutable" if self.path == _PLOTLY else "no-store"
        for name, value in {"Content-Type": kind, "Cache-Control": kept, **_HEADERS, **more}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: ANN401 - as the base class calls it
        """Write nothing for each request; failures are logged."""


def _view(name: str) -> View:
    for known in VIEWS:
        if name == known:
            return known
    raise ValueError(f"view must be one of {', '.join(VIEWS)}, was {name!r}")


def _events(client: Client, view: View, question: Question) -> Iterator[tuple[str, str]]:
    """Iterate over names and data of events: levels, moved, heartbeat, lost.

    The map is drawn of the levels in the stream. Of the other views it tells that it is time to ask again.
    """
    if question.as_of is not None:
        raise ValueError("live: must be off where as_of is given, as live is always the newest")
    question = _views.chosen(client, question)
    # Of the models that are compared, the default one tells when to look again.
    alone = view in ("map", "heatmap")
    stream = client.stream(
        question.symbol,
        venue=question.venue,
        model=question.model if alone else "",
        bin_size=question.bin_size,
        price_range=question.price_range,
        unit=question.unit,
        per_tier=view == "map" and question.per_tier,
        parameters=question.parameters if alone else None,
        max_rate=_LIVE_RATE,
        reconnect=True,
    )
    with closing(stream):
        for update in stream:
            if update.kind == "disconnected":
                yield "lost", json.dumps(_views.failure(cast("LiqClientError", update.error)))
            elif update.kind == "heartbeat":
                yield "heartbeat", json.dumps(_news(update))
            elif view == "map":
                yield "levels", _views.live_map(question, update.book.levels(), time.time())
            else:
                yield "moved", json.dumps(_news(update))


def _news(update: LevelsUpdate) -> dict[str, Any]:
    as_of = update.as_of
    return {
        "as_of_shown": shown_time(as_of),
        # Both by the server's clock.
        "age": None if as_of is None or update.sent_at is None else shown_age(max(update.sent_at - as_of, 0)),
    }
