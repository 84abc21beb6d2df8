"""What each tier alone would have liquidated.

A tier that holds next to nothing changes nothing for the others: what it liquidates is in proportion to its weight.
So the liquidations of a mix of tiers are the sum of the tiers' own, times their weights, as long as most of what
opens has no level.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from liqserver.margin import BracketTable, Side
from liqserver.models.market import Market
from liqserver.models.parameters import Parameters, Tier
from liqserver.models.position_book import begin, drive, epochs, tier_ratios

_TRACE = 1e-3


def distance_tiers(
    distances: Sequence[float], parameters: Parameters, table: BracketTable | None
) -> NDArray[np.float64]:
    """Return the leverage at which a long is liquidated at each distance below its entry, shape of ``distances``.

    Parameters
    ----------
    distances : sequence of float
        Fractions of the entry price, between 0 and 1.
    parameters : Parameters
        In force; the margin formula and the typical position's notional decide.
    table : BracketTable or None
        None for the simplified formula.
    """
    wanted = np.asarray(distances, dtype=np.float64)
    low, high = np.full(len(wanted), np.log(1.0001)), np.full(len(wanted), np.log(500.0))
    for _ in range(60):
        middle = (low + high) / 2
        away = 1 - tier_ratios(Side.LONG, np.exp(middle), parameters, table)
        low, high = np.where(away > wanted, middle, low), np.where(away > wanted, high, middle)
    return np.asarray(np.exp((low + high) / 2))


def responses(market: Market, parameters: Parameters, open_time: NDArray[np.int64], period: int) -> NDArray[np.float64]:
    """Return what each tier would liquidate by interval if everything that opens were of that tier.

    Parameters
    ----------
    market : Market
        With open interest.
    parameters : Parameters
        Complete; tiers with hazards, those relative to positions without a level.
    open_time : int64, shape (N,)
        UNIX nanoseconds at which intervals begin, ascending.
    period : int
        Length of an interval, nanoseconds.

    Returns
    -------
    float64, shape (2, N, T)
        Notional of longs, then shorts, quote units; NaN for intervals that the history does not cover whole.
    """
    history = market.history
    tiers = parameters.tiers
    if not tiers:
        raise ValueError("parameters must have tiers")
    out = np.empty((2, len(open_time), len(tiers)))
    for i, tier in enumerate(tiers):
        alone = replace(
            parameters,
            tiers=(Tier(tier.leverage, _TRACE, tier.hazard),),
            no_level_weight=1 - _TRACE,
            no_level_hazard=1.0,
        )
        steps = epochs(alone, market.brackets)
        book, start = begin(history, steps, market.base_bin)
        rows = drive(book, history, steps, start, len(history), audit=True)
        ends = history.step_end[start:]
        swept = np.nan_to_num(rows[:, 4:6] * history.mark_close[start:, None]) / _TRACE
        total = np.concatenate([np.zeros((1, 2)), np.cumsum(swept, axis=0)])
        first, last = (np.searchsorted(ends, at, side="right") for at in (open_time, open_time + period))
        covered = (open_time >= history.step_end[start - 1]) & (open_time + period <= ends[-1])
        out[:, :, i] = np.where(covered[:, None], total[last] - total[first], np.nan).T
    return out
