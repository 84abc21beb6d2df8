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
    derived : bool
        Whether to give the figures of ``DerivedFigures``.
    calibration : str
        Id of a stored calibration; "none" for the model's defaults, empty for the newest that knows nothing later.
    band : float
        Share that bands are to cover; 0 for none.
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
    derived: bool = False
    calibration: str = ""
    band: float = 0.0


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
    calibration: str = ""


@dataclass(frozen=True, slots=True)
class Cluster:
    """A run of dense bins on one side.

    Each bin holds at least three times the mean of the side's bins in the answered range; one bin that does not may
    lie between.

    Attributes
    ----------
    low, high : float
        Left edge of the first bin, right edge of the last, quote units.
    peak : float
        Left edge of the densest bin.
    amount : float
        What it holds, in the answer's unit.
    distance : float
        From the current price to the nearer edge, as a fraction of the price, not negative.
    distance_volatility : float or None
        The same in units of the realised volatility of a day; None while that is not known.
    """

    low: float
    high: float
    peak: float
    amount: float
    distance: float
    distance_volatility: float | None


@dataclass(frozen=True, slots=True)
class Imbalance:
    """Longs below and shorts above within ``range`` (a fraction) of the current price, in the answer's unit.

    ``imbalance`` is (short - long) / (short + long), None when there is neither.
    """

    range: float
    long: float
    short: float
    imbalance: float | None


@dataclass(frozen=True, slots=True)
class DerivedFigures:
    """What strategies derive from levels.

    Attributes
    ----------
    cluster_below, cluster_above : Cluster or None
        Nearest cluster of longs below and of shorts above the current price in the answered range.
    cumulative : float64, shape (2, n)
        Longs met on the way from the current price down to each bin of the answer, that bin included; shorts on the
        way up.
    imbalances : tuple of Imbalance
        Whatever the range of the answer and the side asked for.
    realised_volatility : float or None
        See ``liqserver.live.derived.realised_volatility``.
    """

    cluster_below: Cluster | None
    cluster_above: Cluster | None
    cumulative: NDArray[np.float64]
    imbalances: tuple[Imbalance, ...]
    realised_volatility: float | None


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
    derived : DerivedFigures or None
        None unless asked for.
    band : float64, shape (2, 2, n), or None
        Low ends of longs and shorts, then high ends, in ``unit``; None unless asked for.
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
    derived: DerivedFigures | None = None
    band: NDArray[np.float64] | None = None


@dataclass(frozen=True, slots=True)
class HeatmapAnswer:
    """Levels over time, T moments by B bins.

    Attributes
    ----------
    ts : int64, shape (T,)
        UNIX nanoseconds, ``interval`` apart.
    price : float64, shape (B,)
        Left edges, quote units.
    amount : float64, shape (2, T, B)
        Longs and shorts in ``unit``.
    path : float64, shape (4, T)
        Open, high, low and close of the price that liquidates in the interval up to each moment; NaN where no path
        is known.
    liquidated : float64, shape (2, T)
        Longs and shorts liquidated in the interval up to each moment, in ``unit``.
    bin_size : float
        Quote units.
    interval : int
        Nanoseconds.
    unit : AmountUnit
        Unit of the amounts.
    provenance : Provenance
        As of the last moment.
    """

    ts: NDArray[np.int64]
    price: NDArray[np.float64]
    amount: NDArray[np.float64]
    path: NDArray[np.float64]
    liquidated: NDArray[np.float64]
    bin_size: float
    interval: int
    unit: AmountUnit
    provenance: Provenance


@dataclass(frozen=True, slots=True)
class ComparedModel:
    """One model's levels on the common grid of a comparison; ``LevelsAnswer`` says what the arrays are.

    ``answer`` is None where the model has none; ``unavailable`` says why.
    """

    model: str
    answer: LevelsAnswer | None
    unavailable: str


@dataclass(frozen=True, slots=True)
class ModelPair:
    """How much two models agree; tuples are longs, then shorts.

    Attributes
    ----------
    a, b : int
        Indices of the models.
    overlap : tuple of float or None
        1 - total variation, in [0, 1]; None when one of them is empty.
    rank_correlation : tuple of float or None
        Spearman's, over the bins; None when one side does not vary.
    differ_most : tuple or None
        Left edge of the bin where the shares differ most, its side, share of a minus share of b; None when no side
        can be compared.
    """

    a: int
    b: int
    overlap: tuple[float | None, float | None]
    rank_correlation: tuple[float | None, float | None]
    differ_most: tuple[float, Sides, float] | None


@dataclass(frozen=True, slots=True)
class ComparisonAnswer:
    """Several models on one grid at one moment.

    Attributes
    ----------
    price : float64, shape (n,)
        Left edges of every bin of the range, quote units.
    bin_size : float
        Quote units.
    unit : AmountUnit
        Unit of the amounts.
    models : tuple of ComparedModel
        In the order asked; the arrays of their answers are as long as ``price``.
    pairs : tuple of ModelPair
        Every pair of models that have an answer.
    """

    price: NDArray[np.float64]
    bin_size: float
    unit: AmountUnit
    models: tuple[ComparedModel, ...]
    pairs: tuple[ModelPair, ...]


@dataclass(frozen=True, slots=True)
class AuditAnswer:
    """What was opened, closed and liquidated in N intervals; shapes (2, N) are longs, then shorts, in ``unit``.

    Attributes
    ----------
    open_time : int64, shape (N,)
        UNIX nanoseconds: start of each interval.
    opened, closed, liquidated, unexplained : float64, shape (2, N)
        ``unexplained`` is the part of ``opened`` that the model cannot explain.
    open_interest : float64, shape (N + 1,)
        Newest row at the start of each interval, and at the end of the last.
    no_level_share : float64, shape (N,)
        Share of open interest without a level because of its kind at the end of each interval, mean of both sides.
    interval : int
        Nanoseconds.
    unit : AmountUnit
        NOTIONAL is contracts times the newest price in their step.
    provenance : Provenance
        As of the end of the last interval.
    """

    open_time: NDArray[np.int64]
    opened: NDArray[np.float64]
    closed: NDArray[np.float64]
    liquidated: NDArray[np.float64]
    unexplained: NDArray[np.float64]
    open_interest: NDArray[np.float64]
    no_level_share: NDArray[np.float64]
    interval: int
    unit: AmountUnit
    provenance: Provenance


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """A model with its parameters; empty for the default."""

    model: str
    parameters: Parameters
