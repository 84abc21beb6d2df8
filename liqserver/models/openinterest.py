"""Volume profile of the candles in which open interest rose, scaled to open interest."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from liqserver.models.candles import CandleColumns, candle_columns, change
from liqserver.models.market import CANDLE_PERIOD, Market, ModelLevels
from liqserver.models.parameters import (
    COMPAT,
    DAY,
    LOOKBACK,
    Compat,
    MarginFormula,
    ParameterError,
    Parameters,
)
from liqserver.models.selection import (
    Entries,
    MissingDetail,
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
    HEATMAP_TIERS,
    MARGIN_FORMULA,
    ORIGINAL_MMR,
    POSITION_NOTIONAL,
    SIDES,
    TIERS_WITHOUT_HAZARD,
    BracketPeriod,
    bracket_periods,
    flat_ratios,
    in_force,
    level_ratios,
    leverages,
    shares,
)

ID = "openinterest"

DESCRIPTION = (
    "Five-minute candles of the lookback in which open interest rose: rising ones are entries of longs, falling ones "
    "of shorts, at their close, weighted with their traded notional (with whale_threshold: that of their trades of at "
    "least so much) and spread over the tiers. Levels that the mark price's path touched since are gone; those that "
    "are left are scaled so that longs and shorts together add up to the current open interest."
)
SOURCE = (
    "LiquidationHeatmap's recommended model. compat=original: scaled before levels are taken out; only the side of the "
    "current price decides which are left; open interest by value (contracts times the close; the exchange's own "
    "value is not read), stamped with a candle's open, so of the five minutes before it; entries floored to 200, 500 "
    "or 1500 quote units for 7, 30 or 90 days; the simplified formula with 0.4 %. Liquidation prices are not rounded "
    "to those bins: ask for bin_size."
)
LIMITS = (
    "Everyone who traded in a rising candle counts as a long although each contract has both sides; positions opened "
    "while open interest fell are not seen, and voluntary closing is not modelled but scaled over. All of open "
    "interest is given levels in range. The colour of a candle does not say who opened."
)

_BIN_OF_DAYS = {7: 200.0, 30: 500.0, 90: 1500.0}

DEFAULTS = Parameters(
    tiers=HEATMAP_TIERS,
    margin_formula=MarginFormula.EXACT,
    position_notional=10_000.0,
    lookback=30 * DAY,
    compat=Compat.NONE,
)
ORIGINAL = Parameters(
    tiers=HEATMAP_TIERS, margin_formula=MarginFormula.SIMPLIFIED, lookback=30 * DAY, compat=Compat.ORIGINAL
)
PARAMETERS = (
    LOOKBACK,
    # In the original it had no effect.
    size_threshold(
        "whale_threshold",
        "Smallest notional of a trade that counts, quote units; without, all traded notional does.",
        in_original=False,
    ),
    TIERS_WITHOUT_HAZARD,
    replace(MARGIN_FORMULA, in_original=False),
    replace(POSITION_NOTIONAL, in_original=False),
    COMPAT,
)


@dataclass(frozen=True, slots=True)
class Survivors:
    """Entries of the lookback that still have levels, before scaling.

    Attributes
    ----------
    grid : tuple of int and float64, shape (2, T, n)
        First bin and contracts traded by side, tier and bin.
    notional : float
        Of all entries, whether anything is left of them or not, quote units.
    table_id : str
        Bracket table in force.
    """

    grid: tuple[int, NDArray[np.float64]]
    notional: float
    table_id: str


class OpenInterestTimeline:
    """The profile of one market at any moment; see ``liqserver.models.market.Timeline``.

    Raises
    ------
    ParameterError
        If ``compat=original`` and the lookback is none of the original's.
    MissingDetail
        If brackets are needed and none are known.
    """

    def __init__(self, market: Market, parameters: Parameters) -> None:
        self._market = market
        self._readings = Readings(market)
        self._ends = market.details.candles().end
        self._lookback = int(parameters.lookback or 0)
        self._leverage = leverages(parameters)
        weight = shares(parameters)
        self._weight = np.stack([weight, weight])
        self._size = float(parameters.position_notional or 0.0)
        self._original = parameters.compat is Compat.ORIGINAL
        self._bin = _original_bin(self._lookback) if self._original else 0.0
        self._periods = bracket_periods(parameters, market.brackets)
        self._whales: Entries | None = None
        if parameters.whale_threshold is not None:
            self._whales = trades_of_size(market.details, parameters.whale_threshold)
        self._ratio: tuple[BracketPeriod, NDArray[np.float64]] | None = None
        self._profile: _Profile | None = None

    def at(self, ts: int, *, by_tier: bool = True) -> ModelLevels:
        """Return the levels as of ``ts`` (UNIX nanoseconds).

        Raises
        ------
        MissingDetail
            If no price, open interest or candle of the lookback was known, or no trades with ``whale_threshold``.
        ParameterError
            If ``compat=original`` and its bins are wider than the price.
        """
        moment = self._readings.with_open_interest(ts, ID)
        left = self.survivors(moment)
        qty = left.grid[1]
        if self._original:
            # Contracts of quote units: notional adds up to the value of open interest before levels are taken out.
            scale = moment.open_interest * moment.price / left.notional if left.notional > 0 else 0.0
        else:
            held = float(qty.sum())
            scale = moment.open_interest / held if held > 0 else 0.0
        qty *= scale
        return as_levels(self._market, moment, self._leverage, left.grid, left.table_id)

    def survivors(self, moment: Moment) -> Survivors:
        """Return what is left of the lookback's entries at ``moment``; raises as `at` does."""
        first, stop = window(self._ends, moment.ts, self._lookback)
        if first == stop:
            raise MissingDetail(
                "candles",
                f"{ID} needs candles and none of {self._readings.name} end in the lookback before {moment.ts}: "
                "ingest klines or trades, or ask for a longer lookback",
            )
        period = in_force(self._periods, moment.ts)
        profile = self._profile_of(first, stop)
        first, stop = first - profile.first, stop - profile.first
        rows = first + np.flatnonzero(profile.opens[first:stop])
        long = profile.columns.rises[rows]
        notional = profile.notional[rows]
        if self._whales is not None and not notional.any():
            require_trades(self._market, moment.ts, self._lookback, f"{ID} with whale_threshold")
        entry = profile.columns.candles.close[rows]
        if self._original:
            if self._bin > moment.price:
                raise ParameterError(
                    "compat", "original", f"but its bins of {self._bin:g} are wider than the price {moment.price:g}"
                )
            entry = np.floor(entry / self._bin) * self._bin
            bound = np.full(len(rows), moment.price)
        else:
            bound = _bounds(profile.columns, rows, long, stop, moment)
        level = entry[:, None] * self._ratio_of(period)[np.where(long, 0, 1)]
        qty = np.divide(notional, entry, out=np.zeros(len(rows)), where=entry > 0)
        grid = placed(level, bound, qty, long, self._weight, self._market.base_bin)
        return Survivors(grid, float(notional.sum()), period.table_id)

    def _ratio_of(self, period: BracketPeriod) -> NDArray[np.float64]:
        """Return liquidation price over entry price by side and tier, shape (2, T)."""
        if self._ratio is None or self._ratio[0] is not period:
            if self._original:
                ratio = flat_ratios(self._leverage, ORIGINAL_MMR)
            else:
                ratio = np.stack([level_ratios(side, self._leverage, self._size, period.table) for side in SIDES])
            self._ratio = period, ratio
        return self._ratio[1]

    def _profile_of(self, first: int, stop: int) -> _Profile:
        """Return a profile that holds candles ``first:stop``; one that is made reaches a little further."""
        kept = self._profile
        # The change of the first two rows is not known, unless they are the market's first.
        if kept is None or stop > kept.first + len(kept.columns) or first < kept.first + (2 if kept.first else 0):
            reach = (stop - first) // 8 + 2
            kept = self._profile = self._profile_from(max(first - reach, 0), min(stop + reach, len(self._ends)))
        return kept

    def _profile_from(self, first: int, stop: int) -> _Profile:
        columns = candle_columns(self._market).part(first, stop)
        if self._original:
            value = columns.open_interest * columns.candles.close
            rise = np.concatenate([[0.0], change(value)[:-1]])
        else:
            rise = change(columns.open_interest)
        notional = columns.candles.quote_volume
        if self._whales is not None:
            notional = _notional_inside(self._whales, columns.candles.end)
        return _Profile(first, columns, (rise > 0) & (columns.rises | columns.falls), notional)


@dataclass(frozen=True, slots=True)
class _Profile:
    """Candles from index ``first`` on, whether each opens positions, and the notional it opens them with."""

    first: int
    columns: CandleColumns
    opens: NDArray[np.bool_]
    notional: NDArray[np.float64]


def _bounds(
    columns: CandleColumns, rows: NDArray[np.intp], long: NDArray[np.bool_], stop: int, moment: Moment
) -> NDArray[np.float64]:
    """Return how far the path came towards the levels of each entry since it was opened, quote units."""
    if not len(rows):
        return np.empty(0)
    low, high = columns.path_since(stop - 1, moment)
    start = int(rows[0]) + 1
    # Backwards from the moment: the lowest and highest price since the end of each candle.
    lows = np.fmin.accumulate(np.append(columns.path_low[start:stop], low)[::-1])[::-1]
    highs = np.fmax.accumulate(np.append(columns.path_high[start:stop], high)[::-1])[::-1]
    since = rows + 1 - start
    return np.where(long, np.fmin(lows[since], moment.price), np.fmax(highs[since], moment.price))


def _notional_inside(entries: Entries, end: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the notional of the entries inside each candle that ends then, quote units, shape of ``end``."""
    first, stop = np.searchsorted(entries.known_at, [end[0] - CANDLE_PERIOD, end[-1]], side="right")
    inside = entries.where(slice(int(first), int(stop)))
    candle = np.searchsorted(end, inside.known_at, side="left")
    weight = np.where(end[candle] - inside.known_at < CANDLE_PERIOD, inside.price * inside.qty, 0.0)
    return np.bincount(candle, weights=weight, minlength=len(end))


def _original_bin(lookback: int) -> float:
    days, rest = divmod(lookback, DAY)
    if rest or days not in _BIN_OF_DAYS:
        raise ParameterError(
            "lookback", lookback, "must be 7, 30 or 90 days with compat=original: its bins are defined for those only"
        )
    return _BIN_OF_DAYS[days]
