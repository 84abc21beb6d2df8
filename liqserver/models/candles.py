"""Candles with what else happened in them: open interest at their ends and the mark price's path."""

from __future__ import annotations

import copy
from weakref import WeakKeyDictionary

import numpy as np
from numba import njit
from numpy.typing import NDArray

from liqserver.models.market import CANDLE_PERIOD, Candles, Details, Market
from liqserver.models.selection import Moment, newest_open_interest


class CandleColumns:
    """The candles of one market and what belongs to each, C of them; nothing depends on later rows.

    Parameters
    ----------
    market : Market

    Attributes
    ----------
    candles : Candles
    rises, falls : bool, shape (C,)
        Colour: whether it closed above, or below, its open. Neither is a doji.
    open_interest : float64, shape (C,)
        Newest row known at the candle's end, contracts; NaN before the first.
    history : History
        The market's steps.
    path_low, path_high : float64, shape (C,)
        Range of the mark price since the end of the candle before (the market's first: in its five minutes), quote
        units; NaN where none is known.
    """

    def __init__(self, market: Market) -> None:
        history = self.history = market.history
        candles = self.candles = market.details.candles()
        self.rises = candles.close > candles.open
        self.falls = candles.close < candles.open
        before = candles.end[:1] - CANDLE_PERIOD
        steps = np.searchsorted(history.step_end, np.concatenate([before, candles.end]), side="right")
        start, end = (int(steps[0]), int(steps[-1])) if len(steps) else (0, 0)
        known = start + np.flatnonzero(~np.isnan(history.open_interest[start:end]))
        values = np.concatenate([[newest_open_interest(history, start)], history.open_interest[known]])
        self.open_interest = values[np.searchsorted(known, steps[1:])]
        self.path_low, self.path_high = _ranges(history.mark_low, history.mark_high, steps)

    def part(self, first: int, stop: int) -> CandleColumns:
        """Return candles ``first:stop``, as views."""
        out = copy.copy(self)
        rows = slice(first, stop)
        every = self.candles
        out.candles = Candles(
            every.end[rows],
            every.open[rows],
            every.high[rows],
            every.low[rows],
            every.close[rows],
            every.quote_volume[rows],
        )
        for name in ("rises", "falls", "open_interest", "path_low", "path_high"):
            setattr(out, name, getattr(self, name)[rows])
        return out

    def __len__(self) -> int:
        """Return the number of candles."""
        return len(self.candles.end)

    def path_since(self, candle: int, moment: Moment) -> tuple[float, float]:
        """Return the range of the mark price from the end of ``candle`` to ``moment``; NaN where none is known."""
        start = self.history.steps_until(int(self.candles.end[candle]))
        low, high = self.history.mark_low[start : moment.stop], self.history.mark_high[start : moment.stop]
        return float(np.fmin.reduce(low, initial=np.nan)), float(np.fmax.reduce(high, initial=np.nan))


def candle_columns(market: Market) -> CandleColumns:
    """Return the columns of ``market``, made once: every timeline on it needs the same."""
    columns = _MADE.get(market.details)
    if columns is None or columns.history is not market.history:
        columns = _MADE[market.details] = CandleColumns(market)
    return columns


_MADE: WeakKeyDictionary[Details, CandleColumns] = WeakKeyDictionary()


def change(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the change of each value since the one before, same shape; 0 where one of them is not known."""
    return np.nan_to_num(np.diff(values, prepend=np.nan))


@njit(cache=True, nogil=True, error_model="numpy")
def _ranges(
    low: NDArray[np.float64], high: NDArray[np.float64], cuts: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the lowest and highest of rows ``cuts[i]:cuts[i + 1]`` for each i; NaN where none is known."""
    count = max(len(cuts) - 1, 0)
    lowest, highest = np.full(count, np.nan), np.full(count, np.nan)
    for i in range(count):
        for row in range(cuts[i], cuts[i + 1]):
            if not np.isnan(low[row]):
                # Not "less than": that would never replace the NaN of the start.
                if not lowest[i] <= low[row]:
                    lowest[i] = low[row]
                if not highest[i] >= high[row]:
                    highest[i] = high[row]
    return lowest, highest
