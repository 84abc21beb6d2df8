"""Placement skill: what a model's predicted liquidations say about the real ones beyond the price path."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DAY = 86_400_000_000_000

# Quote units. Added before the logarithm: below it, hours count as hours without liquidations.
OFFSET = 10_000.0

MIN_INTERVALS = 240
"""Fewer intervals than this, to fit or to score on, give no score."""

MIN_DAYS = 10
"""Fewer UTC days than this among those scored on give no score: they are what intervals of confidence stand on."""

CONFIDENCE = 0.95
"""Share of resamples within an interval of confidence."""


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
    slope : Estimate
        Slope of log real on log predicted liquidations in the scored part: 1 where differences are as large as real
        ones.
    share : Estimate
        Predicted over real total of the scored part.
    over_null : Estimate or None
        ``gain`` less that of the null, on the same intervals and resamples; None without a null.
    fitted, scored, days : int
        Intervals fitted and scored on, and UTC days among the latter.
    """

    r: Estimate
    controls: Estimate
    gain: Estimate
    alone: Estimate
    slope: Estimate
    share: Estimate
    over_null: Estimate | None
    fitted: int
    scored: int
    days: int


@dataclass(frozen=True, slots=True)
class Parts:
    """Which intervals are fitted on and which are scored, bool, shape (N,)."""

    fit: NDArray[np.bool_]
    score: NDArray[np.bool_]
    days: int

    @property
    def fitted(self) -> int:
        """Number of intervals fitted on."""
        return int(self.fit.sum())

    @property
    def scored(self) -> int:
        """Number of intervals scored on."""
        return int(self.score.sum())

    @property
    def shortage(self) -> str:
        """What there is too little of, one sentence; empty where there is enough."""
        for count, what, least in (
            (self.fitted, "intervals to fit on", MIN_INTERVALS),
            (self.scored, "intervals to score on", MIN_INTERVALS),
            (self.days, "UTC days to score on", MIN_DAYS),
        ):
            if count < least:
                return f"not enough data: {count} {what}, at least {least} must be"
        return ""


def log_amount(notional: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return log(x + 0.01) of notional x in millions of quote units, any shape."""
    return np.log((notional + OFFSET) / 1e6)


def split_days(open_time: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return for each interval the number of its UTC day, counted from 0 over the days that occur."""
    return np.unique(open_time // DAY, return_inverse=True)[1]


def parts_of(
    open_time: NDArray[np.int64], controls: NDArray[np.float64], cut: int, *known: NDArray[np.float64]
) -> Parts:
    """Return which intervals can be fitted on and scored: those of which everything is known.

    Parameters
    ----------
    open_time : int64, shape (N,)
        UNIX nanoseconds at which each interval begins.
    controls : float64, shape (N, k)
        A row with NaN is left out.
    cut : int
        UNIX nanoseconds.
    *known : float64, shape (N,)
        An interval where one is NaN is left out.
    """
    there = np.isfinite(controls).all(axis=1)
    for column in known:
        there &= np.isfinite(column)
    score = there & (open_time >= cut)
    return Parts(there & (open_time < cut), score, len(np.unique(open_time[score] // DAY)))


def placement_skill(
    open_time: NDArray[np.int64],
    predicted: NDArray[np.float64],
    real: NDArray[np.float64],
    controls: NDArray[np.float64],
    cut: int,
    *,
    null: NDArray[np.float64] | None = None,
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
    null : float64, shape (N,), optional
        What the null predicts; an interval where it is NaN is left out.
    resamples, seed : int
        Of the bootstrap: days of the scored part are drawn with replacement, the fit stays.

    Returns
    -------
    Skill or None
        None with fewer than ``MIN_INTERVALS`` intervals on either part or fewer than ``MIN_DAYS`` days scored, or if
        either part has no variation.
    """
    parts = parts_of(open_time, controls, cut, predicted, real, *([] if null is None else [null]))
    if parts.shortage:
        return None
    fit, score = parts.fit, parts.score
    x, y = log_amount(predicted), log_amount(real)
    if np.ptp(x[fit]) == 0 or np.ptp(x[score]) == 0 or np.ptp(y[score]) == 0:
        return None

    xs, ys = x[score], y[score]
    others = [x] if null is None else [x, log_amount(null)]
    base, full, *of_null = _squared_errors(controls, y, others, fit, score)
    columns = np.stack(
        [
            np.ones(len(xs)),
            xs,
            ys,
            xs * xs,
            ys * ys,
            xs * ys,
            np.square(ys - y[fit].mean()),
            base,
            full,
            _squared_errors(np.ones((len(x), 1)), y, [x], fit, score)[1],
            predicted[score],
            real[score],
            of_null[0] if of_null else base,
        ],
        axis=1,
    )
    r, alone, controls_alone, gain, over, slope, share = over_days(
        columns, open_time[score], _figures, resamples=resamples, seed=seed
    )
    return Skill(
        r=r,
        controls=controls_alone,
        gain=gain,
        alone=alone,
        slope=slope,
        share=share,
        over_null=None if null is None else over,
        fitted=parts.fitted,
        scored=parts.scored,
        days=parts.days,
    )


def controls_skill(
    open_time: NDArray[np.int64],
    real: NDArray[np.float64],
    controls: NDArray[np.float64],
    cut: int,
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> Estimate | None:
    """Return the R² of a regression on the controls alone, as `placement_skill` measures it; None as there."""
    parts = parts_of(open_time, controls, cut, real)
    if parts.shortage:
        return None
    y = log_amount(real)
    if np.ptp(y[parts.score]) == 0:
        return None
    beta = np.linalg.lstsq(controls[parts.fit], y[parts.fit], rcond=None)[0]
    error = np.square(y[parts.score] - controls[parts.score] @ beta)
    columns = np.stack([error, np.square(y[parts.score] - y[parts.fit].mean())], axis=1)
    [alone] = over_days(
        columns,
        open_time[parts.score],
        lambda sums: 1 - sums[..., :1] / sums[..., 1:],
        resamples=resamples,
        seed=seed,
    )
    return alone


def _squared_errors(
    controls: NDArray[np.float64],
    y: NDArray[np.float64],
    others: list[NDArray[np.float64]],
    fit: NDArray[np.bool_],
    score: NDArray[np.bool_],
) -> list[NDArray[np.float64]]:
    """Return squared errors in the scored part of a regression of y on controls, and on controls and each of others.

    The coefficient of another column is that of what controls leave of y on what they leave of that column.
    """
    columns = np.column_stack([y, *others])
    if controls.shape[1] == 1:
        beta = (controls[fit].T @ columns[fit]) / (controls[fit].T @ controls[fit])
    else:
        beta = np.linalg.lstsq(controls[fit], columns[fit], rcond=None)[0]
    left_y, *left = (columns - controls @ beta).T
    out = [np.square(left_y[score])]
    for x, left_x in zip(others, left, strict=True):
        varies = float(left_x[fit] @ left_x[fit])
        # Where controls say all of x there is nothing it could add.
        slope = float(left_x[fit] @ left_y[fit]) / varies if varies > 1e-12 * float(x[fit] @ x[fit]) else 0.0
        out.append(np.square(left_y[score] - slope * left_x[score]))
    return out


def over_days(
    columns: NDArray[np.float64],
    open_time: NDArray[np.int64],
    figures: _Figures,
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> list[Estimate]:
    """Return figures that follow from sums over intervals, with intervals of confidence.

    UTC days are drawn with replacement, all intervals of a day together: hours that follow each other are no
    independent observations.

    Parameters
    ----------
    columns : float64, shape (N, k)
        What is summed.
    open_time : int64, shape (N,)
        UNIX nanoseconds.
    figures : callable
        From sums of shape (..., k) to figures of shape (..., m).
    resamples, seed : int
        Of the bootstrap.
    """
    day = split_days(open_time)
    days = int(day.max()) + 1
    by_day = np.zeros((days, columns.shape[1]))
    np.add.at(by_day, day, columns)
    drawn = np.random.default_rng(seed).multinomial(days, np.full(days, 1 / days), size=resamples).astype(np.float64)
    value = figures(by_day.sum(axis=0))
    # A figure that a resample leaves undefined, as of days without variation, takes no part in its interval.
    with np.errstate(divide="ignore", invalid="ignore"):
        resampled = figures(drawn @ by_day)
    edges = np.nanquantile(resampled, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=0)
    return [Estimate(float(v), float(low), float(high)) for v, low, high in zip(value, *edges, strict=True)]


def _figures(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return r, R² alone, R² of the controls, gain, that over the null, slope and share: (..., 13) -> (..., 7)."""
    n, x, y, xx, yy, xy, variation, base, full, alone, predicted, real, null = np.moveaxis(sums, -1, 0)
    together, spread = xy - x * y / n, xx - x * x / n
    return np.stack(
        [
            together / np.sqrt(spread * (yy - y * y / n)),
            1 - alone / variation,
            1 - base / variation,
            (base - full) / variation,
            (null - full) / variation,
            together / spread,
            predicted / real,
        ],
        axis=-1,
    )


type _Figures = Callable[[NDArray[np.float64]], NDArray[np.float64]]
