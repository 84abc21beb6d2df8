"""What a model is given and what it answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from liqserver.kernel import History
from liqserver.margin import BracketTable


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
    """

    venue: str
    symbol: str
    tick_size: float
    tick_size_source: str
    base_bin: float
    history: History
    brackets: tuple[BracketTable, ...]


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
        Longs, then shorts, by tier and bin.
    open_interest : float
        Contracts the levels were scaled to, newest row.
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

    def at(self, ts: int) -> ModelLevels:
        """Return the levels as of ``ts`` (UNIX nanoseconds), from nothing that was not known then."""
