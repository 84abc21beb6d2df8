"""A small server that keeps the conventions of the real one, and writes down what it was asked."""

import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NoReturn

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from liqserver.v1 import (
    common_pb2,
    liquidation_pb2,
    liquidation_pb2_grpc,
    market_data_pb2,
    market_data_pb2_grpc,
)

VENUE, SYMBOL, MODEL = "BINANCE", "BTCUSDT", "position_book"
# A model without a time axis.
OTHER = "pyliqmap"
MINUTE, DAY = 60_000_000_000, 86_400_000_000_000
START, END = 1_760_000_000_000_000_000, 1_760_086_400_000_000_000
PRICE, BIN_SIZE = 100_000.0, 50.0
# Left edge of the bin, leverage, contracts of longs, contracts of shorts.
BOOK = [
    (70_000.0, 3.0, 8.0, 0.0),
    (90_000.0, 10.0, 2.5, 0.0),
    (96_000.0, 10.0, 1.0, 0.0),
    (96_000.0, 25.0, 3.0, 0.0),
    (104_000.0, 10.0, 0.0, 0.5),
    (104_000.0, 25.0, 0.0, 2.0),
    (111_000.0, 10.0, 0.0, 4.0),
]
# Recorded liquidations: time, side, price, contracts.
RECORDED = [
    (
        START + i * 7 * MINUTE + i,
        common_pb2.SIDE_SHORT if i % 3 == 0 else common_pb2.SIDE_LONG,
        PRICE + 10 * i,
        0.5 + i / 8,
    )
    for i in range(25)
]


def status(code: grpc.StatusCode, message: str, *details: Message) -> status_pb2.Status:
    packed = []
    for detail in details:
        packed.append(any_pb2.Any())
        packed[-1].Pack(detail)
    return status_pb2.Status(code=code.value[0], message=message, details=packed)


def error_info(reason: str, domain: str = "liqserver", **metadata: str) -> error_details_pb2.ErrorInfo:
    return error_details_pb2.ErrorInfo(reason=reason, domain=domain, metadata=metadata)


def bad_request(*violations: tuple[str, str]) -> error_details_pb2.BadRequest:
    return error_details_pb2.BadRequest(
        field_violations=[
            error_details_pb2.BadRequest.FieldViolation(field=name, description=description)
            for name, description in violations
        ]
    )


def provenance(**changes: Any) -> common_pb2.Provenance:
    fields: dict[str, Any] = {
        "venue": VENUE,
        "symbol": SYMBOL,
        "as_of": END,
        "generated_at": END + 5_000_000_000,
        "watermarks": [
            common_pb2.Watermark(kind=common_pb2.DATA_KIND_TRADES, ts_event=END - 60, ts_init=END - 50, staleness=60),
            common_pb2.Watermark(
                kind=common_pb2.DATA_KIND_OPEN_INTEREST, ts_event=END - 90, ts_init=END - 80, staleness=90
            ),
        ],
        "staleness": 90,
        "model": MODEL,
        "parameters": common_pb2.ModelParameters(
            kappa=0.35,
            taker_tilt=0.0,
            tiers=[common_pb2.LeverageTier(leverage=10, weight=0.6, hazard=1.5)],
            margin_formula=common_pb2.MARGIN_FORMULA_EXACT,
        ),
        "parameters_hash": "0123456789abcdef",
        "inputs_hash": "fedcba9876543210",
        "bracket_table": "BINANCE:BTCUSDT:2025-08-21",
        "current_price": PRICE,
        "current_price_source": common_pb2.DATA_KIND_MARK_PRICE,
        "current_price_ts": END - 60,
        "open_interest": 80_000.5,
        "no_level_share_long": 0.25,
        "no_level_share_short": 0.125,
        "unknown_entry_share_long": 0.5,
        "unknown_entry_share_short": 0.375,
        "kline_volume_share": 0.0625,
        "last_price_path_share": 0.03125,
        "history_start": START,
        "notices": ["Trades of one hour are missing."],
    }
    return common_pb2.Provenance(**{**fields, **changes})


def levels_message(**changes: Any) -> liquidation_pb2.GetLevelsResponse:
    fields: dict[str, Any] = {
        "levels": liquidation_pb2.LevelColumns(price=[95_000, 105_000], long=[1.5, 0], short=[0, 2.5]),
        "bin_size": BIN_SIZE,
        "unit": common_pb2.UNIT_NOTIONAL,
        "totals": liquidation_pb2.BookTotals(long=10, short=20, long_in_range=1.5, short_in_range=2.5),
        "provenance": provenance(),
    }
    return liquidation_pb2.GetLevelsResponse(**{**fields, **changes})


def heatmap_message(**changes: Any) -> liquidation_pb2.GetHeatmapResponse:
    fields: dict[str, Any] = {
        "ts": [END - 2 * MINUTE, END - MINUTE, END],
        "price": [95_000, 105_000],
        "long": [1, 2, 3, 4, 5, 6],
        "short": [6, 5, 4, 3, 2, 1],
        "open": [float("nan"), 1, 2],
        "high": [float("nan"), 3, 4],
        "low": [float("nan"), 5, 6],
        "close": [float("nan"), 7, 8],
        "liquidated_long": [0, 0.5, 1],
        "liquidated_short": [1, 0.25, 0],
        "bin_size": BIN_SIZE,
        "interval": MINUTE,
        "unit": common_pb2.UNIT_QTY,
        "provenance": provenance(),
    }
    return liquidation_pb2.GetHeatmapResponse(**{**fields, **changes})


def compare_message(**changes: Any) -> liquidation_pb2.CompareModelsResponse:
    fields: dict[str, Any] = {
        "price": [95_000, 105_000],
        "bin_size": BIN_SIZE,
        "unit": common_pb2.UNIT_QTY,
        "models": [
            liquidation_pb2.ComparedModel(
                long=[1.5, 0],
                short=[0, 2.5],
                totals=liquidation_pb2.BookTotals(long=10),
                provenance=provenance(),
                model=MODEL,
            ),
            liquidation_pb2.ComparedModel(unavailable="it needs trades", model="pyliqmap"),
            liquidation_pb2.ComparedModel(
                long=[1, 0],
                short=[0, 0],
                totals=liquidation_pb2.BookTotals(),
                provenance=provenance(model=OTHER),
                model=OTHER,
            ),
        ],
        "pairs": [
            liquidation_pb2.ModelPair(
                a=0,
                b=2,
                overlap_long=0.0,
                rank_correlation_long=-0.5,
                rank_correlation_short=0.25,
                differ_most_price=105_000,
                differ_most_side=common_pb2.SIDE_SHORT,
                differ_most=-0.125,
            )
        ],
    }
    return liquidation_pb2.CompareModelsResponse(**{**fields, **changes})


def liquidations_message(**changes: Any) -> liquidation_pb2.ListLiquidationsResponse:
    fields: dict[str, Any] = {
        "liquidations": liquidation_pb2.LiquidationColumns(
            ts_event=[START, START + 1],
            side=[common_pb2.SIDE_SHORT, common_pb2.SIDE_LONG],
            price=[100_000, 99_000],
            qty=[0.5, 2],
            notional=[50_000, 198_000],
        ),
        "next_page_token": "t2",
        "total_rows": 5,
        "recorded_start": START,
        "recorded_end": END,
        "notices": ["The exchange sends at most one a second."],
        "generated_at": END + 1,
    }
    return liquidation_pb2.ListLiquidationsResponse(**{**fields, **changes})


AUDIT_COLUMNS = [
    "opened_long",
    "opened_short",
    "closed_long",
    "closed_short",
    "liquidated_long",
    "liquidated_short",
    "unexplained_long",
    "unexplained_short",
    "open_interest_start",
    "open_interest_end",
    "no_level_share",
]


def audit_message(**changes: Any) -> liquidation_pb2.GetAuditResponse:
    fields: dict[str, Any] = {
        "open_time": [END - 2 * MINUTE, END - MINUTE],
        **{name: [i, i + 0.5] for i, name in enumerate(AUDIT_COLUMNS)},
        "interval": MINUTE,
        "unit": common_pb2.UNIT_QTY,
        "provenance": provenance(),
    }
    return liquidation_pb2.GetAuditResponse(**{**fields, **changes})


@dataclass
class Standin(liquidation_pb2_grpc.LiquidationServiceServicer, market_data_pb2_grpc.MarketDataServiceServicer):
    """Answers by its conventions, unless told what to answer or how to fail."""

    target: str = ""
    requests: list[Message] = field(default_factory=list)
    deadlines: list[float | None] = field(default_factory=list)
    answer: Message | None = None
    # Called with the context instead of an answer.
    fail: Callable[[grpc.ServicerContext], NoReturn] | None = None
    # Calls that hang do so until this is set.
    release: threading.Event | None = None
    arrived: threading.Event = field(default_factory=threading.Event)
    # Streams fail or hang after so many messages.
    stream_after: int = 0
    # Set when a stream ended because the client went away.
    left: threading.Event = field(default_factory=threading.Event)

    def fail_with(self, failure: status_pb2.Status) -> None:
        self.fail = lambda context: context.abort_with_status(rpc_status.to_status(failure))

    def GetLevels(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self._note(request, context) or _levels(request, context)

    def GetHeatmap(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self._note(request, context) or _heatmap(request, context)

    def CompareModels(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self._note(request, context) or _compare(request, context)

    def ListLiquidations(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self._note(request, context) or _liquidations(request, context)

    def GetAudit(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self._note(request, context) or _audit(request, context)

    def ReplayLevels(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.requests.append(request)
        self.deadlines.append(context.time_remaining())
        if self.answer is not None:
            yield self.answer
            return
        over = threading.Event()

        def ended() -> None:
            if not over.is_set():
                self.left.set()

        context.add_callback(ended)
        # Before anything is said, as what cannot be answered is refused.
        moments = None if self.fail is not None else _moments(request, context)
        for i in itertools.count():
            if i == self.stream_after:
                self.arrived.set()
                while self.release is not None and not self.release.wait(0.01):
                    if not context.is_active():
                        return
                if self.fail is not None:
                    over.set()
                    self.fail(context)
            if moments is not None and i == len(moments):
                over.set()
                return
            as_of = START if moments is None else moments[i]
            yield liquidation_pb2.ReplayLevelsResponse(levels=_book(request.query, as_of))

    def GetCoverage(self, request: Any, context: Any) -> Any:  # noqa: N802
        if answer := self._note(request, context):
            return answer
        if request.symbol:
            _check_known(context, "symbol", request.symbol, [SYMBOL])
        if request.venue:
            _check_known(context, "venue", request.venue, [VENUE])
        kinds = [
            market_data_pb2.KindCoverage(
                kind=kind, start=START, end=END, rows=1440, stored_rows=720, files=3, interval=60_000_000_000
            )
            for kind in (common_pb2.DATA_KIND_TRADES, common_pb2.DATA_KIND_OPEN_INTEREST)
        ]
        return market_data_pb2.GetCoverageResponse(
            symbols=[market_data_pb2.SymbolCoverage(venue=VENUE, symbol=SYMBOL, kinds=kinds)], generated_at=END
        )

    def ListSymbols(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self._note(request, context) or market_data_pb2.ListSymbolsResponse(
            symbols=[
                market_data_pb2.SymbolInfo(
                    venue=VENUE,
                    symbol=SYMBOL,
                    tick_size=0.1,
                    base_bin=5.0,
                    current_price=PRICE,
                    current_price_ts=END - 60,
                    current_price_source=common_pb2.DATA_KIND_MARK_PRICE,
                    watermarks=provenance().watermarks,
                )
            ]
        )

    def ListModels(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self._note(request, context) or market_data_pb2.ListModelsResponse(
            models=[
                market_data_pb2.ModelInfo(
                    id=MODEL,
                    description="A book of positions.",
                    source="liqserver",
                    limits="Entries before the first data are unknown.",
                    is_default=True,
                    parameters=[
                        market_data_pb2.ParameterInfo(
                            name="kappa", description="Share.", default_value="0.35", allowed="(0, 1]"
                        )
                    ],
                    required=[common_pb2.DATA_KIND_TRADES, common_pb2.DATA_KIND_OPEN_INTEREST],
                    has_time_axis=True,
                ),
                market_data_pb2.ModelInfo(id=OTHER, description="A map of trades.", source="py-liquidation-map"),
            ]
        )

    def _note(self, request: Message, context: grpc.ServicerContext) -> Message | None:
        self.requests.append(request)
        self.deadlines.append(context.time_remaining())
        self.arrived.set()
        if self.release is not None:
            self.release.wait(30)
        if self.fail is not None:
            self.fail(context)
        return self.answer


def _levels(
    request: liquidation_pb2.GetLevelsRequest, context: grpc.ServicerContext
) -> liquidation_pb2.GetLevelsResponse:
    _check_query(request.query, context)
    return _book(request.query, _as_of(request, context))


def _heatmap(
    request: liquidation_pb2.GetHeatmapRequest, context: grpc.ServicerContext
) -> liquidation_pb2.GetHeatmapResponse:
    query = request.query
    _check_query(query, context, time_axis=True)
    end = request.end if request.HasField("end") else END
    lookback = request.lookback if request.HasField("lookback") else DAY
    start = request.start if request.HasField("start") else end - lookback
    _check_inside(context, "start", start)
    _check_inside(context, "end", end)
    interval = request.interval or max(MINUTE, -(-(end - start) // 499 // MINUTE) * MINUTE)
    _check_allowed(context, "interval", interval, MINUTE <= interval <= DAY)
    ts = range(end - (end - start) // interval * interval, end + 1, interval)
    book = _book(query, end).levels
    ages = [(t - START) / DAY for t in ts]
    unknown = [float("nan")]
    path = [PRICE + i for i in range(len(ts) - 1)]
    return liquidation_pb2.GetHeatmapResponse(
        ts=ts,
        price=book.price,
        long=[age * amount for age in ages for amount in book.long],
        short=[age * amount for age in ages for amount in book.short],
        open=unknown + path,
        high=unknown + [p + 2 for p in path],
        low=unknown + [p - 2 for p in path],
        close=unknown + [p + 1 for p in path],
        liquidated_long=ages,
        liquidated_short=[0.0] * len(ts),
        bin_size=query.bin_size or BIN_SIZE,
        interval=interval,
        unit=query.unit or common_pb2.UNIT_NOTIONAL,
        provenance=provenance(as_of=end),
    )


def _compare(
    request: liquidation_pb2.CompareModelsRequest, context: grpc.ServicerContext
) -> liquidation_pb2.CompareModelsResponse:
    choices = list(request.models) or [liquidation_pb2.ModelChoice(model=model) for model in (MODEL, OTHER)]
    _check_allowed(context, "models", len(choices), 2 <= len(choices) <= 10)
    _check_query(request.query, context)
    for i, choice in enumerate(choices):
        _check_known(context, f"models[{i}].model", choice.model or MODEL, [MODEL, OTHER])
    as_of = _as_of(request, context)
    models = []
    for choice in choices:
        book = _book(request.query, as_of)
        where = provenance(as_of=as_of, model=choice.model or MODEL)
        where.parameters.MergeFrom(choice.parameters)
        # Models differ in how they see one bin.
        book.levels.long[-1] += 0.25 * (choice.parameters.kappa + (choice.model == OTHER))
        models.append(
            liquidation_pb2.ComparedModel(
                long=book.levels.long,
                short=book.levels.short,
                totals=book.totals,
                provenance=where,
                model=where.model,
            )
        )
    pairs = []
    for a, b in itertools.combinations(range(len(models)), 2):
        pair = liquidation_pb2.ModelPair(a=a, b=b, overlap_short=1.0)
        shares = [[amount / sum(models[m].long) for amount in models[m].long] for m in (a, b)]
        apart = [one - other for one, other in zip(*shares, strict=True)]
        most = max(range(len(apart)), key=lambda i: abs(apart[i]))
        pair.overlap_long = 1 - sum(map(abs, apart)) / 2
        pair.differ_most_price = book.levels.price[most]
        pair.differ_most_side = common_pb2.SIDE_LONG
        pair.differ_most = apart[most]
        pairs.append(pair)
    return liquidation_pb2.CompareModelsResponse(
        price=book.levels.price, bin_size=book.bin_size, unit=book.unit, models=models, pairs=pairs
    )


def _liquidations(
    request: liquidation_pb2.ListLiquidationsRequest, context: grpc.ServicerContext
) -> liquidation_pb2.ListLiquidationsResponse:
    _check_known(context, "symbol", request.symbol, [SYMBOL])
    _check_known(context, "venue", request.venue or VENUE, [VENUE])
    _check_allowed(context, "page_size", request.page_size, 0 <= request.page_size <= 100_000)
    _check_allowed(context, "interval", request.interval, request.interval >= 0)
    _check_allowed(context, "page_token", 0, not request.page_token or request.page_token.isdecimal())
    rows = [
        row
        for row in RECORDED
        if (not request.HasField("start") or request.start <= row[0])
        and (not request.HasField("end") or row[0] < request.end)
        and request.side in (common_pb2.SIDE_UNSPECIFIED, row[1])
    ]
    answer = liquidation_pb2.ListLiquidationsResponse(
        total_rows=len(rows), recorded_start=RECORDED[0][0], recorded_end=RECORDED[-1][0], generated_at=END + 5
    )
    first, size = int(request.page_token or 0), request.page_size or 10_000
    if request.interval:
        starts = sorted({row[0] // request.interval * request.interval for row in rows})
        answer.buckets.SetInParent()
        for start in starts[first : first + size]:
            answer.buckets.ts.append(start)
            for name, side in (("long", common_pb2.SIDE_LONG), ("short", common_pb2.SIDE_SHORT)):
                mine = [row for row in rows if start <= row[0] < start + request.interval and row[1] == side]
                getattr(answer.buckets, f"{name}_notional").append(sum(row[2] * row[3] for row in mine))
                getattr(answer.buckets, f"{name}_qty").append(sum(row[3] for row in mine))
                getattr(answer.buckets, f"{name}_count").append(len(mine))
        more = first + size < len(starts)
    else:
        answer.liquidations.SetInParent()
        for ts, side, price, qty in rows[first : first + size]:
            answer.liquidations.ts_event.append(ts)
            answer.liquidations.side.append(side)
            answer.liquidations.price.append(price)
            answer.liquidations.qty.append(qty)
            answer.liquidations.notional.append(price * qty)
        more = first + size < len(rows)
    if more:
        answer.next_page_token = str(first + size)
    return answer


def _audit(request: liquidation_pb2.GetAuditRequest, context: grpc.ServicerContext) -> liquidation_pb2.GetAuditResponse:
    _check_query(request.query, context, time_axis=True)
    start = request.start if request.HasField("start") else START
    end = request.end if request.HasField("end") else END
    _check_inside(context, "start", start)
    _check_inside(context, "end", end)
    _check_allowed(context, "interval", request.interval, MINUTE <= request.interval <= 30 * DAY)
    n = (end - start) // request.interval
    columns: dict[str, list[float]] = {name: [0.0] * n for name in AUDIT_COLUMNS}
    for i in range(n):
        columns["opened_long"][i] = columns["opened_short"][i] = 3.0
        columns["closed_long"][i] = columns["closed_short"][i] = 1.0
        columns["liquidated_long"][i] = columns["liquidated_short"][i] = 0.5
        columns["open_interest_start"][i] = 100 + 1.5 * i
        columns["open_interest_end"][i] = 100 + 1.5 * (i + 1)
        columns["no_level_share"][i] = 0.25
    return liquidation_pb2.GetAuditResponse(
        open_time=[start + i * request.interval for i in range(n)],
        **columns,
        interval=request.interval,
        unit=request.query.unit or common_pb2.UNIT_NOTIONAL,
        provenance=provenance(as_of=end),
    )


def _moments(request: liquidation_pb2.ReplayLevelsRequest, context: grpc.ServicerContext) -> range:
    _check_query(request.query, context, time_axis=True)
    start = request.start if request.HasField("start") else START
    end = request.end if request.HasField("end") else END
    _check_inside(context, "start", start)
    _check_inside(context, "end", end)
    _check_allowed(context, "every", request.every, request.every >= MINUTE)
    return range(start, end + 1, request.every)


def _as_of(
    request: liquidation_pb2.GetLevelsRequest | liquidation_pb2.CompareModelsRequest, context: grpc.ServicerContext
) -> int:
    as_of = request.as_of if request.HasField("as_of") else END
    _check_inside(context, "as_of", as_of)
    return as_of


def _check_query(query: liquidation_pb2.LevelsQuery, context: grpc.ServicerContext, time_axis: bool = False) -> None:
    _check_known(context, "query.symbol", query.symbol, [SYMBOL])
    _check_known(context, "query.venue", query.venue or VENUE, [VENUE])
    _check_known(context, "query.model", query.model or MODEL, [MODEL, OTHER])
    if time_axis and query.model == OTHER:
        _abort(
            context,
            status(
                grpc.StatusCode.FAILED_PRECONDITION, f"{OTHER} has no time axis", error_info("MODEL_WITHOUT_TIME_AXIS")
            ),
        )
    _check_allowed(context, "query.bin_size", query.bin_size, query.bin_size % BIN_SIZE == 0)
    kappa = query.parameters.kappa
    _check_allowed(context, "query.parameters.kappa", kappa, not query.parameters.HasField("kappa") or 0 < kappa <= 1)
    down = query.price_range.down
    _check_allowed(context, "query.price_range.down", down, 0 <= down <= 1)


def _check_inside(context: grpc.ServicerContext, name: str, moment: int) -> None:
    if not START <= moment <= END:
        _abort(
            context,
            status(
                grpc.StatusCode.OUT_OF_RANGE,
                f"{name} lies outside the data",
                error_info(f"{name.upper()}_OUT_OF_RANGE", start=str(START), end=str(END)),
                bad_request((name, f"was {moment}")),
            ),
        )


def _book(query: liquidation_pb2.LevelsQuery, as_of: int) -> liquidation_pb2.GetLevelsResponse:
    down, up = (query.price_range.down, query.price_range.up) if query.HasField("price_range") else (0.2, 0.2)
    low, high = PRICE * (1 - down), PRICE * (1 + up)
    leverages = sorted({leverage for _, leverage, _, _ in BOOK})
    amounts: dict[float, dict[float, tuple[float, float]]] = {}
    for price, leverage, long, short in BOOK:
        amounts.setdefault(price, {})[leverage] = (
            0.0 if query.side == common_pb2.SIDE_SHORT else long * _value(price, query.unit),
            0.0 if query.side == common_pb2.SIDE_LONG else short * _value(price, query.unit),
        )
    in_range = {p: tiers for p, tiers in amounts.items() if low <= p <= high and _sums(tiers.values()) != (0, 0)}
    shown = {
        p: tiers
        for p, tiers in in_range.items()
        if max(_sums(tiers.values())) * (p / _value(p, query.unit)) >= query.min_notional
    }
    columns = [_sums(tiers.values()) for tiers in shown.values()]
    tier_columns = []
    for leverage in leverages if query.per_tier else ():
        parts = [tiers.get(leverage, (0.0, 0.0)) for tiers in shown.values()]
        tier_columns.append(
            liquidation_pb2.TierColumns(leverage=leverage, long=[p[0] for p in parts], short=[p[1] for p in parts])
        )
    everywhere = _sums([pair for tiers in amounts.values() for pair in tiers.values()])
    inside = _sums([pair for tiers in in_range.values() for pair in tiers.values()])
    return liquidation_pb2.GetLevelsResponse(
        levels=liquidation_pb2.LevelColumns(
            price=list(shown), long=[c[0] for c in columns], short=[c[1] for c in columns], tiers=tier_columns
        ),
        bin_size=query.bin_size or BIN_SIZE,
        unit=query.unit or common_pb2.UNIT_NOTIONAL,
        totals=liquidation_pb2.BookTotals(
            long=everywhere[0], short=everywhere[1], long_in_range=inside[0], short_in_range=inside[1]
        ),
        provenance=provenance(as_of=as_of),
        derived=_derived(list(shown), columns, query.bin_size or BIN_SIZE) if query.derived else None,
    )


def _derived(
    prices: list[float], columns: list[tuple[float, float]], bin_size: float
) -> liquidation_pb2.DerivedFigures:
    longs = {p: c[0] for p, c in zip(prices, columns, strict=True)}
    shorts = {p: c[1] for p, c in zip(prices, columns, strict=True)}
    figures = liquidation_pb2.DerivedFigures(
        cumulative_long=[sum(v for q, v in longs.items() if p <= q <= PRICE) for p in prices],
        cumulative_short=[sum(v for q, v in shorts.items() if PRICE <= q <= p) for p in prices],
        realised_volatility=0.02,
    )
    if near := max((p for p in prices if longs[p] and p < PRICE), default=None):
        distance = 1 - (near + bin_size) / PRICE
        figures.cluster_below.CopyFrom(
            liquidation_pb2.Cluster(
                low=near,
                high=near + bin_size,
                peak=near,
                amount=longs[near],
                distance=distance,
                distance_volatility=distance / 0.02,
            )
        )
    for reach in (0.01, 0.02, 0.05, 0.1):
        long = sum(v for p, v in longs.items() if PRICE * (1 - reach) <= p <= PRICE)
        short = sum(v for p, v in shorts.items() if PRICE <= p <= PRICE * (1 + reach))
        balance = (short - long) / (short + long) if short + long else None
        figures.imbalances.add(range=reach, long=long, short=short, imbalance=balance)
    return figures


def _value(price: float, unit: int) -> float:
    return 1.0 if unit == common_pb2.UNIT_QTY else price


def _sums(pairs: Any) -> tuple[float, float]:
    pairs = list(pairs)
    return sum(p[0] for p in pairs), sum(p[1] for p in pairs)


def _check_known(context: grpc.ServicerContext, name: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        what = name.rpartition(".")[2]
        names = ",".join(f"{VENUE}:{one}" if what == "symbol" else one for one in known)
        _abort(
            context,
            status(
                grpc.StatusCode.NOT_FOUND,
                f"unknown {what} {value!r}",
                error_info(
                    f"{what.upper()}_UNKNOWN",
                    known=names,
                ),
            ),
        )


def _check_allowed(context: grpc.ServicerContext, name: str, value: float, allowed: bool) -> None:
    if not allowed:
        _abort(
            context,
            status(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"{name} is not allowed",
                error_info("FIELD_INVALID"),
                bad_request((name, f"was {value:g}")),
            ),
        )


def _abort(context: grpc.ServicerContext, failure: status_pb2.Status) -> NoReturn:
    context.abort_with_status(rpc_status.to_status(failure))
    raise AssertionError("unreachable: abort raises")


@contextmanager
def serve(standin: Standin, credentials: grpc.ServerCredentials | None = None, port: int = 0) -> Iterator[Standin]:
    """Serve on a loopback port, a free one unless named."""
    # Without reuse of ports, a port that is taken fails instead of sharing the calls.
    server = grpc.server(futures.ThreadPoolExecutor(4), options=[("grpc.so_reuseport", 0)])
    liquidation_pb2_grpc.add_LiquidationServiceServicer_to_server(standin, server)
    market_data_pb2_grpc.add_MarketDataServiceServicer_to_server(standin, server)
    address = f"127.0.0.1:{port}"
    bound = server.add_insecure_port(address) if credentials is None else server.add_secure_port(address, credentials)
    standin.target = f"127.0.0.1:{bound}"
    server.start()
    try:
        yield standin
    finally:
        if standin.release is not None:
            standin.release.set()
        server.stop(0).wait()
