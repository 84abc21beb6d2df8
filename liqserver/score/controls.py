"""Controls: what the price path of an hour says about its liquidations without knowing who is open where."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

HOUR = 3_600_000_000_000

WINDOWS = (4, 12, 24, 72, 168)
"""Hours before, whose extreme an hour may exceed."""

HISTORY = max(WINDOWS)
"""Hours that must lie before an hour for its controls to be known."""

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


def regroup(candles: Intervals, period: int, *, into: int = HOUR) -> Intervals:
    """Return candles of length ``into`` from shorter ones.

    Parameters
    ----------
    candles : Intervals
        In time order.
    period, into : int
        Nanoseconds; ``into`` is a multiple of ``period``.

    Raises
    ------
    ValueError
        If a candle is missing, given twice or out of order between the first and the last whole interval: the
        controls look back by position.
    """
    whole = -(-candles.open_time // into) * into == candles.open_time
    starts = np.flatnonzero(whole)
    per = into // period
    count = (len(candles) - int(starts[0])) // per if len(starts) else 0
    if not count:
        raise ValueError(f"candles must fill at least one interval of {into} ns")
    part = slice(int(starts[0]), int(starts[0]) + count * per)
    steps = np.diff(candles.open_time[part])
    if np.any(steps != period):
        at = int(np.flatnonzero(steps != period)[0])
        raise ValueError(f"candles must be {period} ns apart, after {candles.open_time[part][at]} it was {steps[at]}")

    def rows(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return values[part].reshape(count, per)

    return Intervals(
        candles.open_time[part][::per],
        rows(candles.high).max(axis=1),
        rows(candles.low).min(axis=1),
        rows(candles.close)[:, -1],
        rows(candles.volume).sum(axis=1),
    )


def path_controls(hours: Intervals, side: int) -> NDArray[np.float64]:
    """Return the controls of each hour for the liquidations of one side.

    1, log range, how far price moved against the side from the previous close (log and level), log volume, and
    for each of ``WINDOWS`` how far it went beyond the extreme of so many hours before (log and level); 0 where it did
    not. Moves are fractions of the price they start from, and a basis point
    is added before each logarithm.

    Parameters
    ----------
    hours : Intervals
        Consecutive hours.
    side : int
        0 for longs, which a fall liquidates, 1 for shorts.

    Returns
    -------
    float64, shape (N, 15)
        Columns of ``NAMES``; NaN in the first ``HISTORY`` rows.
    """
    sign = 1.0 if side == 0 else -1.0
    far = hours.low if side == 0 else hours.high

    def beyond(start: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.maximum(sign * (start - far) / start, 0.0)

    before = np.concatenate([[np.nan], hours.close[:-1]])
    adverse = beyond(before)
    columns = [
        np.ones(len(hours)),
        np.log(np.log(hours.high / hours.low) + _OFFSET),
        np.log(adverse + _OFFSET),
        adverse,
        np.log(hours.volume),
    ]
    for window in WINDOWS:
        extreme = np.full(len(hours), np.nan)
        if len(hours) > window:
            past = sliding_window_view(far[:-1], window)
            extreme[window:] = past.min(axis=1) if side == 0 else past.max(axis=1)
        depth = beyond(extreme)
        columns += [np.log(depth + _OFFSET), depth]
    out = np.stack(columns, axis=1)
    out[:HISTORY] = np.nan
    return out
