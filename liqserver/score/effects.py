"""What levels do to price: two tests that are reported as they come out.

**Magnet**: is price drawn to dense levels? At equal distances below and above price, in units of what price usually
moves within the horizon, it is compared which of the two it reaches. Distance and volatility are the same on both sides
and cancel; what price did before, which empties the map on one side, is a control.

**Impact**: does price go on when levels have been swept? The move after an interval is compared with what the map says
was liquidated in it, the move of the interval itself and those before it being controls.

Both say what goes along with what. Neither says why.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from liqserver.score.skill import DAY, MIN_DAYS, MIN_INTERVALS, OFFSET, Estimate, over_days

Floats = NDArray[np.float64]

BANDS = (0.25, 0.5, 1.0, 1.5, 2.0)
"""Edges of the bands on either side of price, in standard deviations of its move over the horizon."""

HORIZON = 6
"""Hours within which price may reach a band's middle."""

_HOUR = 3_600_000_000_000
_BEFORE = (1, 6, 24)
_USUAL = 168


@dataclass(frozen=True, slots=True)
class Effect:
    """What came out of a test.

    Attributes
    ----------
    estimate : Estimate or None
        None where there are too few observations.
    refused : str
        Why there is none, one sentence.
    observations, days : int
        Observations, and UTC days among them.
    """

    estimate: Estimate | None
    refused: str
    observations: int
    days: int


def usual_move(close: Floats, intervals: int, per_hour: int = 1) -> Floats:
    """Return the standard deviation of the log move over ``intervals``, from those of the week before, shape (N,).

    Parameters
    ----------
    close : float64, shape (N,)
        At the end of each interval, quote units.
    intervals : int
        Over how many intervals.
    per_hour : int
        Intervals in an hour.

    Returns
    -------
    float64, shape (N,)
        As of the end of each interval; NaN in the first week.
    """
    move = np.square(np.diff(np.log(close), prepend=np.nan))
    week = _USUAL * per_hour
    out = np.full(len(close), np.nan)
    if len(close) > week:
        sums = np.cumsum(np.where(np.isnan(move), 0.0, move))
        known = np.cumsum(~np.isnan(move))
        count = (known[week:] - known[:-week]).astype(np.float64)
        total = np.maximum(sums[week:] - sums[:-week], 0.0)
        out[week:] = np.sqrt(intervals * total / np.where(count >= week / 2, count, np.nan))
    return out


def moved_usually(close: Floats, period: int) -> Floats:
    """Return the usual move over the horizon of `magnet` as of the start of each interval, shape (N,)."""
    steps, per_hour = max(HORIZON * _HOUR // period, 1), max(_HOUR // period, 1)
    return np.concatenate([[np.nan], usual_move(close, steps, per_hour)[:-1]])


def bands_around(start: float, move: float) -> Floats:
    """Return the edges of the bands below and above ``start``, quote units, shape (2, len(BANDS))."""
    reach = np.asarray(BANDS) * move
    return start * np.exp(np.stack([-reach, reach]))


def in_bands(price: Floats, notional: Floats, edges: Floats) -> Floats:
    """Return longs in the bands below and shorts in those above, shape (2, len(BANDS) - 1).

    Parameters
    ----------
    price : float64, shape (n,)
        Of the levels, ascending.
    notional : float64, shape (2, n)
        Longs and shorts.
    edges : float64, shape (2, len(BANDS))
        Of `bands_around`.
    """
    total = np.concatenate([np.zeros((2, 1)), np.cumsum(notional, axis=1)], axis=1)
    at = np.searchsorted(price, edges)
    return np.stack([np.abs(np.diff(total[side, at[side]])) for side in range(2)])


def magnet(open_time: NDArray[np.int64], close: Floats, high: Floats, low: Floats, held: Floats, period: int) -> Effect:
    """Estimate how much more often price reaches the denser one of two bands at equal distance.

    For each band and each interval whose horizon ends in its UTC day: y is 1 where price reached the middle of the band
    above within the horizon, less 1 where it reached that of the band below; x is (above - below) / (above + below) of
    what the bands hold when the horizon begins. The slope of y on x, with a constant and the moves of the hour, the 6
    and the 24 hours before (as they are, and levelling off) for each band.

    Parameters
    ----------
    open_time : int64, shape (N,)
        UNIX nanoseconds at which intervals begin, one after the other.
    close, high, low : float64, shape (N,)
        Of the intervals, quote units; NaN where not known.
    held : float64, shape (N, 2, B)
        As of the start of each interval, what the bands around the close before it hold (`in_bands`), NaN where not
        known.
    period : int
        Length of an interval, nanoseconds; an hour is a multiple of it, or it of an hour.

    Returns
    -------
    Effect
        Difference of the chances of reaching, above less below, for all of the mass above instead of half of it.
    """
    steps = max(HORIZON * _HOUR // period, 1)
    move = moved_usually(close, period)
    start = np.concatenate([[np.nan], close[:-1]])
    controls = _moves_before(start, move, [max(hours * _HOUR // period, 1) for hours in _BEFORE])
    ends_same_day = (open_time + steps * period - 1) // DAY == open_time // DAY
    rows = np.flatnonzero(
        ends_same_day & np.isfinite(controls).all(axis=1) & (np.arange(len(open_time)) + steps <= len(open_time))
    )
    if len(rows):
        window = rows[:, None] + np.arange(steps)
        highest, lowest = high[window].max(axis=1), low[window].min(axis=1)
        rows = rows[np.isfinite(highest) & np.isfinite(lowest)]
        window = rows[:, None] + np.arange(steps)
        highest, lowest = high[window].max(axis=1), low[window].min(axis=1)
    bands = len(BANDS) - 1
    designs, outcomes, times = [], [], []
    for band in range(bands):
        middle = (BANDS[band] + BANDS[band + 1]) / 2 * move[rows] if len(rows) else np.empty(0)
        below, above = held[rows, 0, band], held[rows, 1, band]
        known = (below + above > 0) & np.isfinite(below + above)
        if not known.any():
            continue
        up = highest >= start[rows] * np.exp(middle)
        down = lowest <= start[rows] * np.exp(-middle)
        x = np.divide(above - below, above + below, out=np.zeros(len(rows)), where=known)
        own = np.column_stack([np.ones(len(rows)), controls[rows]])
        design = np.zeros((len(rows), 1 + bands * own.shape[1]))
        design[:, 0] = x
        design[:, 1 + band * own.shape[1] : 1 + (band + 1) * own.shape[1]] = own
        designs.append(design[known])
        outcomes.append((up.astype(np.float64) - down)[known])
        times.append(open_time[rows][known])
    if not designs:
        return Effect(None, "not enough data: no moment has levels on both sides", 0, 0)
    return _slope(np.concatenate(designs), np.concatenate(outcomes), np.concatenate(times))


def impact(
    open_time: NDArray[np.int64], close: Floats, high: Floats, low: Floats, predicted: Floats, period: int
) -> Effect:
    """Estimate how much price goes on, in the interval after, by what was liquidated in one.

    y is the log move of the following interval in basis points; x is log10 of predicted liquidations of shorts less
    that of longs, a hundredth of a million added to both: positive where buying is forced. Controls: a constant, the
    move of the interval, how far it had been above and below its close, the moves of 1, 6 and 24 hours before it (as
    they are, and levelling off). All but the constant in units of the usual move.

    Parameters
    ----------
    open_time : int64, shape (N,)
        UNIX nanoseconds at which intervals begin, one after the other.
    close, high, low : float64, shape (N,)
        Of the intervals, quote units; NaN where not known.
    predicted : float64, shape (2, N)
        What the map says was liquidated in each, longs and shorts, quote units.
    period : int
        Length of an interval, nanoseconds.

    Returns
    -------
    Effect
        Basis points in the direction of the forced trades for each tenfold of their amount.
    """
    per_hour = max(_HOUR // period, 1)
    log_close = np.log(close)
    after = np.append(np.diff(log_close), np.nan)
    before = np.concatenate([[np.nan], close[:-1]])
    usual = np.concatenate([[np.nan], usual_move(close, 1, per_hour)[:-1]])
    pressure = np.log10((predicted[1] + OFFSET) / (predicted[0] + OFFSET))
    own = np.diff(log_close, prepend=np.nan)
    within = np.column_stack([own, np.log(high / close), np.log(close / low)]) / usual[:, None]
    controls = np.column_stack(
        [
            within,
            np.tanh(within),
            np.tanh(within / 4),
            _moves_before(before, usual, [max(hours * _HOUR // period, 1) for hours in _BEFORE]),
        ]
    )
    design = np.column_stack([pressure, np.ones(len(close)), controls])
    known = np.isfinite(design).all(axis=1) & np.isfinite(after)
    # The move after the last interval of a day is of the next day: blocks are to stand apart.
    known &= (open_time + period) // DAY == open_time // DAY
    return _slope(design[known], 1e4 * after[known], open_time[known])


def _moves_before(start: Floats, usual: Floats, spans: list[int]) -> Floats:
    """Return the log moves that end at each ``start``, in units of the usual one, and their hyperbolic tangents.

    What goes along with a move need not grow with it for ever. Shape (N, 2 * len(spans)).
    """
    out = np.full((len(start), len(spans)), np.nan)
    for column, span in enumerate(spans):
        if len(start) > span:
            out[span:, column] = np.log(start[span:] / start[:-span]) / usual[span:]
    return np.column_stack([out, np.tanh(out)])


def _slope(design: Floats, outcome: Floats, open_time: NDArray[np.int64]) -> Effect:
    """Return the coefficient of the first column of a regression by least squares."""
    moments, days = len(np.unique(open_time)), len(np.unique(open_time // DAY))
    if moments < MIN_INTERVALS or days < MIN_DAYS:
        reason = (
            f"not enough data: {moments} moments of {days} UTC days, at least {MIN_INTERVALS} of {MIN_DAYS} must be"
        )
        return Effect(None, reason, moments, days)
    if np.ptp(design[:, 0]) == 0:
        return Effect(None, "the levels never differ from one moment to the next", moments, days)
    k = design.shape[1]
    # Products of columns sum over intervals, and the slope follows from the sums.
    products = (design[:, :, None] * np.column_stack([design, outcome])[:, None, :]).reshape(len(design), -1)

    def slope(sums: Floats) -> Floats:
        normal = sums.reshape(*sums.shape[:-1], k, k + 1)
        inverse = np.linalg.pinv(normal[..., :k], hermitian=True)
        return np.asarray(np.einsum("...j,...j->...", inverse[..., 0, :], normal[..., k])[..., None])

    [estimate] = over_days(products, open_time, slope)
    return Effect(estimate, "", moments, days)
