"""Levels that candles open, the path consumes and falling open interest shrinks."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numba import njit
from numpy.typing import NDArray

from liqserver.kernel import AUDIT_COLUMNS
from liqserver.models.candles import candle_columns, change
from liqserver.models.market import Market, ModelLevels
from liqserver.models.parameters import COMPAT, Compat, MarginFormula, Parameters
from liqserver.models.selection import EDGE, Readings, as_levels
from liqserver.models.tiers import (
    HEATMAP_TIERS,
    MARGIN_FORMULA,
    ORIGINAL_MMR,
    POSITION_NOTIONAL,
    SIDES,
    TIERS_WITHOUT_HAZARD,
    bracket_periods,
    flat_ratios,
    in_force,
    level_ratios,
    leverages,
    shares,
)

ID = "time_evolving"

DESCRIPTION = (
    "Per five-minute candle: levels in bins that the mark price's path touched are liquidated; a rise of open interest "
    "opens as many contracts at the close, longs if the candle did not fall and shorts if it did, spread over the "
    "tiers; a fall shrinks all levels of both sides by its share of what is held. Starts empty with the data."
)
SOURCE = (
    "LiquidationHeatmap's time-evolving heatmap. compat=original: the candle's own low and high as the path, nothing "
    "of a candle that has not ended, open interest by value (contracts times the close; the exchange's own value is "
    "not read), the simplified formula with 0.4 %."
)
LIMITS = (
    "A rise of open interest opens one side only although each contract has both; turnover without a change of open "
    "interest is not seen; what a sweep liquidates is taken out once more when open interest falls by it. What is held "
    "is not tied to open interest, and what was open before the data has no level. A level in the bin of the lowest or "
    "highest price counts as touched."
)

DEFAULTS = Parameters(
    tiers=HEATMAP_TIERS, margin_formula=MarginFormula.EXACT, position_notional=10_000.0, compat=Compat.NONE
)
ORIGINAL = Parameters(tiers=HEATMAP_TIERS, margin_formula=MarginFormula.SIMPLIFIED, compat=Compat.ORIGINAL)
PARAMETERS = (
    TIERS_WITHOUT_HAZARD,
    replace(MARGIN_FORMULA, in_original=False),
    replace(POSITION_NOTIONAL, in_original=False),
    COMPAT,
)

# A scale this small is multiplied into the bins, far from where doubles lose precision.
_SMALLEST_SCALE = 1e-100
_KEPT_STATES = 64
_DAY_CANDLES = 288


@dataclass(slots=True)
class State:
    """What is open after a number of candles; amounts are contracts, quote units with ``compat=original``.

    Attributes
    ----------
    candles : int
        How many candles were taken.
    placed : float64, shape (2, T, n)
        Amounts divided by ``scale``, by side, tier and bin.
    scale : float64, shape (1,)
        Factor of all of ``placed``: shrinking is one multiplication.
    held : float64, shape (2,)
        Sum of each side.
    edge : int64, shape (2, T)
        Highest bin a long of the tier may be in (-1: none), lowest for shorts (n: none).
    """

    candles: int
    placed: NDArray[np.float64]
    scale: NDArray[np.float64]
    held: NDArray[np.float64]
    edge: NDArray[np.int64]

    def copy(self) -> State:
        """Return an independent copy."""
        return State(self.candles, self.placed.copy(), self.scale.copy(), self.held.copy(), self.edge.copy())


class TimeEvolvingTimeline:
    """The levels of one market at any moment; see ``liqserver.models.market.Timeline``.

    Keeps states along the way, so that a past moment costs a short replay. Not safe for concurrent use.

    Raises
    ------
    ParameterError
        If a tier's leverage leaves no room between entry and liquidation.
    MissingDetail
        If brackets are needed and none are known.
    """

    def __init__(self, market: Market, parameters: Parameters) -> None:
        self._market = market
        self._readings = Readings(market)
        self._leverage = leverages(parameters)
        self._weight = shares(parameters)
        self._original = parameters.compat is Compat.ORIGINAL
        columns = self._columns = candle_columns(market)
        candles = columns.candles
        self._short = columns.falls
        self._periods = bracket_periods(parameters, market.brackets)
        starts = np.array([period.start for period in self._periods])
        # Positions are placed by the brackets of their candle's end, and stay.
        self._period = np.searchsorted(starts, candles.end, side="right") - 1
        if self._original:
            self._ratio = flat_ratios(self._leverage, ORIGINAL_MMR)[None]
            self._path = candles.low, candles.high
            self._change = change(columns.open_interest * candles.close)
        else:
            size = float(parameters.position_notional or 0.0)
            self._ratio = np.stack(
                [
                    np.stack([level_ratios(side, self._leverage, size, period.table) for side in SIDES])
                    for period in self._periods
                ]
            )
            self._path = columns.path_low, columns.path_high
            self._change = change(columns.open_interest)
        low, high = (float(candles.close.min()), float(candles.close.max())) if len(columns) else (1.0, 1.0)
        self._first_bin = int(np.floor(low * self._ratio[:, 0].min() / market.base_bin))
        bins = int(np.floor(high * self._ratio[:, 1].max() / market.base_bin)) + 2 - self._first_bin
        tiers = len(self._leverage)
        start = State(
            candles=0,
            placed=np.zeros((2, tiers, bins)),
            scale=np.ones(1),
            held=np.zeros(2),
            edge=np.stack([np.full(tiers, -1, dtype=np.int64), np.full(tiers, bins, dtype=np.int64)]),
        )
        self._spacing = max(_DAY_CANDLES, -(-len(columns) // _KEPT_STATES))
        # States after whole multiples of the spacing, and the one asked for last.
        self._kept = {0: start}
        self._last = start

    def at(self, ts: int, *, by_tier: bool = True) -> ModelLevels:
        """Return the levels as of ``ts`` (UNIX nanoseconds).

        Raises
        ------
        MissingDetail
            If no price or no open interest was known.
        """
        moment = self._readings.with_open_interest(ts, ID)
        candles = int(np.searchsorted(self._columns.candles.end, ts, side="right"))
        state = self._state_after(candles)
        if candles and not self._original:
            low, high = self._columns.path_since(candles - 1, moment)
            if not np.isnan(low):
                # The candle that has not ended consumes, on a copy, and opens nothing yet.
                state = state.copy()
                self._advance(state, np.array([low]), np.array([high]), np.zeros(1), slice(candles - 1, candles))
        first, qty = self._occupied(state)
        if self._original:
            # Entry prices that belong to the middles of the bins, so that quote units become contracts.
            middle = (first + np.arange(qty.shape[2]) + 0.5) * self._market.base_bin
            qty = qty * self._ratio[0][:, :, None] / middle
        period = in_force(self._periods, ts)
        return as_levels(self._market, moment, self._leverage, (first, qty), period.table_id)

    def audit(self, start: int, end: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return what every candle did; see ``liqserver.models.market.EvolvingTimeline``.

        Nothing is unexplained or without a level here: those columns are 0. With ``compat=original``, which counts
        value, contracts are value divided by the candle's close.
        """
        ends = self._columns.candles.end
        first, stop = (int(np.searchsorted(ends, ts, side="right")) for ts in (start, end))
        if stop <= first:
            return np.empty(0, dtype=np.int64), np.empty((0, len(AUDIT_COLUMNS)))
        rows = np.zeros((stop - first, len(AUDIT_COLUMNS)))
        part = slice(first, stop)
        state = self._state_after(first).copy()
        self._advance(state, self._path[0][part], self._path[1][part], self._change[part], part, rows)
        if self._original:
            rows /= self._columns.candles.close[part, None]
        return ends[part], rows

    def _state_after(self, candles: int) -> State:
        """Return the state after so many candles, which must not be changed; keep those on the way."""
        at = candles // self._spacing * self._spacing
        while at not in self._kept:
            at -= self._spacing
        nearest = self._last if at < self._last.candles <= candles else self._kept[at]
        if nearest.candles < candles:
            state = nearest.copy()
            while state.candles < candles:
                stop = min((state.candles // self._spacing + 1) * self._spacing, candles)
                part = slice(state.candles, stop)
                self._advance(state, self._path[0][part], self._path[1][part], self._change[part], part)
                state.candles = stop
                if stop % self._spacing == 0:
                    self._kept[stop] = state.copy()
            nearest = state
        self._last = nearest
        return nearest

    def _advance(
        self,
        state: State,
        low: NDArray[np.float64],
        high: NDArray[np.float64],
        change: NDArray[np.float64],
        candles: slice,
        audit: NDArray[np.float64] | None = None,
    ) -> None:
        """Take candles in ``state``, which keeps their count as it is; they are those of the slice but for the path."""
        _advance(
            state.placed,
            state.scale,
            state.held,
            state.edge,
            self._first_bin,
            1 / self._market.base_bin,
            self._ratio,
            self._weight,
            self._period[candles],
            self._columns.candles.close[candles],
            self._short[candles],
            low,
            high,
            change,
            np.empty((0, len(AUDIT_COLUMNS))) if audit is None else audit,
        )

    def _occupied(self, state: State) -> tuple[int, NDArray[np.float64]]:
        """Return the first bin that holds any, and amounts by side, tier and bin from there to the last that does."""
        bins = np.flatnonzero(state.placed.any(axis=(0, 1)))
        if not len(bins):
            return 0, np.zeros((2, len(self._leverage), 0))
        return self._first_bin + int(bins[0]), state.placed[:, :, bins[0] : bins[-1] + 1] * state.scale[0]


@njit(cache=True, nogil=True, error_model="numpy")
def _advance(
    placed: NDArray[np.float64],
    scale: NDArray[np.float64],
    held: NDArray[np.float64],
    edge: NDArray[np.int64],
    first_bin: int,
    per_width: float,
    ratio: NDArray[np.float64],
    weight: NDArray[np.float64],
    period: NDArray[np.int64],
    close: NDArray[np.float64],
    short: NDArray[np.bool_],
    path_low: NDArray[np.float64],
    path_high: NDArray[np.float64],
    change: NDArray[np.float64],
    audit: NDArray[np.float64],
) -> None:
    tiers, bins = placed.shape[1:]
    for c in range(len(change)):
        # 1. The path consumes.
        if not np.isnan(path_low[c]):
            lowest = int(max(np.floor(path_low[c] * per_width + EDGE) - first_bin, 0.0))
            highest = int(min(np.floor(path_high[c] * per_width + EDGE) - first_bin, bins - 1.0))
            for side in range(2):
                gone = 0.0
                for t in range(tiers):
                    if side == 0:
                        start, stop = lowest, edge[0, t] + 1
                        edge[0, t] = min(edge[0, t], lowest - 1)
                    else:
                        start, stop = edge[1, t], highest + 1
                        edge[1, t] = max(edge[1, t], highest + 1)
                    for b in range(start, stop):
                        gone += placed[side, t, b]
                        placed[side, t, b] = 0.0
                gone = min(gone * scale[0], held[side])
                held[side] -= gone
                if len(audit):
                    audit[c, 4 + side] = gone
        if change[c] > 0:
            # 2. What is new opens at the close.
            side = 1 if short[c] else 0
            for t in range(tiers):
                b = int(np.floor(close[c] * ratio[period[c], side, t] * per_width + EDGE)) - first_bin
                placed[side, t, b] += change[c] * weight[t] / scale[0]
                edge[side, t] = max(edge[side, t], b) if side == 0 else min(edge[side, t], b)
            held[side] += change[c]
            if len(audit):
                audit[c, side] = change[c]
        elif change[c] < 0:
            # 3. What left shrinks all that remains.
            total = held[0] + held[1]
            keep = 1 + change[c] / total if -change[c] < total else 0.0
            for side in range(2):
                if len(audit):
                    audit[c, 2 + side] = held[side] * (1 - keep)
                held[side] *= keep
            scale[0] *= keep
            if scale[0] < _SMALLEST_SCALE:
                for side in range(2):
                    for t in range(tiers):
                        for b in range(bins):
                            placed[side, t, b] *= scale[0]
                        if keep == 0:
                            edge[side, t] = -1 if side == 0 else bins
                scale[0] = 1.0
