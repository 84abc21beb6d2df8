"""What strategies derive from levels: clusters, what lies on the way, imbalance, distance in units of volatility."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from liqserver.kernel import History
from liqserver.live.answers import Cluster, DerivedFigures, Imbalance
from liqserver.live.window import Window

# A bin is dense from this many times the mean of its side's bins on.
DENSE = 3.0
IMBALANCE_RANGES = (0.01, 0.02, 0.05, 0.1)
DAY = 86_400_000_000_000
_LEAST_RETURNS = 30


def derived_figures(
    window: Window,
    amount: NDArray[np.float64],
    middle: NDArray[np.float64],
    whole: NDArray[np.float64],
    price: float,
    volatility: float | None,
) -> DerivedFigures:
    """Return the figures.

    Parameters
    ----------
    window : Window
        Bins of the answer, n of them.
    amount : float64, shape (2, n)
        Longs and shorts in those bins.
    middle : float64, shape (m,)
        Middles of all base bins, quote units.
    whole : float64, shape (2, m)
        Longs and shorts in all base bins.
    price : float
        Current price, quote units.
    volatility : float or None
        ``realised_volatility``.
    """
    below, above = side_clusters(window, amount, price, volatility)
    return DerivedFigures(
        cluster_below=nearest(below),
        cluster_above=nearest(above),
        cumulative=np.stack([np.cumsum(amount[0][::-1])[::-1], np.cumsum(amount[1])]),
        imbalances=tuple(_imbalance(share, middle, whole, price) for share in IMBALANCE_RANGES),
        realised_volatility=volatility,
    )


def side_clusters(
    window: Window, amount: NDArray[np.float64], price: float, volatility: float | None
) -> tuple[tuple[Cluster, ...], tuple[Cluster, ...]]:
    """Return all clusters of longs below the price and of shorts above it, by ascending price.

    Parameters
    ----------
    window : Window
        Bins of the answer, n of them.
    amount : float64, shape (2, n)
        Longs and shorts in those bins.
    price : float
        Current price, quote units.
    volatility : float or None
        ``realised_volatility``.
    """
    edges, width = window.edges, window.bin_size
    below, above = edges < price, edges + width > price
    return (
        _runs(edges[below], amount[0][below], width, price, volatility),
        _runs(edges[above], amount[1][above], width, price, volatility),
    )


def nearest(clusters: Sequence[Cluster]) -> Cluster | None:
    """Return the cluster whose nearer edge is nearest to the price, None of none."""
    return min(clusters, key=lambda of: of.distance, default=None)


def distance_of(low: float, high: float, price: float) -> float:
    """Return how far the price is from a price range, as a fraction of the price; 0 inside."""
    return max(low - price, price - high, 0.0) / price


def realised_volatility(history: History, stop: int) -> float | None:
    """Return the standard deviation of a day's log return, from the 24 hours before step ``stop`` of ``history``.

    The root of the sum of squared log returns from step to step with a price, scaled from the time they span to a
    day (realised variance; no mean is taken out). None below 30 returns.
    """
    if not stop:
        return None
    start = history.steps_until(int(history.step_end[stop - 1]) - DAY)
    known = start + np.flatnonzero(~np.isnan(history.mark_low[start:stop]))
    if len(known) <= _LEAST_RETURNS:
        return None
    returns = np.diff(np.log(history.mark_close[known]))
    span = int(history.step_end[known[-1]]) - int(history.step_end[known[0]])
    return math.sqrt(float(returns @ returns) * DAY / span)


def _runs(
    edges: NDArray[np.float64], amount: NDArray[np.float64], width: float, price: float, volatility: float | None
) -> tuple[Cluster, ...]:
    """Return the runs of dense bins; one bin that is not dense may lie between."""
    dense = np.flatnonzero(amount >= DENSE * amount.mean()) if amount.any() else np.empty(0, dtype=np.int64)
    out = []
    for run in np.split(dense, np.flatnonzero(np.diff(dense) > 2) + 1) if len(dense) else ():
        part = amount[run[0] : run[-1] + 1]
        low, high = float(edges[run[0]]), float(edges[run[-1]] + width)
        distance = distance_of(low, high, price)
        out.append(
            Cluster(
                low=low,
                high=high,
                peak=float(edges[run[0] + int(part.argmax())]),
                amount=float(part.sum()),
                distance=distance,
                distance_volatility=distance / volatility if volatility else None,
            )
        )
    return tuple(out)


def _imbalance(share: float, middle: NDArray[np.float64], whole: NDArray[np.float64], price: float) -> Imbalance:
    long = float(whole[0][(middle >= price * (1 - share)) & (middle <= price)].sum())
    short = float(whole[1][(middle <= price * (1 + share)) & (middle >= price)].sum())
    return Imbalance(share, long, short, (short - long) / (short + long) if long + short > 0 else None)
