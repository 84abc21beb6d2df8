"""What a path of price sweeps: of levels that stand still, and of things simpler than a model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_DAY = 86_400_000_000_000

# Of the profile by distance, fractions of price: half a tenth of a percent each, up to a quarter.
_DISTANCE_BIN, _DISTANCE_BINS = 5e-4, 500
# Of the volume profile: bins of the logarithm of price.
_PRICE_BIN = 5e-4


@dataclass(frozen=True, slots=True)
class Path:
    """Path of price in one interval, quote units: where it began, and how far it went."""

    start: float
    high: float
    low: float


def swept(price: Floats, notional: Floats, path: Path, shift: float = 0.0) -> Floats:
    """Return what a path sweeps of levels that stood there when it began, longs and shorts, shape (2,).

    Parameters
    ----------
    price : float64, shape (n,)
        Of the levels, quote units.
    notional : float64, shape (2, n)
        Longs and shorts with a level there.
    path : Path
        Levels of longs above its start and of shorts below it are none.
    shift : float
        Moves all levels by this fraction of their price first.
    """
    at = price * (1 + shift)
    longs = (at >= path.low) & (at <= path.start)
    shorts = (at <= path.high) & (at >= path.start)
    return np.array([notional[0, longs].sum(), notional[1, shorts].sum()])


def by_distance(price: Floats, notional: Floats, start: float) -> Floats:
    """Return levels by their distance from ``start``, longs below and shorts above it, shape (2, B)."""
    away = (price - start) / start
    out = np.zeros((2, _DISTANCE_BINS))
    for side, distance in enumerate((-away, away)):
        at = np.floor(distance / _DISTANCE_BIN).astype(np.int64)
        inside = (distance >= 0) & (at < _DISTANCE_BINS)
        out[side] = np.bincount(at[inside], notional[side, inside], _DISTANCE_BINS)
    return out


def swept_profile(profile: Floats, start: Floats, high: Floats, low: Floats) -> Floats:
    """Return what paths sweep of a profile by distance that is the same at every moment, shape (2, N).

    Parameters
    ----------
    profile : float64, shape (2, B)
        As `by_distance` has it.
    start, high, low : float64, shape (N,)
        Of each path, quote units; NaN gives NaN.
    """
    edges = _DISTANCE_BIN * np.arange(_DISTANCE_BINS + 1)
    reach = np.maximum(np.stack([(start - low) / start, (high - start) / start]), 0.0)
    return np.stack(
        [np.interp(reach[side], edges, np.concatenate([[0.0], np.cumsum(profile[side])])) for side in range(2)]
    )


def swept_volume(
    step_end: NDArray[np.int64],
    price: Floats,
    notional: Floats,
    open_time: NDArray[np.int64],
    start: Floats,
    high: Floats,
    low: Floats,
    lookback: int = 30 * _DAY,
) -> Floats:
    """Return what was traded lately at the prices that each path goes through: down as longs, up as shorts, (2, N).

    Parameters
    ----------
    step_end : int64, shape (F,)
        UNIX nanoseconds at which each trade, or group of trades, was known, ascending.
    price, notional : float64, shape (F,)
        Quote units.
    open_time : int64, shape (N,)
        UNIX nanoseconds at which each path begins, ascending.
    start, high, low : float64, shape (N,)
        Of each path, quote units; NaN gives NaN.
    lookback : int
        How far back trades count, nanoseconds.
    """
    row = np.floor(np.log(price) / _PRICE_BIN).astype(np.int64)
    first = int(row.min(initial=0)) if len(row) else 0
    row -= first
    held = np.zeros(int(row.max(initial=0)) + 2)
    edges = (first + np.arange(len(held) + 1)) * _PRICE_BIN
    enters = np.searchsorted(step_end, open_time, side="right")
    leaves = np.searchsorted(step_end, open_time - lookback, side="right")
    out = np.full((2, len(open_time)), np.nan)
    entered = left = 0
    for i in range(len(open_time)):
        for stop, begin, sign in ((enters[i], entered, 1.0), (leaves[i], left, -1.0)):
            held += sign * np.bincount(row[begin:stop], notional[begin:stop], len(held))
        entered, left = int(enters[i]), int(leaves[i])
        if not np.isfinite(start[i] + high[i] + low[i]):
            continue
        below = np.concatenate([[0.0], np.cumsum(np.maximum(held, 0.0))])
        lowest, begun, highest = np.interp(
            np.log([min(low[i], start[i]), start[i], max(high[i], start[i])]), edges, below
        )
        out[:, i] = begun - lowest, highest - begun
    return out
