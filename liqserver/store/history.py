"""Reads what the database holds of one symbol into the columns the kernel walks.

Which source stands for what: flow is of trades wherever trade files reach; elsewhere the finest candles stand in,
their volume spread evenly over their range. The path is of the shortest candles there are; of equally short ones
mark prices go before last prices, and those before the range of a minute's trades. Every step names its sources, so
that an answer can.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb
import numpy as np
from numpy.typing import NDArray

from liqserver.kernel import History, Source
from liqserver.store.loaders import NOTIONAL_SCALE, quantity_decimals

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

MINUTE = 60_000_000_000


@dataclass(frozen=True, slots=True)
class Candles:
    """Candles of one length: ``end`` is exclusive, UNIX nanoseconds; prices in quote units."""

    period: int
    end: Ints
    low: Floats
    high: Floats
    close: Floats
    volume: Floats
    taker_buy_volume: Floats

    def where(self, keep: NDArray[np.bool_]) -> Candles:
        """Return the candles for which ``keep`` is true."""
        return Candles(
            self.period,
            self.end[keep],
            self.low[keep],
            self.high[keep],
            self.close[keep],
            self.volume[keep],
            self.taker_buy_volume[keep],
        )


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one symbol as they are stored, by time; amounts in base units, prices in quote units.

    Attributes
    ----------
    flow_ts, flow_bin : int64, shape (F,)
        End of the minute and price bin, ascending; a minute and bin have a row for each size class.
    flow_buy, flow_sell, flow_notional : float64, shape (F,)
        Bought and sold by takers, and the notional of both.
    covered : int64, shape (n, 2)
        Stretches for which trades are known, start and end.
    klines, mark : list of Candles
        By period, shortest first.
    oi_ts, oi : shape (O,)
        Open interest.
    funding_ts, funding : shape (G,)
        Settlements.
    """

    flow_ts: Ints
    flow_bin: Ints
    flow_buy: Floats
    flow_sell: Floats
    flow_notional: Floats
    covered: Ints
    klines: list[Candles]
    mark: list[Candles]
    oi_ts: Ints
    oi: Floats
    funding_ts: Ints
    funding: Floats


def load_history(
    cur: duckdb.DuckDBPyConnection, symbol_id: int, base_bin: float, *, until: int | None = None
) -> History:
    """Read the history of one symbol.

    Parameters
    ----------
    cur : duckdb.DuckDBPyConnection
        A cursor of the calling thread.
    symbol_id : int
        Key of the symbol.
    base_bin : float
        Width of the symbol's flow bins, quote units.
    until : int, optional
        UNIX nanoseconds: rows that could not be known by then are left out.

    Returns
    -------
    History
        All steps; empty when nothing is stored.
    """
    return history_of(_read_rows(cur, symbol_id, until if until is not None else np.iinfo(np.int64).max), base_bin)


def _read_rows(cur: duckdb.DuckDBPyConnection, symbol_id: int, limit: int) -> Rows:
    parameters = [symbol_id, limit]
    # Added up elsewhere and not by the database, whose order of additions differs from run to run.
    flow = cur.execute(
        """
        SELECT ts_event, bin, buy_qty AS buy, sell_qty AS sell, buy_notional + sell_notional AS notional
        FROM flow WHERE symbol_id = $1 AND ts_init <= $2 ORDER BY ts_event, bin, size_class
        """,
        parameters,
    ).fetchnumpy()
    covered = cur.execute(
        """
        SELECT ts_start, least(ts_end, $2) AS ts_end FROM ledger
        WHERE symbol_id = $1 AND kind IN ('aggTrades', 'trades') AND ts_start < $2 ORDER BY ts_start
        """,
        parameters,
    ).fetchnumpy()
    oi = cur.execute(
        """
        SELECT ts_event, open_interest FROM open_interest WHERE symbol_id = $1 AND ts_init <= $2 ORDER BY ts_event
        """,
        parameters,
    ).fetchnumpy()
    funding = cur.execute(
        "SELECT ts_event, rate FROM funding WHERE symbol_id = $1 AND ts_init <= $2 ORDER BY ts_event", parameters
    ).fetchnumpy()
    return Rows(
        flow_ts=flow["ts_event"],
        flow_bin=flow["bin"],
        flow_buy=flow["buy"],
        flow_sell=flow["sell"],
        flow_notional=flow["notional"],
        covered=np.stack([covered["ts_start"], covered["ts_end"]], axis=1),
        klines=_read_candles(cur, "klines", "volume, taker_buy_volume", parameters),
        mark=_read_candles(cur, "mark_price", "0.0 AS volume, 0.0 AS taker_buy_volume", parameters),
        oi_ts=oi["ts_event"],
        oi=oi["open_interest"],
        funding_ts=funding["ts_event"],
        funding=funding["rate"],
    )


def history_of(
    rows: Rows, base_bin: float, *, before: float = np.nan, unsettled: Sequence[tuple[int, float]] = ()
) -> History:
    """Put the rows of one symbol on one line of steps; see ``assemble``.

    Parameters
    ----------
    rows : Rows
        Of the whole history, or of what follows it.
    base_bin : float
        Width of the symbol's flow bins, quote units.
    before : float
        Newest price before the rows, quote units; NaN where none is known.
    unsettled : sequence of (int, float)
        Settlements after the last step before the rows, which belong to the first of these: time and rate.
    """
    ts, bins = rows.flow_ts, rows.flow_bin
    first = np.flatnonzero(np.concatenate([[True], (ts[1:] != ts[:-1]) | (bins[1:] != bins[:-1])])[: len(ts)])
    units = 10.0 ** quantity_decimals(base_bin)
    buy, sell = (_sums(values, first, units) for values in (rows.flow_buy, rows.flow_sell))
    notional = _sums(rows.flow_notional, first, NOTIONAL_SCALE)
    return assemble(
        flow_end=ts[first],
        flow_price=notional / (buy + sell),
        flow_buy=buy,
        flow_sell=sell,
        covered=rows.covered,
        klines=rows.klines,
        mark=rows.mark,
        oi_ts=rows.oi_ts,
        oi=rows.oi,
        funding_ts=np.concatenate([np.array([of[0] for of in unsettled], dtype=np.int64), rows.funding_ts]),
        funding=np.concatenate([np.array([of[1] for of in unsettled], dtype=np.float64), rows.funding]),
        base_bin=base_bin,
        before=before,
    )


def _sums(values: Floats, first: Ints, units: float) -> Floats:
    """Add up runs of values that begin at ``first``, of which each is a whole number of parts, ``units`` in one.

    As whole numbers, so that it does not matter in how many rows a sum was stored.
    """
    if not len(first):
        return np.empty(0)
    return np.asarray(np.add.reduceat(np.rint(values * units).astype(np.int64), first) / units)


def _read_candles(cur: duckdb.DuckDBPyConnection, table: str, volumes: str, parameters: list[int]) -> list[Candles]:
    rows = cur.execute(
        f"""
        SELECT period, ts_event, low, high, close, {volumes} FROM {table}
        WHERE symbol_id = $1 AND ts_init <= $2 ORDER BY period, ts_event
        """,  # noqa: S608 - table and columns are ours
        parameters,
    ).fetchnumpy()
    out = []
    for period in np.unique(rows["period"]):
        of = rows["period"] == period
        columns = (rows[name][of] for name in ("ts_event", "low", "high", "close", "volume", "taker_buy_volume"))
        out.append(Candles(int(period), *columns))
    return out


def assemble(
    *,
    flow_end: Ints,
    flow_price: Floats,
    flow_buy: Floats,
    flow_sell: Floats,
    covered: Ints,
    klines: list[Candles],
    mark: list[Candles],
    oi_ts: Ints,
    oi: Floats,
    funding_ts: Ints,
    funding: Floats,
    base_bin: float,
    before: float = np.nan,
) -> History:
    """Put the sources of one symbol on one line of steps.

    Parameters
    ----------
    flow_end, flow_price, flow_buy, flow_sell : shape (F,)
        Flow of trades, by end of its minute.
    covered : int64, shape (n, 2)
        Stretches for which trades are known, start and end.
    klines, mark : list of Candles
        By period, finest first.
    oi_ts, oi, funding_ts, funding
        Open interest and settlements by time.
    base_bin : float
        Width of the bins over which a candle's volume is spread.
    before : float
        Newest price before all of it, quote units; NaN where none is known.
    """
    trades = _trade_candles(flow_end, flow_price, flow_buy, flow_sell)
    volume = _layer(_merge(covered), [(Source.KLINES, candles) for candles in klines])
    ranges = [
        *((Source.MARK_PRICE, candles) for candles in mark),
        *((Source.KLINES, candles) for candles in klines),
        (Source.TRADES, trades),
    ]
    # Short candles first, because they are known first: what stands as of a moment stands for good.
    path = _layer(_NOWHERE, sorted(ranges, key=lambda of: of[1].period))

    ends = [flow_end, oi_ts, *(candles.end for _, candles in [*volume, *path])]
    step_end = np.unique(np.concatenate(ends))
    steps = len(step_end)

    spread = [_spread(candles, base_bin) for _, candles in volume]
    flow_end = np.concatenate([flow_end, *(s[0] for s in spread)])
    # Stable: rows of a step keep their order, so that equal inputs give equal sums to the last bit.
    order = np.argsort(flow_end, kind="stable")
    flow_source = np.zeros(steps, dtype=np.uint8)
    flow_source[np.searchsorted(step_end, trades.end)] = Source.TRADES
    for source, candles in volume:
        flow_source[np.searchsorted(step_end, candles.end)] = source

    low, high, close = (np.full(steps, np.nan) for _ in range(3))
    path_source = np.zeros(steps, dtype=np.uint8)
    for source, candles in path:
        at = np.searchsorted(step_end, candles.end)
        low[at], high[at], close[at] = candles.low, candles.high, candles.close
        path_source[at] = source

    open_interest = np.full(steps, np.nan)
    open_interest[np.searchsorted(step_end, oi_ts)] = oi
    # A settlement belongs to the step it falls into; one after the last step is not in any yet.
    rate = np.zeros(steps)
    at = np.searchsorted(step_end, funding_ts)
    np.add.at(rate, at[at < steps], funding[at < steps])
    return History(
        step_end=step_end,
        mark_low=low,
        mark_high=high,
        mark_close=_forward_filled(close, before),
        path_source=path_source,
        open_interest=open_interest,
        funding_rate=rate,
        flow_offset=np.concatenate([[0], np.searchsorted(flow_end[order], step_end, side="right")]).astype(np.int64),
        flow_price=np.concatenate([flow_price, *(s[1] for s in spread)])[order],
        flow_buy=np.concatenate([flow_buy, *(s[2] for s in spread)])[order],
        flow_sell=np.concatenate([flow_sell, *(s[3] for s in spread)])[order],
        flow_source=flow_source,
    )


_NOWHERE = np.empty((0, 2), dtype=np.int64)


def _merge(stretches: Ints) -> Ints:
    """Return the union of half-open stretches, sorted and disjoint; touching ones become one."""
    if not len(stretches):
        return _NOWHERE
    ordered = stretches[np.argsort(stretches[:, 0], kind="stable")]
    reach = np.maximum.accumulate(ordered[:, 1])
    first = np.flatnonzero(np.concatenate([[True], ordered[1:, 0] > reach[:-1]]))
    last = np.concatenate([first[1:] - 1, [len(ordered) - 1]])
    return np.stack([ordered[first, 0], reach[last]], axis=1)


def _overlaps(stretches: Ints, start: Ints, end: Ints) -> NDArray[np.bool_]:
    """Tell which of [start, end) overlap any of the merged stretches."""
    if not len(stretches):
        return np.zeros(len(start), dtype=bool)
    # The only candidate is the last stretch that begins before the end.
    candidate = np.searchsorted(stretches[:, 0], end, side="left") - 1
    return np.asarray((candidate >= 0) & (stretches[np.maximum(candidate, 0), 1] > start))


def _layer(taken: Ints, candidates: list[tuple[Source, Candles]]) -> list[tuple[Source, Candles]]:
    """Return, candidate by candidate, what lies outside ``taken`` and outside the candidates before it."""
    out = []
    for source, candles in candidates:
        start = candles.end - candles.period
        free = ~_overlaps(taken, start, candles.end)
        if free.any():
            out.append((source, candles.where(free)))
            taken = _merge(np.concatenate([taken, np.stack([start[free], candles.end[free]], axis=1)]))
    return out


def _trade_candles(end: Ints, price: Floats, buy: Floats, sell: Floats) -> Candles:
    """Return minute candles of flow rows sorted by time; the close is the minute's mean price."""
    first = np.flatnonzero(np.concatenate([[True], end[1:] != end[:-1]])) if len(end) else np.empty(0, dtype=np.int64)
    if not len(first):
        nothing = np.empty(0)
        return Candles(MINUTE, np.empty(0, dtype=np.int64), nothing, nothing, nothing, nothing, nothing)
    qty = np.add.reduceat(buy + sell, first)
    return Candles(
        MINUTE,
        end[first],
        np.minimum.reduceat(price, first),
        np.maximum.reduceat(price, first),
        np.add.reduceat(price * (buy + sell), first) / qty,
        qty,
        np.add.reduceat(buy, first),
    )


def _spread(candles: Candles, base_bin: float) -> tuple[Ints, Floats, Floats, Floats]:
    """Spread each candle's volume evenly over its range, bin by bin: end, price, buy and sell of the rows.

    Where the candle does not say what takers bought, half of it is taken as bought.
    """
    traded = candles.where(candles.volume > 0)
    first = np.floor(traded.low / base_bin).astype(np.int64)
    count = np.floor(traded.high / base_bin).astype(np.int64) - first + 1
    of = np.repeat(np.arange(len(count)), count)
    bin_ = first[of] + np.arange(len(of)) - np.repeat(np.cumsum(count) - count, count)
    bottom = np.maximum(bin_ * base_bin, traded.low[of])
    top = np.minimum((bin_ + 1) * base_bin, traded.high[of])
    extent = (traded.high - traded.low)[of]
    flat = extent <= 0
    part = np.where(flat, 1.0, np.maximum(top - bottom, 0.0) / np.where(flat, 1.0, extent))
    qty = traded.volume[of] * part
    bought = np.where(np.isnan(traded.taker_buy_volume), 0.5, traded.taker_buy_volume / traded.volume)[of]
    return traded.end[of], (bottom + top) / 2, qty * bought, qty * (1 - bought)


def _forward_filled(values: Floats, before: float) -> Floats:
    """Return ``values`` with each NaN replaced by the last number before it, leading ones by ``before``."""
    known = np.where(np.isnan(values), -1, np.arange(len(values)))
    at = np.maximum.accumulate(known) if len(values) else known
    return np.where(at >= 0, values[np.maximum(at, 0)], before)
