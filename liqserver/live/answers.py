"""What is asked and what is answered, free of any protocol."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from liqserver.live.resident import Price
from liqserver.models.parameters import Parameters


class Sides(Enum):
    """Which sides to answer."""

    BOTH = "both"
    LONG = "long"
    SHORT = "short"


class AmountUnit(Enum):
    """Unit of amounts: quote units, or base units."""

    NOTIONAL = "notional"
    QTY = "qty"


@dataclass(frozen=True, slots=True)
class LevelsQuery:
    """What to show of which model for which symbol.

    Attributes
    ----------
    symbol : str
        Symbol.
    venue : str
        Venue; empty for the only venue that has the symbol.
    model : str
        Model; empty for the default.
    parameters : Parameters
        Parameters of the model.
    bin_size : float
        Width of a bin, quote units, a multiple of the base bin; 0 for a suitable one.
    down, up : float
        Price range around the current price, as fractions of it.
    sides : Sides
        Which sides.
    unit : AmountUnit
        Unit of the amounts.
    per_tier : bool
        Whether to break the amounts down by leverage tier.
    min_notional : float
        Bins that hold less than this on both sides are left out, quote units.
    """

    symbol: str
    venue: str = ""
    model: str = ""
    parameters: Parameters = field(default_factory=Parameters)
    bin_size: float = 0.0
    down: float = 0.2
    up: float = 0.2
    sides: Sides = Sides.BOTH
    unit: AmountUnit = AmountUnit.NOTIONAL
    per_tier: bool = False
    min_notional: float = 0.0


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where an answer comes from; times are UNIX nanoseconds, shares are in [0, 1]."""

    venue: str
    symbol: str
    as_of: int
    watermarks: dict[str, int]
    staleness: int
    model: str
    parameters: Parameters
    parameters_hash: str
    inputs_hash: str
    bracket_table: str
    current_price: Price
    open_interest: float
    no_level_share: tuple[float, float]
    unknown_entry_share: tuple[float, float]
    kline_volume_share: float
    last_price_path_share: float
    history_start: int
    notices: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LevelsAnswer:
    """Levels in columns of equal length n.

    Attributes
    ----------
    price : float64, shape (n,)
        Left edges, ascending, quote units.
    amount : float64, shape (2, n)
        Longs and shorts in ``unit``; 0 for a side that was not asked for.
    leverage : float64, shape (T,)
        Tiers; T is 0 unless they were asked for.
    by_tier : float64, shape (2, T, n)
        ``amount`` by tier.
    bin_size : float
        Width of a bin, quote units.
    unit : AmountUnit
        Unit of the amounts.
    total, in_range : float64, shape (2,)
        Longs and shorts with a level anywhere, and inside the range of the answer.
    provenance : Provenance
        Where the numbers come from.
    """

    price: NDArray[np.float64]
    amount: NDArray[np.float64]
    leverage: NDArray[np.float64]
    by_tier: NDArray[np.float64]
    bin_size: float
    unit: AmountUnit
    total: NDArray[np.float64]
    in_range: NDArray[np.float64]
    provenance: Provenance
