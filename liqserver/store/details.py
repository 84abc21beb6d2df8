"""Reads what only some models need of a market: candles, single trades, flow by size class."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray

from liqserver.kernel import History
from liqserver.models.market import CANDLE_PERIOD, Candles, SizedFlow, Trades


class StoreDetails:
    """Details of one symbol, each read once; see ``liqserver.models.market.Details``.

    Parameters
    ----------
    cursor : callable
        Makes a cursor for the calling thread.
    symbol_id : int
        Key of the symbol.
    history : History
        The symbol's steps; candles are made of them where no klines are stored.
    """

    def __init__(self, cursor: Callable[[], duckdb.DuckDBPyConnection], symbol_id: int, history: History) -> None:
        self._cursor = cursor
        self._symbol_id = symbol_id
        self._history = history
        self._lock = threading.Lock()
        self._candles: Candles | None = None
        self._trades: Trades | None = None
        self._flow: SizedFlow | None = None

    def candles(self) -> Candles:
        """Return five-minute candles: of five-minute klines, else of shorter ones, else of the steps."""
        with self._lock:
            if self._candles is None:
                self._candles = _joined(_kline_candles(self._cursor(), self._symbol_id), step_candles(self._history))
            return self._candles

    def large_trades(self) -> Trades:
        """Return the trades that are stored one by one."""
        with self._lock:
            if self._trades is None:
                rows = self._read("SELECT ts_init, price, qty, taker_buy FROM large_trades", "ts_init, trade_id")
                self._trades = Trades(rows["ts_init"], rows["price"], rows["qty"], rows["taker_buy"])
            return self._trades

    def sized_flow(self) -> SizedFlow:
        """Return the flow by size class."""
        with self._lock:
            if self._flow is None:
                rows = self._read(
                    """
                    SELECT ts_init, size_class, taker_buy, notional / qty AS price, qty, count
                    FROM (
                        SELECT symbol_id, ts_init, bin, size_class, side.*
                        FROM (
                            SELECT symbol_id, ts_init, bin, size_class, unnest([
                                {taker_buy: true, qty: buy_qty, notional: buy_notional, count: buy_count::BIGINT},
                                {taker_buy: false, qty: sell_qty, notional: sell_notional, count: sell_count::BIGINT}
                            ]) AS side
                            FROM flow
                        )
                        WHERE side.qty > 0
                    )
                    """,
                    "ts_init, bin, size_class, taker_buy",
                )
                self._flow = SizedFlow(
                    rows["ts_init"], rows["price"], rows["qty"], rows["count"], rows["size_class"], rows["taker_buy"]
                )
            return self._flow

    def _read(self, select: str, order: str) -> dict[str, NDArray[Any]]:
        rows: dict[str, NDArray[Any]] = (
            self._cursor().execute(f"{select} WHERE symbol_id = ? ORDER BY {order}", [self._symbol_id]).fetchnumpy()
        )
        return rows


def _kline_candles(cur: duckdb.DuckDBPyConnection, symbol_id: int) -> Candles:
    """Return five-minute candles of klines of up to five minutes; of several periods the longest that is there."""
    rows = cur.execute(
        """
        WITH parts AS (
            SELECT *, (ts_event - 1) // $period * $period + $period AS five
            FROM klines WHERE symbol_id = $symbol_id AND $period % period = 0
        ), made AS (
            SELECT five, period, count(*) * period AS covered,
                   arg_min(open, ts_event) AS open, max(high) AS high, min(low) AS low,
                   arg_max(close, ts_event) AS close,
                   sum(CASE WHEN isnan(quote_volume) THEN volume * (high + low + close) / 3 ELSE quote_volume END)
                       AS notional
            FROM parts GROUP BY five, period
        )
        SELECT five, open, high, low, close, notional FROM made WHERE covered = $period
        QUALIFY row_number() OVER (PARTITION BY five ORDER BY period DESC) = 1 ORDER BY five
        """,
        {"symbol_id": symbol_id, "period": CANDLE_PERIOD},
    ).fetchnumpy()
    return Candles(*(rows[name] for name in ("five", "open", "high", "low", "close", "notional")))


def step_candles(history: History) -> Candles:
    """Return five-minute candles of steps: their path and flow; a candle opens at the price before it."""
    known = np.flatnonzero(~np.isnan(history.mark_close))
    if not len(known):
        empty = np.empty(0)
        return Candles(np.empty(0, dtype=np.int64), empty, empty, empty, empty, empty)
    first_known = int(known[0])
    end = (history.step_end[first_known:] - 1) // CANDLE_PERIOD * CANDLE_PERIOD + CANDLE_PERIOD
    first = np.flatnonzero(np.concatenate([[True], end[1:] != end[:-1]]))
    last = np.concatenate([first[1:] - 1, [len(end) - 1]])
    # A candle is known when its last step is: one that has not ended yet is none.
    whole = history.step_end[first_known:][last] == end[last]
    close = history.mark_close[first_known:]
    opened = close[np.maximum(first - 1, 0)]
    low = np.fmin(np.fmin.reduceat(history.mark_low[first_known:], first), np.fmin(opened, close[last]))
    high = np.fmax(np.fmax.reduceat(history.mark_high[first_known:], first), np.fmax(opened, close[last]))
    rows = np.concatenate([[0.0], np.cumsum(history.flow_price * (history.flow_buy + history.flow_sell))])
    starts, stops = history.flow_offset[first_known:][first], history.flow_offset[first_known:][last + 1]
    notional = rows[stops] - rows[starts]
    return Candles(end[first][whole], opened[whole], high[whole], low[whole], close[last][whole], notional[whole])


def _joined(better: Candles, other: Candles) -> Candles:
    """Return ``better`` and, where it has no candle, ``other``."""
    missing = ~np.isin(other.end, better.end)
    order = np.argsort(np.concatenate([better.end, other.end[missing]]), kind="stable")
    names = ("end", "open", "high", "low", "close", "quote_volume")
    columns = (np.concatenate([getattr(better, name), getattr(other, name)[missing]])[order] for name in names)
    return Candles(*columns)
