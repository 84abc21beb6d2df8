"""``Publish``: batches of events in, acknowledgements out, news of what is stored in between."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from concurrent.futures import Executor
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from liqserver.live.errors import InvalidField, Stopping
from liqserver.live.feed import Feed, Position
from liqserver.live.intake import Added
from liqserver.rpc.convert import DATA_KINDS
from liqserver.store.events import Batch
from liqserver.v1 import common_pb2, market_data_pb2

# Most answers that wait for a publisher to read them; then nothing more of it is taken.
_UNREAD = 64
# Bytes of a batch that is looked at in the event loop.
_SMALL = 4_096
# Seconds between writes: one transaction for all symbols.
_WRITE_EVERY = 0.5
_KINDS = DATA_KINDS | {"liquidations": common_pb2.DATA_KIND_LIQUIDATIONS}

log = logging.getLogger(__name__)

type _Answers = asyncio.Queue[market_data_pb2.PublishResponse | Exception | None]


class PublishStreams:
    """Serves publishers; belongs to the event loop it was started in.

    Parameters
    ----------
    feed : Feed
        Takes batches.
    executor : Executor
        Where batches are taken, off the event loop.
    writer : Executor
        Of one thread: where what has ended is stored.
    """

    def __init__(self, feed: Feed, executor: Executor, writer: Executor) -> None:
        self._feed = feed
        self._executor = executor
        self._writer = writer
        self._listeners: dict[_Answers, set[tuple[str, str]]] = {}
        self._stopping = False

    def start(self) -> None:
        """Begin to store what has ended, again and again."""
        self._writing = asyncio.create_task(self._write_for_ever())

    def end_streams(self) -> None:
        """End all streams, and those that begin from now on, with ``Stopping``."""
        self._stopping = True
        for answers in self._listeners:
            while answers.full():
                answers.get_nowait()
            answers.put_nowait(Stopping())

    async def stop(self) -> None:
        """Store what has ended a last time; the rest was not acknowledged as durable, and is sent again."""
        self._writing.cancel()
        with suppress(asyncio.CancelledError):
            await self._writing
        await self._write()

    async def serve(
        self, requests: AsyncIterator[market_data_pb2.PublishRequest]
    ) -> AsyncIterator[market_data_pb2.PublishResponse]:
        """Yield an answer for each batch, and news when more is stored; at the end, what is stored then."""
        if self._stopping:
            raise Stopping
        answers: _Answers = asyncio.Queue(_UNREAD)
        symbols = self._listeners[answers] = set()
        reading = asyncio.create_task(self._read(requests, answers, symbols))
        try:
            while (answer := await answers.get()) is not None:
                if isinstance(answer, Exception):
                    raise answer
                yield answer
            for position in await self._write():
                if (position.venue, position.symbol) in symbols:
                    yield _news(position)
        finally:
            del self._listeners[answers]
            reading.cancel()

    async def _read(
        self,
        requests: AsyncIterator[market_data_pb2.PublishRequest],
        answers: _Answers,
        symbols: set[tuple[str, str]],
    ) -> None:
        loop = asyncio.get_running_loop()
        sequence = 0
        try:
            async for request in requests:
                if request.sequence <= sequence:
                    raise InvalidField("sequence", request.sequence, f"must be greater than {sequence}, the one before")
                sequence = request.sequence
                # What is small is looked at right here: handing it to a thread would take as long.
                batch = _batch(request) if request.ByteSize() <= _SMALL else None
                taken = None
                if batch is not None:
                    taken = self._feed.publish_at_once(request.venue, request.symbol, batch)
                if taken is None:
                    taken = await loop.run_in_executor(self._executor, self._take, request, batch)
                answer = _answer(request, *taken)
                symbols.add((answer.venue, answer.symbol))
                await answers.put(answer)
            await answers.put(None)
        except Exception as error:  # raised again where the stream is served
            await answers.put(error)

    def _take(self, request: market_data_pb2.PublishRequest, batch: Batch | None) -> tuple[Added, Position]:
        batch = _batch(request) if batch is None else batch
        if len(batch) or batch.complete_until is not None:
            return self._feed.publish(request.venue, request.symbol, request.tick_size, batch)
        return Added(0, 0, ()), self._feed.position(request.venue, request.symbol)

    async def _write_for_ever(self) -> None:
        while True:
            await asyncio.sleep(_WRITE_EVERY)
            try:
                positions = await self._write()
            except Exception:
                # Kept, and tried again: nothing of it is acknowledged as durable before it is.
                log.exception("what was published could not be stored; trying again")
                continue
            for position in positions:
                for answers, symbols in self._listeners.items():
                    # Who does not read gets later news instead.
                    if (position.venue, position.symbol) in symbols and not answers.full():
                        answers.put_nowait(_news(position))

    async def _write(self) -> list[Position]:
        return await asyncio.get_running_loop().run_in_executor(self._writer, self._feed.write)


def _answer(
    request: market_data_pb2.PublishRequest, added: Added, position: Position
) -> market_data_pb2.PublishResponse:
    answer = _news(position)
    answer.sequence = request.sequence
    answer.accepted = added.accepted
    answer.repeated_events = added.repeated
    for of in added.refused:
        answer.refused.add(kind=_KINDS[of.kind], index=of.index, ts_event=of.ts_event, reason=of.reason)
    return answer


def _news(of: Position) -> market_data_pb2.PublishResponse:
    return market_data_pb2.PublishResponse(
        symbol=of.symbol,
        venue=of.venue,
        durable=of.durable,
        accepts_from=of.accepts_from,
        watermarks=[
            common_pb2.Watermark(kind=_KINDS[kind], ts_event=ts, ts_init=ts) for kind, ts in of.watermarks.items()
        ],
    )


def _batch(request: market_data_pb2.PublishRequest) -> Batch:
    columns: dict[str, NDArray[Any]] = {}
    for kind, message in request.ListFields():
        names = _COLUMNS.get(kind.name)
        if names is None:
            continue
        expected = len(message.ts_event)
        for field, (name, dtype) in names.items():
            column = columns[name] = np.array(getattr(message, field), dtype=dtype)
            if len(column) != expected:
                raise InvalidField(
                    f"{kind.name}.{field}",
                    f"{len(column)} values",
                    f"must be as many as {kind.name}.ts_event, {expected}",
                )
    if "liquidation_side" in columns:
        sides = columns["liquidation_side"]
        for wrong in np.flatnonzero(~np.isin(sides, (common_pb2.SIDE_LONG, common_pb2.SIDE_SHORT))):
            raise InvalidField(f"liquidations.side[{wrong}]", int(sides[wrong]), "must be SIDE_LONG or SIDE_SHORT")
        columns["liquidation_side"] = np.where(sides == common_pb2.SIDE_LONG, 1, -1).astype(np.int8)
    until = request.complete_until if request.HasField("complete_until") else None
    return Batch(**columns, complete_until=until)


# The fields of each message of columns, what they are in a batch, and their types.
_COLUMNS: dict[str, dict[str, tuple[str, type[np.generic]]]] = {
    "trades": {
        "ts_event": ("trade_ts", np.int64),
        "id": ("trade_id", np.int64),
        "price": ("trade_price", np.float64),
        "qty": ("trade_qty", np.float64),
        "taker_buy": ("taker_buy", np.bool_),
    },
    "mark_prices": {"ts_event": ("mark_ts", np.int64), "price": ("mark_price", np.float64)},
    "open_interest": {"ts_event": ("oi_ts", np.int64), "open_interest": ("open_interest", np.float64)},
    "funding": {
        "ts_event": ("funding_ts", np.int64),
        "rate": ("funding_rate", np.float64),
        "interval_hours": ("funding_hours", np.float64),
    },
    "liquidations": {
        "ts_event": ("liquidation_ts", np.int64),
        "side": ("liquidation_side", np.int64),
        "price": ("liquidation_price", np.float64),
        "qty": ("liquidation_qty", np.float64),
    },
}
