"""From an unpacked file to rows of the database, one function per kind of data.

Each scans its file with explicit types, checks it, and inserts; what is dropped is counted and said. A file that
breaks a rule raises `FileRejectedError`; the transaction around it is the caller's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import duckdb
import numpy as np

from liqserver.store.archive import (
    CANDLE_KINDS,
    COLUMNS,
    METRICS_PERIOD,
    MINUTE,
    SECOND,
    TRADE_KINDS,
    Csv,
    FileRejectedError,
    Kind,
    Rule,
    find_fault,
    utc,
)

LARGE_TRADE_NOTIONAL = 100_000.0
"""Trades of at least this many quote units are kept one by one, beside the flow."""

# Files of at least this many bytes of text are scanned by compiled code, which takes half a second to load.
COMPILED_SCAN_BYTES = 64 << 20

# Metrics files of this day and later are stamped at the start of the five minutes, earlier ones at the end.
STAMP_CHANGE = 1_782_345_600 * SECOND  # 2026-06-25 00:00 UTC

# Name in the ledger of what was published live and came in no file.
LIVE = "published"

# Words of notices that checks look for again in the ledger.
COPIES = "dropped: identical copies of other rows of the file"
KNOWN_ROWS = "left out: another file brought in the same"
KNOWN_OTHERWISE = "left out: what was published as it happened stays, with other values"
KNOWN_IDS = "left out: their trade ids came in with another file"
KNOWN_MINUTES = "left out: the minutes came in with"
ZERO_OPEN_INTEREST = "dropped: open interest was zero"

# What DuckDB raises when a field is not of its column's type, or too large for it.
_PARSE_ERRORS = (duckdb.ConversionException, duckdb.InvalidInputException, duckdb.OutOfRangeException)
# Trade ids per bucket when a file with gaps or copies is looked at more closely.
_BUCKET = 1 << 16
# Quote units are summed in whole millionths.
NOTIONAL_SCALE = 1_000_000


@dataclass(frozen=True, slots=True)
class SymbolKey:
    """A registered symbol, as far as loading needs it."""

    symbol_id: int
    base_bin: float


@dataclass(slots=True)
class Loaded:
    """What loading a file did: the figures of its ledger row."""

    rows: int
    stored_rows: int
    dropped_rows: int
    ts_start: int
    ts_end: int
    first_id: int = 0
    last_id: int = 0
    notices: list[str] = field(default_factory=list)


def load(cur: duckdb.DuckDBPyConnection, csv: Csv, symbol: SymbolKey, file_id: int) -> Loaded:
    """Check a file and insert its rows.

    Parameters
    ----------
    cur : duckdb.DuckDBPyConnection
        Cursor within a transaction.
    csv : Csv
        The file, unpacked.
    symbol : SymbolKey
        Whose data it is.
    file_id : int
        Key of the file in the ledger.

    Raises
    ------
    FileRejectedError
        If the file breaks a rule; the reason names the line.
    """
    try:
        if csv.file.kind in TRADE_KINDS:
            return _load_trades(cur, csv, symbol, file_id)
        return _load_series(cur, csv, symbol, file_id, _SERIES[csv.file.kind])
    except _PARSE_ERRORS as error:
        raise FileRejectedError(_fault(csv, str(error).splitlines()[0])) from error


def _fault(csv: Csv, otherwise: str) -> str:
    """Return the first fault of a bad file in plain words, or what the database said of it."""
    return find_fault(csv) or otherwise


def _fetch(cur: duckdb.DuckDBPyConnection, sql: str, parameters: Sequence[Any] = ()) -> tuple[Any, ...]:
    """Return the one row of a query."""
    # To the end, not fetchone: an unfinished result keeps the connection from registering arrays.
    [row] = cur.execute(sql, list(parameters)).fetchall()
    found: tuple[Any, ...] = row
    return found


def _rows(n: int) -> str:
    return "1 row" if n == 1 else f"{n:,} rows"


# --- trades -> flow, large_trades ------------------------------------------------------------------------------


# Columns between quantity and time.
_SKIPPED = {Kind.AGG_TRADES: 2, Kind.TRADES: 1}
_SINGLE_TRADES = (
    "each fill counts by itself: size classes and large trades are smaller than of aggTrades, which put the fills of "
    "an order together"
)


def _scan(csv: Csv) -> str:
    """Return the file as a table with the columns of aggTrades that are used."""
    if csv.file.kind is Kind.AGG_TRADES:
        return csv.sql()
    return (
        "(SELECT id AS agg_trade_id, price, qty AS quantity, time AS transact_time, is_buyer_maker "  # noqa: S608
        f"FROM {csv.sql()})"
    )


def _load_trades(cur: duckdb.DuckDBPyConnection, csv: Csv, symbol: SymbolKey, file_id: int) -> Loaded:
    qty_scale = 10 ** quantity_decimals(symbol.base_bin)
    ranges = _reduce_compiled(cur, csv, symbol.base_bin, qty_scale)
    if ranges is None:
        _reduce(cur, csv, _scan(csv), symbol.base_bin, qty_scale)
    rows, ids_hash, first_minute, last_minute, bad = _fetch(
        cur,
        """
        SELECT sum(count), bit_xor(ids), min(minute), max(minute),
               count(*) FILTER ((bin >= 0 AND size >= 1 AND minute >= 0 AND is_buyer_maker IS NOT NULL) IS NOT TRUE)
        FROM reduced
        """,
    )
    if bad:
        raise FileRejectedError(_fault(csv, "some rows have no positive price, quantity or time"))
    ts_start, ts_end = first_minute * MINUTE, (last_minute + 1) * MINUTE
    if ts_start < csv.file.earliest or ts_end > csv.file.latest + MINUTE:
        raise FileRejectedError(
            _fault(csv, f"trades of {utc(ts_start)} … {utc(ts_end)}: of another date than its name says")
        )

    notices = [_SINGLE_TRADES] if csv.file.kind is Kind.TRADES else []
    copies = 0
    if ranges is None:
        ranges = _one_range(cur, csv, int(rows), ids_hash)
    if ranges is None:
        copies, ranges = _inspect_ids(cur, csv)
        gaps = [(former[1], later[0]) for former, later in pairwise(ranges)]
        if copies:
            notices.append(f"{_rows(copies)} {COPIES}")
        if gaps:
            notices.append(
                f"{sum(b - a - 1 for a, b in gaps):,} trade ids are missing in the file, in {len(gaps):,} "
                f"{'gap' if len(gaps) == 1 else 'gaps'}, the first after id {gaps[0][0]}"
            )
    known = _known_ranges(cur, symbol.symbol_id, csv.file.kind)
    kept = _subtract(ranges, known)
    overlap = _length(ranges) - _length(kept)
    if copies or overlap:
        _reduce(cur, csv, _source_without(csv, copies > 0, known if overlap else []), symbol.base_bin, qty_scale)
    if overlap:
        notices.append(f"{_rows(overlap)} {KNOWN_IDS}")
    other_kind = _drop_minutes_of_other_kind(cur, csv, symbol)
    if other_kind:
        notices.append(f"{_rows(other_kind)} {KNOWN_MINUTES} {_other_trades(csv)}")

    stored = _changed(
        cur,
        f"""
        INSERT INTO flow
        SELECT {symbol.symbol_id}, {file_id}, (minute + 1) * {MINUTE}, (minute + 1) * {MINUTE}, bin, size - 1,
               coalesce(sum(qty) FILTER (NOT is_buyer_maker), 0)::DOUBLE / {qty_scale},
               coalesce(sum(qty) FILTER (is_buyer_maker), 0)::DOUBLE / {qty_scale},
               coalesce(sum(notional) FILTER (NOT is_buyer_maker), 0)::DOUBLE / {NOTIONAL_SCALE},
               coalesce(sum(notional) FILTER (is_buyer_maker), 0)::DOUBLE / {NOTIONAL_SCALE},
               coalesce(sum(count) FILTER (NOT is_buyer_maker), 0),
               coalesce(sum(count) FILTER (is_buyer_maker), 0)
        FROM reduced GROUP BY minute, bin, size ORDER BY minute, bin, size
        """,  # noqa: S608 - numbers of ours
    )
    cur.execute(
        f"""
        INSERT INTO large_trades
        SELECT {symbol.symbol_id}, {file_id}, ts * {csv.to_ns}, (minute + 1) * {MINUTE},
               id, price, qty, NOT is_buyer_maker
        FROM large ORDER BY id
        """  # noqa: S608 - numbers of ours
    )
    if kept:
        # A handful of rows as a rule; numpy, because a file may be full of gaps.
        spans = np.array(kept, dtype=np.int64)
        cur.register("spans", {"first_id": spans[:, 0].copy(), "last_id": spans[:, 1].copy()})
        cur.execute(
            f"INSERT INTO trade_ranges SELECT {symbol.symbol_id}, {file_id}, first_id, last_id FROM spans"  # noqa: S608
        )
        cur.unregister("spans")
    return Loaded(
        rows=int(rows),
        stored_rows=stored,
        dropped_rows=copies + overlap + other_kind,
        ts_start=ts_start,
        ts_end=ts_end,
        first_id=kept[0][0] if kept else 0,
        last_id=kept[-1][1] if kept else 0,
        notices=notices,
    )


def _other_trades(csv: Csv) -> Kind:
    return Kind.TRADES if csv.file.kind is Kind.AGG_TRADES else Kind.AGG_TRADES


def _drop_minutes_of_other_kind(cur: duckdb.DuckDBPyConnection, csv: Csv, symbol: SymbolKey) -> int:
    """Drop from ``reduced`` and ``large`` the minutes that the other kind of trades brought in; return their trades.

    aggTrades and trades are the same trades, counted differently: of each minute whichever came first stays.
    """
    files = cur.execute(
        "SELECT file_id FROM ledger WHERE symbol_id = ? AND kind = ?", [symbol.symbol_id, _other_trades(csv)]
    ).fetchall()
    if not files:
        return 0
    cur.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE taken AS
        SELECT DISTINCT ts_event // {MINUTE} - 1 AS minute FROM flow
        WHERE symbol_id = ? AND file_id IN (SELECT unnest(?))
          AND ts_event // {MINUTE} - 1 BETWEEN (SELECT min(minute) FROM reduced) AND (SELECT max(minute) FROM reduced)
        """,  # noqa: S608 - numbers of ours
        [symbol.symbol_id, [file_id for (file_id,) in files]],
    )
    (dropped,) = _fetch(cur, "SELECT coalesce(sum(count), 0) FROM reduced WHERE minute IN (FROM taken)")
    for table in ("reduced", "large"):
        cur.execute(f"DELETE FROM {table} WHERE minute IN (FROM taken)")  # noqa: S608 - names of ours
    return int(dropped)


def _reduce(cur: duckdb.DuckDBPyConnection, csv: Csv, source: str, base_bin: float, qty_scale: int) -> None:
    """Make the temporary tables ``reduced`` and ``large`` in one scan.

    ``reduced`` are the trades by minute, bin, size class and taker. Its sums are of whole numbers, so that they do not
    depend on the order in which threads add. A bad row has no valid key: its bin or size is NULL, negative or 0.
    ``size`` is the size class plus one. ``large`` are the large trades, one by one.
    """
    cur.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE reduced AS
        SELECT transact_time // {MINUTE // csv.to_ns} AS minute,
               try_cast(floor(price / {base_bin!r}::DOUBLE + 1e-9) AS INTEGER) AS bin,
               (n > 0)::UTINYINT + (n >= 1e3)::UTINYINT + (n >= 1e4)::UTINYINT + (n >= 1e5)::UTINYINT
                   + (n >= 1e6)::UTINYINT AS size,
               is_buyer_maker,
               sum((quantity * {qty_scale})::BIGINT) AS qty,
               sum((n * {NOTIONAL_SCALE})::BIGINT) AS notional,
               count(*) AS count,
               bit_xor(hash(agg_trade_id)) AS ids,
               list({{id: agg_trade_id, price: price, qty: quantity, ts: transact_time}})
                   FILTER (n >= {LARGE_TRADE_NOTIONAL}) AS large
        FROM (SELECT *, price * quantity AS n FROM {source}) GROUP BY ALL
        """  # noqa: S608 - numbers of ours
    )
    cur.execute(
        """
        CREATE OR REPLACE TEMP TABLE large AS
        SELECT minute, is_buyer_maker, t.id, t.price, t.qty, t.ts
        FROM (SELECT minute, is_buyer_maker, unnest(large) AS t FROM reduced WHERE large IS NOT NULL)
        """
    )


def _reduce_compiled(
    cur: duckdb.DuckDBPyConnection, csv: Csv, base_bin: float, qty_scale: int
) -> list[tuple[int, int]] | None:
    """Make the tables of `_reduce` by the compiled scan: return the ids of the file, None if it has to be `_reduce`."""
    if csv.path.stat().st_size < COMPILED_SCAN_BYTES:
        return None
    # Here, because loading compiled code takes longer than most files.
    from liqserver.store.trade_scan import scan_trades

    (threads,) = _fetch(cur, "SELECT current_setting('threads')")
    scan = scan_trades(
        csv.path,
        header=csv.header,
        skipped=_SKIPPED[csv.file.kind],
        minute=MINUTE // csv.to_ns,
        base_bin=base_bin,
        qty_scale=qty_scale,
        notional_scale=NOTIONAL_SCALE,
        large_notional=LARGE_TRADE_NOTIONAL,
        threads=threads,
    )
    if scan is None:
        return None
    for name, columns, extra in (("reduced", scan.groups, ", NULL::UBIGINT AS ids"), ("large", scan.large, "")):
        cur.register("scanned", columns)
        cur.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS SELECT *{extra} FROM scanned")  # noqa: S608
        cur.unregister("scanned")
    return [(scan.first_id, scan.last_id)]


def quantity_decimals(base_bin: float) -> int:
    """Return how many decimals of a quantity are summed: 8, fewer where a unit is worth next to nothing.

    A bin is about a basis point of price; a trade of up to ten billion quote units then fits into 64 bits.
    """
    return int(np.clip(np.floor(8 + np.log10(base_bin * 1e4)), 0, 8))


def _one_range(cur: duckdb.DuckDBPyConnection, csv: Csv, rows: int, ids_hash: int) -> list[tuple[int, int]] | None:
    """Return the file's ids if they are those from its first row on, each once; None otherwise.

    The hashes of the ids, all taken together, are compared with those that ought to be there.
    """
    if not Rule.WHOLE.holds(csv.first_row[0]):
        raise FileRejectedError(_fault(csv, "the first id is no whole number"))
    first = int(csv.first_row[0])
    (expected,) = _fetch(cur, "SELECT bit_xor(hash(i)) FROM range(?::BIGINT, ?::BIGINT) AS r(i)", [first, first + rows])
    return [(first, first + rows - 1)] if expected == ids_hash else None


def _inspect_ids(cur: duckdb.DuckDBPyConnection, csv: Csv) -> tuple[int, list[tuple[int, int]]]:
    """Find copies and gaps: return the number of copies and the ranges of ids, in order.

    Makes the temporary tables ``suspects`` (the rows of buckets that have gaps or copies) and ``copied`` (the ids that
    occur more than once).
    """
    # NULL ids would be lost in the buckets.
    (unidentified,) = _fetch(
        cur,
        f"SELECT count(*) FILTER ((agg_trade_id >= 0) IS NOT TRUE) FROM {_scan(csv)}",  # noqa: S608
    )
    if unidentified:
        raise FileRejectedError(_fault(csv, "some rows have no id"))
    cur.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE buckets AS
        SELECT agg_trade_id // {_BUCKET} AS bucket, min(agg_trade_id) AS first_id, max(agg_trade_id) AS last_id,
               count(*) AS count, bit_xor(hash(agg_trade_id)) AS ids
        FROM {_scan(csv)} GROUP BY bucket
        """  # noqa: S608
    )
    cur.execute(
        """
        CREATE OR REPLACE TEMP TABLE odd AS
        SELECT bucket FROM buckets
        WHERE count != last_id - first_id + 1
           OR ids != (SELECT bit_xor(hash(i)) FROM range(first_id, last_id + 1) AS r(i))
        """
    )
    cur.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE suspects AS
        SELECT * FROM {_scan(csv)} WHERE agg_trade_id // {_BUCKET} IN (SELECT bucket FROM odd)
        """  # noqa: S608
    )
    cur.execute(
        """
        CREATE OR REPLACE TEMP TABLE copied AS
        SELECT agg_trade_id FROM suspects GROUP BY agg_trade_id HAVING count(*) > 1
        """
    )
    conflict = cur.execute(
        """
        SELECT agg_trade_id FROM (SELECT DISTINCT * FROM suspects WHERE agg_trade_id IN (FROM copied))
        GROUP BY agg_trade_id HAVING count(*) > 1 ORDER BY agg_trade_id LIMIT 1
        """
    ).fetchone()
    if conflict is not None:
        first, second = _differing_lines(csv, conflict[0])
        name = COLUMNS[csv.file.kind][0].name
        raise FileRejectedError(f"line {second}: {name} {conflict[0]} is that of line {first}, with other values")
    (copies,) = _fetch(
        cur,
        """
        SELECT count(*) - count(DISTINCT agg_trade_id) FROM suspects WHERE agg_trade_id IN (FROM copied)
        """,
    )
    ranges = cur.execute(
        """
        WITH pieces AS (
            SELECT first_id, last_id FROM buckets WHERE bucket NOT IN (FROM odd)
            UNION ALL
            SELECT min(id), max(id) FROM (
                SELECT id, id - row_number() OVER (ORDER BY id) AS island
                FROM (SELECT DISTINCT agg_trade_id AS id FROM suspects)
            ) GROUP BY island
        )
        SELECT first_id, last_id FROM pieces ORDER BY first_id
        """
    ).fetchall()
    return int(copies), _merge(ranges)


def _differing_lines(csv: Csv, trade_id: int) -> tuple[int, int]:
    """Return the lines of the first two rows of an id that differ."""
    seen: tuple[int, list[str]] | None = None
    for line, fields in csv.rows():
        if int(fields[0]) == trade_id:
            if seen is None:
                seen = line, fields
            elif fields != seen[1]:
                return seen[0], line
    raise AssertionError(f"id {trade_id} was found twice before")


def _source_without(csv: Csv, copies: bool, known: list[tuple[int, int]]) -> str:
    """Return the file as a table in which every id is once and none is in ``known``."""
    outside = " AND ".join(f"agg_trade_id NOT BETWEEN {a} AND {b}" for a, b in known) or "true"
    if not copies:
        return f"(SELECT * FROM {_scan(csv)} WHERE {outside})"  # noqa: S608
    return (
        f"(SELECT * FROM {_scan(csv)} WHERE agg_trade_id NOT IN (FROM copied) AND {outside} UNION ALL "  # noqa: S608
        f"SELECT DISTINCT * FROM suspects WHERE agg_trade_id IN (FROM copied) AND {outside})"
    )


def _known_ranges(cur: duckdb.DuckDBPyConnection, symbol_id: int, kind: Kind) -> list[tuple[int, int]]:
    """Return the ids that files of the symbol and kind brought in, as ranges that do not touch."""
    return _merge(
        cur.execute(
            """
            SELECT r.first_id, r.last_id FROM trade_ranges r JOIN ledger l USING (file_id)
            WHERE r.symbol_id = ? AND l.kind = ? ORDER BY r.first_id
            """,
            [symbol_id, kind],
        ).fetchall()
    )


def _merge(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Join ranges that touch or overlap; they come in order of their first id."""
    merged: list[tuple[int, int]] = []
    for first, last in ranges:
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], last))
        else:
            merged.append((first, last))
    return merged


def _subtract(ranges: list[tuple[int, int]], without: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return what is in ``ranges`` and not in ``without``; both in order, neither touching itself."""
    kept = []
    for first, last in ranges:
        for a, b in without:
            if b < first:
                continue
            if a > last:
                break
            if a > first:
                kept.append((first, a - 1))
            first = b + 1
        if first <= last:
            kept.append((first, last))
    return kept


def _length(ranges: list[tuple[int, int]]) -> int:
    return sum(last - first + 1 for first, last in ranges)


def _changed(cur: duckdb.DuckDBPyConnection, sql: str) -> int:
    return int(_fetch(cur, sql)[0])


# --- candles, open interest, funding, depth --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Series:
    """How rows of a kind become rows of a table, one to one.

    ``values`` are the table's columns after ts_init with the expressions that give them; ``identity`` those of them
    that make two rows of one time the same row. ``start`` is the time of a row in nanoseconds as the file has it,
    ``ts_event`` the end of its period. ``beside_time`` are columns that tell rows of one time apart.
    """

    table: str
    values: dict[str, str]
    identity: tuple[str, ...]
    start: str
    has_period: bool = False
    beside_time: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Columns that name a row, for SQL."""
        return ", ".join(("ts_event", *self.beside_time))


_NAN = "'nan'::DOUBLE"
_CANDLE_PRICES = {name: name for name in ("open", "high", "low", "close")}
_SERIES = {
    Kind.KLINES: _Series(
        "klines",
        _CANDLE_PRICES
        | {"volume": "volume"}
        | {name: f"coalesce({name}, {_NAN})" for name in ("quote_volume", "count", "taker_buy_volume")},
        ("open", "high", "low", "close", "volume"),
        "open_time * {to_ns}",
        has_period=True,
    ),
    **{
        kind: _Series(table, _CANDLE_PRICES, tuple(_CANDLE_PRICES), "open_time * {to_ns}", has_period=True)
        for kind, table in (
            (Kind.MARK_PRICE_KLINES, "mark_price"),
            (Kind.INDEX_PRICE_KLINES, "index_price"),
            (Kind.PREMIUM_INDEX_KLINES, "premium_index"),
        )
    },
    Kind.LIQUIDATION_TOTALS: _Series(
        "liquidation_totals",
        {"long_notional": "liquidation_long_usd", "short_notional": "liquidation_short_usd"},
        ("long_notional", "short_notional"),
        "open_time * {to_ns}",
        has_period=True,
    ),
    Kind.METRICS: _Series(
        "open_interest",
        {
            "open_interest": "sum_open_interest",
            "open_interest_value": f"coalesce(sum_open_interest_value, {_NAN})",
        },
        ("open_interest", "open_interest_value"),
        "epoch_ns(create_time)",
    ),
    Kind.FUNDING_RATE: _Series(
        "funding",
        {"rate": "last_funding_rate", "interval_hours": "funding_interval_hours"},
        ("rate", "interval_hours"),
        "calc_time * {to_ns}",
    ),
    Kind.BOOK_DEPTH: _Series(
        "book_depth",
        {"percentage": "percentage", "depth": "depth", "notional": "notional"},
        ("depth", "notional"),
        "epoch_ns(timestamp)",
        beside_time=("percentage",),
    ),
}


def _load_series(cur: duckdb.DuckDBPyConnection, csv: Csv, symbol: SymbolKey, file_id: int, series: _Series) -> Loaded:
    file = csv.file
    start = series.start.format(to_ns=csv.to_ns)
    good = " AND ".join(c.rule.sql(f'"{c.name}"') for c in COLUMNS[file.kind])
    # A single reader keeps the order of rows, whose numbers lead to line numbers.
    cur.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE staged AS
        SELECT row_number() OVER () AS row, {start} AS start, {_period_end(csv, start)} AS ts_event,
               ({good}{_extra_rules(csv)}) IS NOT TRUE AS bad,
               {", ".join(f'{sql} AS "{name}"' for name, sql in series.values.items())}
        FROM {csv.sql(parallel=False)}
        """  # noqa: S608
    )
    rows, bad, first, last = _fetch(cur, "SELECT count(*), count(*) FILTER (bad), min(start), max(start) FROM staged")
    if bad or first < file.earliest or last > file.latest:
        raise FileRejectedError(_fault(csv, f"{_rows(bad)} with values that are not allowed"))
    if file.kind in CANDLE_KINDS:
        _require_disjoint(cur, csv)
    ts_start, ts_end = _fetch(cur, "SELECT min(ts_event), max(ts_event) FROM staged")
    notices: list[str] = []
    if file.kind is Kind.METRICS:
        _resolve_stamp_change(cur, csv, notices)
        _drop_zero_open_interest(cur, notices)
    _drop_copies(cur, csv, series, notices)
    _drop_known(cur, csv, symbol, series, notices)
    stored = _changed(
        cur,
        f"""
        INSERT INTO {series.table}
        SELECT {symbol.symbol_id}, {file_id}, {f"{file.period}, " if series.has_period else ""}ts_event, ts_event,
               {", ".join(f'"{name}"' for name in series.values)}
        FROM staged ORDER BY {series.key}
        """,  # noqa: S608
    )
    return Loaded(rows, stored, rows - stored, ts_start - file.period, ts_end, notices=notices)


def _period_end(csv: Csv, start: str) -> str:
    """Return the SQL of the end of a row's period; for single events their time."""
    if csv.file.kind is not Kind.METRICS:
        return f"{start} + {csv.file.period}"
    # The day's file decides, not the row: the row of midnight is the last of one file and the first of the next.
    if not csv.file.monthly:
        return f"{start} + {METRICS_PERIOD if csv.file.start >= STAMP_CHANGE else 0}"
    return f"{start} + CASE WHEN {start} >= {STAMP_CHANGE} THEN {METRICS_PERIOD} ELSE 0 END"


def _extra_rules(csv: Csv) -> str:
    """Return the SQL of what a row has to obey beyond the rule of each column."""
    if csv.file.kind is Kind.METRICS:
        return f" AND symbol = '{csv.file.symbol}'"
    if csv.file.kind is Kind.LIQUIDATION_TOTALS:
        return f" AND open_time * {csv.to_ns} % {csv.file.period} = 0"
    if csv.file.kind not in CANDLE_KINDS:
        return ""
    return (
        " AND open BETWEEN low AND high AND close BETWEEN low AND high"
        f" AND (close_time - open_time) * {csv.to_ns} BETWEEN 0 AND {csv.file.period - 1}"
    )


def _require_disjoint(cur: duckdb.DuckDBPyConnection, csv: Csv) -> None:
    """Refuse candles that begin before the one before them has ended: they are of a shorter interval."""
    overlap = cur.execute(
        f"""
        SELECT row, step FROM (SELECT row, start - lag(start) OVER (ORDER BY start, row) AS step FROM staged)
        WHERE step > 0 AND step < {csv.file.period} ORDER BY row LIMIT 1
        """  # noqa: S608
    ).fetchone()
    if overlap is not None:
        raise FileRejectedError(
            f"line {csv.line_of(overlap[0])}: the candle begins {overlap[1] // 1_000_000_000} s after another, "
            f"its name says {csv.file.period // 1_000_000_000} s"
        )


def _resolve_stamp_change(cur: duckdb.DuckDBPyConnection, csv: Csv, notices: list[str]) -> None:
    """Tell apart the two rows that a monthly file has for the midnight at which stamps moved.

    The first is the last of those stamped at the end, the second the first of those stamped at the start.
    """
    if not csv.file.monthly:
        return
    at_change = [
        r for (r,) in cur.execute("SELECT row FROM staged WHERE start = ? ORDER BY row", [STAMP_CHANGE]).fetchall()
    ]
    if len(at_change) >= 2:
        cur.execute("UPDATE staged SET ts_event = start WHERE row = ?", [at_change[0]])
    elif at_change:
        notices.append(
            "the row of 2026-06-25 00:00:00 may be of the period before or after it; it was taken for the later"
        )


def _drop_zero_open_interest(cur: duckdb.DuckDBPyConnection, notices: list[str]) -> None:
    zeros, first, last = _fetch(cur, "SELECT count(*), min(start), max(start) FROM staged WHERE open_interest = 0")
    if zeros:
        cur.execute("DELETE FROM staged WHERE open_interest = 0")
        notices.append(f"{_rows(zeros)} {ZERO_OPEN_INTEREST}, {utc(first):%F %T} … {utc(last):%F %T}")


def _drop_copies(cur: duckdb.DuckDBPyConnection, csv: Csv, series: _Series, notices: list[str]) -> None:
    """Drop rows that are there twice; refuse two rows of one time that differ."""
    conflict = cur.execute(
        f"""
        SELECT a.row, b.row, a.start FROM staged a JOIN staged b USING ({series.key})
        WHERE a.row < b.row AND ({_differ(series)}) ORDER BY b.row, a.row LIMIT 1
        """  # noqa: S608
    ).fetchone()
    if conflict is not None:
        former, later, ts = conflict
        raise FileRejectedError(
            f"line {csv.line_of(later)}: has the time of line {csv.line_of(former)} ({utc(ts):%F %T}), other values"
        )
    deleted = _changed(
        cur,
        f"DELETE FROM staged WHERE row NOT IN (SELECT min(row) FROM staged GROUP BY {series.key})",  # noqa: S608
    )
    if deleted:
        notices.append(f"{_rows(deleted)} {COPIES}")


def _drop_known(
    cur: duckdb.DuckDBPyConnection, csv: Csv, symbol: SymbolKey, series: _Series, notices: list[str]
) -> None:
    """Leave out rows that are there; refuse the file if another file brought in others.

    What was published may differ from what the archive has later, and stays: answers as of then were made of it.
    """
    first, last = _fetch(cur, "SELECT min(ts_event), max(ts_event) FROM staged")
    if first is None:
        return
    same_period = f"AND b.period = {csv.file.period}" if series.has_period else ""
    known = f"""
        (SELECT b.* FROM {series.table} b
         WHERE b.symbol_id = {symbol.symbol_id} {same_period} AND b.ts_event BETWEEN {first} AND {last})
    """  # noqa: S608
    conflict = cur.execute(
        f"""
        SELECT a.row, a.ts_event, l.name, {", ".join(f'a."{c}", b."{c}"' for c in series.identity)}
        FROM staged a JOIN {known} b USING ({series.key}) JOIN ledger l USING (file_id)
        WHERE l.name <> '{LIVE}' AND ({_differ(series)}) ORDER BY a.row LIMIT 1
        """  # noqa: S608
    ).fetchone()
    if conflict is not None:
        row, ts, name, *values = conflict
        column, ours, theirs = next(
            (c, values[2 * n], values[2 * n + 1])
            for n, c in enumerate(series.identity)
            if not np.array_equal(values[2 * n], values[2 * n + 1], equal_nan=True)
        )
        raise FileRejectedError(
            f"line {csv.line_of(row)}: {column} was {ours}, but {theirs} in {name}, "
            f"for the period that ends {utc(ts):%F %T}"
        )
    [otherwise] = _fetch(
        cur,
        f"SELECT count(*) FROM staged a JOIN {known} b USING ({series.key}) WHERE {_differ(series)}",  # noqa: S608
    )
    deleted = _changed(
        cur,
        f"DELETE FROM staged WHERE ({series.key}) IN (SELECT ({series.key}) FROM {known})",  # noqa: S608
    )
    if otherwise:
        notices.append(f"{_rows(otherwise)} {KNOWN_OTHERWISE}")
    if deleted > otherwise:
        notices.append(f"{_rows(deleted - otherwise)} {KNOWN_ROWS}")


def _differ(series: _Series) -> str:
    return " OR ".join(f'a."{c}" IS DISTINCT FROM b."{c}"' for c in series.identity)
