"""``Publish``: batches of events in, acknowledgements out, news of what is stored in between."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from concurrent.futures import Executor
from contextlib import suppress

import numpy as np
from google.protobuf.message import Message

from liqserver.live.errors import InvalidField, Stopping
from liqserver.live.feed import Feed, Position
from liqserver.live.intake import Added
from liqserver.rpc.convert import DATA_KINDS
from liqserver.store.events import Batch
from liqserver.v1 import common_pb2, market_data_pb2

# Most answers that wait for a publisher to read them; then nothing more of it is taken.
_UNREAD = 64
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
                answer = await loop.run_in_executor(self._executor, self._take, request)
                symbols.add((answer.venue, answer.symbol))
                await answers.put(answer)
            await answers.put(None)
        except Exception as error:  # raised again where the stream is served
            await answers.put(error)

    def _take(self, request: market_data_pb2.PublishRequest) -> market_data_pb2.PublishResponse:
        batch = _batch(request)
        if len(batch) or batch.complete_until is not None:
            added, position = self._feed.publish(request.venue, request.symbol, request.tick_size, batch)
        else:
            added, position = Added(0, 0, ()), self._feed.position(request.venue, request.symbol)
        answer = _news(position)
        answer.sequence = request.sequence
        answer.accepted = added.accepted
        answer.repeated_events = added.repeated
        for of in added.refused:
            answer.refused.add(kind=_KINDS[of.kind], index=of.index, ts_event=of.ts_event, reason=of.reason)
        return answer

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
    trades, marks, oi = request.trades, request.mark_prices, request.open_interest
    funding, liquidations = request.funding, request.liquidations
    for name, columns in (
        ("trades", trades),
        ("mark_prices", marks),
        ("open_interest", oi),
        ("funding", funding),
        ("liquidations", liquidations),
    ):
        _check_lengths(name, columns)
    sides = np.array(liquidations.side, dtype=np.int64)
    for wrong in np.flatnonzero(~np.isin(sides, (common_pb2.SIDE_LONG, common_pb2.SIDE_SHORT))):
        raise InvalidField(f"liquidations.side[{wrong}]", int(sides[wrong]), "must be SIDE_LONG or SIDE_SHORT")
    return Batch(
        trade_id=np.array(trades.id, dtype=np.int64),
        trade_ts=np.array(trades.ts_event, dtype=np.int64),
        trade_price=np.array(trades.price, dtype=np.float64),
        trade_qty=np.array(trades.qty, dtype=np.float64),
        taker_buy=np.array(trades.taker_buy, dtype=np.bool_),
        mark_ts=np.array(marks.ts_event, dtype=np.int64),
        mark_price=np.array(marks.price, dtype=np.float64),
        oi_ts=np.array(oi.ts_event, dtype=np.int64),
        open_interest=np.array(oi.open_interest, dtype=np.float64),
        funding_ts=np.array(funding.ts_event, dtype=np.int64),
        funding_rate=np.array(funding.rate, dtype=np.float64),
        funding_hours=np.array(funding.interval_hours, dtype=np.float64),
        liquidation_ts=np.array(liquidations.ts_event, dtype=np.int64),
        liquidation_side=np.where(sides == common_pb2.SIDE_LONG, 1, -1).astype(np.int8),
        liquidation_price=np.array(liquidations.price, dtype=np.float64),
        liquidation_qty=np.array(liquidations.qty, dtype=np.float64),
        complete_until=request.complete_until if request.HasField("complete_until") else None,
    )


def _check_lengths(name: str, columns: Message) -> None:
    expected = len(columns.ts_event)  # type: ignore[attr-defined]
    for field in columns.DESCRIPTOR.fields:
        length = len(getattr(columns, field.name))
        if length != expected:
            raise InvalidField(
                f"{name}.{field.name}", f"{length} values", f"must be as many as {name}.ts_event, {expected}"
            )
