"""Placement skill: what a model's predicted liquidations say about the real ones beyond the price path."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DAY = 86_400_000_000_000

# Quote units. Added before the logarithm: below it, hours count as hours without liquidations.
OFFSET = 10_000.0

MIN_INTERVALS = 240
"""Fewer intervals than this, to fit or to score on, give no score."""

_CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure and its interval of 95 % confidence, by bootstrap over UTC days."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Skill:
    """How well predicted liquidations of one side explain real ones, out of sample.

    Attributes
    ----------
    r : Estimate
        Correlation of log predicted and log real liquidations.
    controls : Estimate
        R² of a regression on the controls alone.
    gain : Estimate
        What log predicted liquidations add to that.
    alone : Estimate
        R² of a regression on log predicted liquidations alone.
    fitted, scored, days : int
        Intervals fitted and scored on, and UTC days among the latter.
    """

    r: Estimate
    controls: Estimate
    gain: Estimate
    alone: Estimate
    fitted: int
    scored: int
    days: int


def log_amount(notional: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return log(x + 0.01) of notional x in millions of quote units, any shape."""
    return np.log((notional + OFFSET) / 1e6)


def split_days(open_time: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return for each interval the number of its UTC day, counted from 0 over the days that occur."""
    return np.unique(open_time // DAY, return_inverse=True)[1]


def placement_skill(
    open_time: NDArray[np.int64],
    predicted: NDArray[np.float64],
    real: NDArray[np.float64],
    controls: NDArray[np.float64],
    cut: int,
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> Skill | None:
    """Measure the placement skill for one side: fit before ``cut``, score from ``cut`` on.

    Regressions are by ordinary least squares. R² is out of sample: 1 - squared error / squared
    deviation from the mean of the part fitted on, which is all that a forecast without any knowledge has.

    Parameters
    ----------
    open_time : int64, shape (N,)
        UNIX nanoseconds at which each interval begins.
    predicted, real : float64, shape (N,)
        Liquidated notional, quote units; an interval where either is NaN is left out.
    controls : float64, shape (N, k)
        With a column of ones; a row with NaN is left out.
    cut : int
        UNIX nanoseconds.
    resamples, seed : int
        Of the bootstrap: days of the scored part are drawn with replacement, the fit stays.

    Returns
    -------
    Skill or None
        None with fewer than ``MIN_INTERVALS`` intervals on either part, or if either part has no variation.
    """
    known = np.isfinite(predicted) & np.isfinite(real) & np.isfinite(controls).all(axis=1)
    fit, score = known & (open_time < cut), known & (open_time >= cut)
    if min(int(fit.sum()), int(score.sum())) < MIN_INTERVALS:
        return None
    x, y = log_amount(predicted), log_amount(real)
    if np.ptp(x[fit]) == 0 or np.ptp(x[score]) == 0 or np.ptp(y[score]) == 0:
        return None

    def squared_error(design: NDArray[np.float64]) -> NDArray[np.float64]:
        beta = np.linalg.lstsq(design[fit], y[fit], rcond=None)[0]
        return np.square(y[score] - design[score] @ beta)

    xs, ys = x[score], y[score]
    columns = np.stack(
        [
            np.ones(len(xs)),
            xs,
            ys,
            xs * xs,
            ys * ys,
            xs * ys,
            np.square(ys - y[fit].mean()),
            squared_error(controls),
            squared_error(np.column_stack([controls, x])),
            squared_error(np.column_stack([np.ones(len(x)), x])),
        ],
        axis=1,
    )
    day = split_days(open_time[score])
    days = int(day.max()) + 1
    by_day = np.zeros((days, columns.shape[1]))
    np.add.at(by_day, day, columns)
    drawn = np.random.default_rng(seed).multinomial(days, np.full(days, 1 / days), size=resamples).astype(np.float64)
    value = _figures(by_day.sum(axis=0))
    edges = np.quantile(_figures(drawn @ by_day), [(1 - _CONFIDENCE) / 2, (1 + _CONFIDENCE) / 2], axis=0)
    r, base, gain, alone = (
        Estimate(float(v), float(low), float(high)) for v, low, high in zip(value, *edges, strict=True)
    )
    return Skill(r, base, gain, alone, int(fit.sum()), int(score.sum()), days)


def _figures(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return r, R² of the controls, gain and R² alone from sums over intervals, shape (..., 10) -> (..., 4)."""
    n, x, y, xx, yy, xy, variation, base, full, alone = np.moveaxis(sums, -1, 0)
    r = (xy - x * y / n) / np.sqrt((xx - x * x / n) * (yy - y * y / n))
    return np.stack([r, 1 - base / variation, (base - full) / variation, 1 - alone / variation], axis=-1)
