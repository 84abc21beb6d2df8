"""What a model is given and what it answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from liqserver.kernel import History
from liqserver.margin import BracketTable

CANDLE_PERIOD = 300_000_000_000


@dataclass(frozen=True, slots=True)
class Candles:
    """Five-minute candles of the last price in time order, C of them; gaps are possible.

    Attributes
    ----------
    end : int64, shape (C,)
        UNIX nanoseconds, exclusive; the candle is known from then on.
    open, high, low, close : float64, shape (C,)
        Quote units.
    quote_volume : float64, shape (C,)
        Traded notional, quote units.
    """

    end: NDArray[np.int64]
    open: NDArray[np.float64]
    high: NDArray[np.float64]
    low: NDArray[np.float64]
    close: NDArray[np.float64]
    quote_volume: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Trades:
    """Single trades of at least the store's large-trade threshold, in time order, K of them.

    Attributes
    ----------
    known_at : int64, shape (K,)
        UNIX nanoseconds from which the trade was known (the end of its minute), ascending.
    price, qty : float64, shape (K,)
        Quote and base units.
    taker_buy : bool, shape (K,)
        Whether the taker bought.
    """

    known_at: NDArray[np.int64]
    price: NDArray[np.float64]
    qty: NDArray[np.float64]
    taker_buy: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class SizedFlow:
    """Trades by minute, price bin, size class and taker, in time order, R rows.

    Attributes
    ----------
    known_at : int64, shape (R,)
        UNIX nanoseconds, end of the minute, ascending.
    price : float64, shape (R,)
        Mean price of the row's trades, quote units.
    qty : float64, shape (R,)
        Base units.
    count : int64, shape (R,)
        Number of trades.
    size_class : uint8, shape (R,)
        Index into ``SIZE_CLASSES``.
    taker_buy : bool, shape (R,)
        Whether the takers bought.
    """

    known_at: NDArray[np.int64]
    price: NDArray[np.float64]
    qty: NDArray[np.float64]
    count: NDArray[np.int64]
    size_class: NDArray[np.uint8]
    taker_buy: NDArray[np.bool_]


# Lower bounds of the size classes by notional of a trade, quote units; from LARGE_TRADE on trades are kept singly.
SIZE_CLASSES = (0.0, 1_000.0, 10_000.0, 100_000.0, 1_000_000.0)
LARGE_TRADE = 100_000.0


class Details(Protocol):
    """What only some models need of a market, read when it is asked for first."""

    def candles(self) -> Candles:
        """Return the five-minute candles."""

    def large_trades(self) -> Trades:
        """Return the single trades."""

    def sized_flow(self) -> SizedFlow:
        """Return the flow by size class."""


@dataclass(frozen=True, slots=True)
class Market:
    """One symbol's market, as much of it as was known.

    Attributes
    ----------
    venue, symbol : str
        Names as stored.
    tick_size, base_bin : float
        Smallest price step and width of a flow bin, quote units.
    tick_size_source : str
        Where the tick size is from, for example "built in".
    history : History
        Steps in time order.
    brackets : tuple of BracketTable
        By date of effect; empty when none is known.
    details : Details
        What only some models need.
    """

    venue: str
    symbol: str
    tick_size: float
    tick_size_source: str
    base_bin: float
    history: History
    brackets: tuple[BracketTable, ...]
    details: Details


@dataclass(frozen=True, slots=True)
class ModelLevels:
    """Levels of a model at one moment, on the symbol's base bins; all amounts are contracts (base units).

    Attributes
    ----------
    width : float
        Width of a bin, quote units.
    first_bin : int
        Bin i covers ``[(first_bin + i) * width, ... + width)``.
    leverage : float64, shape (T,)
        Leverage of each tier.
    qty : float64, shape (2, T, n)
        Longs, then shorts, by tier and bin; shape (2, 1, n) where the tiers were added up.
    open_interest : float
        Contracts, newest row known; NaN when none is and the model can do without.
    no_level, unknown_entry : float64, shape (2,)
        Contracts without a level because of their kind, and because their entry lies before the first data.
    bracket_table : str
        Table in force; empty when the formula uses none.
    """

    width: float
    first_bin: int
    leverage: NDArray[np.float64]
    qty: NDArray[np.float64]
    open_interest: float
    no_level: NDArray[np.float64]
    unknown_entry: NDArray[np.float64]
    bracket_table: str


class Timeline(Protocol):
    """A model with its parameters on one market; ask it for any moment."""

    def at(self, ts: int, *, by_tier: bool = True) -> ModelLevels:
        """Return the levels as of ``ts`` (UNIX nanoseconds), from nothing that was not known then.

        Without ``by_tier``, the tiers may be added up where that is less work.
        """


class EvolvingTimeline(Timeline, Protocol):
    """The timeline of a model with a time axis: what it shows evolves, and it can account for every change."""

    def audit(self, start: int, end: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return what changed after ``start`` until ``end`` (UNIX nanoseconds), from nothing not known at ``end``.

        Returns
        -------
        ts : int64, shape (R,)
            UNIX nanoseconds at which each row's change was complete, ascending, ``start < ts <= end``.
        rows : float64, shape (R, 10)
            Columns of ``kernel.AUDIT_COLUMNS``, contracts.
        """
