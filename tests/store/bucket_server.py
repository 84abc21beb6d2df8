"""A stand-in for the exchange's public archive: a folder served as a bucket over HTTP, with faults on demand.

It lists (ListObjectsV2, in pages), serves files and ranges of them, and remembers what it was asked. A fault is a
function of an answer under way; faults of a file are taken one by one, then the one given to ``always`` for good.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

Fault = Callable[["Answer"], None]


@dataclass
class Answer:
    """What is about to be sent; ``cut`` closes the connection after so many bytes of the body."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    piece: int = 1 << 20
    pause: float = 0.0


def cut_after(n: int) -> Fault:
    """The connection ends after ``n`` bytes of the body."""

    def fault(answer: Answer) -> None:
        answer.cut = n

    return fault


def slowly(piece: int, pause: float) -> Fault:
    """The body comes in pieces, with a pause after each."""

    def fault(answer: Answer) -> None:
        answer.piece, answer.pause = piece, pause

    return fault


def other_body(body: bytes) -> Fault:
    """Another body than that of the file, as if it were the right one."""

    def fault(answer: Answer) -> None:
        answer.status, answer.body = 200, body
        answer.headers.pop("Content-Range", None)

    return fault


def refused(status: int, retry_after: str | None = None) -> Fault:
    """No file but an error."""

    def fault(answer: Answer) -> None:
        answer.status, answer.body = status, b"<Error/>"
        answer.headers = {"Retry-After": retry_after} if retry_after is not None else {}

    return fault


@dataclass
class Request:
    """What was asked: the name of the file (empty for a listing), the range, when."""

    key: str
    range: str | None
    query: dict[str, list[str]]
    at: float


class BucketServer:
    """A folder as a bucket.

    ``hidden`` are names that are not there (yet); ``page_size`` is how many names a page of a listing has at most;
    ``ranges`` whether ranges are served; ``most`` counts how many files were asked for at the same time.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.hidden: set[str] = set()
        self.page_size = 1000
        self.ranges = True
        self.requests: list[Request] = []
        self.most = 0
        self._now = 0
        self._lock = threading.Lock()
        self._faults: dict[str, list[Fault]] = defaultdict(list)
        self._always: dict[str, Fault] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    @property
    def address(self) -> str:
        """Address of the bucket."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def add_fault(self, key: str, *faults: Fault) -> None:
        """Let the next answers about a file go wrong; "" stands for listings."""
        self._faults[key] += faults

    def always(self, key: str, fault: Fault) -> None:
        """Let every answer about a file go wrong."""
        self._always[key] = fault

    def hide(self, text: str) -> None:
        """Take away the files whose names contain a text."""
        self.hidden |= {key for key in self._all_names() if text in key}

    def publish(self, text: str = "") -> None:
        """Bring back the files whose names contain a text."""
        self.hidden -= {key for key in self.hidden if text in key}

    def asked(self, ending: str = "") -> list[str]:
        """Names of files that were asked for, in order."""
        return [request.key for request in self.requests if request.key and request.key.endswith(ending)]

    def names(self) -> list[str]:
        """Names there are."""
        return [key for key in self._all_names() if key not in self.hidden]

    def _all_names(self) -> list[str]:
        paths = (path for path in self.folder.rglob("*") if path.is_file())
        return sorted(path.relative_to(self.folder).as_posix() for path in paths)

    def _answer(self, request: Request) -> Answer:
        if not request.key:
            answer = Answer(200, self._listing(request.query).encode(), {"Content-Type": "application/xml"})
        elif request.key in self.hidden or not (self.folder / request.key).is_file():
            answer = Answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
        else:
            body = (self.folder / request.key).read_bytes()
            answer = Answer(200, body)
            if request.range is not None and self.ranges:
                first = int(request.range.removeprefix("bytes=").removesuffix("-"))
                if first >= len(body):
                    answer = Answer(416, b"")
                else:
                    where = f"bytes {first}-{len(body) - 1}/{len(body)}"
                    answer = Answer(206, body[first:], {"Content-Range": where})
        with self._lock:
            faults = self._faults[request.key]
            fault = faults.pop(0) if faults else self._always.get(request.key)
        if fault is not None:
            fault(answer)
        return answer

    def _listing(self, query: dict[str, list[str]]) -> str:
        assert query["list-type"] == ["2"]
        prefix = query.get("prefix", [""])[0]
        # The real token is opaque; this one is the last name of the page before.
        after = query.get("continuation-token", query.get("start-after", [""]))[0].removeprefix("token:")
        keys = [key for key in self.names() if key.startswith(prefix) and key > after]
        page = keys[: self.page_size]
        more = len(page) < len(keys)
        contents = "".join(
            f"<Contents><Key>{escape(key)}</Key><LastModified>2025-12-02T03:00:00.000Z</LastModified>"
            f"<Size>{(self.folder / key).stat().st_size}</Size><StorageClass>STANDARD</StorageClass></Contents>"
            for key in page
        )
        token = f"<NextContinuationToken>token:{escape(page[-1])}</NextContinuationToken>" if more else ""
        return (
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>stand-in</Name>'
            f"<Prefix>{escape(prefix)}</Prefix>{token}<KeyCount>{len(page)}</KeyCount>"
            f"<MaxKeys>{self.page_size}</MaxKeys><IsTruncated>{str(more).lower()}</IsTruncated>{contents}"
            "</ListBucketResult>"
        )

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        bucket = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                request = Request(
                    unquote(parts.path).lstrip("/"), self.headers["Range"], parse_qs(parts.query), time.monotonic()
                )
                with bucket._lock:
                    bucket.requests.append(request)
                    bucket._now += 1
                    bucket.most = max(bucket.most, bucket._now)
                try:
                    self._send(bucket._answer(request))
                except OSError:
                    # The client went away, as a killed one does.
                    self.close_connection = True
                finally:
                    with bucket._lock:
                        bucket._now -= 1

            def _send(self, answer: Answer) -> None:
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                body = answer.body if answer.cut is None else answer.body[: answer.cut]
                for at in range(0, len(body), answer.piece):
                    self.wfile.write(body[at : at + answer.piece])
                    self.wfile.flush()
                    time.sleep(answer.pause)
                if answer.cut is not None:
                    self.close_connection = True

            def log_message(self, *_: Any) -> None:
                pass

        return Handler


@contextmanager
def serving(folder: Path) -> Iterator[BucketServer]:
    """Serve a folder as long as the block lasts."""
    server = BucketServer(folder)
    try:
        yield server
    finally:
        server.close()
