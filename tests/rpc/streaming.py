"""A server of levels in this process, on a market in memory that gains minutes when told to."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from typing import Any

import grpc
import numpy as np

from liqserver.kernel import History
from liqserver.live.engine import LevelsEngine
from liqserver.live.views import Views
from liqserver.models.market import Market
from liqserver.rpc.interceptor import AnswerInterceptor
from liqserver.rpc.liquidation import LiquidationServicer
from liqserver.rpc.streams import LevelStreams
from liqserver.v1 import liquidation_pb2_grpc
from tests.kernel.markets import MINUTE, history
from tests.live.test_engine import BRACKETS, START, replace_sources
from tests.models.markets import GivenDetails

VENUE, SYMBOL = "BINANCE", "BTCUSDT"
FIRST = 60


class Growing:
    """A market that gains minutes; see ``MarketSource``."""

    def __init__(self) -> None:
        self.minutes = FIRST
        self._rows: list[dict[str, object]] = []
        self._rng = np.random.default_rng(11)

    def names(self) -> list[tuple[str, str]]:
        return [(VENUE, SYMBOL)]

    def market(self, venue: str, symbol: str) -> Market:
        return Market(venue, symbol, 0.1, "built in", 10.0, self._history(), BRACKETS, GivenDetails())

    def grown(self, market: Market, history: History) -> Market:
        return replace(market, history=history)

    def _history(self) -> History:
        while len(self._rows) < self.minutes:
            i = len(self._rows)
            price = 50_000 + 400 * np.sin(i / 7) + 20 * float(self._rng.normal())
            flow = [(price, *self._rng.exponential(30, 2))]
            self._rows.append({"low": price - 30, "high": price + 30, "close": price, "flow": flow})
            if i % 5 == 0:
                self._rows[-1]["oi"] = 1_000.0 + i
        return replace_sources(history(self._rows[: self.minutes], start=START))


class StreamServer:
    """See ``serving`` and ``served``.

    Attributes
    ----------
    target : str
        Its address.
    streams : LevelStreams
        What it streams with; to look at, from any thread.
    """

    def __init__(self) -> None:
        self._market = Growing()
        self.engine = LevelsEngine(self._market)
        self.target = ""
        self._executor = ThreadPoolExecutor(2)

    @property
    def as_of(self) -> int:
        """UNIX nanoseconds: the moment the newest levels speak of."""
        return START + MINUTE * self._market.minutes

    def grow(self, minutes: int = 1) -> None:
        """Let so many minutes come in, one by one."""
        for _ in range(minutes):
            self._market.minutes += 1
            self.engine.refresh(VENUE, SYMBOL)

    async def start(self, port: int = 0) -> None:
        self.streams = LevelStreams(Views(self.engine, self._executor), time.time_ns)
        nothing: Any = None
        servicer = LiquidationServicer(
            self.engine, nothing, self.streams, nothing, self._executor, time.time_ns, nothing
        )
        self._server = grpc.aio.server(interceptors=[AnswerInterceptor()], options=[("grpc.so_reuseport", 0)])
        liquidation_pb2_grpc.add_LiquidationServiceServicer_to_server(servicer, self._server)
        port = self._server.add_insecure_port(f"127.0.0.1:{port}")
        self.target = f"127.0.0.1:{port}"
        await self._server.start()

    async def stop(self) -> None:
        self.streams.stop()
        await self._server.stop(1.0)
        self._executor.shutdown()


@asynccontextmanager
async def serving() -> AsyncIterator[StreamServer]:
    """Serve in this event loop."""
    server = StreamServer()
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


@contextmanager
def served(port: int = 0) -> Iterator[StreamServer]:
    """Serve in a thread."""
    server = StreamServer()
    ready = threading.Event()
    loops: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def run() -> None:
        done = asyncio.Event()
        loops.append((asyncio.get_running_loop(), done))
        await server.start(port)
        ready.set()
        await done.wait()
        await server.stop()

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    assert ready.wait(30)
    try:
        yield server
    finally:
        [(loop, done)] = loops
        loop.call_soon_threadsafe(done.set)
        thread.join()


def until(true: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not become so"
        time.sleep(0.01)


async def until_async(true: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait until something is so, and let others run."""
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.01)


async def soon[Answer](coming: Awaitable[Answer]) -> Answer:
    """Wait no longer than a test should take."""
    return await asyncio.wait_for(coming, 10)
