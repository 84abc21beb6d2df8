"""Parameters of the position book from recorded liquidations, and how well they are known."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from liqserver.calibrate.responses import responses
from liqserver.calibrate.scatter import Scatter, fit_scatter
from liqserver.calibrate.weights import Fit, fit_weights
from liqserver.models.market import Market
from liqserver.models.parameters import Parameters, Tier, with_hazards
from liqserver.models.position_book import DEFAULTS

MIN_INTERVALS = 336
"""Fewer intervals than this (two weeks of hours) calibrate nothing."""

WARM_UP = 7 * 86_400_000_000_000
"""Nanoseconds after the first step before which the book knows too few entries to be fitted."""

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
    shape_covariance : float64, shape (T, T)
        That of the fit without what all weights have in common: of the log weights under which as much is liquidated
        in all.
    scatter : Scatter
        How far recorded liquidations lie from predicted ones.
    intervals : int
        Number of intervals fitted on.
    start, end : int
        UNIX nanoseconds: start of the first of them, end of the last.
    until : int
        UNIX nanoseconds: nothing later was used.
    """

    parameters: Parameters
    fit: Fit
    shape_covariance: NDArray[np.float64]
    scatter: Scatter
    intervals: int
    start: int
    end: int
    until: int


@dataclass(frozen=True, slots=True)
class Evidence:
    """What each tier alone would have liquidated in each interval: calibrates at any moment, each from what was before.

    Attributes
    ----------
    prior : Parameters
        Complete, with hazards; weights are drawn towards its tiers' up to a common factor.
    open_time : int64, shape (N,)
        UNIX nanoseconds at which the intervals begin.
    period : int
        Their length, nanoseconds.
    response : float64, shape (2, N, T)
        See ``responses``; NaN where the book does not know enough entries yet, too.
    settled : int64, shape (K,)
        UNIX nanoseconds of every open interest: what happened since the newest is not settled before the next.
    """

    prior: Parameters
    open_time: NDArray[np.int64]
    period: int
    response: NDArray[np.float64]
    settled: NDArray[np.int64]

    def usable(self, real: NDArray[np.float64], until: int) -> NDArray[np.bool_]:
        """Return which intervals a calibration at ``until`` would use, shape (N,); arguments as of ``calibrate``."""
        newest = int(np.searchsorted(self.settled, until, side="right")) - 1
        known = np.isfinite(real).all(axis=0) & np.isfinite(self.response).all(axis=(0, 2))
        return np.asarray(known & (self.open_time + self.period <= (self.settled[newest] if newest >= 0 else 0)))

    def calibrate(self, real: NDArray[np.float64], until: int) -> Calibration:
        """Fit the weights of tiers, and how much has a level at all, on what was liquidated until ``until``.

        Everything else stays as in the prior but for the hazard of positions without a level, which follows.

        Parameters
        ----------
        real : float64, shape (2, N)
            Notional liquidated, longs and shorts, quote units; NaN where it is not known.
        until : int
            UNIX nanoseconds.

        Raises
        ------
        NotEnoughData
            If fewer than ``MIN_INTERVALS`` intervals are left, or a side does not vary in them.
        """
        use = self.usable(real, until)
        count = int(use.sum())
        if count < MIN_INTERVALS:
            raise NotEnoughData(
                f"{count} intervals have known liquidations before the cut, at least {MIN_INTERVALS} must"
            )
        response, recorded, open_time = self.response[:, use], real[:, use], self.open_time[use]
        for side, name in enumerate(("longs", "shorts")):
            if not np.ptp(recorded[side]) or not response[side].any():
                raise NotEnoughData(f"liquidations of {name} do not vary, recorded or predicted: nothing can be fitted")
        weight = np.array([tier.weight for tier in self.prior.tiers or ()])
        fit = fit_weights(response, recorded, weight / (weight.sum() + float(self.prior.no_level_weight or 0.0)))
        swept = response * fit.weight
        share = swept.sum(axis=(0, 1)) / swept.sum()
        # Takes from each log weight what raises the total.
        shape = np.eye(len(share)) - share
        return Calibration(
            parameters=book_parameters(self.prior, fit.weight),
            fit=fit,
            shape_covariance=shape @ fit.covariance @ shape.T,
            scatter=fit_scatter(swept.sum(axis=2), recorded),
            intervals=count,
            start=int(open_time[0]),
            end=int(open_time[-1]) + self.period,
            until=until,
        )


def gather(
    market: Market,
    open_time: NDArray[np.int64],
    period: int,
    until: int,
    *,
    start: int | None = None,
    prior: Parameters = DEFAULTS,
) -> Evidence:
    """Return the evidence for calibrations at any moment up to ``until``; the kernel runs once for each tier.

    Parameters
    ----------
    market : Market
        With open interest; steps after ``until`` are not looked at.
    open_time : int64, shape (N,)
        UNIX nanoseconds at which intervals begin, ascending.
    period : int
        Their length, nanoseconds.
    until : int
        UNIX nanoseconds.
    start : int, optional
        Intervals before it are left out, so that the book is warm; the default is a week after the first step.
    prior : Parameters
        Complete parameters of the position book.

    Raises
    ------
    NotEnoughData
        If no open interest is known until then.
    """
    history = market.history.until(until)
    if history.first_open_interest() is None or len(history) < 2:
        raise NotEnoughData("no open interest is known before the cut")
    if start is None:
        start = int(history.step_end[0]) + WARM_UP
    given = with_hazards(prior)
    relative = float(given.no_level_hazard or 1.0)
    # Responses are of one tier beside positions without a level, whose hazard is 1 there.
    alone = tuple(replace(tier, hazard=float(tier.hazard or 1.0) / relative) for tier in given.tiers or ())
    response = responses(replace(market, history=history), replace(given, tiers=alone), open_time, period)
    response[:, open_time < start] = np.nan
    return Evidence(given, open_time, period, response, history.step_end[~np.isnan(history.open_interest)])


def book_parameters(given: Parameters, weight: NDArray[np.float64]) -> Parameters:
    """Return ``given`` with these weights (shares of everything opened) and the positions without a level to match.

    The weights are those of tiers that stand alone beside positions without a level, which then have the hazard that
    ``given`` says. Together, the mean hazard of all that is open must be the same again, which fixes that of positions
    without a level.
    """
    tiers = given.tiers or ()
    alone = float(given.no_level_hazard or 1.0)
    hazard = np.array([tier.hazard for tier in tiers], dtype=np.float64) / alone
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
        no_level_hazard=float(f"{no_level * alone:.4g}"),
    )
