"""Every large trade of the lookback as a position of its taker, at each leverage; for comparison."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from liqserver.margin import BracketTable
from liqserver.models.market import LARGE_TRADE, Market, ModelLevels
from liqserver.models.parameters import COMPAT, DAY, LOOKBACK, Compat, MarginFormula, Parameters, Tier
from liqserver.models.selection import (
    Moment,
    Readings,
    as_levels,
    placed,
    require_trades,
    size_threshold,
    trades_of_size,
    window,
)
from liqserver.models.tiers import (
    MARGIN_FORMULA,
    SIDES,
    TIERS_WITHOUT_HAZARD,
    bracket_periods,
    flat_ratios,
    in_force,
    level_ratios,
    leverages,
    shares,
)

ID = "binance_standard"

DESCRIPTION = (
    "Every trade of at least whale_threshold in the lookback is an entry of its taker's side at its price, divided "
    "over the leverage tiers. A level is exact for a position of that notional by the brackets in force at the as-of "
    "time, and counts while it lies on the right side of the current price."
)
SOURCE = (
    "LiquidationHeatmap's binance_standard. compat=original: the simplified formula with the maintenance margin rate "
    "of the bracket that all of the open interest would fall into as one position. Its made-up entries around the "
    "price, where trades are missing, are not reproduced."
)
LIMITS = (
    "For comparison. Positions that were closed, or liquidated by a price that came back, are still shown. A trade "
    "that closed a position counts as an entry, makers open nothing, and positions built of small trades are not seen. "
    "Amounts are not tied to open interest. Entries are limited to what is stored: a lookback longer than the data "
    "is not filled up."
)

EQUAL_TIERS = tuple(Tier(leverage, 1.0) for leverage in (5.0, 10.0, 25.0, 50.0, 100.0))
DEFAULTS = Parameters(
    tiers=EQUAL_TIERS,
    margin_formula=MarginFormula.EXACT,
    lookback=7 * DAY,
    whale_threshold=LARGE_TRADE,
    compat=Compat.NONE,
)
ORIGINAL = Parameters(tiers=EQUAL_TIERS, lookback=7 * DAY, whale_threshold=LARGE_TRADE, compat=Compat.ORIGINAL)
WHALE_THRESHOLD = size_threshold("whale_threshold", "Smallest notional of a trade that counts, quote units.")
PARAMETERS = (
    LOOKBACK,
    WHALE_THRESHOLD,
    TIERS_WITHOUT_HAZARD,
    replace(MARGIN_FORMULA, in_original=False),
    COMPAT,
)


class StandardTimeline:
    """Entries of one market with their levels at any moment; see ``liqserver.models.market.Timeline``.

    Parameters
    ----------
    market : Market
    parameters : Parameters
        In force, complete.
    model : str
        Id for messages.

    Raises
    ------
    MissingDetail
        If no brackets are known and the formula needs them; ``compat=original`` always does.
    """

    def __init__(self, market: Market, parameters: Parameters, model: str = ID) -> None:
        self.readings = Readings(market)
        self.leverage = leverages(parameters)
        self.weight = shares(parameters)
        self._market = market
        self._model = model
        self._lookback = int(parameters.lookback or 0)
        self._original = parameters.compat is Compat.ORIGINAL
        # With compat=original there is no formula to choose, but brackets are looked up all the same.
        self._periods = bracket_periods(parameters, market.brackets)
        self._entries = trades_of_size(market.details, float(parameters.whale_threshold or 0.0))
        self._levels = _LevelsOfWindow()

    def at(self, ts: int, *, by_tier: bool = True) -> ModelLevels:
        """Return the levels as of ``ts`` (UNIX nanoseconds).

        Raises
        ------
        MissingDetail
            If no price or no trades were known, or with ``compat=original`` no open interest.
        ParameterError
            If a tier's leverage leaves no room between entry and liquidation.
        """
        return self.weighted(self.moment(ts), np.stack([self.weight, self.weight]))

    def moment(self, ts: int) -> Moment:
        """Return what was known at ``ts``; raises as `at` does."""
        return (
            self.readings.with_open_interest(ts, f"{self._model} with compat=original")
            if self._original
            else (self.readings.at(ts))
        )

    def weighted(
        self, moment: Moment, weight: NDArray[np.float64], factor: tuple[float, float] = (1.0, 1.0)
    ) -> ModelLevels:
        """Return the levels at ``moment`` with shares of the tiers by side, shape (2, T), and levels times ``factor``.

        Raises
        ------
        MissingDetail
            If no trades were known.
        ParameterError
            If a tier's leverage leaves no room between entry and liquidation.
        """
        first, stop = window(self._entries.known_at, moment.ts, self._lookback)
        if first == stop:
            require_trades(self._market, moment.ts, self._lookback, self._model)
        period = in_force(self._periods, moment.ts)
        entries = self._entries.where(slice(first, stop))
        if self._original:
            assert period.table is not None  # noqa: S101 - bracket_periods has tables for all but the simplified one
            ratio = flat_ratios(self.leverage, mmr_of_all(moment, period.table))
            level = entries.price[:, None] * ratio[np.where(entries.long, 0, 1)]
        else:
            level = self._levels.of(self._entries_levels, period.table, first, stop)
        bound = np.full(len(entries), moment.price)
        grid = placed(level, bound, entries.qty, entries.long, weight, self._market.base_bin, factor)
        return as_levels(self._market, moment, self.leverage, grid, period.table_id)

    def _entries_levels(self, table: BracketTable | None, first: int, stop: int) -> NDArray[np.float64]:
        """Return the levels of entries ``first:stop`` by tier, quote units."""
        entries = self._entries.where(slice(first, stop))
        ratio = np.empty((stop - first, len(self.leverage)))
        for side, rows in zip(SIDES, (entries.long, ~entries.long), strict=True):
            ratio[rows] = level_ratios(side, self.leverage, entries.notional[rows, None], table)
        return np.asarray(entries.price[:, None] * ratio)


def mmr_of_all(moment: Moment, table: BracketTable) -> float:
    """Return the maintenance margin rate of the open interest as if it were one position, at most that of the last."""
    notional = min(moment.open_interest * moment.price, float(table.notional_cap[-1]))
    return float(table.mmr[table.index(notional)])


class _LevelsOfWindow:
    """Levels of the entries asked for last: a window that moved on computes only what is new in it."""

    def __init__(self) -> None:
        self._table: BracketTable | None = None
        self._first = self._stop = 0
        self._levels: NDArray[np.float64] | None = None

    def of(self, compute: _Compute, table: BracketTable | None, first: int, stop: int) -> NDArray[np.float64]:
        """Return the levels of entries ``first:stop`` by ``table``, computed with ``compute`` where not at hand."""
        kept = self._levels
        if kept is None or table is not self._table or first >= self._stop or stop <= self._first:
            levels = compute(table, first, stop)
        else:
            overlap = kept[max(first, self._first) - self._first : min(stop, self._stop) - self._first]
            parts = [overlap]
            if first < self._first:
                parts.insert(0, compute(table, first, self._first))
            if stop > self._stop:
                parts.append(compute(table, self._stop, stop))
            levels = np.concatenate(parts) if len(parts) > 1 else overlap
        self._table, self._first, self._stop, self._levels = table, first, stop, levels
        return levels


type _Compute = Callable[[BracketTable | None, int, int], NDArray[np.float64]]
