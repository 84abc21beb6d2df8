"""Publishes events of a live node from a thread of its own: who hands them over never waits."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from liqclient._client import Client
from liqclient._errors import LiqClientError, NotFound, Unavailable
from liqclient._publish import _KINDS, Events, PublishAnswer
from liqclient._stream import Pauses
from liqclient.nt._live import _HOPELESS, Report

type EventKind = Literal["trades", "mark_prices", "open_interest", "funding", "liquidations"]

_TS = {kind: names.index("ts_event") for kind, names in _KINDS.items()}
# What tells the server the price of a symbol that is new to it.
_PRICED = ("trades", "mark_prices")
# Seconds that what is left may take when the publisher is closed.
_PATIENCE = 5.0
# Seconds between looks for an answer, when nothing waits any more for the sake of larger batches.
_SHORT = 0.01


@dataclass(frozen=True, slots=True)
class PublishedSymbol:
    """A symbol as the server knows it, or learns it.

    Attributes
    ----------
    symbol, venue
        Names.
    tick_size
        Smallest price step, quote units.
    """

    symbol: str
    venue: str
    tick_size: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishCounts:
    """What became of events so far.

    Attributes
    ----------
    received
        Handed over.
    accepted
        Taken by the server.
    repeated
        Sent again after a break, and there already.
    refused
        Not taken by the server.
    dropped
        Thrown away unsent, as more came than could be kept.
    waiting
        Not sent yet.
    """

    received: int = 0
    accepted: int = 0
    repeated: int = 0
    refused: int = 0
    dropped: int = 0
    waiting: int = 0


class _Backlog:
    """Events of one symbol: those to be sent, and those that were but may be lost with the server."""

    def __init__(self, of: PublishedSymbol) -> None:
        self.of = of
        self.unsent: deque[tuple[EventKind, tuple[Any, ...]]] = deque()
        self.sent: deque[tuple[EventKind, tuple[Any, ...]]] = deque()
        # Whether the symbol is new to the server; if not, whether it was asked where to begin, and has said so.
        self.new = self.asked = self.ready = False

    def begin(self) -> None:
        """Take up a new connection: what is not known to be stored is sent again."""
        self.unsent.extendleft(reversed(self.sent))
        self.sent.clear()
        self.asked = self.ready = self.new

    def stored(self, durable: int, *, resent: bool) -> None:
        """Let go of what is stored."""
        for events in (self.sent, self.unsent) if resent else (self.sent,):
            while events and _is_stored(*events[0], durable):
                events.popleft()

    def take(self, most: int) -> list[tuple[EventKind, tuple[Any, ...]]]:
        """Return what is to be sent next, which counts as sent then."""
        rows = [self.unsent.popleft() for _ in range(min(most, len(self.unsent)))]
        if self.new and not self.sent and not any(kind in _PRICED for kind, _ in rows):
            self.unsent.extendleft(reversed(rows))
            return []
        self.sent.extend(rows)
        return rows


class Publisher:
    """Sends events in batches, through lost connections; bounded, and what is thrown away is counted.

    Parameters
    ----------
    symbols
        Symbols to publish.
    connect
        Makes a client.
    interval
        Seconds between batches.
    batch
        Most events of a batch.
    capacity
        Most events of a symbol that are kept, sent or not: the oldest are thrown away.
    report
        Called with what becomes of it, from another thread.
    """

    def __init__(
        self,
        symbols: Sequence[PublishedSymbol],
        connect: Callable[[], Client],
        *,
        interval: float,
        batch: int,
        capacity: int,
        report: Callable[[Report], None],
    ) -> None:
        self._connect = connect
        self._interval = interval
        self._batch = batch
        self._capacity = capacity
        self._report = report
        self._backlogs = {(of.venue, of.symbol): _Backlog(of) for of in symbols}
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._connection = 0
        self._client: Client | None = None
        self._received = self._accepted = self._repeated = self._refused = self._dropped = 0
        self._told_dropped = 0
        self._told_lost = ""
        self._given_up = False
        self._giving_up: threading.Timer | None = None
        # Not a daemon: what is left is sent before the program ends.
        self._thread = threading.Thread(target=self._run, name="liqclient publisher")

    @property
    def counts(self) -> PublishCounts:
        """What became of events so far."""
        with self._lock:
            return PublishCounts(
                received=self._received,
                accepted=self._accepted,
                repeated=self._repeated,
                refused=self._refused,
                dropped=self._dropped,
                waiting=sum(len(of.unsent) for of in self._backlogs.values()),
            )

    def start(self) -> None:
        """Begin to publish."""
        self._thread.start()

    def put(self, symbol: PublishedSymbol, kind: EventKind, row: tuple[Any, ...]) -> None:
        """Hand over an event, in the order of the columns of its kind in `liqclient.Events`; never waits."""
        of = self._backlogs[symbol.venue, symbol.symbol]
        with self._lock:
            self._received += 1
            if self._given_up:
                self._dropped += 1
                return
            of.unsent.append((kind, row))
            if len(of.unsent) + len(of.sent) > self._capacity:
                if of.sent:
                    of.sent.popleft()
                else:
                    of.unsent.popleft()
                    self._dropped += 1

    def close(self) -> None:
        """Send what is left, for some seconds at most, and end; returns at once."""
        if not self._closing.is_set() and self._thread.is_alive():
            self._giving_up = threading.Timer(_PATIENCE, self._give_up)
            self._giving_up.daemon = True
            self._giving_up.start()
        self._closing.set()

    def join(self, timeout: float | None = None) -> bool:
        """Wait until it has ended; return whether it has."""
        if self._thread.ident is not None:
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        pauses = Pauses()
        try:
            while True:
                try:
                    if self._publish(pauses):
                        continue
                    if self._closing.is_set():
                        return
                    raise Unavailable("the server ended the stream")
                except _HOPELESS as error:
                    self._report(Report("refused", f"publishing is refused, nothing is sent any more: {error}"))
                    return
                except LiqClientError as error:
                    if str(error) != self._told_lost and not self._closing.is_set():
                        self._told_lost = str(error)
                        self._report(Report("lost", f"nothing is published, trying again: {error}"))
                if self._closing.wait(pauses.next()):
                    return
        except Exception as error:
            self._report(Report("refused", f"publishing has failed: {error!r}"))
        finally:
            if self._giving_up is not None:
                self._giving_up.cancel()
            with self._lock:
                self._given_up = True
                for of in self._backlogs.values():
                    self._dropped += len(of.unsent)
                    of.unsent.clear()

    def _publish(self, pauses: Pauses) -> bool:
        """Publish until the stream ends; return whether to begin again at once."""
        with self._connect() as self._client:
            with self._lock:
                self._connection += 1
                for of in self._backlogs.values():
                    of.begin()
            try:
                for answer in self._client.publish(self._batches(self._connection)):
                    pauses.reset()
                    self._answered(answer)
            except NotFound:
                # A server cannot say where to begin with a symbol that is new to it: it begins with what comes first.
                asked = [of for of in self._backlogs.values() if of.asked and not of.ready]
                if not asked:
                    raise
                for of in asked:
                    of.new = True
                return True
        return False

    def _batches(self, connection: int) -> Iterator[Events]:
        """Yield batches, in a thread of grpc's, for as long as the connection is the newest."""
        while True:
            closing = self._closing.is_set()
            more = False
            for of in self._backlogs.values():
                with self._lock:
                    if connection != self._connection:
                        return
                    if asking := not of.asked:
                        of.asked = True
                    rows = of.take(self._batch) if of.ready else []
                    more |= bool(of.unsent) and (bool(rows) or not of.ready)
                if rows or asking:
                    yield _events(of.of, rows)
            if not more and closing:
                return
            if not more or not all(of.ready for of in self._backlogs.values()):
                if closing:
                    time.sleep(_SHORT)
                else:
                    self._closing.wait(self._interval)

    def _answered(self, answer: PublishAnswer) -> None:
        of = self._backlogs[answer.venue, answer.symbol]
        with self._lock:
            first, of.ready, of.new = not of.ready, True, False
            of.stored(answer.durable, resent=first)
            self._accepted += answer.accepted
            self._repeated += answer.repeated_events
            self._refused += len(answer.refused)
            dropped, self._told_dropped = self._dropped - self._told_dropped, self._dropped
        if self._told_lost:
            self._told_lost = ""
            self._report(Report("resumed", "publishing goes on"))
        if dropped:
            self._report(Report("gap", f"{dropped} events were thrown away unsent: more came than could be kept"))
        if answer.refused:
            why = answer.refused[0]
            self._report(
                Report("gap", f"{len(answer.refused)} events of {of.of.symbol} were refused, the first: {why.reason}")
            )

    def _give_up(self) -> None:
        if self._client is not None:
            self._client.close()


def _is_stored(kind: EventKind, row: tuple[Any, ...], durable: int) -> bool:
    # A minute begins with the trades and prices of its first moment; what is true of one moment ends it.
    ts: int = row[_TS[kind]]
    return ts < durable or (ts == durable and kind not in _PRICED)


def _events(of: PublishedSymbol, rows: list[tuple[EventKind, tuple[Any, ...]]]) -> Events:
    by_kind: dict[str, list[tuple[Any, ...]]] = {}
    for kind, row in rows:
        by_kind.setdefault(kind, []).append(row)
    columns: dict[str, Any] = {
        kind: dict(zip(_KINDS[kind], map(list, zip(*of_kind, strict=True)), strict=True))
        for kind, of_kind in by_kind.items()
    }
    return Events(symbol=of.symbol, venue=of.venue, tick_size=of.tick_size, **columns)
