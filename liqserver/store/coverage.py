"""What the database holds: symbols, and for each the reach, gaps and notices of every kind of data."""

from __future__ import annotations

import json
from dataclasses import dataclass

import duckdb

from liqserver.store.archive import PERIOD_KINDS, TRADE_KINDS, Kind

_TABLES = {
    Kind.AGG_TRADES: "flow",
    Kind.KLINES: "klines",
    Kind.MARK_PRICE_KLINES: "mark_price",
    Kind.INDEX_PRICE_KLINES: "index_price",
    Kind.PREMIUM_INDEX_KLINES: "premium_index",
    Kind.METRICS: "open_interest",
    Kind.FUNDING_RATE: "funding",
    Kind.BOOK_DEPTH: "book_depth",
    Kind.LIQUIDATION_SNAPSHOT: "liquidations",
    Kind.LIQUIDATION_TOTALS: "liquidation_totals",
}
# Events that come when they come, as published open interest does: a time without any is no gap.
_IRREGULAR = (*TRADE_KINDS, Kind.BOOK_DEPTH, Kind.LIQUIDATION_SNAPSHOT)
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
        One for each kind that has data; trades of both kinds have one.
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
        for trades, depth and liquidations 0, since a minute may have none.
    missing_ids : int
        Trade ids between the first and the last that no file of the kind brought in; 0 for other kinds.
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
    # One scan of each table, not one for each symbol: there are hundreds.
    prices, reaches = _last_prices(cur), _reaches(cur)
    return [
        SymbolInfo(
            symbol_id=symbol_id,
            venue=venue,
            symbol=symbol,
            tick_size=tick_size,
            tick_size_source=source,
            base_bin=base_bin,
            last_price=prices.get(symbol_id),
            reach=tuple(reaches.get(symbol_id, ())),
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
                missing_periods=0
                if kind in _IRREGULAR or (kind is Kind.METRICS and not period)
                else _missing_periods(cur, symbol_id, kind, period, start, end),
                missing_ids=_missing_ids(cur, symbol_id, kind) if kind in TRADE_KINDS else 0,
                notices=tuple(f"{n['name']}: {text}" for n in notices or () for text in json.loads(n["notices"])),
            )
        )
    return sorted(found_kinds, key=lambda k: (order.index(k.kind), k.period))


def _last_prices(cur: duckdb.DuckDBPyConnection) -> dict[int, LastPrice]:
    """Return the newest price of each symbol by its key."""
    # Of one time, the mark price goes first: it is what liquidates; of one kind, the shortest period.
    rows = cur.execute(
        """
        WITH newest AS (
            SELECT symbol_id, arg_max(close, (ts_event, -period)) AS price, max(ts_event) AS ts_event,
                   'markPriceKlines' AS kind, 0 AS rank
            FROM mark_price GROUP BY symbol_id
            UNION ALL
            SELECT symbol_id, arg_max(close, (ts_event, -period)), max(ts_event), 'klines', 1
            FROM klines GROUP BY symbol_id
            UNION ALL
            SELECT symbol_id, arg_max(price, (ts_event, trade_id)), max(ts_event), 'aggTrades', 2
            FROM large_trades GROUP BY symbol_id
        )
        SELECT symbol_id, price, ts_event, kind FROM newest
        QUALIFY row_number() OVER (PARTITION BY symbol_id ORDER BY ts_event DESC, rank) = 1
        """
    ).fetchall()
    return {symbol_id: LastPrice(price, ts_event, Kind(kind)) for symbol_id, price, ts_event, kind in rows}


def _reaches(cur: duckdb.DuckDBPyConnection) -> dict[int, list[Reach]]:
    """Return the reach of each symbol by its key, in the order of kinds."""
    reaches: dict[int, list[Reach]] = {}
    # Flow is of both kinds of trades: it goes by the name of the first that there is.
    single = {
        symbol_id
        for (symbol_id,) in cur.execute(
            "SELECT symbol_id FROM ledger GROUP BY symbol_id "
            "HAVING bool_or(kind = 'trades') AND NOT bool_or(kind = 'aggTrades')"
        ).fetchall()
    }
    for kind, table in _TABLES.items():
        rows = cur.execute(
            f"SELECT symbol_id, max(ts_event), max(ts_init) FROM {table} GROUP BY symbol_id"  # noqa: S608 - names of ours
        ).fetchall()
        for symbol_id, ts_event, ts_init in rows:
            shown = Kind.TRADES if kind is Kind.AGG_TRADES and symbol_id in single else kind
            reaches.setdefault(symbol_id, []).append(Reach(shown, ts_event, ts_init))
    return reaches


def _missing_periods(
    cur: duckdb.DuckDBPyConnection, symbol_id: int, kind: Kind, period: int, start: int, end: int
) -> int:
    if kind is Kind.FUNDING_RATE:
        # Settlements are some milliseconds late, and the interval of a symbol may change: row by row, and between two
        # intervals the longer one is expected.
        [(missing,)] = cur.execute(
            f"""
            SELECT coalesce(sum(greatest(round((next - ts_event) / (hours * {_HOUR})) - 1, 0)), 0)
            FROM (SELECT ts_event, lead(ts_event) OVER w AS next,
                         greatest(interval_hours, lead(interval_hours) OVER w) AS hours
                  FROM funding WHERE symbol_id = ? WINDOW w AS (ORDER BY ts_event))
            WHERE next IS NOT NULL
            """,  # noqa: S608 - numbers of ours
            [symbol_id],
        ).fetchall()
        return int(missing)
    of_period = f"AND period = {period}" if kind in PERIOD_KINDS else ""
    [(there,)] = cur.execute(
        f"SELECT count(DISTINCT ts_event) FROM {_TABLES[kind]} WHERE symbol_id = ? {of_period}",  # noqa: S608
        [symbol_id],
    ).fetchall()
    return max((end - start) // period - int(there), 0)


def _missing_ids(cur: duckdb.DuckDBPyConnection, symbol_id: int, kind: Kind) -> int:
    # Ranges never overlap: a file brings in only what no other brought.
    [(missing,)] = cur.execute(
        """
        SELECT coalesce(max(r.last_id) - min(r.first_id) + 1 - sum(r.last_id - r.first_id + 1), 0)
        FROM trade_ranges r JOIN ledger l USING (file_id) WHERE r.symbol_id = ? AND l.kind = ?
        """,
        [symbol_id, kind],
    ).fetchall()
    return int(missing)
