"""The client for code in an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing
from os import PathLike
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import grpc
import grpc.aio

from liqclient import _alerts, _answers, _requests
from liqclient._alerts import Alert, AlertRule
from liqclient._answers import (
    Audit,
    CalibrationInfo,
    CalibrationProgress,
    Comparison,
    Heatmap,
    IngestProgress,
    Levels,
    Liquidations,
    ModelInfo,
    Scorecard,
    StoredFile,
    SymbolCoverage,
    SymbolInfo,
)
from liqclient._channel import (
    DEFAULT_KEEPALIVE,
    DEFAULT_MAX_MESSAGE_BYTES,
    DEFAULT_TARGET,
    DEFAULT_TIMEOUT,
    Keepalive,
    Settings,
)
from liqclient._errors import Cancelled, DeadlineExceeded, LiqClientError, error_from, unreachable
from liqclient._publish import Events, PublishAnswer, async_requests_of, publish_answer
from liqclient._stream import AsyncCalls, LevelBook, LevelsUpdate, StreamPlan, follow_async
from liqclient._types import Duration, ModelChoice, Parameters, PriceRange, Side, Time, Unit
from liqserver.v1 import admin_pb2_grpc, liquidation_pb2, liquidation_pb2_grpc, market_data_pb2_grpc

if TYPE_CHECKING:
    from liqserver.v1.admin_pb2_grpc import AdminServiceAsyncStub
    from liqserver.v1.liquidation_pb2_grpc import LiquidationServiceAsyncStub
    from liqserver.v1.market_data_pb2_grpc import MarketDataServiceAsyncStub


class AsyncClient:
    """`Client` with the same methods as coroutines, and as asynchronous iterators where it has iterators.

    May be made anywhere, but belongs to the event loop of its first call: grpc's channels cannot be shared by
    loops. Close it in that loop, or use it with ``async with``. A call that is cancelled is cancelled at the
    server too.

    Parameters
    ----------
    target, timeout, max_message_bytes, keepalive, tls, token, credentials
        As in `Client`.
    channel
        An existing `grpc.aio.Channel` to call through, made in the same event loop; otherwise as in `Client`.

    Raises
    ------
    ValueError
        As `Client`.
    OSError
        If the file of ``tls`` cannot be read.
    """

    def __init__(
        self,
        target: str = DEFAULT_TARGET,
        *,
        timeout: float | None = DEFAULT_TIMEOUT,
        max_message_bytes: int = DEFAULT_MAX_MESSAGE_BYTES,
        keepalive: Keepalive | None = DEFAULT_KEEPALIVE,
        tls: bool | str | PathLike[str] = False,
        token: str | None = None,
        credentials: grpc.ChannelCredentials | None = None,
        channel: grpc.aio.Channel | None = None,
    ) -> None:
        self._settings = Settings(
            target=target,
            timeout=timeout,
            max_message_bytes=max_message_bytes,
            keepalive=keepalive,
            credentials=credentials,
            tls=tls,
            token=token,
            channel_given=channel is not None,
        )
        self._secured = self._settings.channel_credentials()
        self._owns_channel = channel is None
        self._given_channel = channel
        self._link: _Link | None = None
        self._closed = False

    async def __aenter__(self) -> Self:
        self._linked()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._settings.target}{' closed' if self._closed else ''}>"

    async def close(self) -> None:
        """Close the connection; calls that are under way raise `Cancelled`. Closing twice does no harm."""
        link = None if self._closed or self._link is None else self._linked()
        self._closed = True
        if link is not None and self._owns_channel:
            await link.channel.close()

    async def wait_ready(self, timeout: float | None = None) -> None:
        """Wait until the server answers; see `Client.wait_ready`."""
        request = _requests.models_request()
        try:
            await self._call(lambda at: at.market_data.ListModels, request, timeout, wait_for_ready=True)
        except DeadlineExceeded as exc:
            raise unreachable(self._settings.target, exc.message) from exc

    async def levels(
        self,
        symbol: str,
        *,
        venue: str = "",
        model: str = "",
        as_of: Time | None = None,
        bin_size: float | None = None,
        price_range: PriceRange | None = None,
        side: Side = "both",
        unit: Unit = "notional",
        per_tier: bool = False,
        min_notional: float = 0.0,
        derived: bool = False,
        band: float | None = None,
        parameters: Parameters | None = None,
        calibration: str = "",
        timeout: float | None = None,
    ) -> Levels:
        """Return the liquidation levels around the current price; see `Client.levels`."""
        request = _requests.levels_request(
            symbol,
            venue=venue,
            model=model,
            as_of=as_of,
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
        return _answers.levels_answer(await self._call(lambda at: at.liquidation.GetLevels, request, timeout))

    async def heatmap(
        self,
        symbol: str,
        *,
        venue: str = "",
        model: str = "",
        start: Time | None = None,
        end: Time | None = None,
        lookback: Duration | None = None,
        interval: Duration | None = None,
        bin_size: float | None = None,
        price_range: PriceRange | None = None,
        side: Side = "both",
        unit: Unit = "notional",
        parameters: Parameters | None = None,
        calibration: str = "",
        timeout: float | None = None,
    ) -> Heatmap:
        """Return the levels over time; see `Client.heatmap`."""
        request = _requests.heatmap_request(
            symbol,
            venue=venue,
            model=model,
            start=start,
            end=end,
            lookback=lookback,
            interval=interval,
            bin_size=bin_size,
            price_range=price_range,
            side=side,
            unit=unit,
            parameters=parameters,
            calibration=calibration,
        )
        return _answers.heatmap_answer(await self._call(lambda at: at.liquidation.GetHeatmap, request, timeout))

    async def compare(
        self,
        symbol: str,
        models: Sequence[ModelChoice] | None = None,
        *,
        venue: str = "",
        as_of: Time | None = None,
        bin_size: float | None = None,
        price_range: PriceRange | None = None,
        unit: Unit = "notional",
        timeout: float | None = None,
    ) -> Comparison:
        """Return the levels of several models on one grid; see `Client.compare`."""
        request = _requests.compare_request(
            symbol,
            models,
            venue=venue,
            as_of=as_of,
            bin_size=bin_size,
            price_range=price_range,
            unit=unit,
        )
        return _answers.compare_answer(await self._call(lambda at: at.liquidation.CompareModels, request, timeout))

    async def liquidations(
        self,
        symbol: str,
        *,
        venue: str = "",
        start: Time | None = None,
        end: Time | None = None,
        side: Side = "both",
        interval: Duration | None = None,
        page_size: int | None = None,
        page_token: str = "",
        timeout: float | None = None,
    ) -> Liquidations:
        """Return one page of recorded liquidations; see `Client.liquidations`."""
        request = _requests.liquidations_request(
            symbol,
            venue=venue,
            start=start,
            end=end,
            side=side,
            interval=interval,
            page_size=page_size,
            page_token=page_token,
        )
        return _answers.liquidations_answer(
            await self._call(lambda at: at.liquidation.ListLiquidations, request, timeout)
        )

    def liquidation_pages(
        self,
        symbol: str,
        *,
        venue: str = "",
        start: Time | None = None,
        end: Time | None = None,
        side: Side = "both",
        interval: Duration | None = None,
        page_size: int | None = None,
        page_token: str = "",
        timeout: float | None = None,
    ) -> AsyncGenerator[Liquidations, None]:
        """Iterate over the pages of recorded liquidations; see `Client.liquidation_pages`."""
        request = _requests.liquidations_request(
            symbol,
            venue=venue,
            start=start,
            end=end,
            side=side,
            interval=interval,
            page_size=page_size,
            page_token=page_token,
        )
        self._settings.seconds(timeout)
        return self._pages(request, timeout)

    async def audit(
        self,
        symbol: str,
        *,
        interval: Duration,
        start: Time | None = None,
        end: Time | None = None,
        venue: str = "",
        model: str = "",
        unit: Unit = "notional",
        parameters: Parameters | None = None,
        calibration: str = "",
        timeout: float | None = None,
    ) -> Audit:
        """Return what was opened, closed and liquidated by interval; see `Client.audit`."""
        request = _requests.audit_request(
            symbol,
            interval=interval,
            start=start,
            end=end,
            venue=venue,
            model=model,
            unit=unit,
            parameters=parameters,
            calibration=calibration,
        )
        return _answers.audit_answer(await self._call(lambda at: at.liquidation.GetAudit, request, timeout))

    async def scorecard(
        self,
        symbol: str,
        *,
        cut: Time,
        venue: str = "",
        start: Time | None = None,
        end: Time | None = None,
        models: Sequence[ModelChoice] | None = None,
        interval: Duration | None = None,
        calibration: str = "",
        timeout: float | None = None,
    ) -> Scorecard:
        """Return how well models predict where was really liquidated; see `Client.scorecard`."""
        request = _requests.scorecard_request(
            symbol,
            cut=cut,
            venue=venue,
            start=start,
            end=end,
            models=models,
            interval=interval,
            calibration=calibration,
        )
        return _answers.scorecard_answer(await self._call(lambda at: at.liquidation.GetScorecard, request, timeout))

    def replay(
        self,
        symbol: str,
        *,
        every: Duration,
        start: Time | None = None,
        end: Time | None = None,
        venue: str = "",
        model: str = "",
        bin_size: float | None = None,
        price_range: PriceRange | None = None,
        side: Side = "both",
        unit: Unit = "notional",
        per_tier: bool = False,
        min_notional: float = 0.0,
        derived: bool = False,
        band: float | None = None,
        parameters: Parameters | None = None,
        calibration: str = "",
        timeout: float | None = None,
    ) -> AsyncGenerator[Levels, None]:
        """Iterate over the levels as of one moment after the other; see `Client.replay`.

        Breaking out of a loop over it cancels the call as soon as the event loop comes to it; leaving
        `contextlib.aclosing` has cancelled it when it is left.
        """
        request = _requests.replay_request(
            symbol,
            every=every,
            start=start,
            end=end,
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
        seconds = self._settings.stream_seconds(timeout)
        return self._stream(lambda at: at.liquidation.ReplayLevels, request, seconds, _answers.replay_answer)

    def stream(
        self,
        symbol: str,
        *,
        venue: str = "",
        model: str = "",
        bin_size: float | None = None,
        price_range: PriceRange | None = None,
        side: Side = "both",
        unit: Unit = "notional",
        per_tier: bool = False,
        min_notional: float = 0.0,
        parameters: Parameters | None = None,
        calibration: str = "",
        max_rate: float | None = None,
        min_change: float = 0.0,
        heartbeat: Duration | None = None,
        resume: LevelBook | None = None,
        on_credit: bool = False,
        reconnect: bool = False,
        timeout: float | None = None,
    ) -> AsyncGenerator[LevelsUpdate, None]:
        """Iterate over the newest levels as they change; see `Client.stream`.

        Breaking out of a loop over it cancels the call as soon as the event loop comes to it; leaving
        `contextlib.aclosing` has cancelled it when it is left.
        """
        request = _requests.stream_request(
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
            max_rate=max_rate,
            min_change=min_change,
            heartbeat=heartbeat,
        )
        plan = StreamPlan(
            request=request,
            on_credit=on_credit,
            reconnect=reconnect,
            resume=resume,
            first=self._settings.seconds(timeout),
        )
        return self._updates(plan)

    def watch(
        self,
        symbol: str,
        rules: Sequence[AlertRule],
        *,
        venue: str = "",
        model: str = "",
        bin_size: float | None = None,
        price_range: PriceRange | None = None,
        unit: Unit = "notional",
        parameters: Parameters | None = None,
        calibration: str = "",
        heartbeat: Duration | None = None,
        timeout: float | None = None,
    ) -> AsyncGenerator[Alert, None]:
        """Iterate over the events that rules ask for, as they happen; see `Client.watch`.

        Breaking out of a loop over it cancels the call as soon as the event loop comes to it; leaving
        `contextlib.aclosing` has cancelled it when it is left.
        """
        request = _requests.watch_request(
            symbol,
            rules,
            venue=venue,
            model=model,
            bin_size=bin_size,
            price_range=price_range,
            unit=unit,
            parameters=parameters,
            calibration=calibration,
            heartbeat=heartbeat,
        )
        seconds = self._settings.stream_seconds(timeout)
        return self._alerts(request, seconds)

    def ingest(
        self,
        paths: Iterable[str | PathLike[str]],
        *,
        venue: str = "",
        base_bin: float | None = None,
        replace: bool = False,
        quote_asset: str = "",
        keep_raw: bool = False,
        symbol: str = "",
        timeout: float | None = None,
    ) -> AsyncGenerator[IngestProgress, None]:
        """Have the server ingest archive files of its machine; see `Client.ingest`."""
        request = _requests.ingest_request(
            paths,
            venue=venue,
            base_bin=base_bin,
            replace=replace,
            quote_asset=quote_asset,
            keep_raw=keep_raw,
            symbol=symbol,
        )
        seconds = self._settings.stream_seconds(timeout)
        return self._stream(lambda at: at.admin.Ingest, request, seconds, _answers.ingest_answer)

    async def files(self, symbol: str = "", venue: str = "", *, timeout: float | None = None) -> list[StoredFile]:
        """Return the archive files that the server has ingested; see `Client.files`."""
        request = _requests.files_request(symbol, venue)
        seconds = self._settings.seconds(timeout)
        some = self._stream(lambda at: at.admin.ListFiles, request, seconds, _answers.files_answer)
        return [file async for files in some for file in files]

    def publish(
        self, batches: Iterable[Events] | AsyncIterable[Events], *, timeout: float | None = None
    ) -> AsyncGenerator[PublishAnswer, None]:
        """Publish market events, and iterate over what the server says to each batch; see `Client.publish`."""
        return self._published(batches, self._settings.stream_seconds(timeout))

    async def coverage(
        self, symbol: str = "", venue: str = "", *, timeout: float | None = None
    ) -> list[SymbolCoverage]:
        """Return what data the server holds; see `Client.coverage`."""
        request = _requests.coverage_request(symbol, venue)
        return _answers.coverage_answer(await self._call(lambda at: at.market_data.GetCoverage, request, timeout))

    async def symbols(self, *, timeout: float | None = None) -> list[SymbolInfo]:
        """Return the symbols the server has data for; see `Client.symbols`."""
        request = _requests.symbols_request()
        return _answers.symbols_answer(await self._call(lambda at: at.market_data.ListSymbols, request, timeout))

    async def models(self, *, timeout: float | None = None) -> list[ModelInfo]:
        """Return the server's models, the default first; see `Client.models`."""
        request = _requests.models_request()
        return _answers.models_answer(await self._call(lambda at: at.market_data.ListModels, request, timeout))

    async def calibrations(
        self, symbol: str = "", venue: str = "", *, timeout: float | None = None
    ) -> list[CalibrationInfo]:
        """Return the stored calibrations; see `Client.calibrations`."""
        request = _requests.calibrations_request(symbol, venue)
        return _answers.calibrations_answer(
            await self._call(lambda at: at.market_data.ListCalibrations, request, timeout)
        )

    def calibrate(
        self,
        symbol: str,
        *,
        venue: str = "",
        until: Time | None = None,
        every: Duration | None = None,
        dry_run: bool = False,
        timeout: float | None = None,
    ) -> AsyncGenerator[CalibrationProgress, None]:
        """Have the server fit the position book to recorded liquidations; see `Client.calibrate`."""
        request = _requests.calibrate_request(symbol, venue=venue, until=until, every=every, dry_run=dry_run)
        seconds = self._settings.stream_seconds(timeout)
        return self._stream(lambda at: at.admin.Calibrate, request, seconds, _answers.calibrate_answer)

    async def _call[Request, Response](
        self,
        method: Callable[[_Link], grpc.aio.UnaryUnaryMultiCallable[Request, Response]],
        request: Request,
        timeout: float | None,
        wait_for_ready: bool = False,
    ) -> Response:
        link = self._linked()
        seconds = self._settings.seconds(timeout)
        return await self._answered(method(link)(request, timeout=seconds, wait_for_ready=wait_for_ready), seconds)

    async def _pages(
        self, first: liquidation_pb2.ListLiquidationsRequest, timeout: float | None
    ) -> AsyncGenerator[Liquidations, None]:
        request: liquidation_pb2.ListLiquidationsRequest | None = first
        while request is not None:
            message = await self._call(lambda at: at.liquidation.ListLiquidations, request, timeout)
            page = _answers.liquidations_answer(message)
            yield page
            request = _requests.next_page_request(request, page.next_page_token)

    async def _alerts(
        self, request: liquidation_pb2.WatchAlertsRequest, seconds: float | None
    ) -> AsyncGenerator[Alert, None]:
        events = self._stream(lambda at: at.liquidation.WatchAlerts, request, seconds, _alerts.alert_answer)
        async with aclosing(events):
            async for alert in events:
                if alert is not None:
                    yield alert

    async def _updates(self, plan: StreamPlan) -> AsyncGenerator[LevelsUpdate, None]:
        link = self._linked()
        calls = AsyncCalls(
            link.liquidation.StreamLevels,
            link.liquidation.StreamLevelsOnCredit,
            lambda messages: self._answered(anext(messages, None), None),
        )
        async with aclosing(follow_async(plan, calls)) as updates:
            async for update in updates:
                yield update

    async def _published(
        self, batches: Iterable[Events] | AsyncIterable[Events], seconds: float | None
    ) -> AsyncGenerator[PublishAnswer, None]:
        failures: list[BaseException] = []
        requests = async_requests_of(batches, failures)
        try:
            async for answer in self._stream(lambda at: at.market_data.Publish, requests, seconds, publish_answer):
                yield answer
        except LiqClientError:
            if failures:
                raise failures[0] from None
            raise

    async def _stream[Request, Response, Answer](
        self,
        method: Callable[[_Link], Callable[..., Any]],
        request: Request,
        seconds: float | None,
        answer: Callable[[Response], Answer],
    ) -> AsyncGenerator[Answer, None]:
        call = method(self._linked())(request, timeout=seconds)
        messages = aiter(call)
        try:
            while True:
                message = await self._answered(anext(messages, None), seconds, late="the stream did not end")
                if message is None:
                    return
                yield answer(message)
        finally:
            # Nothing else tells the server that nobody reads on.
            call.cancel()

    async def _answered[Response](
        self, coming: Awaitable[Response], seconds: float | None, late: str = "no answer"
    ) -> Response:
        try:
            return await coming
        except grpc.RpcError as exc:
            raise error_from(exc, target=self._settings.target, timeout=seconds, late=late) from exc
        except asyncio.CancelledError as exc:
            # grpc ends the calls of a closing channel as if their tasks were cancelled, which they are not.
            task = asyncio.current_task()
            if self._closed and task is not None and not task.cancelling():
                raise Cancelled("the client was closed") from exc
            raise

    def _linked(self) -> _Link:
        if self._closed:
            raise RuntimeError("the client is closed")
        loop = asyncio.get_running_loop()
        if self._link is None:
            self._link = _Link(loop, self._given_channel or self._open(), self._settings)
        elif self._link.loop is not loop:
            raise RuntimeError("the client belongs to another event loop; make one in each loop")
        return self._link

    def _open(self) -> grpc.aio.Channel:
        settings = self._settings
        if self._secured is not None:
            return grpc.aio.secure_channel(settings.target, self._secured, settings.options())
        return grpc.aio.insecure_channel(settings.target, settings.options())


class _Link:
    """A channel, the loop it belongs to, and the stubs on it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, channel: grpc.aio.Channel, settings: Settings) -> None:
        self.loop = loop
        self.channel = channel
        calling = settings.calling(channel)
        self.admin: AdminServiceAsyncStub = admin_pb2_grpc.AdminServiceStub(calling)
        self.liquidation: LiquidationServiceAsyncStub = liquidation_pb2_grpc.LiquidationServiceStub(calling)
        self.market_data: MarketDataServiceAsyncStub = market_data_pb2_grpc.MarketDataServiceStub(calling)
