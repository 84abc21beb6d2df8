"""What the database holds: symbols, and for each the reach, gaps and notices of every kind of data."""

from __future__ import annotations

import json
from dataclasses import dataclass

import duckdb

from liqserver.store.archive import Kind

_TABLES = {
    Kind.AGG_TRADES: "flow",
    Kind.KLINES: "klines",
    Kind.MARK_PRICE_KLINES: "mark_price",
    Kind.METRICS: "open_interest",
    Kind.FUNDING_RATE: "funding",
    Kind.LIQUIDATION_SNAPSHOT: "liquidations",
}
# Events that come when they come: a time without any is no gap.
_IRREGULAR = (Kind.AGG_TRADES, Kind.LIQUIDATION_SNAPSHOT)
_HOUR = 3_600_000_000_000


@dataclass(frozen=True, slots=True)
class Reach:
    """How far one kind of data reaches: its newest row, UNIX nanoseconds."""

    kind: Kind
    ts_event: int
    ts_init: int


@dataclass(frozen=True, slots=True)
class LastPrice:
    """The newest price there is: quote units, UNIX nanoseconds of its time, and the kind of data it is from."""

    price: float
    ts_event: int
    kind: Kind


@dataclass(frozen=True, slots=True)
class SymbolInfo:
    """A symbol the database has data for.

    Attributes
    ----------
    symbol_id : int
        Its key in the tables.
    venue, symbol : str
        Its names.
    tick_size : float
        Smallest price step, quote units.
    tick_size_source : str
        Where the tick size is from.
    base_bin : float
        Width of the flow bins, quote units.
    last_price : LastPrice or None
        None when there are neither candles nor large trades.
    reach : tuple of Reach
        One for each kind that has data.
    """

    symbol_id: int
    venue: str
    symbol: str
    tick_size: float
    tick_size_source: str
    base_bin: float
    last_price: LastPrice | None
    reach: tuple[Reach, ...]


@dataclass(frozen=True, slots=True)
class KindCoverage:
    """Data of one kind and period for one symbol.

    Attributes
    ----------
    kind : Kind
        Which kind.
    period : int
        Length of a row's period in nanoseconds, 0 for single events.
    start, end : int
        UNIX nanoseconds: start of the first period, end of the last.
    rows, stored_rows, dropped_rows : int
        Rows of the source files, rows of the table, rows left out.
    files : int
        Files that were ingested.
    missing_periods : int
        Periods between start and end without a row; for funding, settlements that the interval leads to expect;
        for trades and liquidations 0, since a minute may have none.
    missing_ids : int
        Trade ids between the first and the last that no file brought in; 0 for other kinds.
    notices : tuple of str
        What was left out and other things worth knowing, with the file's name.
    """

    kind: Kind
    period: int
    start: int
    end: int
    rows: int
    stored_rows: int
    dropped_rows: int
    files: int
    missing_periods: int
    missing_ids: int
    notices: tuple[str, ...]


def symbols(cur: duckdb.DuckDBPyConnection) -> list[SymbolInfo]:
    """Return the symbols by venue and name."""
    rows = cur.execute(
        "SELECT symbol_id, venue, symbol, tick_size, tick_size_source, base_bin FROM symbols ORDER BY venue, symbol"
    ).fetchall()
    return [
        SymbolInfo(
            symbol_id=symbol_id,
            venue=venue,
            symbol=symbol,
            tick_size=tick_size,
            tick_size_source=source,
            base_bin=base_bin,
            last_price=_last_price(cur, symbol_id),
            reach=_reach(cur, symbol_id),
        )
        for symbol_id, venue, symbol, tick_size, source, base_bin in rows
    ]


def coverage(cur: duckdb.DuckDBPyConnection, venue: str, symbol: str) -> list[KindCoverage]:
    """Return what there is of a symbol, by kind and period; kinds without data are absent.

    Raises
    ------
    KeyError
        If there is no such symbol.
    """
    found = cur.execute("SELECT symbol_id FROM symbols WHERE venue = ? AND symbol = ?", [venue, symbol]).fetchone()
    if found is None:
        raise KeyError(f"{venue}:{symbol}")
    (symbol_id,) = found
    ledger = cur.execute(
        """
        SELECT kind, period, min(ts_start), max(ts_end), sum(rows), sum(stored_rows), sum(dropped_rows), count(*),
               list({name: name, notices: notices} ORDER BY ts_start, name) FILTER (notices != '[]')
        FROM ledger WHERE symbol_id = ? GROUP BY kind, period
        """,
        [symbol_id],
    ).fetchall()
    order = list(Kind)
    found_kinds = []
    for name, period, start, end, rows, stored, dropped, files, notices in ledger:
        kind = Kind(name)
        trades = kind is Kind.AGG_TRADES
        found_kinds.append(
            KindCoverage(
                kind=kind,
                period=period,
                start=start,
                end=end,
                rows=int(rows),
                stored_rows=int(stored),
                dropped_rows=int(dropped),
                files=files,
                missing_periods=0 if kind in _IRREGULAR else _missing_periods(cur, symbol_id, kind, period, start, end),
                missing_ids=_missing_ids(cur, symbol_id) if trades else 0,
                notices=tuple(f"{n['name']}: {text}" for n in notices or () for text in json.loads(n["notices"])),
            )
        )
    return sorted(found_kinds, key=lambda k: (order.index(k.kind), k.period))


def _last_price(cur: duckdb.DuckDBPyConnection, symbol_id: int) -> LastPrice | None:
    # Of one time, the mark price goes first: it is what liquidates.
    row = cur.execute(
        """
        SELECT price, ts_event, kind FROM (
            (SELECT close AS price, ts_event, 'markPriceKlines' AS kind, 0 AS rank
             FROM mark_price WHERE symbol_id = $1 ORDER BY ts_event DESC, period LIMIT 1)
            UNION ALL
            (SELECT close, ts_event, 'klines', 1
             FROM klines WHERE symbol_id = $1 ORDER BY ts_event DESC, period LIMIT 1)
            UNION ALL
            (SELECT price, ts_event, 'aggTrades', 2
             FROM large_trades WHERE symbol_id = $1 ORDER BY ts_event DESC, trade_id DESC LIMIT 1)
        ) ORDER BY ts_event DESC, rank LIMIT 1
        """,
        [symbol_id],
    ).fetchone()
    return LastPrice(row[0], row[1], Kind(row[2])) if row is not None else None


def _reach(cur: duckdb.DuckDBPyConnection, symbol_id: int) -> tuple[Reach, ...]:
    reach = []
    for kind, table in _TABLES.items():
        row = cur.execute(
            f"SELECT max(ts_event), max(ts_init) FROM {table} WHERE symbol_id = ?",  # noqa: S608 - names of ours
            [symbol_id],
        ).fetchone()
        if row is not None and row[0] is not None:
            reach.append(Reach(kind, *row))
    return tuple(reach)


def _missing_periods(
    cur: duckdb.DuckDBPyConnection, symbol_id: int, kind: Kind, period: int, start: int, end: int
) -> int:
    if kind is Kind.FUNDING_RATE:
        # Settlements are some milliseconds late, and the interval of a symbol may change: row by row.
        [(missing,)] = cur.execute(
            f"""
            SELECT coalesce(sum(greatest(round((next - ts_event) / (interval_hours * {_HOUR})) - 1, 0)), 0)
            FROM (SELECT ts_event, interval_hours, lead(ts_event) OVER (ORDER BY ts_event) AS next
                  FROM funding WHERE symbol_id = ?)
            WHERE next IS NOT NULL
            """,  # noqa: S608 - numbers of ours
            [symbol_id],
        ).fetchall()
        return int(missing)
    of_period = f"AND period = {period}" if kind in (Kind.KLINES, Kind.MARK_PRICE_KLINES) else ""
    [(there,)] = cur.execute(
        f"SELECT count(DISTINCT ts_event) FROM {_TABLES[kind]} WHERE symbol_id = ? {of_period}",  # noqa: S608
        [symbol_id],
    ).fetchall()
    return max((end - start) // period - int(there), 0)


def _missing_ids(cur: duckdb.DuckDBPyConnection, symbol_id: int) -> int:
    # Ranges never overlap: a file brings in only what no other brought.
    [(missing,)] = cur.execute(
        """
        SELECT coalesce(max(last_id) - min(first_id) + 1 - sum(last_id - first_id + 1), 0)
        FROM trade_ranges WHERE symbol_id = ?
        """,
        [symbol_id],
    ).fetchall()
    return int(missing)
