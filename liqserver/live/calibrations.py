"""Calibrations: found from what a database holds, and chosen so that no answer knows what came later."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from liqserver.calibrate import (
    BANDS,
    MIN_INTERVALS,
    NotEnoughData,
    calibrate_best,
    gather_all,
    plausible_weights,
    weight_variance,
)
from liqserver.live.errors import InvalidField, MissingInput, OutsideCoverage, Refused, UnknownName
from liqserver.live.question import shown_time
from liqserver.live.truth import HOUR, known_liquidations
from liqserver.models.market import Market
from liqserver.models.parameters import Parameters
from liqserver.store.calibrations import StoredCalibration, identified
from liqserver.store.database import Database

NONE = "none"
"""In place of an id: the model's defaults."""

MAX_CUTS = 1_000

type Key = tuple[str, str]


class Calibrations:
    """The stored calibrations of each market, read when one is asked for first; safe for use by several threads.

    Parameters
    ----------
    read : callable
        (venue, symbol) to the stored calibrations, ascending in the moment they look no further than.
    """

    def __init__(self, read: Callable[[str, str], tuple[StoredCalibration, ...]]) -> None:
        self._read = read
        self._lock = threading.Lock()
        self._held: dict[Key, tuple[StoredCalibration, ...]] = {}

    def of(self, key: Key) -> tuple[StoredCalibration, ...]:
        """Return those of a market."""
        held = self._held.get(key)
        if held is None:
            with self._lock:
                held = self._held[key] = self._read(*key)
        return held

    def changed(self, key: Key) -> None:
        """Read those of a market anew."""
        with self._lock:
            self._held[key] = self._read(*key)

    def chosen(self, key: Key, model: str, asked: str, moment: int) -> StoredCalibration | None:
        """Return the calibration of an answer that shows nothing before ``moment``; None for the model's defaults.

        Parameters
        ----------
        key : tuple of str
            Venue and symbol.
        model : str
            Its id.
        asked : str
            Id of a calibration, ``NONE``, or empty for the newest that looks no further than ``moment``.
        moment : int
            UNIX nanoseconds.

        Raises
        ------
        UnknownName
            If the market has no such calibration.
        InvalidField
            If it is another model's, or looks further than ``moment``.
        """
        if asked == NONE:
            return None
        if not asked:
            return next((of for of in reversed(self.of(key)) if of.model == model and of.found.until <= moment), None)
        found = next((of for of in self.of(key) if of.id == asked), None)
        if found is None:
            raise UnknownName("calibration", asked, [of.id for of in self.of(key)] or [NONE])
        if found.model != model:
            raise InvalidField("query.calibration", asked, f"which is of {found.model}, and {model} was asked for")
        if found.found.until > moment:
            raise InvalidField(
                "query.calibration",
                asked,
                f"which looks as far as {shown_time(found.found.until)} and so knows what came after "
                f"{shown_time(moment)}, the moment or the start of the range that was asked for: leave it out for the "
                "newest that was known then",
            )
        return found


def given_with(calibration: StoredCalibration | None, given: Parameters) -> Parameters:
    """Return what a request gives, completed by a calibration; the request goes first."""
    if calibration is None:
        return given
    found = calibration.found.parameters
    if given.hazard_exponent is not None:
        # Hazards by rule, which those written out would hide.
        found = replace(found, tiers=tuple(replace(tier, hazard=None) for tier in found.tiers or ()))
    own = {of.name: getattr(given, of.name) for of in fields(given)}
    return replace(found, **{name: value for name, value in own.items() if value is not None})


def check_band(share: float, calibration: StoredCalibration | None, parameters: Parameters) -> None:
    """Check that bands can be given; 0 is none.

    Raises
    ------
    InvalidField
        If the share is not allowed, or parameters other than the calibration's are in force.
    MissingInput
        If there is no calibration.
    """
    if share == 0:
        return
    least, most = BANDS
    if not (math.isfinite(share) and least <= share <= most):
        raise InvalidField("query.band", share, f"must be in [{least:g}, {most:g}], or 0 for none")
    if calibration is None:
        raise MissingInput(
            "calibration",
            "bands need a calibration of the model that was made from data before the moment asked for, and there is "
            "none in force: `liqserver calibrate SYMBOL` makes one where liquidations are recorded",
        )
    if parameters != calibration.found.parameters:
        raise InvalidField("query.band", share, "but query.parameters differ from the calibration: leave them out")


def bands(calibration: StoredCalibration, by_tier: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    """Return low and high ends of bins, in the scale of the map.

    Parameters
    ----------
    calibration : StoredCalibration
        In force.
    by_tier : float64, shape (2, T, n)
        What bins hold by tier, longs and shorts, quote units.
    share : float
        What is to lie between them.

    Returns
    -------
    float64, shape (2, 2, n)
        Low ends of longs and shorts, then high ends, quote units; 0 where a bin holds nothing.
    """
    scatter = calibration.found.scatter
    amount = by_tier.sum(axis=1)
    ends = np.stack(scatter.band(amount, share, weight_variance(by_tier, _members(calibration))))
    return np.asarray(np.where(amount > 0, ends / scatter.scale[:, None], 0.0))


@lru_cache(64)
def _members(calibration: StoredCalibration) -> NDArray[np.float64]:
    return plausible_weights(calibration.found.shape_covariance)


def cuts_of(market: Market, until: int | None, every: int) -> list[int]:
    """Return the moments to calibrate at, ascending: ``until``, and each ``every`` before it that has data before it.

    Raises
    ------
    InvalidField, OutsideCoverage
        If ``every`` is not allowed, or ``until`` lies outside the data.
    MissingInput
        If the market lacks what the position book needs.
    """
    history, name = market.history, f"{market.venue}:{market.symbol}"
    if history.first_open_interest() is None:
        raise MissingInput("open_interest", f"{name} has no open interest: ingest metrics files")
    if not market.brackets:
        raise MissingInput("brackets", f"no brackets of {name} are known: `liqserver brackets load FILE` loads them")
    start, end = int(history.step_end[0]), int(history.step_end[-1])
    until = end if until is None else until
    if not start <= until <= end:
        raise OutsideCoverage("until", until, start, end, f"data covers {start} to {end}; leave it out for all of it")
    if every == 0:
        return [until]
    least = MIN_INTERVALS * HOUR
    if every < HOUR or (until - start) // every > MAX_CUTS:
        raise InvalidField("every", every, f"must be at least {HOUR} (an hour), with at most {MAX_CUTS} cuts, or 0")
    return [until - every * k for k in range(max(until - start - least, 0) // every, -1, -1)]


def calibrated(database: Database, market: Market, cuts: list[int]) -> Iterator[StoredCalibration | None]:
    """Yield what was found at each of ``cuts``, not stored yet; None where there is too little before it.

    Parameters
    ----------
    database : Database
        Has what is known of liquidations.
    market : Market
        With open interest and brackets.
    cuts : list of int
        UNIX nanoseconds, ascending; each calibration uses nothing later than its own.

    Raises
    ------
    MissingInput
        If no liquidations are known at the last of them.
    Refused
        If too few are.
    """
    venue, symbol = market.venue, market.symbol
    try:
        truth = known_liquidations(database, venue, symbol, until=cuts[-1], period=HOUR)
    except MissingInput as error:
        raise MissingInput(
            "liquidations", f"{error.message}. Falls of open interest do not stand in for them: see docs/accuracy.md"
        ) from None
    try:
        evidence = gather_all(market, truth.open_time, truth.period, cuts[-1])
        for cut in cuts:
            try:
                # What could be known at the cut, which may be less than what is known of the time before it now.
                known = known_liquidations(database, venue, symbol, until=cut, period=HOUR)
                found = calibrate_best(evidence, known.at(truth.open_time), cut)
            except (MissingInput, NotEnoughData):
                if cut == cuts[-1]:
                    raise
                yield None
            else:
                yield identified(venue, symbol, found, period=truth.period, truth=known.source)
    except NotEnoughData as error:
        raise Refused("NOT_ENOUGH_DATA", f"{venue}:{symbol} cannot be calibrated: {error}") from None
