"""What a live node does with a server, whatever becomes of the connection: follow levels, watch alerts."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from liqclient._aio import AsyncClient
from liqclient._alerts import AlertRule
from liqclient._errors import (
    Cancelled,
    InvalidAnswer,
    InvalidArgument,
    LiqClientError,
    PermissionDenied,
    Unauthenticated,
    Unavailable,
    Unimplemented,
)
from liqclient._stream import LevelBook, LevelsUpdate, Pauses, StreamPosition
from liqclient._times import to_duration_nanoseconds
from liqclient._types import Duration
from liqclient.nt._payload import AlertPayload, LevelsPayload
from liqclient.nt._query import LevelsQuery

type ReportKind = Literal["lost", "resumed", "gap", "stale", "fresh", "clock", "refused"]
"""What became of a subscription: cut off, whole again, again with something missing, of old data, of new data, the
clock is behind, given up."""

# What no waiting mends.
_HOPELESS = (InvalidArgument, PermissionDenied, Unauthenticated, Unimplemented)


@dataclass(frozen=True, slots=True)
class Report:
    """Word of what became of a subscription.

    Attributes
    ----------
    kind
        What.
    message
        One sentence for people.
    """

    kind: ReportKind
    message: str


class Follower(ABC):
    """Keeps to one subscription until it is cancelled, or the server refuses it for good.

    Attributes
    ----------
    troubles : set of str
        What is wrong now, of ``lost``, ``stale`` and ``refused``; empty when all is well.
    """

    def __init__(self, name: str, clock: Callable[[], int], report: Callable[[Report], None]) -> None:
        self._name = name
        self._clock = clock
        self._report = report
        self._lost_at: int | None = None
        self._lost_why: LiqClientError | None = None
        self.troubles: set[str] = set()

    async def run(self, client: AsyncClient) -> None:
        """Follow through errors that may pass, with longer and longer pauses by chance; connections make their own."""
        pauses = Pauses()
        while True:
            try:
                await self._follow(client, pauses)
                self._lost(Unavailable("the server ended the stream"))
            except Cancelled:
                return
            except _HOPELESS as error:
                self.troubles.add("refused")
                self._report(Report("refused", f"{self._name} are refused: {error}"))
                return
            except LiqClientError as error:
                self._lost(error)
            await asyncio.sleep(pauses.next())

    @abstractmethod
    async def _follow(self, client: AsyncClient, pauses: Pauses) -> None: ...

    def _lost(self, error: LiqClientError) -> None:
        """Note that nothing comes any more; each reason is told once."""
        if self._lost_at is None:
            self._lost_at = self._clock()
        self.troubles.add("lost")
        told, self._lost_why = self._lost_why, error
        if str(error) != str(told):
            self._report(Report("lost", f"{self._name} do not come, trying again: {error}"))

    def _found(self, kind: ReportKind, what: str) -> None:
        """Note that it comes again."""
        seconds = (self._clock() - (self._lost_at or self._clock())) / 1e9
        self._lost_at, self._lost_why = None, None
        self.troubles.discard("lost")
        self._report(Report(kind, f"{self._name} come again after {seconds:.1f} s: {what}"))


class LevelsFollower[P: LevelsPayload](Follower):
    """Follows the levels of one instrument.

    Parameters
    ----------
    query
        Which levels.
    to
        Type to deliver.
    max_rate, min_change, heartbeat
        As in `liqclient.Client.stream`.
    stale_after
        Nanoseconds: older data are reported.
    clock
        UNIX nanoseconds of now.
    deliver
        Called with levels, each as of a moment that is not before that of those before.
    report
        Called with what becomes of it.
    """

    def __init__(
        self,
        query: LevelsQuery,
        to: type[P],
        *,
        max_rate: float | None,
        min_change: float,
        heartbeat: Duration | None,
        stale_after: int,
        clock: Callable[[], int],
        deliver: Callable[[P], None],
        report: Callable[[Report], None],
    ) -> None:
        super().__init__(f"levels of {query.instrument_id}", clock, report)
        self._query = query
        self._to = to
        self._max_rate = max_rate
        self._min_change = min_change
        self._heartbeat = heartbeat
        self._stale_after = stale_after
        self._deliver = deliver
        self._book: LevelBook | None = None
        self._position: StreamPosition | None = None
        self._as_of = 0
        self._clock_behind = False

    async def _follow(self, client: AsyncClient, pauses: Pauses) -> None:
        updates = self._query.stream(
            client,
            max_rate=self._max_rate,
            min_change=self._min_change,
            heartbeat=self._heartbeat,
            resume=self._book,
        )
        try:
            async with aclosing(updates):
                async for update in updates:
                    self._take(update)
                    if update.kind != "disconnected":
                        pauses.reset()
        except InvalidAnswer:
            # What does not fit together is taken anew.
            self._book = None
            raise

    def _take(self, update: LevelsUpdate) -> None:
        self._book = update.book
        if update.kind == "disconnected":
            self._lost(update.error or Unavailable("the connection was lost"))
            return
        if update.disconnects and self._lost_at is None:
            self._lost_at = self._clock()
        if update.kind == "heartbeat":
            # The server may be about to begin anew, unless its newest levels are those that are here.
            if self._lost_at is not None and update.position is not None and update.as_of == self._as_of:
                self._found("resumed", "nothing is missing")
        else:
            if self._lost_at is not None:
                self._tell_gap(update)
            self._position = update.position
            self._hand_on(update.book)
        self._check_age(update)

    def _tell_gap(self, update: LevelsUpdate) -> None:
        if self._position is None:
            self._found("resumed", "they begin")
        elif update.position is not None and update.position.epoch == self._position.epoch:
            self._found("resumed", "nothing is missing, updates in between are merged")
        elif update.as_of is not None and update.as_of < self._as_of:
            self._found("gap", "the server is at an earlier moment, they go on when it has caught up")
        else:
            self._found("gap", "the server began anew, updates in between are lost")

    def _hand_on(self, book: LevelBook) -> None:
        levels = book.levels()
        where = levels.provenance
        if where.as_of < self._as_of:
            # A server that was killed is as far as what it had stored, until it is sent the rest again.
            return
        self._as_of = where.as_of
        least = max([where.as_of, *(mark.ts_init or 0 for mark in where.watermarks)]) + 1
        now = self._clock()
        behind = now < least
        if behind and not self._clock_behind:
            self._report(
                Report("clock", f"{self._name} speak of {(least - now) / 1e6:.3f} ms from now: this clock is behind")
            )
        self._clock_behind = behind
        self._deliver(self._query.live(levels, max(now, least), self._to))

    def _check_age(self, update: LevelsUpdate) -> None:
        if update.sent_at is None or update.book.position is None:
            return
        where = update.book.levels().provenance
        # By the server's clock alone: that of this machine may be another.
        age = update.sent_at - where.as_of + where.staleness
        if age > self._stale_after and "stale" not in self.troubles:
            self.troubles.add("stale")
            self._report(Report("stale", f"{self._name} are of old data: an input they need is {age / 1e9:.1f} s old"))
        elif age <= self._stale_after and "stale" in self.troubles:
            self.troubles.discard("stale")
            self._report(Report("fresh", f"{self._name} are of fresh data again"))


class AlertsFollower[P: AlertPayload](Follower):
    """Watches the alerts of one instrument.

    Parameters
    ----------
    query
        What rules look at.
    rules
        What to tell.
    to
        Type to deliver.
    clock
        UNIX nanoseconds of now.
    deliver
        Called with alerts.
    report
        Called with what becomes of it.
    """

    def __init__(
        self,
        query: LevelsQuery,
        rules: Sequence[AlertRule],
        to: type[P],
        *,
        clock: Callable[[], int],
        deliver: Callable[[P], None],
        report: Callable[[Report], None],
    ) -> None:
        super().__init__(f"alerts of {query.instrument_id}", clock, report)
        self._query = query
        self._rules = rules
        self._to = to
        self._deliver = deliver

    async def _follow(self, client: AsyncClient, pauses: Pauses) -> None:
        if self._lost_at is not None and isinstance(self._lost_why, Unavailable):
            # A watch says nothing until something happens.
            await client.wait_ready()
            self._found("gap", "what happened in between is not told")
        alerts = self._query.watch(client, self._rules)
        async with aclosing(alerts):
            async for alert in alerts:
                if self._lost_at is not None:
                    self._found("gap", "what happened in between is not told")
                pauses.reset()
                ts_init = max(self._clock(), alert.as_of + 1)
                self._deliver(
                    self._to.from_alert(alert, self._query.instrument_id, unit=self._query.unit, ts_init=ts_init)
                )


class StreamSettings(Protocol):
    """What a configuration says of streams: as `liqclient.Client.stream` takes it, and when levels count as stale."""

    @property
    def max_rate(self) -> float | None: ...
    @property
    def min_change(self) -> float: ...
    @property
    def heartbeat(self) -> int | str: ...
    @property
    def stale_after(self) -> int | str: ...


def follower_to(
    to: type[LevelsPayload] | type[AlertPayload],
    query: LevelsQuery,
    rules: Sequence[AlertRule],
    settings: StreamSettings,
    *,
    clock: Callable[[], int],
    deliver: Callable[[Any], None],
    report: Callable[[Report], None],
) -> Follower:
    """Return what keeps to a subscription of a type; raises ValueError for alerts without rules."""
    if issubclass(to, AlertPayload):
        if not rules:
            raise ValueError("the client's configuration has no `alert_rules`")
        return AlertsFollower(query, rules, to, clock=clock, deliver=deliver, report=report)
    return LevelsFollower(
        query,
        to,
        max_rate=settings.max_rate,
        min_change=settings.min_change,
        heartbeat=settings.heartbeat,
        stale_after=to_duration_nanoseconds(settings.stale_after),
        clock=clock,
        deliver=deliver,
        report=report,
    )
