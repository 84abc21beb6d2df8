"""Puts the server together, starts it, stops it."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from liqserver.kernel import warm_up
from liqserver.live.calibrations import Calibrations
from liqserver.live.engine import LevelsEngine
from liqserver.live.feed import Feed
from liqserver.live.scorecard import Scorecards
from liqserver.live.views import Views
from liqserver.rpc.admin import AdminServicer
from liqserver.rpc.alerts import AlertStreams
from liqserver.rpc.auth import AuthError, Tls, Tokens
from liqserver.rpc.interceptor import AnswerInterceptor
from liqserver.rpc.liquidation import LiquidationServicer
from liqserver.rpc.market_data import MarketDataServicer
from liqserver.rpc.publish import PublishStreams
from liqserver.rpc.recorded import RecordedLiquidations
from liqserver.rpc.streams import LevelStreams
from liqserver.store.calibrations import stored_calibrations
from liqserver.store.database import Database, StoreError
from liqserver.store.markets import StoreMarkets
from liqserver.v1 import (
    admin_pb2,
    admin_pb2_grpc,
    liquidation_pb2,
    liquidation_pb2_grpc,
    market_data_pb2,
    market_data_pb2_grpc,
)

MAX_MESSAGE_BYTES = 64 << 20
_SERVICES = (
    liquidation_pb2.DESCRIPTOR.services_by_name["LiquidationService"].full_name,
    market_data_pb2.DESCRIPTOR.services_by_name["MarketDataService"].full_name,
    admin_pb2.DESCRIPTOR.services_by_name["AdminService"].full_name,
)
_OPTIONS = (
    ("grpc.max_receive_message_length", 4 << 20),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    # A second server on the same port is a mistake, not a way to share load.
    ("grpc.so_reuseport", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
)


log = logging.getLogger(__name__)


class BindError(Exception):
    """The address cannot be listened on; the message says why."""


class Server:
    """One gRPC server on one database.

    Parameters
    ----------
    database : Database
        Open; stays open when the server stops.
    host, port : str, int
        Where to listen; port 0 for a free one.
    allow_remote : bool
        Whether an address other than loopback may be listened on without TLS, or without tokens and certificates of
        clients: the network is trusted.
    tls : Tls, optional
        Encrypts connections; not given: they are not encrypted.
    tokens : Tokens, optional
        What callers need one of; not given: whoever reaches the address may do everything.
    clock : callable
        UNIX nanoseconds of now.

    Raises
    ------
    BindError
        If ``host`` is not loopback and ``allow_remote`` is not set where it has to be; or if tokens would go
        unencrypted to an address that is not loopback, whatever is set.
    AuthError
        If a file of ``tls`` cannot be used.
    """

    def __init__(
        self,
        database: Database,
        host: str,
        port: int,
        *,
        allow_remote: bool = False,
        tls: Tls | None = None,
        tokens: Tokens | None = None,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        if not _is_loopback(host):
            _check_remote(host, allow_remote, tls, tokens)
        self._credentials = None if tls is None else tls.credentials()
        self.tokens = tokens
        self._database = database
        self._clock = clock
        self._address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._host = host
        self.port = port

    @property
    def target(self) -> str:
        """Address that a client on this machine uses."""
        return f"[{self._host}]:{self.port}" if ":" in self._host else f"{self._host}:{self.port}"

    async def start(self) -> None:
        """Listen, warm up, then report SERVING; raises BindError if the port cannot be had."""
        self._executor = ThreadPoolExecutor(max_workers=2, thread_name_prefix="liqserver")
        server = grpc.aio.server(interceptors=[AnswerInterceptor(self.tokens)], options=_OPTIONS)
        engine = LevelsEngine(StoreMarkets(self._database), Calibrations(partial(stored_calibrations, self._database)))
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="liqserver writer")
        self._ingester = ThreadPoolExecutor(max_workers=1, thread_name_prefix="liqserver ingest")
        feed = Feed(self._database, engine, self._clock)
        self._publishers = PublishStreams(feed, self._executor, self._writer)
        self.streams = LevelStreams(Views(engine, self._executor), self._clock)
        self._alerts = AlertStreams(engine, self._executor, self._clock)
        liquidation_pb2_grpc.add_LiquidationServiceServicer_to_server(
            LiquidationServicer(
                engine,
                RecordedLiquidations(self._database, self._clock),
                self.streams,
                self._alerts,
                self._executor,
                self._clock,
                Scorecards(engine, self._database),
            ),
            server,
        )
        market_data_pb2_grpc.add_MarketDataServiceServicer_to_server(
            MarketDataServicer(self._database, self._publishers, self._executor, self._clock), server
        )
        admin_pb2_grpc.add_AdminServiceServicer_to_server(
            AdminServicer(self._database, feed, engine, self._ingester, self._clock), server
        )
        self._health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        await self._set_health(health_pb2.HealthCheckResponse.NOT_SERVING)
        reflection.enable_server_reflection((*_SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
        try:
            if self._credentials is None:
                self.port = server.add_insecure_port(self._address)
            else:
                self.port = server.add_secure_port(self._address, self._credentials)
        except RuntimeError as error:
            self._shut_down()
            raise BindError(f"cannot listen on {self._address}: is another server running there?") from error
        await server.start()
        self._server = server
        self._publishers.start()
        await asyncio.get_running_loop().run_in_executor(self._executor, warm_up)
        await self._set_health(health_pb2.HealthCheckResponse.SERVING)

    async def stop(self, grace: float = 5.0) -> None:
        """Report NOT_SERVING, end streams, let calls under way finish for at most ``grace`` seconds, then end."""
        await self._set_health(health_pb2.HealthCheckResponse.NOT_SERVING)
        self.streams.stop()
        self._alerts.stop()
        self._publishers.end_streams()
        await self._server.stop(grace)
        await self._publishers.stop()
        self._shut_down()

    def _shut_down(self) -> None:
        for executor in (self._executor, self._ingester, self._writer):
            executor.shutdown()

    async def _set_health(self, status: int) -> None:
        for service in ("", *_SERVICES):
            await self._health.set(service, status)


async def serve_until_signalled(server: Server, started: Callable[[Server], None]) -> None:
    """Run ``server`` until SIGINT or SIGTERM, read its tokens again at SIGHUP; call ``started`` when it is ready."""
    done = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signum, done.set)
    if server.tokens is not None:
        loop.add_signal_handler(signal.SIGHUP, _reload, server.tokens)
    await server.start()
    started(server)
    await done.wait()
    await server.stop()


def _reload(tokens: Tokens) -> None:
    try:
        tokens.reload()
    except AuthError as error:
        log.error("tokens stay as they were: %s", error)
    else:
        log.info("tokens read again: %d", len(tokens))


class EmbeddedServer:
    """A server in a thread of this process, on a free loopback port, for as long as the ``with`` block runs.

    Parameters
    ----------
    path : Path
        Database.
    writable : bool
        Whether it is opened for writing; by default for reading only.
    """

    def __init__(self, path: Path, *, writable: bool = False) -> None:
        self._path = path
        self._writable = writable
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._target = ""

    def __enter__(self) -> Self:
        """Start it and wait until it is ready; raises what its start raises."""
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="embedded liqserver")
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            self._thread.join()
            raise self._failure
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it and wait until it has ended."""
        self._loop.call_soon_threadsafe(self._done.set)
        self._thread.join()

    @property
    def target(self) -> str:
        """Address of the server."""
        return self._target

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._done = asyncio.Event()
        try:
            if self._writable and not self._path.exists():
                raise StoreError(f"there is no database at {self._path}")
            with Database(self._path, read_only=not self._writable) as database:
                server = Server(database, "127.0.0.1", 0)
                await server.start()
                self._target = server.target
                self._ready.set()
                await self._done.wait()
                await server.stop(grace=1.0)
        except BaseException as error:  # handed to the thread that waits for the start
            self._failure = error
            self._ready.set()


def _check_remote(host: str, allow_remote: bool, tls: Tls | None, tokens: Tokens | None) -> None:
    reached = f"{host} can be reached from other machines and"
    if tls is None and tokens is not None:
        raise BindError(f"{reached} tokens would cross the network unencrypted: give --tls-cert and --tls-key")
    if tls is None:
        lack, remedy = "the connection is not encrypted", "--tls-cert, --tls-key and --tokens"
    elif tokens is None and tls.client_ca is None:
        lack, remedy = "whoever reaches it may do everything", "--tokens or --tls-client-ca"
    else:
        return
    if not allow_remote:
        raise BindError(
            f"{reached} {lack}: listen on 127.0.0.1, give {remedy}, or say --allow-remote if the network is trusted"
        )
    everybody = "" if tls is not None else ", and whoever reaches it may do everything"
    log.warning("%s %s%s", reached, lack, everybody)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
