"""The client for code without an event loop."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from os import PathLike
from types import TracebackType
from typing import Any, Self

import grpc

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
from liqclient._errors import DeadlineExceeded, LiqClientError, error_from, unreachable
from liqclient._publish import Events, PublishAnswer, publish_answer, requests_of
from liqclient._stream import LevelBook, LevelsUpdate, StreamPlan, SyncCalls, follow
from liqclient._types import Duration, ModelChoice, Parameters, PriceRange, Side, Time, Unit
from liqserver.v1 import admin_pb2_grpc, liquidation_pb2, liquidation_pb2_grpc, market_data_pb2_grpc


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
    tls
        Encrypt the connection: a PEM file of the authorities that the server's certificate may be signed by, or True
        for those gRPC comes with.
    token
        What the server knows the caller by, sent with each call. Without TLS only to this machine.
    credentials
        In place of ``tls`` for what that does not do, such as a certificate of the client; see
        `grpc.ssl_channel_credentials`.
    channel
        An existing channel to call through. It stays the caller's to close; of the arguments above, only
        ``timeout`` and ``token`` apply to it, and ``target`` names it in messages.

    Raises
    ------
    ValueError
        If an argument is out of its range, two of ``tls``, ``credentials`` and ``channel`` are given, or a token
        would leave this machine unencrypted.
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
        channel: grpc.Channel | None = None,
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
        self._owns_channel = channel is None
        if channel is not None:
            self._channel = channel
        elif (secured := self._settings.channel_credentials()) is not None:
            self._channel = grpc.secure_channel(target, secured, self._settings.options())
        else:
            self._channel = grpc.insecure_channel(target, self._settings.options())
        calling = self._settings.calling(self._channel)
        self._liquidation = liquidation_pb2_grpc.LiquidationServiceStub(calling)
        self._admin = admin_pb2_grpc.AdminServiceStub(calling)
        self._market_data = market_data_pb2_grpc.MarketDataServiceStub(calling)
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
        derived: bool = False,
        band: float | None = None,
        parameters: Parameters | None = None,
        calibration: str = "",
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
        derived
            Also give the nearest clusters, cumulative amounts, imbalances and volatility; see `DerivedFigures`.
        band
            Also give bands that cover this share, 0.1 to 0.99; see `Levels`. Needs a calibration. None for no bands.
        parameters
            Parameters of the model; None for those of the calibration, or its defaults.
        calibration
            Id of a calibration to take parameters from (see `calibrations`), or ``none`` for the model's defaults;
            empty for the newest that looks no further than ``as_of``, if there is one.
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
            derived=derived,
            band=band,
            parameters=parameters,
            calibration=calibration,
        )
        return _answers.levels_answer(self._call(self._liquidation.GetLevels, request, timeout))

    def heatmap(
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
        """Return the levels over time: a matrix of time by price, with the path of the price and what it swept.

        Only models with a time axis answer; `models` tells which.

        Parameters
        ----------
        symbol, venue, model, bin_size, price_range, side, unit, parameters, calibration, timeout
            As in `levels`; ``price_range`` is around the price at the end, a calibration looks no further than the
            start.
        start, end
            Moments of the first and the last column, as ``as_of`` in `levels`; None for ``lookback`` before the
            end, and for the newest data.
        lookback
            Length of time before the end, instead of ``start``: nanoseconds, a timedelta, a numpy timedelta64, or
            text such as ``5m``, ``4h``, ``30d``. None for the server's default.
        interval
            Length of time between columns; None for the server's choice.

        Raises
        ------
        TypeError, ValueError
            If an argument cannot be sent, such as a datetime without time zone.
        LiqClientError
            If the call fails, as in `levels`.
        """
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
        return _answers.heatmap_answer(self._call(self._liquidation.GetHeatmap, request, timeout))

    def compare(
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
        """Return the levels of several models on one grid at one moment, and how much they agree.

        Parameters
        ----------
        symbol, venue, as_of, bin_size, price_range, unit, timeout
            As in `levels`.
        models
            The models by identifier or, where not the defaults are meant, as pairs of identifier and parameters;
            None for every model with its defaults.

        Raises
        ------
        TypeError, ValueError
            If an argument cannot be sent, such as a datetime without time zone.
        LiqClientError
            If the call fails, as in `levels`. One model without an answer is no failure; see `ComparedModel`.
        """
        request = _requests.compare_request(
            symbol,
            models,
            venue=venue,
            as_of=as_of,
            bin_size=bin_size,
            price_range=price_range,
            unit=unit,
        )
        return _answers.compare_answer(self._call(self._liquidation.CompareModels, request, timeout))

    def liquidations(
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
        """Return one page of recorded liquidations, one by one or added up by interval.

        Parameters
        ----------
        symbol, venue, timeout
            As in `levels`.
        start, end
            Moments as ``as_of`` in `levels`: from ``start``, before ``end``. None for all that is recorded.
        side
            Which side of positions.
        interval
            Length of time to add up by: nanoseconds, a timedelta, a numpy timedelta64, or text such as ``5m``,
            ``4h``, ``30d``. None to list one by one.
        page_size
            Most rows of the answer; None for the server's default.
        page_token
            ``next_page_token`` of the page before; empty for the first page. The other arguments must be the same.

        Raises
        ------
        TypeError, ValueError
            If an argument cannot be sent, such as a datetime without time zone.
        LiqClientError
            If the call fails, as in `levels`.
        """
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
        return _answers.liquidations_answer(self._call(self._liquidation.ListLiquidations, request, timeout))

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
    ) -> Generator[Liquidations, None, None]:
        """Iterate over the pages of recorded liquidations, each asked for when it is wanted.

        Parameters
        ----------
        symbol, venue, start, end, side, interval, page_size
            As in `liquidations`.
        page_token
            Where to begin: ``next_page_token`` of an earlier page; empty for the first page.
        timeout
            Seconds that each page may take; None for the client's own timeout.

        Raises
        ------
        TypeError, ValueError
            At once, if an argument cannot be sent.
        LiqClientError
            While iterating, if a call fails.
        """
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
        self._check_open()
        return self._pages(request, timeout)

    def audit(
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
        """Return what was opened, closed and liquidated by interval, according to a model with a time axis.

        Parameters
        ----------
        symbol, venue, model, unit, parameters, calibration, timeout
            As in `levels`; a calibration looks no further than the start.
        interval
            Length of an interval: nanoseconds, a timedelta, a numpy timedelta64, or text such as ``5m``, ``4h``,
            ``30d``.
        start, end
            Start of the first interval and end of the last, as ``as_of`` in `levels`. None for the start of the
            model's history, and for the newest data.

        Raises
        ------
        TypeError, ValueError
            If an argument cannot be sent, such as a datetime without time zone.
        LiqClientError
            If the call fails, as in `levels`.
        """
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
        return _answers.audit_answer(self._call(self._liquidation.GetAudit, request, timeout))

    def scorecard(
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
        """Return how well models predict where was really liquidated: fitted before a cut, scored after it.

        It takes the server some seconds; see ``docs/accuracy.md`` for what the figures mean.

        Parameters
        ----------
        symbol, venue, timeout
            As in `levels`.
        cut
            What begins before it is fitted on, the rest is scored: a moment as ``as_of`` in `levels`, a multiple of the
            interval.
        start, end
            Start of the first interval and end of the last, as ``as_of`` in `levels`. None for a week after the data
            begins (or where real liquidations begin to be known), and for the newest data.
        models
            The models by identifier or, where not the defaults are meant, as pairs of identifier and parameters;
            None for every model with its defaults, and with the formulas of its original where there is one.
        interval
            Length of an interval, as in `audit`; 4 hours must be a multiple of it. None for an hour.
        calibration
            Id of the stored calibration of the position book, ``none`` for its defaults; empty for the newest that
            looks no further than the cut, if there is one.

        Raises
        ------
        TypeError, ValueError
            If an argument cannot be sent, such as a datetime without time zone.
        LiqClientError
            If the call fails, as in `levels`; `FailedPrecondition` if nothing is known of real liquidations. Too little
            data for a score is no failure; see `SideScore`.
        """
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
        return _answers.scorecard_answer(self._call(self._liquidation.GetScorecard, request, timeout))

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
    ) -> Generator[Levels, None, None]:
        """Iterate over the levels as of one moment after the other.

        The call begins with the first moment that is asked for and goes as fast as it is read. Breaking out of a
        loop over it cancels the call at the server; where the iterator lives on, its ``close`` does, as by
        `contextlib.closing`. Only models with a time axis answer; `models` tells which.

        Parameters
        ----------
        symbol, venue, model, bin_size, price_range, side, unit, per_tier, min_notional, derived, band, parameters
            As in `levels`.
        calibration
            As in `levels`; it looks no further than the start.
        every
            Length of time between moments: nanoseconds, a timedelta, a numpy timedelta64, or text such as ``5m``,
            ``4h``, ``30d``.
        start, end
            The first moment, and the one that none is after, as ``as_of`` in `levels`. None for the start of the
            model's history, and for the newest data.
        timeout
            Seconds the whole replay may take; None for no limit, whatever the client's own timeout.

        Raises
        ------
        TypeError, ValueError
            At once, if an argument cannot be sent.
        LiqClientError
            While iterating, if the call fails, as in `levels`.
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
        self._check_open()
        return self._stream(self._liquidation.ReplayLevels, request, seconds, _answers.replay_answer)

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
    ) -> Generator[LevelsUpdate, None, None]:
        """Iterate over the newest levels as they change.

        The call begins with the first update that is asked for, and does not end by itself. What comes is applied
        to a book at once, in a thread of its own: who is slower than the levels change gets the newest, and
        ``merged`` tells how many updates that is. Breaking out of a loop over it cancels the call at the server;
        where the iterator lives on, its ``close`` does, as by `contextlib.closing`.

        Parameters
        ----------
        symbol, venue, model, bin_size, price_range, side, unit, per_tier, min_notional, parameters, calibration
            As in `levels`. The range moves with the price, the width of the bins stays as it is at the beginning.
        max_rate
            Most updates per second, the newest each time; None for as many as there are.
        min_change
            Smallest change of a bin that is told, as a fraction of the side's amount in range, in [0, 1]; smaller
            ones add up until they are.
        heartbeat
            Length of time without an update after which a sign of life comes, 100 ms to a minute; None for one
            second. Where three of them, and 3 s, pass without a message, the connection counts as dead.
        resume
            The book of an earlier update of the same stream, to go on from where the server still can; it sends a
            snapshot where it cannot.
        on_credit
            Have the server send an update only when one is waited for, and then the newest: nothing grows old in
            between, for the price of a round trip for each.
        reconnect
            Connect again when the connection is lost, with longer and longer pauses of up to 5 s, and go on where it
            was. Each loss is an update of kind "disconnected", or counted in ``disconnects`` of what came after.
        timeout
            Seconds until the first message of a call, at the first and each further connection; None for the
            client's own timeout.

        Raises
        ------
        TypeError, ValueError
            At once, if an argument cannot be sent.
        InvalidAnswer
            While iterating, if the stream has a gap.
        Unavailable
            While iterating, if the server stops or is lost, and ``reconnect`` is not set.
        LiqClientError
            While iterating, if the call fails otherwise, as in `levels`.
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
        self._check_open()
        calls = SyncCalls(
            self._liquidation.StreamLevels,
            self._liquidation.StreamLevelsOnCredit,
            lambda error: error_from(error, target=self._settings.target, timeout=None),
        )
        return follow(plan, calls)

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
    ) -> Generator[Alert, None, None]:
        """Iterate over the events that rules ask for, as they happen.

        The call begins with the first alert that is asked for, and does not end by itself. Breaking out of a loop
        over it cancels the call at the server; where the iterator lives on, its ``close`` does, as by
        `contextlib.closing`. A reader that leaves too many alerts unread is cut off with `ResourceExhausted`: none
        is left out without a word.

        Parameters
        ----------
        symbol, venue, model, bin_size, price_range, unit, parameters, calibration
            What the rules look at, as in `levels`. The bins stay as they are at the beginning.
        rules
            One to 32 rules.
        heartbeat
            Length of time without an alert after which the server shows that it is there, at least 100 ms; None for
            its own choice. Heartbeats are not handed on.
        timeout
            Seconds the whole watch may take; None for no limit, whatever the client's own timeout.

        Raises
        ------
        TypeError, ValueError
            At once, if an argument cannot be sent.
        InvalidArgument
            While iterating, if the server does not allow a rule; ``violations`` name it.
        ResourceExhausted
            While iterating, if alerts were read too slowly.
        Unavailable
            While iterating, if the server stops or cannot be reached.
        LiqClientError
            While iterating, if the call fails otherwise, as in `levels`.
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
        self._check_open()
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
    ) -> Generator[IngestProgress, None, None]:
        """Have the server ingest archive files of its machine, and iterate over how far it is.

        It goes on answering meanwhile. Breaking out of a loop over it ends the ingest after the file under way.

        Parameters
        ----------
        paths
            Archive files, or folders with everything below them: absolute paths on the server's machine.
        venue
            Venue the files are of; empty for the server's default.
        base_bin
            Width of the flow bins of symbols that are new, quote units; None for about a basis point of price.
        replace
            Put files of a known name and other content in the place of the old.
        quote_asset
            What symbols are quoted in whose names in recordings of force orders do not say it; empty for the
            server's default.
        keep_raw
            Keep the trades of files of trades as Parquet beside the server's database as well, also of those that
            are in already.
        symbol
            Whose the totals of liquidations are (``liquidations_1h.csv``), which do not say it; without, they are not
            read.
        timeout
            Seconds the whole ingest may take; None for no limit, whatever the client's own timeout.

        Raises
        ------
        TypeError, ValueError
            At once, if an argument cannot be sent.
        LiqClientError
            While iterating, if the call fails: a path that is not there, a server that only reads.
        """
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
        self._check_open()
        return self._stream(self._admin.Ingest, request, seconds, _answers.ingest_answer)

    def files(self, symbol: str = "", venue: str = "", *, timeout: float | None = None) -> list[StoredFile]:
        """Return the archive files that the server has ingested, in the order in which they came in.

        Parameters
        ----------
        symbol
            Only files of this symbol; empty for all.
        venue
            Only files of this venue; empty for all.
        timeout
            Seconds the call may take; None for the client's own timeout.

        Raises
        ------
        NotFound
            If the server has no such symbol or venue.
        LiqClientError
            For every other failure of the call.
        """
        request = _requests.files_request(symbol, venue)
        seconds = self._settings.seconds(timeout)
        some = self._stream(self._admin.ListFiles, request, seconds, _answers.files_answer)
        return [file for files in some for file in files]

    def publish(
        self, batches: Iterable[Events], *, timeout: float | None = None
    ) -> Generator[PublishAnswer, None, None]:
        """Publish market events, and iterate over what the server says to each batch.

        One answer for each batch, and news when more is stored. After a break, publish again what is later than
        `PublishAnswer.durable`: what counted before counts once. Read on: a server whose answers are not read takes
        no more. After the last batch the server stores what has ended, tells it, and the iteration ends.

        Parameters
        ----------
        batches
            Events of any symbols; each symbol's at most some seconds out of order.
        timeout
            Seconds the whole may take; None for no limit, whatever the client's own timeout.

        Raises
        ------
        TypeError, ValueError
            While iterating, if a batch cannot be sent.
        LiqClientError
            While iterating, if the call fails: a field that is not allowed, a server that only reads.
        """
        seconds = self._settings.stream_seconds(timeout)
        self._check_open()
        return self._published(batches, seconds)

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

    def calibrations(self, symbol: str = "", venue: str = "", *, timeout: float | None = None) -> list[CalibrationInfo]:
        """Return the stored calibrations by venue, symbol and the moment they look no further than.

        Parameters
        ----------
        symbol
            Only of this symbol; empty for all.
        venue
            Only of this venue; empty for all.
        timeout
            Seconds the call may take; None for the client's own timeout.

        Raises
        ------
        NotFound
            If the server has no such symbol or venue.
        LiqClientError
            For every other failure of the call.
        """
        request = _requests.calibrations_request(symbol, venue)
        return _answers.calibrations_answer(self._call(self._market_data.ListCalibrations, request, timeout))

    def calibrate(
        self,
        symbol: str,
        *,
        venue: str = "",
        until: Time | None = None,
        every: Duration | None = None,
        dry_run: bool = False,
        timeout: float | None = None,
    ) -> Generator[CalibrationProgress, None, None]:
        """Have the server fit the position book to recorded liquidations, and iterate over how far it is.

        It goes on answering meanwhile, and answers from what was found when it is done. Breaking out of a loop over it
        ends it after the cut under way.

        Parameters
        ----------
        symbol, venue
            As in `levels`.
        until
            Use nothing later than this moment; None for the newest data.
        every
            Also calibrate at each of these lengths of time before ``until``, as far back as there is enough data; None
            for ``until`` alone.
        dry_run
            Do not store what is found.
        timeout
            Seconds the whole may take; None for no limit, whatever the client's own timeout.

        Raises
        ------
        TypeError, ValueError
            At once, if an argument cannot be sent.
        LiqClientError
            While iterating, if the call fails: no liquidations recorded, too few, a server that only reads.
        """
        request = _requests.calibrate_request(symbol, venue=venue, until=until, every=every, dry_run=dry_run)
        seconds = self._settings.stream_seconds(timeout)
        self._check_open()
        return self._stream(self._admin.Calibrate, request, seconds, _answers.calibrate_answer)

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

    def _pages(
        self, first: liquidation_pb2.ListLiquidationsRequest, timeout: float | None
    ) -> Generator[Liquidations, None, None]:
        request: liquidation_pb2.ListLiquidationsRequest | None = first
        while request is not None:
            page = _answers.liquidations_answer(self._call(self._liquidation.ListLiquidations, request, timeout))
            yield page
            request = _requests.next_page_request(request, page.next_page_token)

    def _alerts(
        self, request: liquidation_pb2.WatchAlertsRequest, seconds: float | None
    ) -> Generator[Alert, None, None]:
        with closing(self._stream(self._liquidation.WatchAlerts, request, seconds, _alerts.alert_answer)) as events:
            for alert in events:
                if alert is not None:
                    yield alert

    def _published(self, batches: Iterable[Events], seconds: float | None) -> Generator[PublishAnswer, None, None]:
        failures: list[BaseException] = []
        requests = requests_of(batches, failures)
        try:
            yield from self._stream(self._market_data.Publish, requests, seconds, publish_answer)
        except LiqClientError:
            if failures:
                raise failures[0] from None
            raise

    def _stream[Request, Response, Answer](
        self,
        method: Callable[..., Any],
        request: Request,
        seconds: float | None,
        answer: Callable[[Response], Answer],
    ) -> Generator[Answer, None, None]:
        self._check_open()
        call = method(request, timeout=seconds)
        try:
            while True:
                try:
                    message = next(call, None)
                except grpc.RpcError as exc:
                    raise error_from(
                        exc, target=self._settings.target, timeout=seconds, late="the stream did not end"
                    ) from exc
                if message is None:
                    return
                yield answer(message)
        finally:
            # Nothing else tells the server that nobody reads on.
            call.cancel()

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError("the client is closed")
