"""Types of requests: names in place of enum numbers, and the parameters of models."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

type Side = Literal["both", "long", "short"]
"""Side of positions to answer (never of orders: a SELL order that liquidates closes a long)."""

type Unit = Literal["notional", "qty"]
"""Unit of amounts: ``notional`` in quote units (USDT), ``qty`` in base units (BTC)."""

type MarginFormula = Literal["exact", "simplified"]
"""How a liquidation price is computed: by the exchange's brackets, or by one linear formula."""

type DataKind = Literal["trades", "open_interest", "mark_price", "klines", "funding", "liquidations"]
"""Kind of input data."""

type Time = int | dt.datetime | np.datetime64 | str
"""A moment: UNIX nanoseconds, aware datetime, numpy datetime (UTC), or ISO 8601 text with ``Z`` or offset."""

type PriceRange = float | tuple[float, float]
"""A range around the current price, as fractions of it: one number for both ways, or (down, up)."""


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

    Raises
    ------
    ValueError
        If ``tiers`` is empty: the protocol cannot tell that from not given.
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

    def __post_init__(self) -> None:
        if self.tiers is None:
            return
        if not self.tiers:
            raise ValueError("tiers must not be empty; give None for the model's default")
        # A caller's list could change after the fact; a tuple also makes the dataclass hashable.
        object.__setattr__(self, "tiers", tuple(self.tiers))
