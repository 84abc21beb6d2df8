"""Market events for `Client.publish`, and what the server answers."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from liqclient._answers import DATA_KINDS, Watermark, read_watermarks
from liqclient._types import DataKind, PositionSide
from liqserver.v1 import common_pb2, market_data_pb2

_KINDS: Mapping[str, tuple[str, ...]] = {
    "trades": ("id", "ts_event", "price", "qty", "taker_buy"),
    "mark_prices": ("ts_event", "price"),
    "open_interest": ("ts_event", "open_interest"),
    "funding": ("ts_event", "rate", "interval_hours"),
    "liquidations": ("ts_event", "side", "price", "qty"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Events:
    """A batch of events of one symbol.

    Each kind is a mapping from the names of its columns to values of equal length; times are UNIX nanoseconds,
    prices quote units, quantities base units.

    Attributes
    ----------
    symbol
        Symbol.
    venue
        Venue; needed for a symbol that is new to the server.
    tick_size
        Smallest price step; needed for a symbol that is new to the server.
    trades
        ``id`` (unique per symbol), ``ts_event``, ``price``, ``qty``, ``taker_buy``.
    mark_prices
        ``ts_event``, ``price``.
    open_interest
        ``ts_event``, ``open_interest`` (contracts).
    funding
        ``ts_event``, ``rate`` (a fraction), ``interval_hours``.
    liquidations
        ``ts_event``, ``side`` (of the position: `PositionSide`), ``price``, ``qty``.
    complete_until
        UNIX nanoseconds: no event of the symbol before this moment follows.
    """

    symbol: str
    venue: str = ""
    tick_size: float = 0.0
    trades: Mapping[str, ArrayLike] | None = None
    mark_prices: Mapping[str, ArrayLike] | None = None
    open_interest: Mapping[str, ArrayLike] | None = None
    funding: Mapping[str, ArrayLike] | None = None
    liquidations: Mapping[str, ArrayLike] | None = None
    complete_until: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedEvent:
    """An event that the server refused.

    Attributes
    ----------
    kind
        Which kind; None for one that this client does not know.
    index
        Where it stood in the columns of its kind, from 0.
    ts_event
        UNIX nanoseconds it names.
    reason
        What was wrong, what is allowed.
    """

    kind: DataKind | None
    index: int
    ts_event: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishAnswer:
    """What became of a batch, or news of what is stored.

    Attributes
    ----------
    sequence
        Number of the batch, from 1; None for news.
    symbol, venue
        Which.
    durable
        UNIX nanoseconds: every event before this moment is stored and need never be sent again.
    accepts_from
        UNIX nanoseconds: events before this moment are refused.
    watermarks
        How far each input reaches.
    accepted
        Events of the batch that count.
    repeated_events
        Events of the batch that had counted before.
    refused
        Events that were refused; the others of the batch count.
    """

    sequence: int | None
    symbol: str
    venue: str
    durable: int
    accepts_from: int
    watermarks: tuple[Watermark, ...]
    accepted: int
    repeated_events: int
    refused: tuple[RefusedEvent, ...]


def publish_request(events: Events, sequence: int) -> market_data_pb2.PublishRequest:
    """Return the message of a batch.

    Raises
    ------
    TypeError, ValueError
        If a kind lacks a column or has one too many, or a value cannot be sent.
    """
    request = market_data_pb2.PublishRequest(
        venue=events.venue,
        symbol=events.symbol,
        sequence=sequence,
        tick_size=events.tick_size,
        complete_until=events.complete_until,
    )
    for kind, names in _KINDS.items():
        columns = getattr(events, kind)
        if columns is None:
            continue
        if set(columns) != set(names):
            raise ValueError(f"{kind} must have the columns {', '.join(names)}, had {', '.join(columns) or 'none'}")
        message = getattr(request, kind)
        for name in names:
            getattr(message, name).extend(_sides(columns[name]) if name == "side" else _values(columns[name], name))
    return request


def requests_of(batches: Iterable[Events], failures: list[BaseException]) -> Iterator[market_data_pb2.PublishRequest]:
    """Yield the messages of batches; what goes wrong is kept, as grpc does not tell it."""
    try:
        for sequence, events in enumerate(batches, start=1):
            yield publish_request(events, sequence)
    except BaseException as error:
        failures.append(error)
        raise


async def async_requests_of(
    batches: Iterable[Events] | AsyncIterable[Events], failures: list[BaseException]
) -> AsyncIterator[market_data_pb2.PublishRequest]:
    """Yield as `requests_of` does."""
    sequence = 0
    try:
        if isinstance(batches, AsyncIterable):
            async for events in batches:
                sequence += 1
                yield publish_request(events, sequence)
        else:
            for events in batches:
                sequence += 1
                yield publish_request(events, sequence)
    except BaseException as error:
        failures.append(error)
        raise


def publish_answer(message: market_data_pb2.PublishResponse) -> PublishAnswer:
    """Return an answer of `Client.publish`."""
    return PublishAnswer(
        sequence=message.sequence or None,
        symbol=message.symbol,
        venue=message.venue,
        durable=message.durable,
        accepts_from=message.accepts_from,
        watermarks=read_watermarks(message.watermarks),
        accepted=message.accepted,
        repeated_events=message.repeated_events,
        refused=tuple(
            RefusedEvent(kind=DATA_KINDS.get(of.kind), index=of.index, ts_event=of.ts_event, reason=of.reason)
            for of in message.refused
        ),
    )


_TYPES: Mapping[str, Any] = {"id": np.int64, "ts_event": np.int64, "taker_buy": np.bool_}


def _values(column: ArrayLike, name: str) -> list[Any]:
    values: NDArray[Any] = np.asarray(column)
    wanted = _TYPES.get(name, np.float64)
    if wanted is np.int64 and values.size and not np.issubdtype(values.dtype, np.integer):
        raise TypeError(f"{name} must be whole numbers, was {values.dtype}")
    if values.ndim != 1:
        raise ValueError(f"{name} must have one dimension, had {values.ndim}")
    plain: list[Any] = values.astype(wanted).tolist()
    return plain


def _sides(column: ArrayLike) -> list[common_pb2.Side.ValueType]:
    longs = np.asarray(column) == PositionSide.LONG
    if not np.all(longs | (np.asarray(column) == PositionSide.SHORT)):
        raise ValueError("side must be PositionSide.LONG or PositionSide.SHORT for each")
    return [common_pb2.SIDE_LONG if long else common_pb2.SIDE_SHORT for long in longs.tolist()]
