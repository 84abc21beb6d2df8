"""Requests from arguments.

Only what the wire cannot carry is refused here; what is allowed is the server's to say.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from os import PathLike, fspath
from typing import Any

from liqclient._alerts import AlertRule, rule_messages
from liqclient._errors import InvalidAnswer
from liqclient._times import to_duration_nanoseconds, to_nanoseconds
from liqclient._types import (
    Compat,
    Duration,
    MarginFormula,
    ModelChoice,
    Parameters,
    PriceRange,
    Side,
    Time,
    Unit,
)
from liqserver.v1 import admin_pb2, common_pb2, liquidation_pb2, market_data_pb2

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
_COMPATS: dict[Compat, common_pb2.Compat.ValueType] = {
    "none": common_pb2.COMPAT_NONE,
    "original": common_pb2.COMPAT_ORIGINAL,
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
    derived: bool,
    band: float | None,
    parameters: Parameters | None,
    calibration: str,
) -> liquidation_pb2.GetLevelsRequest:
    """Return the request of `Client.levels`.

    Raises
    ------
    TypeError
        If ``as_of`` is of no type that names a moment, or ``price_range`` neither a number nor two.
    ValueError
        If ``as_of`` has no time zone, ``bin_size`` is 0, or a name is none of those allowed.
    """
    query = _query(
        symbol,
        venue=venue,
        model=model,
        bin_size=bin_size,
        price_range=price_range,
        side=side,
        unit=unit,
        per_tier=per_tier,
        min_notional=min_notional,
        derived=derived,
        band=band,
        parameters=parameters,
        calibration=calibration,
    )
    return liquidation_pb2.GetLevelsRequest(query=query, as_of=_moment(as_of))


def heatmap_request(
    symbol: str,
    *,
    venue: str,
    model: str,
    start: Time | None,
    end: Time | None,
    lookback: Duration | None,
    interval: Duration | None,
    bin_size: float | None,
    price_range: PriceRange | None,
    side: Side,
    unit: Unit,
    parameters: Parameters | None,
    calibration: str,
) -> liquidation_pb2.GetHeatmapRequest:
    """Return the request of `Client.heatmap`.

    Raises
    ------
    TypeError
        If a moment, a length of time or ``price_range`` is of no type that names one.
    ValueError
        If one of them cannot be read, ``bin_size`` or ``interval`` is 0, or a name is none of those allowed.
    """
    query = _query(
        symbol,
        venue=venue,
        model=model,
        bin_size=bin_size,
        price_range=price_range,
        side=side,
        unit=unit,
        parameters=parameters,
        calibration=calibration,
    )
    return liquidation_pb2.GetHeatmapRequest(
        query=query,
        end=_moment(end),
        start=_moment(start),
        lookback=None if lookback is None else to_duration_nanoseconds(lookback, "lookback"),
        interval=_not_zero("interval", interval, "its own choice"),
    )


def compare_request(
    symbol: str,
    models: Sequence[ModelChoice] | None,
    *,
    venue: str,
    as_of: Time | None,
    bin_size: float | None,
    price_range: PriceRange | None,
    unit: Unit,
) -> liquidation_pb2.CompareModelsRequest:
    """Return the request of `Client.compare`.

    Raises
    ------
    TypeError
        If ``as_of`` or ``price_range`` is of no type that names one, or ``models`` no sequence of models.
    ValueError
        If ``as_of`` has no time zone, ``bin_size`` is 0, ``models`` is empty, or a name is none of those allowed.
    """
    if isinstance(models, str):
        raise TypeError("models must be a sequence of models, was one text")
    if models is not None and not models:
        raise ValueError("models must not be empty, which the server reads as every model; give None for that")
    query = _query(symbol, venue=venue, bin_size=bin_size, price_range=price_range, unit=unit)
    return liquidation_pb2.CompareModelsRequest(
        query=query, as_of=_moment(as_of), models=[_model_choice(choice) for choice in models or ()]
    )


def liquidations_request(
    symbol: str,
    *,
    venue: str,
    start: Time | None,
    end: Time | None,
    side: Side,
    interval: Duration | None,
    page_size: int | None,
    page_token: str,
) -> liquidation_pb2.ListLiquidationsRequest:
    """Return the request of `Client.liquidations`.

    Raises
    ------
    TypeError
        If a moment or ``interval`` is of no type that names one.
    ValueError
        If one of them cannot be read, ``interval`` or ``page_size`` is 0 or does not fit, or ``side`` is none of
        those allowed.
    """
    if page_size == 0:
        raise ValueError("page_size must not be 0, which the server reads as its own choice; give None for that")
    return liquidation_pb2.ListLiquidationsRequest(
        symbol=symbol,
        venue=venue,
        start=_moment(start),
        end=_moment(end),
        side=_choice("side", side, _SIDES),
        interval=_not_zero("interval", interval, "one by one"),
        page_size=page_size or 0,
        page_token=page_token,
    )


def next_page_request(
    request: liquidation_pb2.ListLiquidationsRequest, token: str
) -> liquidation_pb2.ListLiquidationsRequest | None:
    """Return the request of the page that follows, None after the last.

    Raises
    ------
    InvalidAnswer
        If the token is the one just sent: it would give the same page for ever.
    """
    if not token:
        return None
    if token == request.page_token:
        raise InvalidAnswer("the server's answer names itself as the next page")
    following = liquidation_pb2.ListLiquidationsRequest()
    following.CopyFrom(request)
    following.page_token = token
    return following


def audit_request(
    symbol: str,
    *,
    interval: Duration,
    start: Time | None,
    end: Time | None,
    venue: str,
    model: str,
    unit: Unit,
    parameters: Parameters | None,
    calibration: str,
) -> liquidation_pb2.GetAuditRequest:
    """Return the request of `Client.audit`.

    Raises
    ------
    TypeError
        If a moment or ``interval`` is of no type that names one.
    ValueError
        If one of them cannot be read, or ``unit`` is none of those allowed.
    """
    return liquidation_pb2.GetAuditRequest(
        query=_query(symbol, venue=venue, model=model, unit=unit, parameters=parameters, calibration=calibration),
        start=_moment(start),
        end=_moment(end),
        interval=to_duration_nanoseconds(interval, "interval"),
    )


def scorecard_request(
    symbol: str,
    *,
    cut: Time,
    venue: str,
    start: Time | None,
    end: Time | None,
    models: Sequence[ModelChoice] | None,
    interval: Duration | None,
    calibration: str,
) -> liquidation_pb2.GetScorecardRequest:
    """Return the request of `Client.scorecard`.

    Raises
    ------
    TypeError
        If a moment or ``interval`` is of no type that names one, or ``models`` no sequence of models.
    ValueError
        If one of them cannot be read, ``interval`` is 0, or ``models`` is empty.
    """
    if isinstance(models, str):
        raise TypeError("models must be a sequence of models, was one text")
    if models is not None and not models:
        raise ValueError("models must not be empty, which the server reads as every model; give None for that")
    return liquidation_pb2.GetScorecardRequest(
        symbol=symbol,
        venue=venue,
        start=_moment(start),
        cut=to_nanoseconds(cut),
        end=_moment(end),
        models=[_model_choice(choice) for choice in models or ()],
        interval=_not_zero("interval", interval, "an hour"),
        calibration=calibration,
    )


def replay_request(
    symbol: str,
    *,
    every: Duration,
    start: Time | None,
    end: Time | None,
    venue: str,
    model: str,
    bin_size: float | None,
    price_range: PriceRange | None,
    side: Side,
    unit: Unit,
    per_tier: bool,
    min_notional: float,
    derived: bool,
    band: float | None,
    parameters: Parameters | None,
    calibration: str,
) -> liquidation_pb2.ReplayLevelsRequest:
    """Return the request of `Client.replay`.

    Raises
    ------
    TypeError
        If a moment, ``every`` or ``price_range`` is of no type that names one.
    ValueError
        If one of them cannot be read, ``bin_size`` is 0, or a name is none of those allowed.
    """
    query = _query(
        symbol,
        venue=venue,
        model=model,
        bin_size=bin_size,
        price_range=price_range,
        side=side,
        unit=unit,
        per_tier=per_tier,
        min_notional=min_notional,
        derived=derived,
        band=band,
        parameters=parameters,
        calibration=calibration,
    )
    return liquidation_pb2.ReplayLevelsRequest(
        query=query,
        start=_moment(start),
        end=_moment(end),
        every=to_duration_nanoseconds(every, "every"),
    )


def watch_request(
    symbol: str,
    rules: Sequence[AlertRule],
    *,
    venue: str,
    model: str,
    bin_size: float | None,
    price_range: PriceRange | None,
    unit: Unit,
    parameters: Parameters | None,
    calibration: str,
    heartbeat: Duration | None,
) -> liquidation_pb2.WatchAlertsRequest:
    """Return the request of `Client.watch`.

    Raises
    ------
    TypeError
        If a rule, a length of time or ``price_range`` is of no type that names one.
    ValueError
        If one of them cannot be read, ``bin_size`` or ``heartbeat`` is 0, or a name is none of those allowed.
    """
    query = _query(
        symbol,
        venue=venue,
        model=model,
        bin_size=bin_size,
        price_range=price_range,
        unit=unit,
        parameters=parameters,
        calibration=calibration,
    )
    return liquidation_pb2.WatchAlertsRequest(
        query=query,
        rules=rule_messages(rules),
        heartbeat=_not_zero("heartbeat", heartbeat, "its own choice"),
    )


def stream_request(
    symbol: str,
    *,
    venue: str,
    model: str,
    bin_size: float | None,
    price_range: PriceRange | None,
    side: Side,
    unit: Unit,
    per_tier: bool,
    min_notional: float,
    parameters: Parameters | None,
    calibration: str,
    max_rate: float | None,
    min_change: float,
    heartbeat: Duration | None,
) -> liquidation_pb2.StreamLevelsRequest:
    """Return the request of `Client.stream`.

    Raises
    ------
    TypeError
        If ``heartbeat`` or ``price_range`` is of no type that names one.
    ValueError
        If ``heartbeat`` cannot be read, it, ``bin_size`` or ``max_rate`` is 0, or a name is none of those allowed.
    """
    if max_rate == 0:
        raise ValueError("max_rate must not be 0, which the server reads as no limit; give None for that")
    query = _query(
        symbol,
        venue=venue,
        model=model,
        bin_size=bin_size,
        price_range=price_range,
        side=side,
        unit=unit,
        per_tier=per_tier,
        min_notional=min_notional,
        parameters=parameters,
        calibration=calibration,
    )
    return liquidation_pb2.StreamLevelsRequest(
        query=query,
        max_rate=max_rate or 0.0,
        min_change=min_change,
        heartbeat=_not_zero("heartbeat", heartbeat, "its own choice"),
    )


def coverage_request(symbol: str, venue: str) -> market_data_pb2.GetCoverageRequest:
    """Return the request of `Client.coverage`."""
    return market_data_pb2.GetCoverageRequest(symbol=symbol, venue=venue)


def symbols_request() -> market_data_pb2.ListSymbolsRequest:
    """Return the request of `Client.symbols`."""
    return market_data_pb2.ListSymbolsRequest()


def models_request() -> market_data_pb2.ListModelsRequest:
    """Return the request of `Client.models`."""
    return market_data_pb2.ListModelsRequest()


def ingest_request(
    paths: Iterable[str | PathLike[str]],
    *,
    venue: str,
    base_bin: float | None,
    replace: bool,
    quote_asset: str,
    keep_raw: bool,
    symbol: str,
) -> admin_pb2.IngestRequest:
    """Return the request of `Client.ingest`.

    Raises
    ------
    TypeError
        If ``paths`` is one path instead of several.
    ValueError
        If ``base_bin`` is 0.
    """
    if isinstance(paths, str | PathLike):
        raise TypeError(f"paths must be a sequence of paths, was {paths!r}")
    if base_bin == 0:
        raise ValueError("base_bin must not be 0, which the server reads as its own choice; give None for that")
    return admin_pb2.IngestRequest(
        paths=[fspath(path) for path in paths],
        venue=venue,
        base_bin=base_bin or 0.0,
        replace=replace,
        quote_asset=quote_asset,
        keep_raw=keep_raw,
        symbol=symbol,
    )


def calibrations_request(symbol: str, venue: str) -> market_data_pb2.ListCalibrationsRequest:
    """Return the request of `Client.calibrations`."""
    return market_data_pb2.ListCalibrationsRequest(symbol=symbol, venue=venue)


def calibrate_request(
    symbol: str, *, venue: str, until: Time | None, every: Duration | None, dry_run: bool
) -> admin_pb2.CalibrateRequest:
    """Return the request of `Client.calibrate`.

    Raises
    ------
    TypeError
        If ``until`` or ``every`` is of no type that names one.
    ValueError
        If one of them cannot be read, or ``every`` is 0.
    """
    return admin_pb2.CalibrateRequest(
        symbol=symbol,
        venue=venue,
        until=_moment(until),
        every=_not_zero("every", every, "one calibration"),
        dry_run=dry_run,
    )


def files_request(symbol: str, venue: str) -> admin_pb2.ListFilesRequest:
    """Return the request of `Client.files`."""
    return admin_pb2.ListFilesRequest(symbol=symbol, venue=venue)


def _query(
    symbol: str,
    *,
    venue: str,
    model: str = "",
    bin_size: float | None = None,
    price_range: PriceRange | None = None,
    side: Side = "both",
    unit: Unit,
    per_tier: bool = False,
    min_notional: float = 0.0,
    derived: bool = False,
    band: float | None = None,
    parameters: Parameters | None = None,
    calibration: str = "",
) -> liquidation_pb2.LevelsQuery:
    if bin_size == 0:
        raise ValueError("bin_size must not be 0, which the server reads as its own choice; give None for that")
    if band == 0:
        raise ValueError("band must not be 0, which the server reads as none; give None for that")
    return liquidation_pb2.LevelsQuery(
        symbol=symbol,
        venue=venue,
        model=model,
        parameters=None if parameters is None else _parameters(parameters),
        bin_size=0.0 if bin_size is None else bin_size,
        price_range=None if price_range is None else _price_range(price_range),
        side=_choice("side", side, _SIDES),
        unit=_choice("unit", unit, _UNITS),
        per_tier=per_tier,
        min_notional=min_notional,
        derived=derived,
        band=0.0 if band is None else band,
        calibration=calibration,
    )


def _moment(time: Time | None) -> int | None:
    return None if time is None else to_nanoseconds(time)


def _not_zero(name: str, duration: Duration | None, meaning: str) -> int:
    if duration is None:
        return 0
    ns = to_duration_nanoseconds(duration, name)
    if ns == 0:
        raise ValueError(f"{name} must not be 0, which the server reads as {meaning}; give None for that")
    return ns


def _model_choice(choice: ModelChoice) -> liquidation_pb2.ModelChoice:
    match choice:
        case str():
            return liquidation_pb2.ModelChoice(model=choice)
        case str() as model, Parameters() as parameters:
            return liquidation_pb2.ModelChoice(model=model, parameters=_parameters(parameters))
    raise TypeError(f"models must be identifiers or pairs of identifier and Parameters, was {choice!r}")


def _price_range(price_range: PriceRange) -> liquidation_pb2.PriceRange:
    if isinstance(price_range, tuple):
        if len(price_range) != 2:
            raise TypeError(f"price_range must be one fraction or (down, up), was {price_range!r}")
        down, up = price_range
    else:
        down = up = price_range
    return liquidation_pb2.PriceRange(down=down, up=up)


def _parameters(parameters: Parameters) -> common_pb2.ModelParameters:
    formula, compat, lookback = parameters.margin_formula, parameters.compat, parameters.lookback
    return common_pb2.ModelParameters(
        kappa=parameters.kappa,
        taker_tilt=parameters.taker_tilt,
        trend_tilt=parameters.trend_tilt,
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
        lookback=None if lookback is None else to_duration_nanoseconds(lookback, "lookback"),
        whale_threshold=parameters.whale_threshold,
        gross_value=parameters.gross_value,
        top_n=parameters.top_n,
        portion=parameters.portion,
        funding_tilt=parameters.funding_tilt,
        compat=None if compat is None else _choice("compat", compat, _COMPATS),
    )


def _choice[V](name: str, value: str, choices: Mapping[Any, V]) -> V:
    try:
        return choices[value]
    except KeyError:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, was {value!r}") from None
