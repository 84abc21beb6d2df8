"""Recorded liquidations: one by one or added up, in pages; and totals that others have added up.

A page goes on after the last row of the page before, by what is in the row: a symbol has no two rows of one time, side,
price and quantity, so pages hold every row once, whatever is ingested in between.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray

from liqserver.store.archive import ArchiveFile, Kind, parse_file

_SECOND, _MINUTE = 1_000_000_000, 60_000_000_000
# Of the seconds of a minute, in which more than this share hold an order, some held several.
_SATURATED = 0.5


@dataclass(frozen=True, slots=True)
class Recorded:
    """What there is of a symbol, and how much of it lies in a span of time.

    Attributes
    ----------
    start, end : int
        UNIX nanoseconds of the first and the last liquidation of the symbol, whatever the span.
    rows : int
        Liquidations of the sides asked for within the span.
    """

    start: int
    end: int
    rows: int


@dataclass(frozen=True, slots=True)
class Position:
    """Where a liquidation stands among those of its symbol: by time, then by what tells it from others of that time."""

    ts_event: int
    side: int
    price: float
    qty: float


@dataclass(frozen=True, slots=True)
class LiquidationRows:
    """Liquidations by time, in columns of equal length.

    Attributes
    ----------
    ts_event : ndarray of int64
        UNIX nanoseconds.
    side : ndarray of int8
        Side of the position: +1 long, -1 short.
    price, qty : ndarray of float64
        Average price of the fills in quote units, filled base units.
    more : bool
        Whether others follow.
    """

    ts_event: NDArray[np.int64]
    side: NDArray[np.int8]
    price: NDArray[np.float64]
    qty: NDArray[np.float64]
    more: bool

    def __len__(self) -> int:
        return len(self.ts_event)

    @property
    def last(self) -> Position:
        """Where the last row stands."""
        return Position(int(self.ts_event[-1]), int(self.side[-1]), float(self.price[-1]), float(self.qty[-1]))


@dataclass(frozen=True, slots=True)
class LiquidationSums:
    """Liquidations by interval, in columns of equal length; intervals without any are left out.

    Attributes
    ----------
    ts : ndarray of int64
        UNIX nanoseconds: start of each interval, a multiple of its length.
    notional, qty : ndarray of float64, shape (2, len(ts))
        Longs and shorts: price times quantity in quote units, base units.
    count : ndarray of int64, shape (2, len(ts))
        Longs and shorts: how many.
    more : bool
        Whether others follow.
    """

    ts: NDArray[np.int64]
    notional: NDArray[np.float64]
    qty: NDArray[np.float64]
    count: NDArray[np.int64]
    more: bool

    def __len__(self) -> int:
        return len(self.ts)


@dataclass(frozen=True, slots=True)
class Saturation:
    """Minutes in which a feed of one order a second was full, or nearly.

    Attributes
    ----------
    minutes : int
        Minutes with an order in more than half of their seconds.
    worst_ts, worst_seconds : int
        The fullest of them, UNIX nanoseconds, and in how many of its seconds there is one.
    occupied_seconds, total_seconds : int
        Seconds with an order from the first to the last of the span, and seconds from the first to the last.
    """

    minutes: int
    worst_ts: int
    worst_seconds: int
    occupied_seconds: int
    total_seconds: int


def recorded(
    cur: duckdb.DuckDBPyConnection, symbol_id: int, *, start: int | None, end: int | None, side: int | None
) -> Recorded | None:
    """Return what is recorded of a symbol, None when nothing is.

    Parameters
    ----------
    cur : duckdb.DuckDBPyConnection
        A cursor of the database.
    symbol_id : int
        Key of the symbol.
    start, end : int or None
        UNIX nanoseconds of the span, ``end`` exclusive; None where it has no bound.
    side : int or None
        +1 only longs, -1 only shorts, None both.
    """
    where, values = _within(symbol_id, start, end, side)
    [(first, last)] = cur.execute(
        "SELECT min(ts_event), max(ts_event) FROM liquidations WHERE symbol_id = ?", [symbol_id]
    ).fetchall()
    if first is None:
        return None
    [(rows,)] = cur.execute(f"SELECT count(*) FROM liquidations WHERE {where}", values).fetchall()  # noqa: S608
    return Recorded(first, last, rows)


def list_liquidations(
    cur: duckdb.DuckDBPyConnection,
    symbol_id: int,
    *,
    start: int | None,
    end: int | None,
    side: int | None,
    limit: int,
    after: Position | None,
) -> LiquidationRows:
    """Return liquidations one by one: at most ``limit``, those after the position ``after``.

    Parameters
    ----------
    cur, symbol_id, start, end, side
        As for `recorded`.
    limit : int
        Most rows.
    after : Position or None
        The last row of the page before; None for the first page.
    """
    where, values = _within(symbol_id, start, end, side)
    if after is not None:
        where += " AND ts_event >= ? AND (ts_event, side, price, qty) > (?, ?::TINYINT, ?::DOUBLE, ?::DOUBLE)"
        values += [after.ts_event, after.ts_event, after.side, after.price, after.qty]
    rows = cur.execute(
        f"""
        SELECT ts_event, side, price, qty FROM liquidations WHERE {where}
        ORDER BY ts_event, side, price, qty LIMIT {limit + 1}
        """,  # noqa: S608 - numbers of ours
        values,
    ).fetchnumpy()
    more = len(rows["ts_event"]) > limit
    columns = {name: column[:limit] for name, column in rows.items()}
    return LiquidationRows(columns["ts_event"], columns["side"], columns["price"], columns["qty"], more)


def aggregate_liquidations(
    cur: duckdb.DuckDBPyConnection,
    symbol_id: int,
    *,
    start: int | None,
    end: int | None,
    side: int | None,
    interval: int,
    limit: int,
    after: int | None,
) -> LiquidationSums:
    """Return liquidations added up by interval: at most ``limit`` intervals, those that begin after ``after``.

    Intervals begin at multiples of their length since 1970; those that ``start`` or ``end`` cut hold what lies within.

    Parameters
    ----------
    cur, symbol_id, start, end, side
        As for `recorded`.
    interval : int
        Length in nanoseconds.
    limit : int
        Most intervals.
    after : int or None
        Start of the last interval of the page before; None for the first page.
    """
    if after is not None:
        start = max(after + interval, start) if start is not None else after + interval
    where, values = _within(symbol_id, start, end, side)
    # fsum: the same to the last digit in whatever order threads add, as nearly as can be.
    rows = cur.execute(
        f"""
        SELECT ts_event // {interval} * {interval} AS ts,
               coalesce(fsum(price * qty) FILTER (side > 0), 0) AS long_notional,
               coalesce(fsum(price * qty) FILTER (side < 0), 0) AS short_notional,
               coalesce(fsum(qty) FILTER (side > 0), 0) AS long_qty,
               coalesce(fsum(qty) FILTER (side < 0), 0) AS short_qty,
               count(*) FILTER (side > 0) AS long_count, count(*) FILTER (side < 0) AS short_count
        FROM liquidations WHERE {where} GROUP BY ts ORDER BY ts LIMIT {limit + 1}
        """,  # noqa: S608 - numbers of ours
        values,
    ).fetchnumpy()
    more = len(rows["ts"]) > limit

    def both(name: str) -> NDArray[Any]:
        return np.stack([rows[f"{side}_{name}"][:limit] for side in ("long", "short")])

    return LiquidationSums(rows["ts"][:limit], both("notional"), both("qty"), both("count"), more=more)


@dataclass(frozen=True, slots=True)
class KnownSums:
    """Liquidated notional by interval, as far as it is known.

    Attributes
    ----------
    ts : ndarray of int64, shape (N,)
        UNIX nanoseconds: start of each interval, a multiple of its length, ascending; those in between are not known.
    notional : ndarray of float64, shape (2, N)
        Longs and shorts, quote units.
    """

    ts: NDArray[np.int64]
    notional: NDArray[np.float64]


def summed_totals(
    cur: duckdb.DuckDBPyConnection, symbol_id: int, *, interval: int, until: int
) -> tuple[KnownSums, int] | None:
    """Return the totals that others have added up, and the length of their periods; None when there are none.

    Of several lengths the longest that ``interval`` is a multiple of is taken.

    Parameters
    ----------
    cur, symbol_id
        As for `recorded`.
    interval : int
        Length in nanoseconds; of intervals of several periods all periods must be there.
    until : int
        UNIX nanoseconds: totals that could be known later are left out.
    """
    [(period,)] = cur.execute(
        f"SELECT max(period) FROM liquidation_totals WHERE symbol_id = ? AND ts_init <= ? AND {interval} % period = 0",  # noqa: S608
        [symbol_id, until],
    ).fetchall()
    if period is None:
        return None
    rows = cur.execute(
        f"""
        SELECT (ts_event - {period}) // {interval} * {interval} AS ts,
               fsum(long_notional) AS long_notional, fsum(short_notional) AS short_notional
        FROM liquidation_totals WHERE symbol_id = ? AND period = {period} AND ts_init <= ?
        GROUP BY ts HAVING count(*) = {interval // period} ORDER BY ts
        """,  # noqa: S608 - numbers of ours
        [symbol_id, until],
    ).fetchnumpy()
    return KnownSums(rows["ts"], np.stack([rows["long_notional"], rows["short_notional"]])), period


def summed_records(cur: duckdb.DuckDBPyConnection, symbol_id: int, *, interval: int, until: int) -> KnownSums | None:
    """Return single liquidations added up, for the intervals that lie within what was recorded; None when nothing was.

    A file of a day or month covers its dates, a recording of all symbols the time from its first row to its last. In an
    interval that is covered and holds nothing, nothing was liquidated.

    Parameters
    ----------
    cur, symbol_id, interval
        As for `summed_totals`.
    until : int
        UNIX nanoseconds: intervals that end later are left out.
    """
    spans = _recorded_spans(cur, symbol_id)
    if not spans:
        return None
    parts = [np.arange(-(-start // interval), min(end, until) // interval, dtype=np.int64) for start, end in spans]
    ts = np.unique(np.concatenate(parts)) * interval
    sums = aggregate_liquidations(
        cur,
        symbol_id,
        start=int(ts[0]) if len(ts) else until,
        end=until,
        side=None,
        interval=interval,
        limit=int(ts[-1] - ts[0]) // interval + 1 if len(ts) else 1,
        after=None,
    )
    notional = np.zeros((2, len(ts)))
    inside = np.isin(sums.ts, ts)
    notional[:, np.searchsorted(ts, sums.ts[inside])] = sums.notional[:, inside]
    return KnownSums(ts, notional)


def _recorded_spans(cur: duckdb.DuckDBPyConnection, symbol_id: int) -> list[tuple[int, int]]:
    """Return the times that files of single liquidations cover, joined where they touch, UNIX nanoseconds."""
    rows = cur.execute(
        """
        SELECT name, min(ts_start), max(ts_end) FROM ledger
        WHERE kind = 'liquidationSnapshot' AND (
            sha256 IN (SELECT sha256 FROM ledger WHERE symbol_id = $1 AND kind = 'liquidationSnapshot' AND sha256 != '')
            OR (symbol_id = $1 AND sha256 = '')
        )
        GROUP BY name, sha256, CASE WHEN sha256 = '' THEN file_id END
        """,
        [symbol_id],
    ).fetchall()
    spans = []
    for name, start, end in rows:
        file = parse_file(Path(name))
        if isinstance(file, ArchiveFile) and file.kind is Kind.LIQUIDATION_SNAPSHOT:
            start, end = file.start, file.end
        spans.append((start, end))
    joined: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if joined and start <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(joined[-1][1], end)
        else:
            joined.append((start, end))
    return joined


def saturation(
    cur: duckdb.DuckDBPyConnection, symbol_id: int, *, start: int | None, end: int | None
) -> Saturation | None:
    """Return where a feed of one order a second was full, None when no minute has orders in most of its seconds.

    Orders of both sides count: the feed does not tell them apart.

    Parameters
    ----------
    cur, symbol_id, start, end
        As for `recorded`.
    """
    where, values = _within(symbol_id, start, end, None)
    [(minutes, worst_ts, worst, occupied, first, last)] = cur.execute(
        f"""
        WITH minutes AS (
            SELECT ts_event // {_MINUTE} * {_MINUTE} AS minute, count(DISTINCT ts_event // {_SECOND}) AS seconds,
                   min(ts_event // {_SECOND}) AS first, max(ts_event // {_SECOND}) AS last
            FROM liquidations WHERE {where} GROUP BY minute
        )
        SELECT count(*) FILTER (seconds > {60 * _SATURATED}), min_by(minute, (-seconds, minute)), max(seconds),
               sum(seconds), min(first), max(last)
        FROM minutes
        """,  # noqa: S608 - numbers of ours
        values,
    ).fetchall()
    return Saturation(minutes, worst_ts, worst, int(occupied), last - first + 1) if minutes else None


def _within(symbol_id: int, start: int | None, end: int | None, side: int | None) -> tuple[str, list[Any]]:
    """Return the condition of a span of time and a side, and its values."""
    where, values = ["symbol_id = ?"], [symbol_id]
    for condition, value in (("ts_event >= ?", start), ("ts_event < ?", end), ("side = ?", side)):
        if value is not None:
            where.append(condition)
            values.append(value)
    return " AND ".join(where), values
