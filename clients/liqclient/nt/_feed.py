"""Levels that a backtest engine fetches from a server as it goes."""

from __future__ import annotations

from collections.abc import Generator

from nautilus_trader.backtest.engine import BacktestEngine
from nautilus_trader.model.data import CustomData, DataType

from liqclient._client import Client
from liqclient._times import to_nanoseconds
from liqclient._types import Time
from liqclient.nt._data import LiquidationLevels
from liqclient.nt._query import LevelsQuery


def replay_levels(
    client: Client, query: LevelsQuery, *, start: Time | None = None, end: Time | None = None
) -> Generator[LiquidationLevels, None, None]:
    """Iterate over the levels that are available from ``start`` to ``end``, as the server computes them.

    Parameters
    ----------
    client
        Whom to ask.
    query
        What to ask for.
    start, end
        Bounds of ``ts_init``, both inclusive: UNIX nanoseconds, an aware datetime, or ISO 8601 text with zone. None
        for all that the server's data allow.

    Raises
    ------
    LiqClientError
        While iterating, if the call fails.
    """
    first = None if start is None else to_nanoseconds(start)
    last = None if end is None else to_nanoseconds(end)
    return query.replay(client, first, last, LiquidationLevels)


def add_levels(engine: BacktestEngine, client: Client, query: LevelsQuery) -> None:
    """Let a backtest engine fetch levels from a server while it runs, over the time of the data it has been given.

    One is held in advance, so memory does not grow with the backtest. Add all market data first. ``client`` must
    stay open until the run has ended; the engine can run over the same levels once only, as over any iterator.

    Parameters
    ----------
    engine
        Engine with its market data.
    client
        Whom to ask.
    query
        What to ask for.

    Raises
    ------
    ValueError
        If the engine has no data yet, which would tell neither when to begin nor when to end.
    LiqClientError
        At once if the first call fails, and from the engine's ``run`` if the stream does later.
    """
    data = engine.data
    if not data:
        raise ValueError("the engine must have its market data before levels are added, had none")
    # An engine's clock starts at its first datum and cannot go back for levels that were available before.
    start, end = min(datum.ts_init for datum in data), max(datum.ts_init for datum in data)
    levels = replay_levels(client, query, start=start, end=end)
    data_type = DataType(LiquidationLevels)
    name = f"{LiquidationLevels.__name__}.{query.instrument_id}"
    engine.add_data_iterator(name, ([CustomData(data_type, of)] for of in levels))
