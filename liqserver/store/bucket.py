"""A bucket of files behind HTTP, asked politely: listed, read, downloaded into a file that survives interruption.

What fails for a while is tried again, after waits that double and are drawn at random; a wait that the source names
(``Retry-After``) is kept by all who ask it. What is downloaded is not verified here: the caller knows the checksum.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import quote, urlencode, urlsplit
from urllib.request import getproxies, proxy_bypass
from xml.etree import ElementTree as ET

import urllib3

from liqserver import __version__

_TIMEOUT = urllib3.Timeout(connect=10.0, read=30.0)
_CHUNK = 1 << 16
# An attempt that brought this much closer to the end does not count as failed.
_PROGRESS = 1 << 16
# A page of a listing holds 1000 names; nothing that is read whole is larger.
_LARGEST_READ = 8 << 20
# A source that wants to be left alone for longer is left alone.
LONGEST_WAIT = 300.0
_LONGEST_BACKOFF = 30.0
_BUSY = (429, 500, 502, 503, 504)
_RETRY_AFTER = urllib3.Retry()
_NO_KEY = 404


class SourceError(Exception):
    """The source does not answer as it should; the message says which address and how."""


class SourceClosedError(SourceError):
    """The source asks to be left alone for long, or the asking was stopped: nothing more is to be asked of it."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where files are.

    Attributes
    ----------
    files : str
        Address below which the files are, without the last slash.
    listing : str
        Address that lists them (S3, ListObjectsV2); the same, unless the files are behind a cache that does not list.
    """

    files: str
    listing: str

    def __post_init__(self) -> None:
        for name in ("files", "listing"):
            address = getattr(self, name)
            parts = urlsplit(address)
            if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
                raise ValueError(f"address of {name} was {address!r}, must be like https://host or https://host/bucket")
            object.__setattr__(self, name, address.rstrip("/"))


PUBLIC_ARCHIVE = Source(
    files="https://data.binance.vision", listing="https://s3-ap-northeast-1.amazonaws.com/data.binance.vision"
)
"""The exchange's own archive: files from its cache, names from the bucket behind it."""


class _AgainError(Exception):
    """An attempt failed in a way that may pass; ``wait`` is what the source named, in seconds."""

    def __init__(self, reason: str, *, wait: float | None = None, progressed: bool = False) -> None:
        super().__init__(reason)
        self.wait = wait
        self.progressed = progressed


class Bucket:
    """A source that is being asked.

    Parameters
    ----------
    source : Source
        Where the files are.
    connections : int
        Connections kept open: how many threads will ask at the same time.
    attempts : int
        Attempts that may fail in a row, without any progress, before a request is given up.
    first_wait : float
        Seconds of the first wait, before chance takes up to half of it; each later one is twice as long.
    """

    def __init__(self, source: Source, *, connections: int = 1, attempts: int = 6, first_wait: float = 1.0) -> None:
        self.source = source
        self.attempts = attempts
        self.first_wait = first_wait
        self._stopped = threading.Event()
        self._asking = threading.Lock()
        self._not_before = 0.0
        self._pools = {address: _pool(address, connections) for address in {source.files, source.listing}}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        for pool in self._pools.values():
            pool.clear()

    def stop(self) -> None:
        """Let every request that is under way end soon, with `SourceClosedError`."""
        self._stopped.set()

    def wait(self, failures: int) -> None:
        """Wait as long as is due after so many failures in a row."""
        longest = min(self.first_wait * 2 ** (failures - 1), _LONGEST_BACKOFF)
        # Not for secrets: so that those who failed together do not come back together.
        self._sleep(longest * random.uniform(0.5, 1.0))  # noqa: S311

    def sizes(self, prefix: str, *, after: str = "", last: str | None = None) -> dict[str, int]:
        """Return names and sizes in bytes of the files that begin with ``prefix``, in order.

        Parameters
        ----------
        prefix : str
            What names begin with.
        after : str
            Leave out names up to this one.
        last : str, optional
            Leave out names after this one.

        Raises
        ------
        SourceError
            If they cannot be had.
        """
        found: dict[str, int] = {}
        query = {"list-type": "2", "prefix": prefix} | ({"start-after": after} if after else {})
        while True:
            url = f"{self.source.listing}/?{urlencode(query)}"
            body = self._persist(url, lambda url=url: self._body(self.source.listing, url))  # type: ignore[misc]
            if body is None:
                raise SourceError(f"{url} answered 404: is it the address of a bucket?")
            page, token = _read_listing(url, body)
            found |= page
            if token is None or (last is not None and page and max(page) >= last):
                break
            query["continuation-token"] = token
        return {key: found[key] for key in sorted(found) if last is None or key <= last}

    def read(self, key: str) -> bytes | None:
        """Return a small file, None where there is none of the name.

        Raises
        ------
        SourceError
            If it cannot be had.
        """
        url = self._url(key)
        return self._persist(url, lambda: self._body(self.source.files, url))

    def download(self, key: str, part: Path, size: int, received: Callable[[int], None]) -> bool:
        """Bring a file into ``part``, from where it ends on.

        Parameters
        ----------
        key : str
            Name of the file.
        part : Path
            Where it goes; what is there already is taken to be its beginning.
        size : int
            Size it has according to the listing: nothing is asked for when ``part`` is as long.
        received : callable
            Called with the bytes that came, negative when what was there is thrown away.

        Returns
        -------
        bool
            False where there is no file of the name.

        Raises
        ------
        SourceError
            If it cannot be had; what came stays in ``part``.
        OSError
            If it cannot be written.
        """
        url = self._url(key)
        return self._persist(url, lambda: self._rest(url, part, size, received))

    def _url(self, key: str) -> str:
        return f"{self.source.files}/{quote(key)}"

    def _persist[T](self, url: str, attempt: Callable[[], T]) -> T:
        """Attempt until it succeeds or has failed too often in a row."""
        failures = 0
        while True:
            with self._asking:
                pause = self._not_before - time.monotonic()
            self._sleep(pause)
            try:
                return attempt()
            except _AgainError as error:
                failures = 1 if error.progressed else failures + 1
                if failures >= self.attempts:
                    raise SourceError(f"{url} {error} ({failures} attempts)") from error
                if error.wait is not None:
                    if error.wait > LONGEST_WAIT:
                        raise SourceClosedError(
                            f"{url} {error} and asks to wait {error.wait:,.0f} s: nothing more is asked of it now"
                        ) from error
                    with self._asking:
                        self._not_before = max(self._not_before, time.monotonic() + error.wait)
                # In any case: those who were told the same moment must not all come at it.
                self.wait(failures)

    def _sleep(self, seconds: float) -> None:
        if self._stopped.wait(max(seconds, 0.0)):
            raise SourceClosedError("stopped")

    @contextmanager
    def _answer(self, address: str, url: str, headers: dict[str, str]) -> Iterator[urllib3.BaseHTTPResponse]:
        """Yield the answer to one request, its body unread; failures that may pass become `_AgainError`."""
        try:
            response = self._pools[address].request(
                "GET", url, headers=headers, preload_content=False, retries=False, redirect=False, timeout=_TIMEOUT
            )
        except urllib3.exceptions.HTTPError as error:
            raise _AgainError(f"cannot be reached: {error}") from error
        finished = False
        try:
            if response.status in _BUSY:
                raise _AgainError(f"answered {response.status} {response.reason}", wait=_retry_after(response))
            if response.status not in (200, 206, _NO_KEY, 416):
                raise SourceError(f"{url} answered {response.status} {response.reason}")
            yield response
            finished = True
        except urllib3.exceptions.HTTPError as error:
            raise _AgainError(f"broke off: {error}") from error
        finally:
            # A connection with an unread body cannot serve the next request.
            if finished:
                response.drain_conn()
                response.release_conn()
            else:
                response.close()

    def _body(self, address: str, url: str) -> bytes | None:
        with self._answer(address, url, {}) as response:
            if response.status == _NO_KEY:
                return None
            body = bytearray()
            while chunk := response.read1(_CHUNK, decode_content=False):
                body += chunk
                if len(body) > _LARGEST_READ:
                    raise SourceError(f"{url} answered with more than {_LARGEST_READ >> 20} MiB")
            return bytes(body)

    def _rest(self, url: str, part: Path, size: int, received: Callable[[int], None]) -> bool:
        have = part.stat().st_size if part.exists() else 0
        if have and have == size:
            return True
        headers = {"Range": f"bytes={have}-"} if have else {}
        came = 0
        try:
            with self._answer(self.source.files, url, headers) as response:
                if response.status == _NO_KEY:
                    return False
                if response.status == 416:
                    # The file there is not longer than what is here: it is another one.
                    received(-have)
                    part.unlink()
                    raise _AgainError(f"has no byte {have}")
                goes_on = response.status == 206
                if goes_on and not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
                    raise SourceError(f"{url} answered a request for bytes from {have} on with others")
                if have and not goes_on:
                    received(-have)
                with part.open("ab" if goes_on else "wb") as out:
                    while chunk := response.read1(_CHUNK, decode_content=False):
                        out.write(chunk)
                        came += len(chunk)
                        received(len(chunk))
                        self._sleep(0)
        except _AgainError as error:
            raise _AgainError(str(error), wait=error.wait, progressed=came >= _PROGRESS) from error
        return True


def _pool(address: str, connections: int) -> urllib3.PoolManager:
    """Return connections to an address, through the proxy that the environment names, if any."""
    headers = {"User-Agent": f"liqserver/{__version__}", "Accept-Encoding": "identity"}
    parts = urlsplit(address)
    proxy = None if proxy_bypass(parts.hostname or "") else getproxies().get(parts.scheme)
    if proxy is not None:
        return urllib3.ProxyManager(proxy, maxsize=connections, headers=headers)
    return urllib3.PoolManager(maxsize=connections, headers=headers)


def _retry_after(response: urllib3.BaseHTTPResponse) -> float | None:
    try:
        return _RETRY_AFTER.get_retry_after(response)
    except urllib3.exceptions.InvalidHeader:
        # What cannot be read is as good as nothing: the usual wait.
        return None


def _read_listing(url: str, body: bytes) -> tuple[dict[str, int], str | None]:
    """Return names with sizes of one page of a listing, and the token of the next one."""
    try:
        # Its size is bounded, and expat itself refuses entities that multiply.
        root = ET.fromstring(body)  # noqa: S314
    except ET.ParseError as error:
        raise SourceError(f"{url} answered with something that is no listing of a bucket ({error})") from error
    if not root.tag.endswith("ListBucketResult"):
        raise SourceError(f"{url} answered with {root.tag!r}, which is no listing of a bucket")
    page: dict[str, int] = {}
    for entry in root.iterfind("{*}Contents"):
        key, size = entry.findtext("{*}Key"), entry.findtext("{*}Size")
        if key is None or size is None or not size.isdecimal():
            raise SourceError(f"{url} answered with a listing that has an entry without name or size")
        page[key] = int(size)
    if root.findtext("{*}IsTruncated") != "true":
        return page, None
    token = root.findtext("{*}NextContinuationToken")
    if not token or not page:
        raise SourceError(f"{url} answered with a part of a listing and no way to the next")
    return page, token
