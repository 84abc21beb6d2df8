"""Rows that come live instead of from files: the same tables, the same sums, a ledger entry that grows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray

from liqserver.store.archive import Kind
from liqserver.store.database import Database
from liqserver.store.history import MINUTE, Candles, Rows
from liqserver.store.loaders import LIVE

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

# What is published is known when it is true.
_BOTH = "ts_event, ts_event"


@dataclass(frozen=True, slots=True)
class LiveRows:
    """Rows of one symbol for a span of whole minutes, as the tables hold them.

    Attributes
    ----------
    start, end : int
        UNIX nanoseconds: the span.
    flow : dict of str to array, shape (F,)
        ts_event, bin, size_class, buy_qty, sell_qty, buy_notional, sell_notional, buy_count, sell_count, sorted by
        the first three.
    large : dict of str to array, shape (K,)
        ts_event, ts_init, trade_id, price, qty, taker_buy, by id.
    mark : dict of str to array, shape (M,)
        ts_event, open, high, low, close, by minute.
    open_interest, funding, liquidations : dict of str to array
        By time: ts_event and open_interest; ts_event, rate, interval_hours; ts_event, side, price, qty.
    trade_ids : int64, shape (n,)
        Ids of all trades, ascending.
    """

    start: int
    end: int
    flow: dict[str, NDArray[Any]]
    large: dict[str, NDArray[Any]]
    mark: dict[str, NDArray[Any]]
    open_interest: dict[str, NDArray[Any]]
    funding: dict[str, NDArray[Any]]
    liquidations: dict[str, NDArray[Any]]
    trade_ids: Ints

    def rows(self) -> Rows:
        """Return what a history is made of."""
        mark, nothing = self.mark, np.zeros(len(self.mark["ts_event"]))
        return Rows(
            flow_ts=self.flow["ts_event"],
            flow_bin=self.flow["bin"],
            flow_buy=self.flow["buy_qty"],
            flow_sell=self.flow["sell_qty"],
            flow_notional=self.flow["buy_notional"] + self.flow["sell_notional"],
            covered=np.array([[self.start, self.end]], dtype=np.int64),
            klines=[],
            mark=[Candles(MINUTE, mark["ts_event"], mark["low"], mark["high"], mark["close"], nothing, nothing)],
            oi_ts=self.open_interest["ts_event"],
            oi=self.open_interest["open_interest"],
            funding_ts=self.funding["ts_event"],
            funding=self.funding["rate"],
        )


@dataclass(frozen=True, slots=True)
class StoredSymbol:
    """What must be known of a symbol to go on with it live.

    Attributes
    ----------
    symbol_id : int
        Key.
    base_bin : float
        Width of its flow bins, quote units.
    until : int
        UNIX nanoseconds: end of what is stored of trades, mark prices and open interest; 0 if nothing is.
    """

    symbol_id: int
    base_bin: float
    until: int


def stored_symbol(database: Database, venue: str, symbol: str) -> StoredSymbol:
    """Return what is known of a symbol that exists."""
    [(symbol_id, base_bin, until)] = (
        database.cursor()
        .execute(
            """
            SELECT symbol_id, base_bin, coalesce(max(ts_end), 0)
            FROM symbols LEFT JOIN (FROM ledger WHERE kind IN (?, ?, ?, ?)) USING (symbol_id)
            WHERE venue = ? AND symbol = ? GROUP BY ALL
            """,
            [Kind.AGG_TRADES, Kind.TRADES, Kind.MARK_PRICE_KLINES, Kind.METRICS, venue, symbol],
        )
        .fetchall()
    )
    return StoredSymbol(symbol_id, base_bin, until)


def settlements_after(database: Database, symbol_id: int, ts: int) -> list[tuple[int, float]]:
    """Return stored settlements after a moment: time, UNIX nanoseconds, and rate."""
    sql = "SELECT ts_event, rate FROM funding WHERE symbol_id = ? AND ts_event > ? ORDER BY ts_event"
    return database.cursor().execute(sql, [symbol_id, ts]).fetchall()


def write_live(database: Database, rows: list[tuple[int, LiveRows]], now: int) -> None:
    """Store rows of symbols, all or none.

    Parameters
    ----------
    database : Database
        Open for writing.
    rows : list of (symbol_id, LiveRows)
        Each span begins where the symbol's span before ended, or later.
    now : int
        UNIX nanoseconds: the time of entry in the ledger.
    """
    with database.transaction() as cur:
        for symbol_id, of in rows:
            _write(cur, symbol_id, of, now)


def _write(cur: duckdb.DuckDBPyConnection, symbol_id: int, of: LiveRows, now: int) -> None:
    flow = f"{_BOTH}, bin, size_class, buy_qty, sell_qty, buy_notional, sell_notional, buy_count, sell_count"
    entry = _entry(cur, symbol_id, Kind.AGG_TRADES, 0, of, len(of.trade_ids), len(of.flow["bin"]), now)
    if entry is not None:
        _insert(cur, "flow", symbol_id, entry, of.flow, flow)
        _insert(cur, "large_trades", symbol_id, entry, of.large, "ts_event, ts_init, trade_id, price, qty, taker_buy")
        _insert(cur, "trade_ranges", symbol_id, entry, _ranges(of.trade_ids), "first_id, last_id")
    for kind, period, table, columns, select in (
        (
            Kind.MARK_PRICE_KLINES,
            MINUTE,
            "mark_price",
            of.mark,
            f"{MINUTE}, ts_event, ts_event, open, high, low, close",
        ),
        (Kind.METRICS, 0, "open_interest", of.open_interest, f"{_BOTH}, open_interest, 'nan'::DOUBLE"),
        (Kind.FUNDING_RATE, 0, "funding", of.funding, f"{_BOTH}, rate, interval_hours"),
        (Kind.LIQUIDATION_SNAPSHOT, 0, "liquidations", of.liquidations, f"{_BOTH}, side, price, qty"),
    ):
        count = len(columns["ts_event"])
        entry = _entry(cur, symbol_id, kind, period, of, count, count, now)
        if entry is not None:
            _insert(cur, table, symbol_id, entry, columns, select)


def _entry(
    cur: duckdb.DuckDBPyConnection,
    symbol_id: int,
    kind: Kind,
    period: int,
    of: LiveRows,
    rows: int,
    stored: int,
    now: int,
) -> int | None:
    """Let the ledger's entry that ends where the span begins reach to its end, or begin one if there are rows."""
    found = cur.execute(
        "SELECT file_id FROM ledger WHERE symbol_id = ? AND kind = ? AND name = ? AND ts_end = ?",
        [symbol_id, kind, LIVE, of.start],
    ).fetchone()
    ids = (int(of.trade_ids[0]), int(of.trade_ids[-1])) if kind is Kind.AGG_TRADES and len(of.trade_ids) else (0, 0)
    if found is not None:
        cur.execute(
            """
            UPDATE ledger SET ts_end = ?, rows = rows + ?, stored_rows = stored_rows + ?,
                              first_id = CASE WHEN first_id = 0 THEN ? ELSE first_id END,
                              last_id = greatest(last_id, ?)
            WHERE file_id = ?
            """,
            [of.end, rows, stored, ids[0], ids[1], found[0]],
        )
        return int(found[0])
    if not rows:
        return None
    [(file_id,)] = cur.execute("SELECT coalesce(max(file_id), 0) + 1 FROM ledger").fetchall()
    cur.execute(
        "INSERT INTO ledger VALUES (?, ?, ?, ?, ?, '', 0, ?, ?, 0, ?, ?, ?, ?, '[]', ?)",
        [file_id, symbol_id, kind, period, LIVE, rows, stored, *ids, of.start, of.end, now],
    )
    return int(file_id)


def _insert(
    cur: duckdb.DuckDBPyConnection,
    table: str,
    symbol_id: int,
    file_id: int,
    columns: dict[str, NDArray[Any]],
    select: str,
) -> None:
    if not len(next(iter(columns.values()))):
        return
    cur.register("live", columns)
    cur.execute(f"INSERT INTO {table} SELECT {symbol_id}, {file_id}, {select} FROM live")  # noqa: S608 - names of ours
    cur.unregister("live")


def _ranges(ids: Ints) -> dict[str, NDArray[Any]]:
    """Return ascending ids as ranges without gaps."""
    breaks = np.flatnonzero(np.diff(ids) != 1)
    first = np.concatenate([[0], breaks + 1]) if len(ids) else np.empty(0, dtype=np.int64)
    last = np.concatenate([breaks, [len(ids) - 1]]) if len(ids) else np.empty(0, dtype=np.int64)
    return {"first_id": ids[first], "last_id": ids[last]}
