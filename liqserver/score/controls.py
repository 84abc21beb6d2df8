"""Controls: what the path of price in an interval says about its liquidations without knowing who is open where."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

HOUR = 3_600_000_000_000

WINDOWS = (4, 12, 24, 72, 168)
"""Hours before, whose extreme an interval may exceed."""

HISTORY = max(WINDOWS)
"""Hours that must lie before an interval for its controls to be known."""

# Added before the logarithm, a fraction of price: a basis point.
_OFFSET = 1e-4

NAMES = (
    "1",
    "log range",
    "log adverse move",
    "adverse move",
    "log volume",
    *(name for hours in WINDOWS for name in (f"log depth {hours} h", f"depth {hours} h")),
)
"""Columns of ``path_controls``."""


@dataclass(frozen=True, slots=True)
class Intervals:
    """Consecutive intervals of equal length, N of them, and the price in each.

    Attributes
    ----------
    open_time : int64, shape (N,)
        UNIX nanoseconds.
    high, low, close : float64, shape (N,)
        Quote units.
    volume : float64, shape (N,)
        Traded contracts, base units.
    """

    open_time: NDArray[np.int64]
    high: NDArray[np.float64]
    low: NDArray[np.float64]
    close: NDArray[np.float64]
    volume: NDArray[np.float64]

    def __len__(self) -> int:
        """Return the number of intervals."""
        return len(self.open_time)


def by_interval(
    step_end: NDArray[np.int64],
    high: NDArray[np.float64],
    low: NDArray[np.float64],
    close: NDArray[np.float64],
    volume: NDArray[np.float64],
    open_time: NDArray[np.int64],
    period: int,
) -> Intervals:
    """Return intervals of equal length from the steps of a market.

    Parameters
    ----------
    step_end : int64, shape (S,)
        UNIX nanoseconds at which each step ends, ascending.
    high, low : float64, shape (S,)
        Range of price in the step, quote units; NaN where it is not known.
    close : float64, shape (S,)
        Newest price at its end.
    volume : float64, shape (S,)
        Traded in it, base units.
    open_time : int64, shape (N,)
        UNIX nanoseconds at which the intervals begin, one after the other.
    period : int
        Length of an interval, nanoseconds.

    Returns
    -------
    Intervals
        NaN where no step of the interval has a range.
    """
    count = len(open_time)
    at = (step_end - open_time[0] - 1) // period
    known = (at >= 0) & (at < count) & np.isfinite(high) & np.isfinite(low)
    rows = at[known]
    highest, lowest, last, traded = (
        np.full(count, -np.inf),
        np.full(count, np.inf),
        np.full(count, np.nan),
        np.zeros(count),
    )
    np.maximum.at(highest, rows, high[known])
    np.minimum.at(lowest, rows, low[known])
    np.add.at(traded, rows, volume[known])
    # Of several the last one stays.
    last[rows] = close[known]
    empty = np.isnan(last)
    for column in (highest, lowest, traded):
        column[empty] = np.nan
    return Intervals(open_time, highest, lowest, last, traded)


def path_controls(intervals: Intervals, side: int, period: int = HOUR) -> NDArray[np.float64]:
    """Return the controls of each interval for the liquidations of one side.

    1, log range, how far price moved against the side from the previous close (log and level), log volume, and
    for each of ``WINDOWS`` how far it went beyond the extreme of so many hours before (log and level); 0 where it did
    not. Moves are fractions of the price they start from, and a basis point
    is added before each logarithm.

    Parameters
    ----------
    intervals : Intervals
        One after the other, none left out.
    side : int
        0 for longs, which a fall liquidates, 1 for shorts.
    period : int
        Length of an interval, nanoseconds; 4 hours are a multiple of it.

    Returns
    -------
    float64, shape (N, 15)
        Columns of ``NAMES``; NaN in the rows of the first ``HISTORY`` hours, and wherever a price looked back at is.

    Raises
    ------
    ValueError
        If 4 hours are no multiple of ``period``.
    """
    if WINDOWS[0] * HOUR % period:
        raise ValueError(f"period was {period} ns, of which {WINDOWS[0]} hours must be a multiple")
    sign = 1.0 if side == 0 else -1.0
    far = intervals.low if side == 0 else intervals.high

    def beyond(start: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.maximum(sign * (start - far) / start, 0.0)

    before = np.concatenate([[np.nan], intervals.close[:-1]])
    adverse = beyond(before)
    columns = [
        np.ones(len(intervals)),
        np.log(np.log(intervals.high / intervals.low) + _OFFSET),
        np.log(adverse + _OFFSET),
        adverse,
        np.log(np.where(intervals.volume > 0, intervals.volume, np.nan)),
    ]
    for hours in WINDOWS:
        window = hours * HOUR // period
        extreme = np.full(len(intervals), np.nan)
        if len(intervals) > window:
            past = sliding_window_view(far[:-1], window)
            extreme[window:] = past.min(axis=1) if side == 0 else past.max(axis=1)
        depth = beyond(extreme)
        columns += [np.log(depth + _OFFSET), depth]
    out = np.stack(columns, axis=1)
    out[: HISTORY * HOUR // period] = np.nan
    return out
