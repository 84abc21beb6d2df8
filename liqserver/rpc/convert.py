"""Between messages and the plain types of ``live``: checks enums, computes nothing."""

from __future__ import annotations

import math
import sys
from collections.abc import Collection, Iterable, Mapping
from dataclasses import fields
from typing import Any

import numpy as np
from google.protobuf.message import Message
from numpy.typing import NDArray

from liqserver.kernel import Source
from liqserver.live.answers import (
    AmountUnit,
    AuditAnswer,
    Cluster,
    ComparisonAnswer,
    DerivedFigures,
    HeatmapAnswer,
    LevelsAnswer,
    LevelsQuery,
    ModelChoice,
    ModelPair,
    Provenance,
    Sides,
)
from liqserver.live.errors import InvalidField
from liqserver.live.scorecard import Row, RowKind, ScorecardAnswer, SideScore
from liqserver.live.views import Position, ViewState
from liqserver.models.parameters import Compat, MarginFormula, Parameters, Tier
from liqserver.score import CONFIDENCE, MIN_DAYS, MIN_INTERVALS, Estimate
from liqserver.store.calibrations import StoredCalibration
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
_ROW_KINDS = {
    RowKind.CONTROLS: liquidation_pb2.SCORECARD_ROW_KIND_CONTROLS,
    RowKind.MODEL: liquidation_pb2.SCORECARD_ROW_KIND_MODEL,
    RowKind.ABLATION: liquidation_pb2.SCORECARD_ROW_KIND_ABLATION,
    RowKind.BASELINE: liquidation_pb2.SCORECARD_ROW_KIND_BASELINE,
}
_FORMULA_VALUES = {
    MarginFormula.EXACT: common_pb2.MARGIN_FORMULA_EXACT,
    MarginFormula.SIMPLIFIED: common_pb2.MARGIN_FORMULA_SIMPLIFIED,
}


def levels_query(message: liquidation_pb2.LevelsQuery, *, unused: Collection[str] = ()) -> LevelsQuery:
    """Return the query that ``message`` asks.

    Raises
    ------
    InvalidField
        If an enum value is not known, or a field named in ``unused`` is given, for which the call has no use.
    """
    for field, value in message.ListFields():
        if field.name in unused:
            shown = str(value).strip().replace("\n", " ")
            raise InvalidField(f"query.{field.name}", shown, "has no use in this call: leave it out")
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
        derived=message.derived,
        calibration=message.calibration,
        band=message.band,
        **ranged,
    )


def model_choices(choices: Iterable[liquidation_pb2.ModelChoice]) -> list[ModelChoice]:
    """Return the models to compare; raises ``InvalidField`` for an enum value that is not known."""
    return [
        ModelChoice(choice.model, _parameters(choice.parameters, f"models[{i}]")) for i, choice in enumerate(choices)
    ]


def _known[Number: int, Value](values: Mapping[Number, Value], field: str, number: Number) -> Value:
    try:
        return values[number]
    except KeyError:
        raise InvalidField(field, int(number), f"must be one of {', '.join(map(str, sorted(values)))}") from None


def _parameters(message: common_pb2.ModelParameters, within: str = "query") -> Parameters:
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
        given["margin_formula"] = _known(_FORMULAS, f"{within}.parameters.margin_formula", message.margin_formula)
    if "compat" in given:
        given["compat"] = _known(_COMPATS, f"{within}.parameters.compat", message.compat)
    return Parameters(**given)  # type: ignore[arg-type]


def levels_response(answer: LevelsAnswer) -> bytes:
    """Return the encoded ``GetLevelsResponse``, without ``generated_at``."""
    columns = liquidation_pb2.LevelColumns()
    _pack_levels(columns, answer)
    response = liquidation_pb2.GetLevelsResponse(
        levels=columns,
        bin_size=answer.bin_size,
        unit=_UNIT_VALUES[answer.unit],
        totals=_totals(answer),
        provenance=provenance(answer.provenance),
        derived=None if answer.derived is None else _derived(answer.derived),
    )
    return response.SerializeToString()


def _pack_levels(columns: liquidation_pb2.LevelColumns, answer: LevelsAnswer) -> None:
    pack(columns, "price", answer.price)
    _pack_sides(columns, "", answer.amount)
    if answer.band is not None:
        for end, columns_of in zip(("low", "high"), answer.band, strict=True):
            pack(columns, f"long_{end}", columns_of[0])
            pack(columns, f"short_{end}", columns_of[1])
    for t, leverage in enumerate(answer.leverage):
        _pack_sides(columns.tiers.add(leverage=leverage), "", answer.by_tier[:, t])


def _totals(answer: LevelsAnswer) -> liquidation_pb2.BookTotals:
    return liquidation_pb2.BookTotals(
        long=answer.total[0],
        short=answer.total[1],
        long_in_range=answer.in_range[0],
        short_in_range=answer.in_range[1],
    )


def _derived(of: DerivedFigures) -> liquidation_pb2.DerivedFigures:
    message = liquidation_pb2.DerivedFigures(
        cluster_below=_cluster(of.cluster_below),
        cluster_above=_cluster(of.cluster_above),
        imbalances=[
            liquidation_pb2.Imbalance(range=near.range, long=near.long, short=near.short, imbalance=near.imbalance)
            for near in of.imbalances
        ],
        realised_volatility=of.realised_volatility,
    )
    _pack_sides(message, "cumulative_", of.cumulative)
    return message


def _cluster(of: Cluster | None) -> liquidation_pb2.Cluster | None:
    if of is None:
        return None
    return liquidation_pb2.Cluster(
        low=of.low,
        high=of.high,
        peak=of.peak,
        amount=of.amount,
        distance=of.distance,
        distance_volatility=of.distance_volatility,
    )


def heatmap_response(answer: HeatmapAnswer, generated_at: int) -> liquidation_pb2.GetHeatmapResponse:
    """Return the message."""
    response = liquidation_pb2.GetHeatmapResponse(
        bin_size=answer.bin_size,
        interval=answer.interval,
        unit=_UNIT_VALUES[answer.unit],
        provenance=provenance(answer.provenance),
    )
    response.provenance.generated_at = generated_at
    pack_int64(response, "ts", answer.ts)
    pack(response, "price", answer.price)
    _pack_sides(response, "", answer.amount.reshape(2, -1))
    for name, column in zip(("open", "high", "low", "close"), answer.path, strict=True):
        pack(response, name, column)
    _pack_sides(response, "liquidated_", answer.liquidated)
    return response


def comparison_response(answer: ComparisonAnswer, generated_at: int) -> liquidation_pb2.CompareModelsResponse:
    """Return the message."""
    response = liquidation_pb2.CompareModelsResponse(
        bin_size=answer.bin_size,
        unit=_UNIT_VALUES[answer.unit],
        pairs=[_model_pair(pair) for pair in answer.pairs],
    )
    pack(response, "price", answer.price)
    for of in answer.models:
        model = response.models.add(model=of.model, unavailable=of.unavailable)
        if of.answer is not None:
            _pack_sides(model, "", of.answer.amount)
            model.totals.CopyFrom(_totals(of.answer))
            model.provenance.CopyFrom(provenance(of.answer.provenance))
            model.provenance.generated_at = generated_at
    return response


def _model_pair(of: ModelPair) -> liquidation_pb2.ModelPair:
    message = liquidation_pb2.ModelPair(
        a=of.a,
        b=of.b,
        overlap_long=of.overlap[0],
        overlap_short=of.overlap[1],
        rank_correlation_long=of.rank_correlation[0],
        rank_correlation_short=of.rank_correlation[1],
    )
    if of.differ_most is not None:
        message.differ_most_price, sides, message.differ_most = of.differ_most
        message.differ_most_side = common_pb2.SIDE_LONG if sides is Sides.LONG else common_pb2.SIDE_SHORT
    return message


def audit_response(answer: AuditAnswer, generated_at: int) -> liquidation_pb2.GetAuditResponse:
    """Return the message."""
    response = liquidation_pb2.GetAuditResponse(
        interval=answer.interval, unit=_UNIT_VALUES[answer.unit], provenance=provenance(answer.provenance)
    )
    response.provenance.generated_at = generated_at
    pack_int64(response, "open_time", answer.open_time)
    for name in ("opened", "closed", "liquidated", "unexplained"):
        _pack_sides(response, f"{name}_", getattr(answer, name))
    pack(response, "open_interest_start", answer.open_interest[:-1])
    pack(response, "open_interest_end", answer.open_interest[1:])
    pack(response, "no_level_share", answer.no_level_share)
    return response


def scorecard_response(answer: ScorecardAnswer, generated_at: int) -> liquidation_pb2.GetScorecardResponse:
    """Return the message."""
    response = liquidation_pb2.GetScorecardResponse(
        venue=answer.venue,
        symbol=answer.symbol,
        start=answer.start,
        cut=answer.cut,
        end=answer.end,
        interval=answer.interval,
        truth_source=answer.truth_source,
        rows=[_scorecard_row(row) for row in answer.rows],
        effects=[
            liquidation_pb2.ScorecardEffect(
                name=of.name,
                description=of.description,
                unit=of.unit,
                refused=of.effect.refused,
                estimate=None if of.effect.estimate is None else _estimate(of.effect.estimate),
                observations=of.effect.observations,
                days=of.effect.days,
                model=of.model,
            )
            for of in answer.effects
        ],
        min_intervals=MIN_INTERVALS,
        min_days=MIN_DAYS,
        confidence=CONFIDENCE,
        watermarks=[
            common_pb2.Watermark(kind=DATA_KINDS[kind], ts_event=ts, ts_init=ts, staleness=answer.end - ts)
            for kind, ts in answer.watermarks.items()
        ],
        notices=answer.notices,
        generated_at=generated_at,
    )
    pack_int64(response, "open_time", answer.open_time)
    _pack_sides(response, "liquidated_", answer.liquidated)
    return response


def _scorecard_row(of: Row) -> liquidation_pb2.ScorecardRow:
    message = liquidation_pb2.ScorecardRow(
        name=of.name,
        kind=_ROW_KINDS[of.kind],
        description=of.description,
        model=of.model,
        parameters_hash=of.parameters_hash,
        calibration=of.calibration,
        unavailable=of.unavailable,
    )
    if of.sides:
        message.long.CopyFrom(_side_score(of.sides[0]))
        message.short.CopyFrom(_side_score(of.sides[1]))
    if of.predicted is not None:
        _pack_sides(message, "predicted_", of.predicted)
    return message


def _side_score(of: SideScore) -> liquidation_pb2.SideScore:
    message = liquidation_pb2.SideScore(fitted=of.fitted, scored=of.scored, days=of.days, refused=of.refused)
    found = {"alone": of.controls}
    if (skill := of.skill) is not None:
        found = {
            "r": skill.r,
            "alone": skill.alone,
            "gain": skill.gain,
            "gain_over_null": skill.over_null,
            "slope": skill.slope,
            "predicted_share": skill.share,
        }
    for name, estimate in found.items():
        if estimate is not None:
            getattr(message, name).CopyFrom(_estimate(estimate))
    return message


def _estimate(of: Estimate) -> liquidation_pb2.Estimate:
    return liquidation_pb2.Estimate(value=of.value, low=of.low, high=of.high)


def replayed(levels: bytes) -> bytes:
    """Return the encoded ``ReplayLevelsResponse`` of an encoded ``GetLevelsResponse``."""
    return _embedded(1, levels)


def stream_position(message: liquidation_pb2.StreamLevelsRequest) -> Position | None:
    """Return where an earlier stream was left, if the request tells."""
    if not message.HasField("resume_from"):
        return None
    return Position(message.resume_from.epoch, message.resume_from.sequence)


def generated_at(now: int) -> bytes:
    """Return the time an encoded ``GetLevelsResponse`` leaves, to append to it: fields merge on the wire."""
    return liquidation_pb2.GetLevelsResponse(provenance=common_pb2.Provenance(generated_at=now)).SerializeToString()


def snapshot_update(position: Position, levels: bytes) -> bytes:
    """Return the encoded ``StreamLevelsResponse`` of an encoded ``GetLevelsResponse``, without ``sent_at``."""
    return liquidation_pb2.StreamLevelsResponse(position=_position(position)).SerializeToString() + _embedded(3, levels)


def delta_update(state: ViewState, after: int) -> bytes:
    """Return the encoded ``StreamLevelsResponse`` with the bins told after update ``after``, without ``sent_at``."""
    changed = state.since(after)
    live = liquidation_pb2.LiveProvenance(**_moving(changed.provenance))
    delta = liquidation_pb2.LevelsDelta(after_sequence=after, totals=_totals(changed), live=live)
    # There even if no bin was told.
    delta.levels.SetInParent()
    _pack_levels(delta.levels, changed)
    return liquidation_pb2.StreamLevelsResponse(position=_position(state.position), delta=delta).SerializeToString()


def heartbeat_update(of: Provenance, position: Position | None, now: int) -> bytes:
    """Return the encoded ``StreamLevelsResponse`` that tells how far the inputs reach, without ``sent_at``."""
    message = liquidation_pb2.StreamLevelsResponse(
        heartbeat=liquidation_pb2.Heartbeat(as_of=of.as_of, watermarks=_watermarks(of, now))
    )
    if position is not None:
        message.position.CopyFrom(_position(position))
    return message.SerializeToString()


def sent_at(now: int) -> bytes:
    """Return the time an encoded ``StreamLevelsResponse`` leaves, to append to it."""
    return liquidation_pb2.StreamLevelsResponse(sent_at=now).SerializeToString()


def on_credit(message: bytes) -> bytes:
    """Return the encoded ``StreamLevelsOnCreditResponse`` of an encoded ``StreamLevelsResponse``."""
    return _embedded(1, message)


def _embedded(field: int, message: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(message)) + message


def _position(of: Position) -> liquidation_pb2.StreamPosition:
    return liquidation_pb2.StreamPosition(epoch=of.epoch, sequence=of.sequence)


def _pack_sides(message: Message, prefix: str, columns: NDArray[np.float64]) -> None:
    """Append two columns to the fields ``prefix`` + long and short."""
    pack(message, f"{prefix}long", columns[0])
    pack(message, f"{prefix}short", columns[1])


def pack(message: Message, field: str, column: NDArray[np.float64]) -> None:
    """Append ``column`` to a packed repeated double field, as the bytes it is on the wire."""
    if not len(column):
        return
    number = message.DESCRIPTOR.fields_by_name[field].number
    data = np.ascontiguousarray(column, dtype=np.float64).tobytes()
    message.MergeFromString(_varint(number << 3 | 2) + _varint(len(data)) + data)


def pack_int64(message: Message, field: str, column: NDArray[np.int64]) -> None:
    """Append ``column`` to a packed repeated sfixed64 field: on the wire it is eight bytes a value, as doubles are."""
    pack(message, field, np.ascontiguousarray(column, dtype=np.int64).view(np.float64))


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
        model=of.model,
        parameters=parameters(of.parameters),
        parameters_hash=of.parameters_hash,
        bracket_table=of.bracket_table,
        history_start=of.history_start,
        notices=of.notices,
        calibration=of.calibration,
        **_moving(of),
    )


def _moving(of: Provenance) -> dict[str, Any]:
    """Return the fields that change from update to update: those of ``LiveProvenance``."""
    return {
        "as_of": of.as_of,
        "watermarks": _watermarks(of, of.as_of),
        "staleness": of.staleness,
        "inputs_hash": of.inputs_hash,
        "current_price": of.current_price.value,
        "current_price_source": _SOURCES[of.current_price.source],
        "current_price_ts": of.current_price.ts,
        "open_interest": 0.0 if math.isnan(of.open_interest) else of.open_interest,
        "no_level_share_long": of.no_level_share[0],
        "no_level_share_short": of.no_level_share[1],
        "unknown_entry_share_long": of.unknown_entry_share[0],
        "unknown_entry_share_short": of.unknown_entry_share[1],
        "kline_volume_share": of.kline_volume_share,
        "last_price_path_share": of.last_price_path_share,
    }


def _watermarks(of: Provenance, now: int) -> list[common_pb2.Watermark]:
    """Return how far each input reaches, staleness against ``now``."""
    return [
        common_pb2.Watermark(kind=DATA_KINDS[kind], ts_event=ts, ts_init=ts, staleness=now - ts)
        for kind, ts in of.watermarks.items()
    ]


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


def calibration_info(of: StoredCalibration) -> common_pb2.CalibrationInfo:
    """Return the message."""
    found = of.found
    return common_pb2.CalibrationInfo(
        id=of.id,
        venue=of.venue,
        symbol=of.symbol,
        model=of.model,
        until=found.until,
        data_start=found.start,
        data_end=found.end,
        period=of.period,
        intervals=found.intervals,
        truth=of.truth,
        parameters=parameters(found.parameters),
        weight_spread=found.fit.spread,
        r2_long=found.fit.r2[0],
        r2_short=found.fit.r2[1],
        scale_long=found.scatter.scale[0],
        scale_short=found.scatter.scale[1],
        created=of.created,
    )
