"""Requests from arguments.

Only what the wire cannot carry is refused here; what is allowed is the server's to say.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from liqclient._times import to_nanoseconds
from liqclient._types import MarginFormula, Parameters, PriceRange, Side, Time, Unit
from liqserver.v1 import common_pb2, liquidation_pb2, market_data_pb2

_SIDES: dict[Side, common_pb2.Side.ValueType] = {
    # Not given means both: the enum has no value of its own for it.
    "both": common_pb2.SIDE_UNSPECIFIED,
    "long": common_pb2.SIDE_LONG,
    "short": common_pb2.SIDE_SHORT,
}
_UNITS: dict[Unit, common_pb2.Unit.ValueType] = {
    "notional": common_pb2.UNIT_NOTIONAL,
    "qty": common_pb2.UNIT_QTY,
}
_MARGIN_FORMULAS: dict[MarginFormula, common_pb2.MarginFormula.ValueType] = {
    "exact": common_pb2.MARGIN_FORMULA_EXACT,
    "simplified": common_pb2.MARGIN_FORMULA_SIMPLIFIED,
}


def levels_request(
    symbol: str,
    *,
    venue: str,
    model: str,
    as_of: Time | None,
    bin_size: float | None,
    price_range: PriceRange | None,
    side: Side,
    unit: Unit,
    per_tier: bool,
    min_notional: float,
    parameters: Parameters | None,
) -> liquidation_pb2.GetLevelsRequest:
    """Return the request of `Client.levels`.

    Raises
    ------
    TypeError
        If ``as_of`` is of no type that names a moment, or ``price_range`` neither a number nor two.
    ValueError
        If ``as_of`` has no time zone, ``bin_size`` is 0, or a name is none of those allowed.
    """
    if bin_size == 0:
        raise ValueError("bin_size must not be 0, which the server reads as its own choice; give None for that")
    query = liquidation_pb2.LevelsQuery(
        symbol=symbol,
        venue=venue,
        model=model,
        bin_size=0.0 if bin_size is None else bin_size,
        side=_choice("side", side, _SIDES),
        unit=_choice("unit", unit, _UNITS),
        per_tier=per_tier,
        min_notional=min_notional,
    )
    if parameters is not None:
        query.parameters.CopyFrom(_parameters(parameters))
    if price_range is not None:
        query.price_range.CopyFrom(_price_range(price_range))
    return liquidation_pb2.GetLevelsRequest(query=query, as_of=None if as_of is None else to_nanoseconds(as_of))


def coverage_request(symbol: str, venue: str) -> market_data_pb2.GetCoverageRequest:
    """Return the request of `Client.coverage`."""
    return market_data_pb2.GetCoverageRequest(symbol=symbol, venue=venue)


def symbols_request() -> market_data_pb2.ListSymbolsRequest:
    """Return the request of `Client.symbols`."""
    return market_data_pb2.ListSymbolsRequest()


def models_request() -> market_data_pb2.ListModelsRequest:
    """Return the request of `Client.models`."""
    return market_data_pb2.ListModelsRequest()


def _price_range(price_range: PriceRange) -> liquidation_pb2.PriceRange:
    if isinstance(price_range, tuple):
        if len(price_range) != 2:
            raise TypeError(f"price_range must be one fraction or (down, up), was {price_range!r}")
        down, up = price_range
    else:
        down = up = price_range
    return liquidation_pb2.PriceRange(down=down, up=up)


def _parameters(parameters: Parameters) -> common_pb2.ModelParameters:
    formula = parameters.margin_formula
    return common_pb2.ModelParameters(
        kappa=parameters.kappa,
        taker_tilt=parameters.taker_tilt,
        tiers=[
            common_pb2.LeverageTier(leverage=t.leverage, weight=t.weight, hazard=t.hazard or 0.0)
            for t in parameters.tiers or ()
        ],
        no_level_weight=parameters.no_level_weight,
        no_level_hazard=parameters.no_level_hazard,
        hazard_exponent=parameters.hazard_exponent,
        margin_formula=None if formula is None else _choice("margin_formula", formula, _MARGIN_FORMULAS),
        funding_erosion=parameters.funding_erosion,
        position_notional=parameters.position_notional,
    )


def _choice[V](name: str, value: str, choices: Mapping[Any, V]) -> V:
    try:
        return choices[value]
    except KeyError:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, was {value!r}") from None
