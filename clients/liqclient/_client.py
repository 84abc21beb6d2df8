"""The client for code without an event loop."""

from __future__ import annotations

from types import TracebackType
from typing import Self

import grpc

from liqclient import _answers, _requests
from liqclient._answers import Levels, ModelInfo, SymbolCoverage, SymbolInfo
from liqclient._channel import (
    DEFAULT_KEEPALIVE,
    DEFAULT_MAX_MESSAGE_BYTES,
    DEFAULT_TARGET,
    DEFAULT_TIMEOUT,
    Keepalive,
    Settings,
)
from liqclient._errors import DeadlineExceeded, error_from, unreachable
from liqclient._types import Parameters, PriceRange, Side, Time, Unit
from liqserver.v1 import liquidation_pb2_grpc, market_data_pb2_grpc


class Client:
    """Asks a liqserver at which prices how much leveraged interest will be liquidated.

    Connects at the first call. May be shared by threads. Close it, or use it as a context manager.

    Parameters
    ----------
    target
        Address of the server.
    timeout
        Seconds that a call may take when it names no timeout of its own; None for no limit.
    max_message_bytes
        Largest answer that is accepted; a larger one raises `ResourceExhausted`.
    keepalive
        How a dead connection is noticed; None to leave that to the operating system.
    credentials
        TLS, with or without a token for each call; see `grpc.ssl_channel_credentials` and
        `grpc.composite_channel_credentials`. Not given: an unencrypted connection.
    channel
        An existing channel to call through. It stays the caller's to close; of the arguments above, only
        ``timeout`` applies to it, and ``target`` names it in messages.

    Raises
    ------
    ValueError
        If an argument is out of its range, or both ``channel`` and ``credentials`` are given.
    """

    def __init__(
        self,
        target: str = DEFAULT_TARGET,
        *,
        timeout: float | None = DEFAULT_TIMEOUT,
        max_message_bytes: int = DEFAULT_MAX_MESSAGE_BYTES,
        keepalive: Keepalive | None = DEFAULT_KEEPALIVE,
        credentials: grpc.ChannelCredentials | None = None,
        channel: grpc.Channel | None = None,
    ) -> None:
        self._settings = Settings(
            target=target,
            timeout=timeout,
            max_message_bytes=max_message_bytes,
            keepalive=keepalive,
            credentials=credentials,
        )
        if channel is not None and credentials is not None:
            raise ValueError("credentials belong to the channel that is given")
        self._owns_channel = channel is None
        if channel is not None:
            self._channel = channel
        elif credentials is not None:
            self._channel = grpc.secure_channel(target, credentials, self._settings.options())
        else:
            self._channel = grpc.insecure_channel(target, self._settings.options())
        self._liquidation = liquidation_pb2_grpc.LiquidationServiceStub(self._channel)
        self._market_data = market_data_pb2_grpc.MarketDataServiceStub(self._channel)
        self._closed = False

    def __enter__(self) -> Self:
        self._check_open()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._settings.target}{' closed' if self._closed else ''}>"

    def close(self) -> None:
        """Close the connection; calls that are under way raise `Cancelled`. Closing twice does no harm."""
        self._closed = True
        if self._owns_channel:
            self._channel.close()

    def wait_ready(self, timeout: float | None = None) -> None:
        """Wait until the server answers, though it may have to be started first.

        Parameters
        ----------
        timeout
            Seconds to wait; None for the client's own timeout.

        Raises
        ------
        Unavailable
            If it did not answer in time, or answers that it does not serve yet.
        LiqClientError
            If it refuses, for example for want of a token.
        """
        # A call rather than grpc's future of a ready channel, whose thread outlives it and prints a traceback
        # when the channel is closed soon after.
        try:
            self._call(self._market_data.ListModels, _requests.models_request(), timeout, wait_for_ready=True)
        except DeadlineExceeded as exc:
            raise unreachable(self._settings.target, exc.message) from exc

    def levels(
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
        parameters: Parameters | None = None,
        timeout: float | None = None,
    ) -> Levels:
        """Return the liquidation levels around the current price.

        Parameters
        ----------
        symbol
            For example ``BTCUSDT``.
        venue
            For example ``BINANCE``; empty for the only venue that has the symbol.
        model
            Identifier of a model; empty for the server's default.
        as_of
            The moment to speak of: UNIX nanoseconds, an aware datetime, a numpy datetime64 (UTC) or ISO 8601
            text with ``Z`` or an offset. None for the newest data.
        bin_size
            Width of a price bin in quote units, a multiple of the symbol's base bin; None for the server's
            choice.
        price_range
            How far around the current price, as fractions of it: one number for both ways, or (down, up).
            None for the server's default.
        side
            Which side to answer.
        unit
            Amounts in quote units (``notional``) or in base units (``qty``).
        per_tier
            Also break the amounts down by leverage tier.
        min_notional
            Leave out bins that hold less than this on both sides, in quote units.
        parameters
            Parameters of the model; None for its defaults.
        timeout
            Seconds the call may take; None for the client's own timeout.

        Raises
        ------
        TypeError, ValueError
            If an argument cannot be sent, such as a datetime without time zone.
        InvalidArgument
            If the server does not allow an argument; ``violations`` name it.
        NotFound
            If the server has no such symbol, venue or model; ``known`` lists those it has.
        OutOfRange
            If ``as_of`` lies outside the data; ``start`` and ``end`` tell what there is.
        FailedPrecondition
            If an input that the model needs is missing.
        Unavailable
            If the server cannot be reached.
        DeadlineExceeded
            If there is no answer in time.
        LiqClientError
            For every other failure of the call.
        """
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
            parameters=parameters,
        )
        return _answers.levels_answer(self._call(self._liquidation.GetLevels, request, timeout))

    def coverage(self, symbol: str = "", venue: str = "", *, timeout: float | None = None) -> list[SymbolCoverage]:
        """Return what data the server holds, by venue and symbol, kind by kind.

        Parameters
        ----------
        symbol
            Only this symbol; empty for all.
        venue
            Only this venue; empty for all.
        timeout
            Seconds the call may take; None for the client's own timeout.

        Raises
        ------
        NotFound
            If the server has no such symbol or venue.
        LiqClientError
            For every other failure of the call.
        """
        request = _requests.coverage_request(symbol, venue)
        return _answers.coverage_answer(self._call(self._market_data.GetCoverage, request, timeout))

    def symbols(self, *, timeout: float | None = None) -> list[SymbolInfo]:
        """Return the symbols the server has data for, by venue and name.

        Parameters
        ----------
        timeout
            Seconds the call may take; None for the client's own timeout.

        Raises
        ------
        LiqClientError
            If the call fails.
        """
        request = _requests.symbols_request()
        return _answers.symbols_answer(self._call(self._market_data.ListSymbols, request, timeout))

    def models(self, *, timeout: float | None = None) -> list[ModelInfo]:
        """Return the server's models, the default first.

        Parameters
        ----------
        timeout
            Seconds the call may take; None for the client's own timeout.

        Raises
        ------
        LiqClientError
            If the call fails.
        """
        request = _requests.models_request()
        return _answers.models_answer(self._call(self._market_data.ListModels, request, timeout))

    def _call[Request, Response](
        self,
        method: grpc.UnaryUnaryMultiCallable[Request, Response],
        request: Request,
        timeout: float | None,
        wait_for_ready: bool = False,
    ) -> Response:
        self._check_open()
        seconds = self._settings.seconds(timeout)
        try:
            return method(request, timeout=seconds, wait_for_ready=wait_for_ready)
        except grpc.RpcError as exc:
            raise error_from(exc, target=self._settings.target, timeout=seconds) from exc

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError("the client is closed")
