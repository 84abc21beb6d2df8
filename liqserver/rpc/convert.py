"""Between messages and the plain types of ``live``: checks enums, computes nothing."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import fields

import numpy as np
from google.protobuf.message import Message
from numpy.typing import NDArray

from liqserver.kernel import Source
from liqserver.live.answers import AmountUnit, LevelsAnswer, LevelsQuery, Provenance, Sides
from liqserver.live.errors import InvalidField
from liqserver.models.parameters import Compat, MarginFormula, Parameters, Tier
from liqserver.v1 import common_pb2, liquidation_pb2

if sys.byteorder != "little":
    raise ImportError("columns are copied into messages as they lie in memory, which needs a little-endian machine")

DATA_KINDS = {
    "trades": common_pb2.DATA_KIND_TRADES,
    "open_interest": common_pb2.DATA_KIND_OPEN_INTEREST,
    "mark_price": common_pb2.DATA_KIND_MARK_PRICE,
    "klines": common_pb2.DATA_KIND_KLINES,
    "funding": common_pb2.DATA_KIND_FUNDING,
}
_SOURCES = {
    Source.TRADES: common_pb2.DATA_KIND_TRADES,
    Source.MARK_PRICE: common_pb2.DATA_KIND_MARK_PRICE,
    Source.KLINES: common_pb2.DATA_KIND_KLINES,
}
_SIDES = {
    common_pb2.SIDE_UNSPECIFIED: Sides.BOTH,
    common_pb2.SIDE_LONG: Sides.LONG,
    common_pb2.SIDE_SHORT: Sides.SHORT,
}
_UNITS = {
    common_pb2.UNIT_UNSPECIFIED: AmountUnit.NOTIONAL,
    common_pb2.UNIT_NOTIONAL: AmountUnit.NOTIONAL,
    common_pb2.UNIT_QTY: AmountUnit.QTY,
}
_UNIT_VALUES = {AmountUnit.NOTIONAL: common_pb2.UNIT_NOTIONAL, AmountUnit.QTY: common_pb2.UNIT_QTY}
_FORMULAS = {
    common_pb2.MARGIN_FORMULA_UNSPECIFIED: MarginFormula.EXACT,
    common_pb2.MARGIN_FORMULA_EXACT: MarginFormula.EXACT,
    common_pb2.MARGIN_FORMULA_SIMPLIFIED: MarginFormula.SIMPLIFIED,
}
_COMPATS = {
    common_pb2.COMPAT_UNSPECIFIED: Compat.NONE,
    common_pb2.COMPAT_NONE: Compat.NONE,
    common_pb2.COMPAT_ORIGINAL: Compat.ORIGINAL,
}
_COMPAT_VALUES = {Compat.NONE: common_pb2.COMPAT_NONE, Compat.ORIGINAL: common_pb2.COMPAT_ORIGINAL}
_FORMULA_VALUES = {
    MarginFormula.EXACT: common_pb2.MARGIN_FORMULA_EXACT,
    MarginFormula.SIMPLIFIED: common_pb2.MARGIN_FORMULA_SIMPLIFIED,
}


def levels_query(message: liquidation_pb2.LevelsQuery) -> LevelsQuery:
    """Return the query that ``message`` asks; raises ``InvalidField`` for an enum value that is not known."""
    if message.derived:
        raise InvalidField("query.derived", "true", "this server does not offer derived figures")
    ranged = {}
    if message.HasField("price_range"):
        ranged = {"down": message.price_range.down, "up": message.price_range.up}
    return LevelsQuery(
        symbol=message.symbol,
        venue=message.venue,
        model=message.model,
        parameters=_parameters(message.parameters),
        bin_size=message.bin_size,
        sides=_known(_SIDES, "query.side", message.side),
        unit=_known(_UNITS, "query.unit", message.unit),
        per_tier=message.per_tier,
        min_notional=message.min_notional,
        **ranged,
    )


def _known[Number: int, Value](values: Mapping[Number, Value], field: str, number: Number) -> Value:
    try:
        return values[number]
    except KeyError:
        raise InvalidField(field, int(number), f"must be one of {', '.join(map(str, sorted(values)))}") from None


def _parameters(message: common_pb2.ModelParameters) -> Parameters:
    given: dict[str, object] = {}
    for field in fields(Parameters):
        if field.name == "tiers":
            if message.tiers:
                given["tiers"] = tuple(
                    Tier(tier.leverage, tier.weight, tier.hazard if tier.hazard != 0 else None)
                    for tier in message.tiers
                )
        elif message.HasField(field.name):  # type: ignore[arg-type]
            given[field.name] = getattr(message, field.name)
    if "margin_formula" in given:
        given["margin_formula"] = _known(_FORMULAS, "query.parameters.margin_formula", message.margin_formula)
    if "compat" in given:
        given["compat"] = _known(_COMPATS, "query.parameters.compat", message.compat)
    return Parameters(**given)  # type: ignore[arg-type]


def levels_response(answer: LevelsAnswer) -> bytes:
    """Return the encoded ``GetLevelsResponse``, without ``generated_at``."""
    columns = liquidation_pb2.LevelColumns()
    pack(columns, "price", answer.price)
    pack(columns, "long", answer.amount[0])
    pack(columns, "short", answer.amount[1])
    for t, leverage in enumerate(answer.leverage):
        tier = columns.tiers.add(leverage=leverage)
        pack(tier, "long", answer.by_tier[0, t])
        pack(tier, "short", answer.by_tier[1, t])
    response = liquidation_pb2.GetLevelsResponse(
        levels=columns,
        bin_size=answer.bin_size,
        unit=_UNIT_VALUES[answer.unit],
        totals=liquidation_pb2.BookTotals(
            long=answer.total[0],
            short=answer.total[1],
            long_in_range=answer.in_range[0],
            short_in_range=answer.in_range[1],
        ),
        provenance=provenance(answer.provenance),
    )
    return response.SerializeToString()


def pack(message: Message, field: str, column: NDArray[np.float64]) -> None:
    """Append ``column`` to a packed repeated double field, as the bytes it is on the wire."""
    if not len(column):
        return
    number = message.DESCRIPTOR.fields_by_name[field].number
    data = np.ascontiguousarray(column, dtype=np.float64).tobytes()
    message.MergeFromString(_varint(number << 3 | 2) + _varint(len(data)) + data)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def provenance(of: Provenance) -> common_pb2.Provenance:
    """Return the message, without ``generated_at``."""
    return common_pb2.Provenance(
        venue=of.venue,
        symbol=of.symbol,
        as_of=of.as_of,
        watermarks=[
            common_pb2.Watermark(kind=DATA_KINDS[kind], ts_event=ts, ts_init=ts, staleness=of.as_of - ts)
            for kind, ts in of.watermarks.items()
        ],
        staleness=of.staleness,
        model=of.model,
        parameters=parameters(of.parameters),
        parameters_hash=of.parameters_hash,
        inputs_hash=of.inputs_hash,
        bracket_table=of.bracket_table,
        current_price=of.current_price.value,
        current_price_source=_SOURCES[of.current_price.source],
        current_price_ts=of.current_price.ts,
        open_interest=0.0 if math.isnan(of.open_interest) else of.open_interest,
        no_level_share_long=of.no_level_share[0],
        no_level_share_short=of.no_level_share[1],
        unknown_entry_share_long=of.unknown_entry_share[0],
        unknown_entry_share_short=of.unknown_entry_share[1],
        kline_volume_share=of.kline_volume_share,
        last_price_path_share=of.last_price_path_share,
        history_start=of.history_start,
        notices=of.notices,
    )


def parameters(of: Parameters) -> common_pb2.ModelParameters:
    """Return the message; what is None is not set."""
    message = common_pb2.ModelParameters()
    for field in fields(of):
        value = getattr(of, field.name)
        if value is None:
            continue
        if isinstance(value, tuple):
            for tier in value:
                message.tiers.add(leverage=tier.leverage, weight=tier.weight, hazard=tier.hazard or 0.0)
        else:
            if isinstance(value, MarginFormula):
                value = _FORMULA_VALUES[value]
            elif isinstance(value, Compat):
                value = _COMPAT_VALUES[value]
            setattr(message, field.name, value)
    return message
