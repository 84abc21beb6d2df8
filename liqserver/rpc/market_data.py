"""``MarketDataService``: translates and delegates."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from dataclasses import fields

from liqserver.live.names import find_symbols
from liqserver.models.parameters import Compat, MarginFormula, Parameters
from liqserver.models.registry import DEFAULT_MODEL, MODELS, Model
from liqserver.rpc.convert import calibration_info
from liqserver.rpc.publish import PublishStreams
from liqserver.store import coverage
from liqserver.store.archive import Kind
from liqserver.store.brackets import bracket_history
from liqserver.store.calibrations import stored_calibrations
from liqserver.store.database import Database
from liqserver.store.markets import StoreMarkets
from liqserver.v1 import common_pb2, market_data_pb2, market_data_pb2_grpc

_DATA_KINDS = {
    Kind.AGG_TRADES: common_pb2.DATA_KIND_TRADES,
    Kind.TRADES: common_pb2.DATA_KIND_TRADES,
    Kind.METRICS: common_pb2.DATA_KIND_OPEN_INTEREST,
    Kind.MARK_PRICE_KLINES: common_pb2.DATA_KIND_MARK_PRICE,
    Kind.KLINES: common_pb2.DATA_KIND_KLINES,
    Kind.FUNDING_RATE: common_pb2.DATA_KIND_FUNDING,
    Kind.LIQUIDATION_SNAPSHOT: common_pb2.DATA_KIND_LIQUIDATIONS,
    Kind.INDEX_PRICE_KLINES: common_pb2.DATA_KIND_INDEX_PRICE,
    Kind.PREMIUM_INDEX_KLINES: common_pb2.DATA_KIND_PREMIUM_INDEX,
    Kind.BOOK_DEPTH: common_pb2.DATA_KIND_BOOK_DEPTH,
    Kind.LIQUIDATION_TOTALS: common_pb2.DATA_KIND_LIQUIDATION_TOTALS,
}


class MarketDataServicer(market_data_pb2_grpc.MarketDataServiceServicer):
    """Tells what the server has, takes what is published.

    Parameters
    ----------
    database : Database
        Open; each call uses a cursor of its own.
    publishers : PublishStreams
        Takes what is published.
    executor : Executor
        Where queries run, off the event loop.
    clock : callable
        UNIX nanoseconds of now.
    """

    def __init__(
        self, database: Database, publishers: PublishStreams, executor: Executor, clock: Callable[[], int]
    ) -> None:
        self._database = database
        self._publishers = publishers
        self._executor = executor
        self._clock = clock

    async def GetCoverage(  # noqa: N802
        self, request: market_data_pb2.GetCoverageRequest, context: object
    ) -> market_data_pb2.GetCoverageResponse:
        """Return what data there is of one symbol or all."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._coverage, request)

    async def ListSymbols(  # noqa: N802
        self, request: market_data_pb2.ListSymbolsRequest, context: object
    ) -> market_data_pb2.ListSymbolsResponse:
        """Return the symbols."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._symbols)

    async def ListModels(  # noqa: N802
        self, request: market_data_pb2.ListModelsRequest, context: object
    ) -> market_data_pb2.ListModelsResponse:
        """Return the models, the default first."""
        models = sorted(MODELS.values(), key=lambda model: model.id != DEFAULT_MODEL)
        return market_data_pb2.ListModelsResponse(models=[_model(model) for model in models])

    async def ListCalibrations(  # noqa: N802
        self, request: market_data_pb2.ListCalibrationsRequest, context: object
    ) -> market_data_pb2.ListCalibrationsResponse:
        """Return the stored calibrations of one symbol or all."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._calibrations, request)

    def Publish(  # noqa: N802
        self, request_iterator: AsyncIterator[market_data_pb2.PublishRequest], context: object
    ) -> AsyncIterator[market_data_pb2.PublishResponse]:
        """Take batches of events, yield acknowledgements."""
        return self._publishers.serve(request_iterator)

    def _calibrations(
        self, request: market_data_pb2.ListCalibrationsRequest
    ) -> market_data_pb2.ListCalibrationsResponse:
        find_symbols(StoreMarkets(self._database).names(), request.venue, request.symbol)
        stored = stored_calibrations(self._database, request.venue, request.symbol)
        return market_data_pb2.ListCalibrationsResponse(calibrations=map(calibration_info, stored))

    def _coverage(self, request: market_data_pb2.GetCoverageRequest) -> market_data_pb2.GetCoverageResponse:
        cur = self._database.cursor()
        known = [(of.venue, of.symbol) for of in coverage.symbols(cur)]
        wanted = find_symbols(known, request.venue, request.symbol)
        return market_data_pb2.GetCoverageResponse(
            symbols=[
                market_data_pb2.SymbolCoverage(
                    venue=venue, symbol=symbol, kinds=map(_kind, coverage.coverage(cur, venue, symbol))
                )
                for venue, symbol in wanted
            ],
            generated_at=self._clock(),
        )

    def _symbols(self) -> market_data_pb2.ListSymbolsResponse:
        cur = self._database.cursor()
        now = self._clock()
        answer = market_data_pb2.ListSymbolsResponse(generated_at=now)
        for of in coverage.symbols(cur):
            brackets = bracket_history(cur, of.venue, of.symbol)
            price = of.last_price
            answer.symbols.add(
                venue=of.venue,
                symbol=of.symbol,
                tick_size=of.tick_size,
                base_bin=of.base_bin,
                current_price=price.price if price else 0.0,
                current_price_ts=price.ts_event if price else 0,
                current_price_source=_DATA_KINDS[price.kind] if price else common_pb2.DATA_KIND_UNSPECIFIED,
                bracket_table=brackets.tables[-1].table_id if brackets else "",
                watermarks=[
                    common_pb2.Watermark(
                        kind=_DATA_KINDS[reach.kind],
                        ts_event=reach.ts_event,
                        ts_init=reach.ts_init,
                        staleness=now - reach.ts_event,
                    )
                    for reach in of.reach
                ],
            )
        return answer


def _kind(of: coverage.KindCoverage) -> market_data_pb2.KindCoverage:
    return market_data_pb2.KindCoverage(
        kind=_DATA_KINDS[of.kind],
        start=of.start,
        end=of.end,
        rows=of.rows,
        stored_rows=of.stored_rows,
        files=of.files,
        interval=of.period,
        missing=of.missing_periods + of.missing_ids,
        dropped_rows=of.dropped_rows,
        notices=of.notices,
    )


def _model(of: Model) -> market_data_pb2.ModelInfo:
    return market_data_pb2.ModelInfo(
        id=of.id,
        description=of.description,
        source=of.source,
        limits=of.limits,
        is_default=of.id == DEFAULT_MODEL,
        has_time_axis=of.has_time_axis,
        parameters=[
            market_data_pb2.ParameterInfo(
                name=spec.name,
                description=spec.description,
                default_value=_shown_default(of.defaults, spec.name),
                allowed=spec.allowed,
            )
            for spec in of.parameters
        ],
        required=[
            kind
            for kind, needed in (
                (common_pb2.DATA_KIND_OPEN_INTEREST, of.needs_open_interest),
                (common_pb2.DATA_KIND_TRADES, of.needs_trades),
            )
            if needed
        ],
    )


def _shown_default(defaults: Parameters, name: str) -> str:
    value = {field.name: getattr(defaults, field.name) for field in fields(defaults)}[name]
    if isinstance(value, MarginFormula | Compat):
        return str(value.value)
    if isinstance(value, tuple):
        return " ".join(f"{tier.leverage:g}:{tier.weight:g}" for tier in value)
    return f"{value:g}" if isinstance(value, float) else str(value)
