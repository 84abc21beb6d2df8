"""A market with part of its information taken away: what a model still says without it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from liqserver.models.market import Market

Floats = NDArray[np.float64]


def constant_open_interest(market: Market) -> Market:
    """Return ``market`` with its mean open interest at all times: nothing is known of its changes."""
    return _with_open_interest(market, lambda values: np.full(len(values), values.mean()))


def constant_flow(market: Market) -> Market:
    """Return ``market`` with as much traded in every step; where prices traded stays, and how much in all."""
    return _with_volume(market, lambda volume: np.full(len(volume), volume.mean()))


def flow_by_range(market: Market) -> Market:
    """Return ``market`` with volume in proportion to the range of price in the step, as much in all."""
    history = market.history
    reach = np.nan_to_num(history.mark_high / history.mark_low - 1)
    return _with_volume(market, lambda volume: reach * (volume.sum() / reach.sum()))


def shifted_inputs(market: Market, shift: int) -> Market:
    """Return ``market`` with volume and open interest of ``shift`` nanoseconds before; the first are those of the end.

    Raises
    ------
    ValueError
        If the history is no longer than twice the shift.
    """
    ends = market.history.step_end
    steps = int(np.searchsorted(ends, int(ends[0]) + shift))
    if 2 * steps >= len(ends):
        raise ValueError("the history is too short to be shifted")
    known = ~np.isnan(market.history.open_interest)
    rows = int(np.count_nonzero(known[:steps]))
    return _with_open_interest(
        _with_volume(market, lambda volume: np.roll(volume, steps)), lambda values: np.roll(values, rows)
    )


def _with_volume(market: Market, change: Callable[[Floats], Floats]) -> Market:
    """Return ``market`` with the volume of each step changed, its prices kept."""
    history = market.history
    step = np.repeat(np.arange(len(history)), np.diff(history.flow_offset))
    before = np.bincount(step, history.flow_buy + history.flow_sell, minlength=len(history))
    factor = np.divide(change(before), before, out=np.zeros_like(before), where=before > 0)[step]
    changed = replace(history, flow_buy=history.flow_buy * factor, flow_sell=history.flow_sell * factor)
    return replace(market, history=changed)


def _with_open_interest(market: Market, change: Callable[[Floats], Floats]) -> Market:
    history = market.history
    known = ~np.isnan(history.open_interest)
    values = history.open_interest.copy()
    values[known] = change(values[known])
    return replace(market, history=replace(history, open_interest=values))
