"""Streams of levels: what each reader has, what it may be sent, and the bytes of it, encoded once for all."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Self

from liqserver.live.answers import LevelsQuery
from liqserver.live.errors import InvalidField, Stopping
from liqserver.live.views import Position, View, Views, ViewState
from liqserver.rpc import convert
from liqserver.rpc.encoded import encoded_whole
from liqserver.v1 import liquidation_pb2

SECOND = 1_000_000_000
HEARTBEAT = SECOND
HEARTBEATS = (SECOND // 10, 60 * SECOND)


@dataclass(frozen=True, slots=True)
class Wish:
    """What a reader asks for.

    Attributes
    ----------
    query : LevelsQuery
        What to show.
    min_change : float
        See ``liqserver.live.views.advance``.
    spacing : float
        Least seconds between updates.
    heartbeat : float
        Seconds without an update after which a heartbeat is sent.
    resume_from : Position or None
        What the reader has.
    """

    query: LevelsQuery
    min_change: float
    spacing: float
    heartbeat: float
    resume_from: Position | None

    @classmethod
    def of(cls, request: liquidation_pb2.StreamLevelsRequest) -> Self:
        """Return what ``request`` asks for; raises InvalidField."""
        query = convert.levels_query(request.query, unused=("derived", "band"))
        if not (math.isfinite(request.max_rate) and request.max_rate >= 0):
            raise InvalidField(
                "max_rate", request.max_rate, "must be updates per second, or 0 for as many as there are"
            )
        if not 0 <= request.min_change <= 1:
            raise InvalidField("min_change", request.min_change, "must be a fraction of the side's amount, in [0, 1]")
        least, most = HEARTBEATS
        if request.heartbeat != 0 and not least <= request.heartbeat <= most:
            raise InvalidField(
                "heartbeat",
                request.heartbeat,
                f"must be from {least} (100 ms) to {most} (a minute) nanoseconds, or 0 for one second",
            )
        return cls(
            query,
            request.min_change,
            1 / request.max_rate if request.max_rate else 0.0,
            (request.heartbeat or HEARTBEAT) / SECOND,
            convert.stream_position(request),
        )


class LevelStreams:
    """Serves ``StreamLevels`` and ``StreamLevelsOnCredit``; for use in one event loop.

    Parameters
    ----------
    views : Views
        What is streamed.
    clock : callable
        UNIX nanoseconds of now.
    """

    def __init__(self, views: Views, clock: Callable[[], int]) -> None:
        self.views = views
        self._clock = clock
        self._readers: set[Reader] = set()
        self._stopping = False

    def __len__(self) -> int:
        """Return how many readers there are."""
        return len(self._readers)

    async def serve(self, request: liquidation_pb2.StreamLevelsRequest) -> AsyncIterator[bytes]:
        """Yield the encoded messages of ``StreamLevels``."""
        reader = await self._open(request)
        try:
            while True:
                message = reader.message()
                if message is not None:
                    yield message
                elif reader.over:
                    return
                else:
                    await reader.news()
        finally:
            self._close(reader)

    async def serve_on_credit(
        self, requests: AsyncIterator[liquidation_pb2.StreamLevelsOnCreditRequest]
    ) -> AsyncIterator[bytes]:
        """Yield the encoded messages of ``StreamLevelsOnCredit``; ends when all credit is used and none can come."""
        first = await anext(aiter(requests), None)
        if first is None or not first.HasField("open"):
            raise InvalidField("open", "missing", "must be in the first message")
        if first.credit:
            raise InvalidField("credit", first.credit, "must come in a message of its own, after the first")
        reader = await self._open(first.open, credit=0)
        taking = asyncio.create_task(_take_credit(requests, reader))
        try:
            while True:
                message = reader.message()
                if message is not None:
                    yield convert.on_credit(message)
                elif reader.over:
                    return
                else:
                    await reader.news()
        finally:
            taking.cancel()
            self._close(reader)

    def stop(self) -> None:
        """End all streams, and those that begin from now on, with ``Stopping``; twice does no harm."""
        if self._stopping:
            return
        self._stopping = True
        self.views.close()
        for reader in tuple(self._readers):
            reader.fail(Stopping())

    async def _open(self, request: liquidation_pb2.StreamLevelsRequest, credit: float = math.inf) -> Reader:
        wish = Wish.of(request)
        if self._stopping:
            raise Stopping
        view = await self.views.open(wish.query, wish.min_change)
        if self._stopping:
            raise Stopping
        reader = Reader(view, wish, self._clock, credit)
        self._readers.add(reader)
        return reader

    def _close(self, reader: Reader) -> None:
        self._readers.discard(reader)
        reader.close()


async def _take_credit(requests: AsyncIterator[liquidation_pb2.StreamLevelsOnCreditRequest], reader: Reader) -> None:
    async for request in requests:
        if request.HasField("open"):
            reader.fail(InvalidField("open", "given again", "must be in the first message only"))
            return
        if request.credit < 1:
            reader.fail(InvalidField("credit", request.credit, "must be at least 1"))
            return
        reader.grant(request.credit)
    reader.grant_no_more()


class Reader:
    """One reader of a view: of what was sent it knows the position alone, so whatever it is sent next is the newest.

    Parameters
    ----------
    view : View
        What it reads.
    wish : Wish
        How.
    clock : callable
        UNIX nanoseconds of now.
    credit : float
        How many updates may be sent; infinite for a reader that takes what comes.
    """

    def __init__(self, view: View, wish: Wish, clock: Callable[[], int], credit: float) -> None:
        self._view = view
        self._wish = wish
        self._clock = clock
        self._credit = credit
        self._more_credit = True
        self._has: Position | None = None
        if view.state.follows(wish.resume_from):
            # One object for one position, so that comparing them is cheap.
            self._has = view.state.position if wish.resume_from == view.state.position else wish.resume_from
        self._failure: Exception | None = None
        self._loop = asyncio.get_running_loop()
        self._next_update = self._loop.time()
        self._next_heartbeat = self._until = self._next_update + wish.heartbeat
        self._woken: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        view.follow(self)

    @property
    def over(self) -> bool:
        """Whether there will be no more messages: all credit is used and none can come."""
        return not self._credit and not self._more_credit

    def message(self) -> bytes | None:
        """Return the encoded message that is to be sent now; None if there is none. Raises what ended the stream."""
        view = self._view
        failure = self._failure or view.failure
        if failure is not None:
            raise failure
        now = self._loop.time()
        state = view.state
        self._until = self._next_heartbeat
        if state.position is self._has:
            view.wait(self)
        elif self._credit:
            if now >= self._next_update:
                self._next_update = now + self._wish.spacing
                self._next_heartbeat = now + self._wish.heartbeat
                self._credit -= 1
                return self._update(state)
            self._until = min(self._next_heartbeat, self._next_update)
        if now >= self._next_heartbeat:
            self._next_heartbeat = now + self._wish.heartbeat
            ts = self._clock()
            return convert.heartbeat_update(state.told.provenance, self._has, ts) + convert.sent_at(ts)
        return None

    def news(self) -> asyncio.Future[None]:
        """Return what is done as soon as there may be a message again; to be awaited before anything else happens."""
        # A timer that fires too early is cheaper than a new one for every update.
        if self._timer is None or self._timer.when() > self._until:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(self._until, self._ring)
        self._woken = self._loop.create_future()
        return self._woken

    def grant(self, credit: int) -> None:
        """Allow ``credit`` more updates."""
        self._credit += credit
        self.wake()

    def grant_no_more(self) -> None:
        """No more credit can come."""
        self._more_credit = False
        self.wake()

    def fail(self, failure: Exception) -> None:
        """Have ``message`` raise ``failure`` from now on."""
        self._failure = failure
        self.wake()

    def wake(self) -> None:
        """End the wait for ``news``."""
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)

    def close(self) -> None:
        """Leave the view."""
        if self._timer is not None:
            self._timer.cancel()
        self._view.leave(self)

    def _update(self, state: ViewState) -> bytes:
        has, self._has = self._has, state.position
        ts = self._clock()
        # No sequence is 0: all bins.
        after = has.sequence if has is not None and has.epoch == state.position.epoch else 0
        if not after:
            snapshot = encoded_whole(state) + convert.generated_at(ts)
            return convert.snapshot_update(state.position, snapshot) + convert.sent_at(ts)
        encoded = state.encodings.get(after)
        if encoded is None:
            encoded = state.encodings[after] = convert.delta_update(state, after)
        return encoded + convert.sent_at(ts)

    def _ring(self) -> None:
        self._timer = None
        self.wake()
