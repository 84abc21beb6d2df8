"""What the comparison models share: what was known at a moment, which trades count, where entries have their levels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from liqserver.kernel import History, Source
from liqserver.models.market import LARGE_TRADE, SIZE_CLASSES, Details, Market, ModelLevels
from liqserver.models.parameters import ParameterSpec

# Slack of price / width for prices on the edge of a bin; such a price belongs to the bin above.
EDGE = 1e-9
_HOUR = 3_600_000_000_000
_BLOCK = 2_000
_SINGLE = SIZE_CLASSES.index(LARGE_TRADE)


class MissingDetail(ValueError):
    """Something a model cannot do without is not there: ``what`` in one word, ``message`` for people."""

    def __init__(self, what: str, message: str) -> None:
        super().__init__(message)
        self.what = what
        self.message = message


def size_threshold(name: str, description: str, *, in_original: bool = True) -> ParameterSpec:
    """Return the parameter ``name``: a smallest notional of trades, quote units.

    Trades are kept singly from ``LARGE_TRADE`` on. Below it flow is kept by size class, so only the bounds of the
    classes separate trades exactly.
    """
    bounds = SIZE_CLASSES[:_SINGLE]
    return ParameterSpec(
        name,
        description,
        f"must be {', '.join(f'{bound:g}' for bound in bounds)} (trades below {LARGE_TRADE:g} are kept by size class) "
        f"or a number in [{LARGE_TRADE:g}, 1e+12]",
        lambda value: isinstance(value, int | float) and (value in bounds or LARGE_TRADE <= value <= 1e12),
        in_original=in_original,
    )


@dataclass(frozen=True, slots=True)
class Moment:
    """What was known of a market at a moment.

    Attributes
    ----------
    ts : int
        UNIX nanoseconds.
    stop : int
        Number of steps known.
    price : float
        Newest price, quote units.
    open_interest : float
        Newest row, contracts; NaN when there is none.
    """

    ts: int
    stop: int
    price: float
    open_interest: float


def newest_open_interest(history: History, stop: int) -> float:
    """Return the newest open interest of the first ``stop`` steps, contracts; NaN when there is none."""
    step = _newest(history.open_interest, stop, np.nan)
    return np.nan if step is None else float(history.open_interest[step])


def _newest(column: NDArray[np.float64], stop: int, nothing: float) -> int | None:
    """Return the last step before ``stop`` whose value is neither NaN nor ``nothing``, looked for from the end."""
    while stop > 0:
        start = max(stop - _BLOCK, 0)
        part = column[start:stop]
        rows = np.flatnonzero(~np.isnan(part) & (part != nothing))
        if len(rows):
            return start + int(rows[-1])
        stop = start
    return None


class Readings:
    """The newest readings of a market at any moment, looked for from there backwards."""

    def __init__(self, market: Market) -> None:
        self.market = market
        self.name = f"{market.venue}:{market.symbol}"

    def at(self, ts: int) -> Moment:
        """Return what was known at ``ts`` (UNIX nanoseconds).

        Raises
        ------
        MissingDetail
            If no price was.
        """
        history = self.market.history
        stop = history.steps_until(ts)
        price = float(history.mark_close[stop - 1]) if stop else np.nan
        if np.isnan(price):
            raise MissingDetail("price", f"no price of {self.name} is known at {ts}")
        return Moment(ts, stop, price, newest_open_interest(history, stop))

    def with_open_interest(self, ts: int, model: str) -> Moment:
        """Return what was known at ``ts``, open interest among it.

        Raises
        ------
        MissingDetail
            If no price or no open interest was.
        """
        moment = self.at(ts)
        if np.isnan(moment.open_interest):
            raise MissingDetail(
                "open_interest", f"{model} needs open interest and none of {self.name} is known at {ts}"
            )
        return moment

    def funding(self, moment: Moment) -> tuple[float, float]:
        """Return the rate settled last, as it was and per eight hours.

        The hours it is for are those since the settlement before, one to eight; a rate of exactly 0 leaves no trace.

        Raises
        ------
        MissingDetail
            If no settlement was known.
        """
        history = self.market.history
        last = _newest(history.funding_rate, moment.stop, 0.0)
        if last is None:
            raise MissingDetail("funding", f"no funding rate of {self.name} is known at {moment.ts}: ingest funding")
        hours = 8.0
        before = _newest(history.funding_rate, last, 0.0)
        if before is not None:
            hours = float(np.clip(np.rint((history.step_end[last] - history.step_end[before]) / _HOUR), 1, 8))
        rate = float(history.funding_rate[last])
        return rate, rate * 8 / hours


@dataclass(frozen=True, slots=True)
class Entries:
    """Positions taken to be opened, one per trade or group of like trades, in time order, K of them.

    Attributes
    ----------
    known_at : int64, shape (K,)
        UNIX nanoseconds.
    price : float64, shape (K,)
        Entry price, quote units.
    qty : float64, shape (K,)
        Contracts.
    notional : float64, shape (K,)
        Of one trade, quote units.
    long : bool, shape (K,)
        Side: that of the taker.
    """

    known_at: NDArray[np.int64]
    price: NDArray[np.float64]
    qty: NDArray[np.float64]
    notional: NDArray[np.float64]
    long: NDArray[np.bool_]

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.known_at)

    def where(self, rows: NDArray[np.bool_] | NDArray[np.intp] | slice) -> Entries:
        """Return some of them: by a mask, in the order of indices, or a slice."""
        return Entries(self.known_at[rows], self.price[rows], self.qty[rows], self.notional[rows], self.long[rows])


def window(known_at: NDArray[np.int64], ts: int, lookback: int) -> tuple[int, int]:
    """Return the range of rows known in (ts - lookback, ts], rows in time order."""
    first, stop = np.searchsorted(known_at, [ts - lookback, ts], side="right")
    return int(first), int(stop)


def trades_of_size(details: Details, threshold: float) -> Entries:
    """Return the trades of at least ``threshold``, quote units, a value that `size_threshold` allows.

    Below ``LARGE_TRADE`` an entry stands for the trades of a minute, bin, size class and taker: their mean price
    and mean notional.
    """
    trades = details.large_trades()
    notional = trades.price * trades.qty
    singles = Entries(trades.known_at, trades.price, trades.qty, notional, trades.taker_buy)
    if threshold >= LARGE_TRADE:
        return singles if threshold == LARGE_TRADE else singles.where(notional >= threshold)
    flow = details.sized_flow()
    rows = (flow.size_class >= SIZE_CLASSES.index(threshold)) & (flow.size_class < _SINGLE)
    grouped = Entries(
        flow.known_at, flow.price, flow.qty, flow.price * flow.qty / np.maximum(flow.count, 1), flow.taker_buy
    ).where(rows)
    names = ("known_at", "price", "qty", "notional", "long")
    joined = Entries(*(np.concatenate([getattr(singles, name), getattr(grouped, name)]) for name in names))
    return joined.where(np.argsort(joined.known_at, kind="stable"))


def require_trades(market: Market, ts: int, lookback: int, model: str) -> None:
    """Check that trades, not only candles, are known of the lookback.

    Raises
    ------
    MissingDetail
        If none are.
    """
    first, stop = window(market.history.step_end, ts, lookback)
    if not (market.history.flow_source[first:stop] == Source.TRADES).any():
        raise MissingDetail(
            "trades",
            f"{model} needs trades and none of {market.venue}:{market.symbol} are known in the lookback before {ts}: "
            "ingest aggTrades, ask for a longer lookback or another model",
        )


def placed(
    level: NDArray[np.float64],
    bound: NDArray[np.float64],
    qty: NDArray[np.float64],
    long: NDArray[np.bool_],
    weight: NDArray[np.float64],
    width: float,
    factor: tuple[float, float] = (1.0, 1.0),
) -> tuple[int, NDArray[np.float64]]:
    """Put entries at their levels, those that are still open.

    Parameters
    ----------
    level : float64, shape (K, T)
        Liquidation price of each entry by tier, quote units; 0 for one that no price liquidates.
    bound : float64, shape (K,)
        A long is open as long as its level is below, a short as its level is above it, quote units.
    qty : float64, shape (K,)
        Contracts.
    long : bool, shape (K,)
        Side.
    weight : float64, shape (2, T)
        Share of an entry by side and tier.
    width : float
        Of a bin, quote units.
    factor : tuple of float
        What the levels of longs and shorts are multiplied with, once it is known which are open.

    Returns
    -------
    first_bin : int
    qty : float64, shape (2, T, n)
        Contracts; n is just what the levels span, 0 without any.
    """
    first, last = _span(level, bound, long, factor, 1 / width)
    out = np.zeros((2, level.shape[1], max(last - first + 1, 0)))
    if not out.shape[2]:
        return 0, out
    _place(level, bound, qty, long, weight, factor, 1 / width, first, out)
    return first, out


@njit(cache=True, nogil=True, error_model="numpy")
def _span(
    level: NDArray[np.float64],
    bound: NDArray[np.float64],
    long: NDArray[np.bool_],
    factor: tuple[float, float],
    per_width: float,
) -> tuple[int, int]:
    """Return the first and last bin of the levels that are open; the last is below the first when none is."""
    low, high = np.inf, -np.inf
    for k in range(len(level)):
        for t in range(level.shape[1]):
            at = level[k, t]
            if 0 < at < bound[k] if long[k] else at > bound[k]:
                at *= factor[0] if long[k] else factor[1]
                low, high = min(low, at), max(high, at)
    if low > high:
        return 0, -1
    return int(np.floor(low * per_width + EDGE)), int(np.floor(high * per_width + EDGE))


@njit(cache=True, nogil=True, error_model="numpy")
def _place(
    level: NDArray[np.float64],
    bound: NDArray[np.float64],
    qty: NDArray[np.float64],
    long: NDArray[np.bool_],
    weight: NDArray[np.float64],
    factor: tuple[float, float],
    per_width: float,
    first: int,
    out: NDArray[np.float64],
) -> None:
    """Add the levels that are open to ``out``, as `_span` chose them."""
    for k in range(len(level)):
        side = 0 if long[k] else 1
        for t in range(level.shape[1]):
            at = level[k, t]
            if 0 < at < bound[k] if long[k] else at > bound[k]:
                out[side, t, int(np.floor(at * factor[side] * per_width + EDGE)) - first] += qty[k] * weight[side, t]


def as_levels(
    market: Market,
    moment: Moment,
    leverage: NDArray[np.float64],
    grid: tuple[int, NDArray[np.float64]],
    bracket_table: str,
) -> ModelLevels:
    """Return the answer of a model all of whose contracts have a level, from what `placed` returned."""
    return ModelLevels(
        width=market.base_bin,
        first_bin=grid[0],
        leverage=leverage,
        qty=grid[1],
        open_interest=moment.open_interest,
        no_level=np.zeros(2),
        unknown_entry=np.zeros(2),
        bracket_table=bracket_table,
    )
