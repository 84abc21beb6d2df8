"""Parameters of models: one set of names for all, each model says which it has a use for."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from enum import Enum


class MarginFormula(Enum):
    """How a liquidation price is computed; see ``liqserver.margin``."""

    EXACT = "exact"
    SIMPLIFIED = "simplified"


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
    """

    kappa: float | None = None
    taker_tilt: float | None = None
    tiers: tuple[Tier, ...] | None = None
    no_level_weight: float | None = None
    no_level_hazard: float | None = None
    hazard_exponent: float | None = None
    margin_formula: MarginFormula | None = None
    funding_erosion: float | None = None
    position_notional: float | None = None


@dataclass(frozen=True, slots=True)
class ParameterSpec:
    """One parameter of a model: its name in ``Parameters``, what it does, what is allowed."""

    name: str
    description: str
    allowed: str
    check: Callable[[object], bool]


def number(low: float, high: float, *, open_low: bool = False) -> tuple[str, Callable[[object], bool]]:
    """Return the text and the check of "a finite number in [low, high]"."""
    left = "(" if open_low else "["
    text = f"must be a number in {left}{low:g}, {high:g}]"

    def check(value: object) -> bool:
        if not isinstance(value, int | float) or not math.isfinite(value):
            return False
        return (low < value if open_low else low <= value) and value <= high

    return text, check


def resolve(given: Parameters, defaults: Parameters, specs: tuple[ParameterSpec, ...], model: str) -> Parameters:
    """Return the parameters in force: what was given, completed with the model's defaults.

    Raises
    ------
    ParameterError
        If a parameter is given that the model has no use for, or a value is not allowed.
    """
    known = {spec.name: spec for spec in specs}
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
    chosen = {name: getattr(given, name) for name in known if getattr(given, name) is not None}
    return replace(defaults, **chosen)


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
    if isinstance(value, MarginFormula):
        return value.value
    if isinstance(value, tuple):
        return "[" + ", ".join(f"{tier.leverage:g}x:{tier.weight:g}" for tier in value) + "]"
    return repr(value)
