"""Market events of one symbol, put into minutes: what has ended for good, and what is still open.

A minute ends for good when an event of ``bound`` after its end has come, or the publisher says that no more come
before a later moment. Until then its events may come in any order and more than once; afterwards they are refused.
Sums are of whole units, as those of archive files are, so that they depend on no order.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from liqserver.kernel import History, Source
from liqserver.models.market import LARGE_TRADE, SIZE_CLASSES
from liqserver.store.events import Batch
from liqserver.store.history import MINUTE
from liqserver.store.live_rows import LiveRows
from liqserver.store.loaders import NOTIONAL_SCALE, quantity_decimals

# Events this much older than the newest are still taken.
BOUND = 5_000_000_000

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Refusal:
    """An event that was refused: which kind, where in its columns, when, and why."""

    kind: str
    index: int
    ts_event: int
    reason: str


@dataclass(frozen=True, slots=True)
class Added:
    """What became of a batch."""

    accepted: int
    repeated: int
    refused: tuple[Refusal, ...]


class _Minute:
    """Events of a minute that is open: sums by bin, size class and taker in whole units, and what is kept singly.

    What shows while it is open is kept added up: it is asked for after every batch.
    """

    __slots__ = ("bins", "cells", "ids", "large", "mark", "mark_range", "sums")

    def __init__(self) -> None:
        self.ids: set[int] = set()
        # (bin, size class) -> bought qty, notional, count; sold qty, notional, count
        self.cells: dict[tuple[int, int], list[int]] = {}
        # id, time, price, qty, whether the taker bought
        self.large: list[tuple[int, int, float, float, bool]] = []
        self.mark: dict[int, float] = {}
        # Row of each bin in the sums, which are of bought qty, sold qty, notional.
        self.bins: dict[int, int] = {}
        self.sums = np.zeros((64, 3), dtype=np.int64)
        # Low, high and newest mark price with its time.
        self.mark_range: tuple[float, float, float, int] = (math.inf, -math.inf, math.nan, 0)

    def trade(self, bin_: int, size_class: int, buy: bool, qty: int, notional: int) -> None:
        cell = self.cells.get((bin_, size_class))
        if cell is None:
            cell = self.cells[bin_, size_class] = [0, 0, 0, 0, 0, 0]
        first = 0 if buy else 3
        cell[first] += qty
        cell[first + 1] += notional
        cell[first + 2] += 1
        row = self.bins.get(bin_)
        if row is None:
            row = self.bins[bin_] = len(self.bins)
            if row == len(self.sums):
                self.sums = np.concatenate([self.sums, np.zeros_like(self.sums)])
        sums = self.sums[row]
        sums[0 if buy else 1] += qty
        sums[2] += notional

    def mark_price(self, ts: int, price: float) -> bool:
        """Take a mark price; return whether its moment had none. A second one of the same moment replaces the first."""
        new = ts not in self.mark
        self.mark[ts] = price
        low, high, newest, at = self.mark_range
        if new:
            newest, at = (price, ts) if ts >= at else (newest, at)
            self.mark_range = min(low, price), max(high, price), newest, at
        else:
            _, high, low, newest = _candle(self.mark)
            self.mark_range = low, high, newest, at
        return new

    def flow(self) -> NDArray[np.int64]:
        """Return the sums of the bins that traded, by ascending bin, shape (n, 3)."""
        bins = np.fromiter(self.bins, dtype=np.int64, count=len(self.bins))
        return self.sums[np.argsort(bins)]


class Intake:
    """Takes events of one symbol; not safe for concurrent use.

    Parameters
    ----------
    base_bin : float
        Width of the flow bins, quote units.
    closed_until : int
        UNIX nanoseconds, the end of a minute: what is older is stored already, and refused.
    bound : int
        Nanoseconds that events may come late.
    """

    def __init__(self, base_bin: float, closed_until: int, bound: int = BOUND) -> None:
        self._base_bin = base_bin
        self._bound = bound
        self._qty_scale = 10 ** quantity_decimals(base_bin)
        self._minutes: dict[int, _Minute] = {}
        self._oi: dict[int, float] = {}
        self._funding: dict[int, tuple[float, float]] = {}
        self._liquidations: set[tuple[int, int, float, float]] = set()
        self._complete_until = 0
        self.closed_until = closed_until
        # The newest moment that an event, or the publisher, has spoken of.
        self.clock = closed_until

    def add(self, batch: Batch) -> Added:
        """Take a batch; events that cannot be taken are refused, the others count."""
        refused: list[Refusal] = []
        good: dict[str, NDArray[np.intp]] = {}
        columns = {
            "trades": (batch.trade_ts, {"price": batch.trade_price, "qty": batch.trade_qty}),
            "mark_price": (batch.mark_ts, {"price": batch.mark_price}),
            "open_interest": (batch.oi_ts, {"open_interest": batch.open_interest}),
            "funding": (batch.funding_ts, {"rate": batch.funding_rate, "interval_hours": batch.funding_hours}),
            "liquidations": (
                batch.liquidation_ts,
                {"price": batch.liquidation_price, "qty": batch.liquidation_qty},
            ),
        }
        for kind, (ts, values) in columns.items():
            good[kind] = self._fit(kind, ts, values, refused)
        new = (
            self._take_trades(batch, good["trades"])
            + self._take_marks(batch, good["mark_price"])
            + self._take_others(batch, good)
        )
        for kind, (ts, _) in columns.items():
            if len(good[kind]):
                self.clock = max(self.clock, int(ts[good[kind]].max()))
        if batch.complete_until is not None:
            self._complete_until = max(self._complete_until, batch.complete_until)
            self.clock = max(self.clock, batch.complete_until)
        return Added(new, sum(map(len, good.values())) - new, tuple(refused))

    def would_end_minute(self, batch: Batch) -> bool:
        """Return whether a minute may end for good by ``batch``."""
        columns = (batch.trade_ts, batch.mark_ts, batch.oi_ts, batch.funding_ts, batch.liquidation_ts)
        newest = max([int(ts.max()) for ts in columns if len(ts)], default=0)
        complete = max(self._complete_until, batch.complete_until or 0)
        return self._ended(max(self.clock, newest, complete), complete) > self.closed_until

    def ended(self) -> int:
        """Return the end of the last minute that has ended for good, UNIX nanoseconds: older events are refused."""
        return self._ended(self.clock, self._complete_until)

    def _ended(self, clock: int, complete_until: int) -> int:
        # What is true of the end of a minute may still come while nothing later than that is complete.
        ended = max(clock - self._bound, complete_until - 1) // MINUTE * MINUTE
        return max(ended, self.closed_until)

    def close(self) -> LiveRows | None:
        """Take out and return the rows of all minutes that have ended for good; None if no further one has."""
        until = self.ended()
        if until <= self.closed_until:
            return None
        rows = self._rows(self.closed_until, until)
        self.leave_out(until)
        return rows

    def leave_out(self, until: int) -> None:
        """Let go of what is open before ``until``, the end of a minute: it is stored already, from elsewhere."""
        self._minutes = {end: minute for end, minute in self._minutes.items() if end > until}
        self._oi = {ts: value for ts, value in self._oi.items() if ts > until}
        self._funding = {ts: value for ts, value in self._funding.items() if ts > until}
        self._liquidations = {of for of in self._liquidations if of[0] > until}
        self.closed_until = until
        self.clock = max(self.clock, until)

    def pending(self, before: float, unsettled: Sequence[tuple[int, float]]) -> History | None:
        """Return what is open as steps: a minute that has not ended yet ends at the newest moment spoken of.

        The same as ``store.history.history_of`` makes of such rows, made of few rows again and again.

        Parameters
        ----------
        before : float
            Newest price before what is open, quote units; NaN where none is known.
        unsettled : sequence of (int, float)
            Settlements before what is open that belong to its first step: time and rate.
        """
        # At the very end of a minute the next one begins a nanosecond later.
        now = self.clock + 1 if self.clock % MINUTE == 0 else self.clock
        minutes = {min(end, now): minute for end, minute in self._minutes.items()}
        ends = sorted({*minutes, *self._oi})
        if not ends:
            return None
        steps = len(ends)
        low, high, close = [math.nan] * steps, [math.nan] * steps, [before] * steps
        path, flow, rows = [Source.NONE] * steps, [Source.NONE] * steps, [0] * (steps + 1)
        columns: list[NDArray[np.float64]] = []
        for step, end in enumerate(ends):
            close[step] = close[step - 1] if step else before
            rows[step + 1] = rows[step]
            minute = minutes.get(end)
            if minute is None:
                continue
            if minute.bins:
                sums = minute.flow()
                buy, sell = sums[:, 0] / self._qty_scale, sums[:, 1] / self._qty_scale
                price = sums[:, 2] / NOTIONAL_SCALE / (buy + sell)
                columns.append(np.stack([price, buy, sell]))
                rows[step + 1] += len(price)
                flow[step] = path[step] = Source.TRADES
                low[step], high[step] = float(price.min()), float(price.max())
                close[step] = float((price * (buy + sell)).sum() / (buy + sell).sum())
            if minute.mark:
                low[step], high[step], close[step], _ = minute.mark_range
                path[step] = Source.MARK_PRICE
        rate = [0.0] * steps
        for ts, of in [*unsettled, *((ts, of[0]) for ts, of in sorted(self._funding.items()))]:
            step = bisect_left(ends, ts)
            if step < steps:
                rate[step] += of
        price, buy, sell = columns[0] if len(columns) == 1 else np.concatenate([np.empty((3, 0)), *columns], axis=1)
        return History(
            step_end=np.array(ends, dtype=np.int64),
            mark_low=np.array(low),
            mark_high=np.array(high),
            mark_close=np.array(close),
            path_source=np.array(path, dtype=np.uint8),
            open_interest=np.array([self._oi.get(end, math.nan) for end in ends]),
            funding_rate=np.array(rate),
            flow_offset=np.array(rows, dtype=np.int64),
            flow_price=price,
            flow_buy=buy,
            flow_sell=sell,
            flow_source=np.array(flow, dtype=np.uint8),
        )

    def _rows(self, start: int, end: int) -> LiveRows:
        """Return the rows of ``(start, end]``."""
        minutes = sorted((at, minute) for at, minute in self._minutes.items() if at <= end)
        flow = sorted((at, *key, *cell) for at, minute in minutes for key, cell in minute.cells.items())
        large = sorted((of[0], at, *of[1:]) for at, minute in minutes for of in minute.large)
        mark = [(at, *_candle(minute.mark)) for at, minute in minutes if minute.mark]
        cells = np.array(flow, dtype=np.int64).reshape(-1, 9)
        return LiveRows(
            start=start,
            end=end,
            flow={
                "ts_event": cells[:, 0],
                "bin": cells[:, 1],
                "size_class": cells[:, 2],
                "buy_qty": cells[:, 3] / self._qty_scale,
                "sell_qty": cells[:, 6] / self._qty_scale,
                "buy_notional": cells[:, 4] / NOTIONAL_SCALE,
                "sell_notional": cells[:, 7] / NOTIONAL_SCALE,
                "buy_count": cells[:, 5],
                "sell_count": cells[:, 8],
            },
            large=_columns(
                large,
                trade_id=np.int64,
                ts_init=np.int64,
                ts_event=np.int64,
                price=np.float64,
                qty=np.float64,
                taker_buy=np.bool_,
            ),
            mark=_columns(mark, ts_event=np.int64, open=np.float64, high=np.float64, low=np.float64, close=np.float64),
            open_interest=_columns(
                sorted(of for of in self._oi.items() if of[0] <= end), ts_event=np.int64, open_interest=np.float64
            ),
            funding=_columns(
                sorted((ts, *of) for ts, of in self._funding.items() if ts <= end),
                ts_event=np.int64,
                rate=np.float64,
                interval_hours=np.float64,
            ),
            liquidations=_columns(
                sorted(of for of in self._liquidations if of[0] <= end),
                ts_event=np.int64,
                side=np.int8,
                price=np.float64,
                qty=np.float64,
            ),
            trade_ids=np.array(sorted(of for _, minute in minutes for of in minute.ids), dtype=np.int64),
        )

    def _fit(self, kind: str, ts: Ints, values: dict[str, Floats], refused: list[Refusal]) -> NDArray[np.intp]:
        """Return which rows may be taken; note the others with what is wrong."""
        if not len(ts):
            return _NO_ROWS
        # A minute begins with its first nanosecond; what is true of one moment belongs to the minute that ends there.
        least = self.ended() + (0 if kind in ("trades", "mark_price") else 1)
        # The usual case; what is not a number is not greater than 0 either.
        if ts.min() >= least and all(column.min() > 0 and column.max() < math.inf for column in values.values()):
            return np.arange(len(ts))
        fit = ts >= least
        refused += [
            Refusal(kind, row, int(ts[row]), f"ts_event was {ts[row]}, must be at least {least}: that minute has ended")
            for row in np.flatnonzero(~fit).tolist()
        ]
        for name, column in values.items():
            # Only a rate may be negative.
            good = np.isfinite(column) & ((column > 0) | (name == "rate"))
            allowed = "a number" if name == "rate" else "a positive number"
            refused += [
                Refusal(kind, row, int(ts[row]), f"{name} was {column[row]}, must be {allowed}")
                for row in np.flatnonzero(fit & ~good).tolist()
            ]
            fit &= good
        return np.flatnonzero(fit)

    def _minute_of(self, ts: int) -> _Minute:
        # A minute begins with the events of its first nanosecond and is known at its end.
        end = (ts // MINUTE + 1) * MINUTE
        minute = self._minutes.get(end)
        if minute is None:
            minute = self._minutes[end] = _Minute()
        return minute

    def _take_trades(self, batch: Batch, rows: NDArray[np.intp]) -> int:
        price, qty = batch.trade_price[rows], batch.trade_qty[rows]
        notional = price * qty
        columns = (
            batch.trade_id[rows],
            batch.trade_ts[rows],
            np.floor(price / self._base_bin + 1e-9).astype(np.int64),
            np.searchsorted(_SIZE_BOUNDS, notional, side="right"),
            batch.taker_buy[rows],
            np.rint(qty * self._qty_scale).astype(np.int64),
            np.rint(notional * NOTIONAL_SCALE).astype(np.int64),
        )
        new = 0
        for row, (trade_id, ts, bin_, size_class, buy, whole_qty, whole_notional) in zip(
            rows.tolist(), zip(*(column.tolist() for column in columns), strict=True), strict=True
        ):
            minute = self._minute_of(ts)
            if trade_id in minute.ids:
                continue
            new += 1
            minute.ids.add(trade_id)
            minute.trade(bin_, size_class, buy, whole_qty, whole_notional)
            if size_class >= _LARGE_CLASS:
                of = float(batch.trade_price[row]), float(batch.trade_qty[row])
                minute.large.append((trade_id, ts, *of, buy))
        return new

    def _take_marks(self, batch: Batch, rows: NDArray[np.intp]) -> int:
        prices = zip(batch.mark_ts[rows].tolist(), batch.mark_price[rows].tolist(), strict=True)
        return sum([self._minute_of(ts).mark_price(ts, price) for ts, price in prices])

    def _take_others(self, batch: Batch, good: dict[str, NDArray[np.intp]]) -> int:
        before = len(self._oi) + len(self._funding) + len(self._liquidations)
        rows = good["open_interest"]
        self._oi.update(zip(batch.oi_ts[rows].tolist(), batch.open_interest[rows].tolist(), strict=True))
        rows = good["funding"]
        terms = zip(batch.funding_rate[rows].tolist(), batch.funding_hours[rows].tolist(), strict=True)
        self._funding.update(zip(batch.funding_ts[rows].tolist(), terms, strict=True))
        rows = good["liquidations"]
        columns = (batch.liquidation_ts, batch.liquidation_side, batch.liquidation_price, batch.liquidation_qty)
        self._liquidations.update(zip(*(column[rows].tolist() for column in columns), strict=True))
        return len(self._oi) + len(self._funding) + len(self._liquidations) - before


_NO_ROWS = np.empty(0, dtype=np.intp)
_SIZE_BOUNDS = np.array(SIZE_CLASSES[1:])
_LARGE_CLASS = SIZE_CLASSES.index(LARGE_TRADE)


def _candle(prices: dict[int, float]) -> tuple[float, float, float, float]:
    """Return open, high, low and close of prices by time."""
    return prices[min(prices)], max(prices.values()), min(prices.values()), prices[max(prices)]


def _columns(rows: Sequence[tuple[object, ...]], **types: type) -> dict[str, NDArray[np.generic]]:
    columns = zip(*rows, strict=True) if rows else ((),) * len(types)
    return {name: np.array(column, dtype=of) for (name, of), column in zip(types.items(), columns, strict=True)}
