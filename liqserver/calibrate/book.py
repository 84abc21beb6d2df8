"""Parameters of the position book from real liquidations."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from liqserver.calibrate.responses import responses
from liqserver.calibrate.weights import Fit, fit_weights
from liqserver.models.market import Market
from liqserver.models.parameters import Parameters, Tier, with_hazards
from liqserver.models.position_book import DEFAULTS

MIN_INTERVALS = 336
"""Fewer intervals than this (two weeks of hours) calibrate nothing."""

_RIDGE = 1e-3
# No more of what opens may have a level, and positions without one are never closed faster than this.
_MOST_LEVELLED, _FASTEST_NO_LEVEL = 0.5, 10.0


class NotEnoughData(ValueError):
    """Too few intervals with known liquidations."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """What a calibration found.

    Attributes
    ----------
    parameters : Parameters
        Complete, of the position book.
    fit : Fit
        Weights and how well they are known.
    intervals : int
        Number of intervals fitted on.
    until : int
        UNIX nanoseconds: nothing later was used.
    """

    parameters: Parameters
    fit: Fit
    intervals: int
    until: int


def calibrate(
    market: Market,
    open_time: NDArray[np.int64],
    period: int,
    real: NDArray[np.float64],
    until: int,
    *,
    start: int | None = None,
    prior: Parameters = DEFAULTS,
) -> Calibration:
    """Fit the weights of tiers, and how much has a level at all, on what was liquidated until ``until``.

    Everything else stays as in the prior but for the hazard of positions without a level, which follows.

    Parameters
    ----------
    market : Market
        With open interest; steps after ``until`` are not looked at.
    open_time : int64, shape (N,)
        UNIX nanoseconds at which the intervals of ``real`` begin.
    period : int
        Their length, nanoseconds.
    real : float64, shape (2, N)
        Notional liquidated, longs and shorts, quote units; NaN where it is not known.
    until : int
        UNIX nanoseconds.
    start : int, optional
        Intervals before it are left out, so that the book is warm; the default is a week after the first step.
    prior : Parameters
        Complete parameters of the position book. Weights are drawn towards its tiers' up to a common factor.

    Raises
    ------
    NotEnoughData
        If fewer than ``MIN_INTERVALS`` intervals are left.
    """
    stop = market.history.steps_until(until)
    past = replace(market, history=market.history.slice(0, stop))
    if start is None:
        start = int(market.history.step_end[0]) + 7 * 86_400_000_000_000
    given = with_hazards(prior)
    tiers = given.tiers or ()
    weight = np.array([tier.weight for tier in tiers])
    free = float(given.no_level_weight or 0.0)
    # Responses are of one tier beside positions without a level, whose hazard is 1 there.
    base = float(given.no_level_hazard or 1.0)
    given = replace(given, tiers=tuple(replace(tier, hazard=float(tier.hazard or 1.0) / base) for tier in tiers))
    response = responses(past, given, open_time, period)
    use = np.isfinite(real).all(axis=0) & np.isfinite(response).all(axis=(0, 2)) & (open_time >= start)
    use &= open_time + period <= until
    count = int(use.sum())
    if count < MIN_INTERVALS:
        raise NotEnoughData(f"{count} intervals have known liquidations before the cut, at least {MIN_INTERVALS} must")
    fit = fit_weights(response[:, use], real[:, use], weight / (weight.sum() + free), ridge=_RIDGE)
    return Calibration(book_parameters(given, fit.weight), fit, count, until)


def book_parameters(given: Parameters, weight: NDArray[np.float64]) -> Parameters:
    """Return ``given`` with these weights (shares of everything opened) and the positions without a level to match.

    Hazards are relative to positions without a level as ``responses`` has them: alone. Together, the mean hazard of
    all that is open must be the same again, which fixes that of positions without a level.
    """
    tiers = given.tiers or ()
    hazard = np.array([tier.hazard for tier in tiers], dtype=np.float64)
    levelled = float(weight.sum())
    weight = weight * min(1.0, _MOST_LEVELLED / levelled)
    levelled = float(weight.sum())
    # In balance a tier holds weight / hazard of open interest.
    held = float((weight / hazard).sum())
    no_level = min((1 - levelled) / (1 - held), _FASTEST_NO_LEVEL) if held < 1 else _FASTEST_NO_LEVEL
    return replace(
        given,
        tiers=tuple(
            Tier(tier.leverage, float(f"{of:.4g}"), tier.hazard) for tier, of in zip(tiers, weight, strict=True)
        ),
        no_level_weight=float(f"{1 - levelled:.4g}"),
        no_level_hazard=float(f"{no_level:.4g}"),
    )
