"""Types of requests: names in place of enum numbers, and the parameters of models."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

import numpy as np

from liqclient._times import to_duration_nanoseconds

type Side = Literal["both", "long", "short"]
"""Side of positions to answer (never of orders: a SELL order that liquidates closes a long)."""

type Unit = Literal["notional", "qty"]
"""Unit of amounts: ``notional`` in quote units (USDT), ``qty`` in base units (BTC)."""

type MarginFormula = Literal["exact", "simplified"]
"""How a liquidation price is computed: by the exchange's brackets, or by one linear formula."""

type Compat = Literal["none", "original"]
"""Which behaviour of an original system a model keeps: its known faults mended, or its own computation."""

type IngestStatus = Literal["ingested", "already ingested", "rejected", "not read"]
type DataKind = Literal[
    "trades",
    "open_interest",
    "mark_price",
    "klines",
    "funding",
    "liquidations",
    "index_price",
    "premium_index",
    "book_depth",
    "liquidation_totals",
]
"""Kind of input data."""

type Time = int | dt.datetime | np.datetime64 | str
"""A moment: UNIX nanoseconds, aware datetime, numpy datetime (UTC), or ISO 8601 text with ``Z`` or offset."""

type Duration = int | dt.timedelta | np.timedelta64 | str
"""A length of time: nanoseconds, timedelta, numpy timedelta, or text such as ``30s``, ``5m``, ``4h``, ``30d``."""

type PriceRange = float | tuple[float, float]
"""A range around the current price, as fractions of it: one number for both ways, or (down, up)."""

type ModelChoice = str | tuple[str, Parameters]
"""A model to compare: its identifier alone for its defaults, or with its parameters."""


class PositionSide(IntEnum):
    """Side of a position in columns; the value is its sign."""

    LONG = 1
    SHORT = -1


@dataclass(frozen=True, slots=True)
class LeverageTier:
    """One leverage tier of a model.

    Attributes
    ----------
    leverage
        Leverage at entry, greater than 1; fractions are allowed.
    weight
        Share of new positions, relative to the other tiers and to the no-level weight.
    hazard
        Hazard of voluntary closing, relative to the other tiers. None in a request asks for the model's
        rule, None in an answer says that none was in force.

    Raises
    ------
    ValueError
        If ``hazard`` is 0: the protocol reads that as not given.
    """

    leverage: float
    weight: float
    hazard: float | None = None

    def __post_init__(self) -> None:
        if self.hazard == 0:
            raise ValueError("hazard must not be 0, which the server reads as its own rule; give None for that")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """Parameters of a model.

    In a request, None takes the model's default, and the server refuses a parameter the model has no use
    for. In an answer, None means that the parameter had no part in it. The parameters of an answer
    can be sent again as they are.

    Attributes
    ----------
    kappa
        Share of traded volume that opens or closes directional positions, in (0, 1].
    taker_tilt
        Tilt of openings towards the aggressor's side, in [-1, 1].
    tiers
        Leverage tiers; kept as a tuple.
    no_level_weight
        Weight of positions that have no liquidation price in range.
    no_level_hazard
        Hazard of voluntary closing of the positions without a level.
    hazard_exponent
        Exponent e of the rule hazard = leverage^e for tiers that do not name a hazard.
    margin_formula
        Formula of the liquidation price; also None for one that this client does not know.
    funding_erosion
        Share of funding that is paid from the margin of positions, in [0, 1].
    position_notional
        Notional of a typical position in quote units; decides the bracket.
    lookback
        How far back entries count; any `Duration` is taken, nanoseconds are kept.
    whale_threshold
        Only trades of at least this notional count, quote units.
    gross_value
        Select taker trades of at least this notional, quote units.
    top_n
        Select the so many largest taker trades of each side.
    portion
        Select the largest fraction of the taker trades of each side, in (0, 1].
    funding_tilt
        How strongly funding tilts the leverage mix of the side that pays.
    compat
        Which behaviour of an original system to keep; also None for one that this client does not know.
    trend_tilt
        How much more of what opens against the trend has a level, in [-1, 1].

    Raises
    ------
    TypeError
        If ``lookback`` is of no type that names a length of time.
    ValueError
        If ``tiers`` is empty: the protocol cannot tell that from not given. If ``lookback`` cannot be read.
    """

    kappa: float | None = None
    taker_tilt: float | None = None
    tiers: Sequence[LeverageTier] | None = None
    no_level_weight: float | None = None
    no_level_hazard: float | None = None
    hazard_exponent: float | None = None
    margin_formula: MarginFormula | None = None
    funding_erosion: float | None = None
    position_notional: float | None = None
    lookback: Duration | None = None
    whale_threshold: float | None = None
    gross_value: float | None = None
    top_n: int | None = None
    portion: float | None = None
    funding_tilt: float | None = None
    compat: Compat | None = None
    trend_tilt: float | None = None

    def __post_init__(self) -> None:
        if self.lookback is not None:
            object.__setattr__(self, "lookback", to_duration_nanoseconds(self.lookback, "lookback"))
        if self.tiers is None:
            return
        if not self.tiers:
            raise ValueError("tiers must not be empty; give None for the model's default")
        # A caller's list could change after the fact; a tuple also makes the dataclass hashable.
        object.__setattr__(self, "tiers", tuple(self.tiers))
