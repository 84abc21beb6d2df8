"""LiquidationHeatmap's open interest levels as one query: what its users wait for at every request.

Written anew from its description, on tables of the same database in order of time: five-minute candles joined with
the change of open interest, side by colour, entries floored to bins, scaled to the newest open interest, crossed with
the leverage tiers, kept on the right side of price, summed by the bin of the liquidation price. The original sums in
Python after its query; here the query does.
"""

from __future__ import annotations

from typing import Any

import duckdb
from numpy.typing import NDArray

DAY = 86_400_000_000_000
BIN = 500.0
"""Quote units, the original's for 30 days."""

_TABLES = """
    CREATE TABLE baseline_candles AS
    SELECT symbol_id, (ts_event - 1) // 300000000000 * 300000000000 AS open_time,
           arg_min(open, ts_event) AS open, arg_max(close, ts_event) AS close, sum(quote_volume) AS quote_volume
    FROM klines WHERE period = 60000000000 GROUP BY ALL ORDER BY symbol_id, open_time;

    CREATE TABLE baseline_open_interest AS
    SELECT symbol_id, ts_event AS stamp, open_interest_value,
           open_interest_value - lag(open_interest_value) OVER (PARTITION BY symbol_id ORDER BY ts_event) AS change
    FROM open_interest ORDER BY symbol_id, stamp;
"""

_LEVELS = """
    WITH rising AS (
        SELECT floor(close / $bin) * $bin AS entry, close > open AS long, quote_volume
        FROM baseline_candles AS candles JOIN baseline_open_interest AS oi
          ON oi.symbol_id = candles.symbol_id AND oi.stamp = candles.open_time
        WHERE candles.symbol_id = $symbol_id AND open_time BETWEEN $start AND $as_of - 300000000000
          AND stamp BETWEEN $start AND $as_of - 300000000000 AND change > 0 AND close != open
    ), profile AS (
        SELECT entry, long, sum(quote_volume) AS volume FROM rising GROUP BY ALL
    ), scaled AS (
        SELECT entry, long, volume / sum(volume) OVER () * (
            SELECT arg_max(open_interest_value, stamp) FROM baseline_open_interest
            WHERE symbol_id = $symbol_id AND stamp BETWEEN $start AND $as_of
        ) AS notional
        FROM profile
    ), levels AS (
        SELECT entry * CASE WHEN long THEN 1 - 1 / leverage + 0.004 / leverage
                            ELSE 1 + 1 / leverage - 0.004 / leverage END AS level,
               long, leverage, notional * weight AS notional
        FROM scaled CROSS JOIN (VALUES (5, 0.15), (10, 0.3), (25, 0.25), (50, 0.2), (100, 0.1)) AS t(leverage, weight)
    )
    SELECT round(level / $bin) * $bin AS price, long, leverage::DOUBLE AS leverage, sum(notional) AS notional
    FROM levels WHERE CASE WHEN long THEN level < $price ELSE level > $price END
    GROUP BY ALL ORDER BY price, leverage
"""


def prepare(cur: duckdb.DuckDBPyConnection) -> None:
    """Store five-minute candles and changes of open interest, as the original's import does."""
    cur.execute(_TABLES)


def levels(
    cur: duckdb.DuckDBPyConnection, symbol_id: int, as_of: int, price: float, days: int = 30
) -> dict[str, NDArray[Any]]:
    """Return columns price, long, leverage, notional as of ``as_of`` (UNIX nanoseconds)."""
    given = {"symbol_id": symbol_id, "as_of": as_of, "start": as_of - days * DAY, "price": price, "bin": BIN}
    columns: dict[str, NDArray[Any]] = cur.execute(_LEVELS, given).fetchnumpy()
    return columns
