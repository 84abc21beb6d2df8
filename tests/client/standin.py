"""A small server that keeps the conventions of the real one, and writes down what it was asked."""

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

    def fail_with(self, failure: status_pb2.Status) -> None:
        self.fail = lambda context: context.abort_with_status(rpc_status.to_status(failure))

    def GetLevels(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self._note(request, context) or _levels(request, context)

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
                )
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
    query = request.query
    _check_known(context, "query.symbol", query.symbol, [SYMBOL])
    _check_known(context, "query.venue", query.venue or VENUE, [VENUE])
    _check_known(context, "query.model", query.model or MODEL, [MODEL])
    as_of = request.as_of if request.HasField("as_of") else END
    if not START <= as_of <= END:
        _abort(
            context,
            status(
                grpc.StatusCode.OUT_OF_RANGE,
                "as_of lies outside the data",
                error_info("AS_OF_OUT_OF_RANGE", start=str(START), end=str(END)),
                bad_request(("as_of", f"was {as_of}")),
            ),
        )
    _check_allowed(context, "query.bin_size", query.bin_size, query.bin_size % BIN_SIZE == 0)
    kappa = query.parameters.kappa
    _check_allowed(context, "query.parameters.kappa", kappa, not query.parameters.HasField("kappa") or 0 < kappa <= 1)
    down, up = (query.price_range.down, query.price_range.up) if query.HasField("price_range") else (0.2, 0.2)
    _check_allowed(context, "query.price_range.down", down, 0 <= down <= 1)
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
    )


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
