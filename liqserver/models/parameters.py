"""Parameters of models: one set of names for all, each model says which it has a use for."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from enum import Enum
from typing import Any


class MarginFormula(Enum):
    """How a liquidation price is computed; see ``liqserver.margin``."""

    EXACT = "exact"
    SIMPLIFIED = "simplified"


class Compat(Enum):
    """Whether a model computes as it should, or as the tool it is taken from did."""

    NONE = "none"
    ORIGINAL = "original"


class ParameterError(ValueError):
    """A parameter that is not allowed: which field, what it was, what is allowed."""

    def __init__(self, field: str, was: object, allowed: str) -> None:
        super().__init__(f"{field} was {was}, {allowed}")
        self.field = field
        self.was = was
        self.allowed = allowed


@dataclass(frozen=True, slots=True)
class Tier:
    """A leverage tier.

    Attributes
    ----------
    leverage : float
        Greater than 1; a fraction may stand for margin added later.
    weight : float
        Share of new positions relative to the other tiers and the no-level weight.
    hazard : float, optional
        Relative rate of voluntary closing; None for ``leverage ** hazard_exponent``.
    """

    leverage: float
    weight: float
    hazard: float | None = None


@dataclass(frozen=True, slots=True)
class Parameters:
    """Parameters of a query; None stands for the model's default.

    Attributes
    ----------
    kappa : float
        Share of traded volume that opens or closes directional positions.
    taker_tilt : float
        Tilt of openings towards the aggressor's side.
    trend_tilt : float
        How much more of what opens against the trend has a level: exp(trend_tilt * u) times as much on the side that
        price has moved against by u typical distances from its mean of some hours.
    tiers : tuple of Tier
        Leverage tiers.
    no_level_weight : float
        Weight of positions without a liquidation price in range (cross margin, hedges, low leverage).
    no_level_hazard : float
        Relative rate at which those close.
    hazard_exponent : float
        Exponent e of ``hazard = leverage ** e`` for tiers that do not name a hazard.
    margin_formula : MarginFormula
        Formula of the liquidation price.
    funding_erosion : float
        Share of funding paid from the margin of positions.
    position_notional : float
        Notional of a typical position, quote units; decides its bracket.
    lookback : int
        Nanoseconds before the as-of time from which entries are taken.
    whale_threshold : float
        Smallest notional of a trade that counts, quote units.
    gross_value, top_n, portion : float, int, float
        Which trades of a side are selected: those of at least this notional (quote units), the largest so many,
        or this largest fraction.
    funding_tilt : float
        How strongly funding moves the leverage mix of the side that pays it.
    compat : Compat
        Whether to compute as the original did, with its faults.
    """

    kappa: float | None = None
    taker_tilt: float | None = None
    trend_tilt: float | None = None
    tiers: tuple[Tier, ...] | None = None
    no_level_weight: float | None = None
    no_level_hazard: float | None = None
    hazard_exponent: float | None = None
    margin_formula: MarginFormula | None = None
    funding_erosion: float | None = None
    position_notional: float | None = None
    lookback: int | None = None
    whale_threshold: float | None = None
    gross_value: float | None = None
    top_n: int | None = None
    portion: float | None = None
    funding_tilt: float | None = None
    compat: Compat | None = None


@dataclass(frozen=True, slots=True)
class ParameterSpec:
    """One parameter of a model: its name in ``Parameters``, what it does, what is allowed.

    Attributes
    ----------
    name, description, allowed : str
        For users.
    check : callable
        Whether a value is allowed.
    instead_of : tuple of str
        Parameters whose place it takes: their defaults do not hold beside it, and they cannot be given with it.
    in_original : bool
        Whether it has a use with ``compat=original``.
    """

    name: str
    description: str
    allowed: str
    check: Callable[[object], bool]
    instead_of: tuple[str, ...] = ()
    in_original: bool = True


def number(low: float, high: float, *, open_low: bool = False) -> tuple[str, Callable[[object], bool]]:
    """Return the text and the check of "a finite number in [low, high]"."""
    left = "(" if open_low else "["
    text = f"must be a number in {left}{low:g}, {high:g}]"

    def check(value: object) -> bool:
        if not isinstance(value, int | float) or not math.isfinite(value):
            return False
        return (low < value if open_low else low <= value) and value <= high

    return text, check


MINUTE = 60_000_000_000
DAY = 1440 * MINUTE

LOOKBACK = ParameterSpec(
    "lookback",
    "Nanoseconds before the as-of time from which entries are taken.",
    f"must be whole nanoseconds from {MINUTE} (1 minute) to {3650 * DAY} (3650 days)",
    lambda value: isinstance(value, int) and MINUTE <= value <= 3650 * DAY,
)
COMPAT = ParameterSpec(
    "compat",
    "none, or original: compute as the tool the model is taken from did, faults included.",
    "must be none or original",
    lambda value: isinstance(value, Compat),
)


def resolve(
    given: Parameters,
    defaults: Parameters,
    specs: tuple[ParameterSpec, ...],
    model: str,
    original: Parameters | None = None,
) -> Parameters:
    """Return the parameters in force: what was given, completed with the model's defaults.

    Parameters
    ----------
    given, defaults : Parameters
        What the request says, and what holds where it says nothing.
    specs : tuple of ParameterSpec
        What the model has a use for.
    model : str
        Its id, for messages.
    original : Parameters, optional
        Takes the place of ``defaults`` with ``compat=original``.

    Raises
    ------
    ParameterError
        If a parameter is given that the model has no use for, or a value is not allowed.
    """
    known = {spec.name: spec for spec in specs}
    as_original = given.compat is Compat.ORIGINAL
    chosen: dict[str, Any] = {}
    for field in fields(given):
        value = getattr(given, field.name)
        if value is None:
            continue
        spec = known.get(field.name)
        if spec is None:
            raise ParameterError(
                field.name, _shown(value), f"but {model} has no use for it; it takes {', '.join(known)}"
            )
        if not spec.check(value):
            raise ParameterError(field.name, _shown(value), spec.allowed)
        if as_original and not spec.in_original:
            raise ParameterError(field.name, _shown(value), f"but {model} has no use for it with compat=original")
        chosen[field.name] = value
    for name in tuple(chosen):
        for other in known[name].instead_of:
            if other in chosen:
                raise ParameterError(name, _shown(chosen[name]), f"but {other} is given too: only one of them can hold")
            defaults, original = replace(defaults, **{other: None}), original and replace(original, **{other: None})
    return replace(original if as_original and original is not None else defaults, **chosen)


def with_hazards(parameters: Parameters) -> Parameters:
    """Return ``parameters`` with the hazard of every tier written out."""
    exponent = parameters.hazard_exponent
    if parameters.tiers is None or exponent is None:
        return parameters
    tiers = tuple(
        replace(tier, hazard=tier.leverage**exponent) if tier.hazard is None else tier for tier in parameters.tiers
    )
    return replace(parameters, tiers=tiers)


def _shown(value: object) -> str:
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, tuple):
        return "[" + ", ".join(f"{tier.leverage:g}x:{tier.weight:g}" for tier in value) + "]"
    return repr(value)
