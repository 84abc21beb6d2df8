"""Coverage of bands: how often what was recorded lies between their ends."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from liqserver.score.skill import CONFIDENCE, MIN_INTERVALS, Estimate, split_days


@dataclass(frozen=True, slots=True)
class Coverage:
    """How often bands of one side cover.

    Attributes
    ----------
    share : Estimate
        Share of intervals whose recorded amount lies within its band, ends included.
    below, above : float
        Shares of those that lie below and above.
    scored, days : int
        Intervals, and UTC days among them.
    """

    share: Estimate
    below: float
    above: float
    scored: int
    days: int


def band_coverage(
    open_time: NDArray[np.int64],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    real: NDArray[np.float64],
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> Coverage | None:
    """Measure the coverage of bands.

    Parameters
    ----------
    open_time : int64, shape (N,)
        UNIX nanoseconds at which each interval begins.
    low, high, real : float64, shape (N,)
        Ends of the bands and what was recorded, in one unit; an interval where any is NaN is left out.
    resamples, seed : int
        Of the bootstrap: days are drawn with replacement.

    Returns
    -------
    Coverage or None
        None with fewer than ``MIN_INTERVALS`` intervals.
    """
    known = np.isfinite(low) & np.isfinite(high) & np.isfinite(real)
    count = int(known.sum())
    if count < MIN_INTERVALS:
        return None
    below, above = (real < low)[known], (real > high)[known]
    day = split_days(open_time[known])
    days = int(day.max()) + 1
    by_day = np.stack([np.bincount(day, ~(below | above), days), np.bincount(day, minlength=days)], axis=1)
    drawn = np.random.default_rng(seed).multinomial(days, np.full(days, 1 / days), size=resamples) @ by_day
    ends = np.quantile(drawn[:, 0] / drawn[:, 1], [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    share = Estimate(float(by_day[:, 0].sum() / count), float(ends[0]), float(ends[1]))
    return Coverage(share, float(below.mean()), float(above.mean()), count, days)
