"""What happened in each of a row of intervals; interval i is after ``edges[i]`` until ``edges[i + 1]``."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from liqserver.kernel import History


def summed(ts: NDArray[np.int64], rows: NDArray[np.float64], edges: NDArray[np.int64]) -> NDArray[np.float64]:
    """Add up rows by the interval their time lies in.

    Parameters
    ----------
    ts : int64, shape (R,)
        UNIX nanoseconds, ``edges[0] < ts <= edges[-1]``.
    rows : float64, shape (R, k)
    edges : int64, shape (N + 1,)
        UNIX nanoseconds, ascending.

    Returns
    -------
    float64, shape (N, k)
    """
    out = np.zeros((len(edges) - 1, rows.shape[1]))
    np.add.at(out, np.searchsorted(edges, ts, side="left") - 1, rows)
    return out


def price_path(history: History, edges: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return open, high, low and close of the price that liquidates, by interval.

    The path of an interval begins at the newest price known at its start (at its own first price where none was),
    so a jump from one interval to the next is part of the later one's range.

    Returns
    -------
    float64, shape (4, N)
        Quote units; NaN where no path became known in the interval.
    """
    stops = np.searchsorted(history.step_end, edges, side="right")
    out = np.full((4, len(edges) - 1), np.nan)
    for i, (start, stop) in enumerate(zip(stops[:-1].tolist(), stops[1:].tolist(), strict=True)):
        known = start + np.flatnonzero(~np.isnan(history.mark_low[start:stop]))
        if not len(known):
            continue
        first = history.mark_close[start - 1] if start else np.nan
        first = history.mark_close[known[0]] if np.isnan(first) else first
        high, low = history.mark_high[known].max(), history.mark_low[known].min()
        out[:, i] = first, max(high, first), min(low, first), history.mark_close[stop - 1]
    return out
