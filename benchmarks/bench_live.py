"""Events in, levels out, against bare grpc.aio servers of the same message sizes; servers in processes of their own.

``python -m benchmarks live`` takes the environment's LIQSERVER_BENCH_SOAK_MINUTES (1): how long memory is watched.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from benchmarks import bare_server
from benchmarks.bench_levels import LEVELS, in_turns, process
from benchmarks.rows import Row, row
from liqserver.v1 import liquidation_pb2, liquidation_pb2_grpc, market_data_pb2, market_data_pb2_grpc

SOAK_MINUTES = float(os.environ.get("LIQSERVER_BENCH_SOAK_MINUTES", "1"))
PUBLISH = "/liqserver.v1.MarketDataService/Publish"
STREAM = "/liqserver.v1.LiquidationService/StreamLevels"
ECHO = "/bare.Bare/Echo"
SYMBOL = "BTCUSDT"
# Batches a second of a market that flows, and nanoseconds from one to the next.
FLOW = 50
TICK = 1_000_000_000 // FLOW
# Events that are answered by a delta, one at a time.
TICKS = 1_000
# Batches that are published as fast as they are taken, by their size.
BATCHES = {1: 2_000, 100: 400, 1_000: 100}


async def _echo(size: int) -> None:
    """Answer every message with ``size`` bytes until the pipe closes."""
    answer = bytes(size)

    async def echo(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:  # noqa: ANN401
        async for _ in requests:
            yield answer

    server = grpc.aio.server()
    handlers: dict[str, Any] = {"Echo": grpc.stream_stream_rpc_method_handler(echo)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bare.Bare", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"127.0.0.1:{port}", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await server.stop(0)


@contextmanager
def _serving(database: Path) -> Iterator[tuple[str, int]]:
    """Run a real server; yield its address and the id of its process."""
    command = ("-m", "liqserver.cli", "serve", "--db", str(database), "--port", "0", "--print-target")
    with subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().strip(), server.pid
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(30)


class Market:
    """Encoded batches of a market that goes on from where a server is, at a price that wanders about."""

    def __init__(self, target: str) -> None:
        # Without events: asks where to begin.
        empty = market_data_pb2.PublishRequest(symbol=SYMBOL, sequence=1)
        with grpc.insecure_channel(target) as channel:
            self._price = _newest(channel).provenance.current_price
            position = next(market_data_pb2_grpc.MarketDataServiceStub(channel).Publish(iter([empty])))
        self.now = max([position.accepts_from, *(mark.ts_event for mark in position.watermarks)])
        self._sequence = 1
        # Ids are those of no trade before.
        self._trade = self.now
        self._rng = np.random.default_rng(1)

    def batch(self, trades: int, marks: int, span: int) -> bytes:
        """Return the next batch: so many events over ``span`` nanoseconds."""
        self._sequence += 1
        request = market_data_pb2.PublishRequest(symbol=SYMBOL, sequence=self._sequence)
        price = self._price * (1 + 2e-4 * self._rng.standard_normal(trades + marks))
        steps = self.now + np.arange(1, trades + 1) * span // max(trades, 1)
        request.trades.id.extend(range(self._trade, self._trade + trades))
        request.trades.ts_event.extend(steps.tolist())
        request.trades.price.extend(np.round(price[:trades], 1).tolist())
        request.trades.qty.extend(np.round(self._rng.lognormal(-4, 1.5, trades) + 0.001, 3).tolist())
        request.trades.taker_buy.extend((self._rng.random(trades) < 0.5).tolist())
        request.mark_prices.ts_event.extend((self.now + np.arange(1, marks + 1) * span // max(marks, 1)).tolist())
        request.mark_prices.price.extend(np.round(price[trades:], 1).tolist())
        self._trade += trades
        self.now += span
        return request.SerializeToString()


def _newest(channel: grpc.Channel) -> liquidation_pb2.GetLevelsResponse:
    request = liquidation_pb2.GetLevelsRequest(query=liquidation_pb2.LevelsQuery(symbol=SYMBOL))
    return liquidation_pb2_grpc.LiquidationServiceStub(channel).GetLevels(request)


async def _flow(target: str) -> None:
    """Publish one trade and one mark price, again and again, until the pipe closes."""
    market = Market(target)
    loop = asyncio.get_running_loop()
    closed = loop.run_in_executor(None, sys.stdin.read)
    async with grpc.aio.insecure_channel(target) as channel:
        call: Any = channel.stream_stream(PUBLISH)()
        drained = asyncio.create_task(_drain(call))
        await call.write(market.batch(1, 1, TICK))
        print(target, flush=True)
        due = time.monotonic()
        while not closed.done() and not drained.done():
            due += 1 / FLOW
            await asyncio.sleep(due - time.monotonic())
            await call.write(market.batch(1, 1, TICK))
        await call.done_writing()
        await drained


async def _drain(call: Any) -> int:  # noqa: ANN401
    """Read answers to the end; return their bytes."""
    return sum([len(answer) async for answer in call])


def _flowing(target: str) -> tuple[str, ...]:
    return ("-m", "benchmarks.bench_live", "flow", target)


def run() -> list[Row]:
    """Measure ticks, publishing, the live head, and memory."""
    with tempfile.TemporaryDirectory() as folder:
        market, database = Path(folder, "market"), Path(folder, "bench.duckdb")
        for command in (["simulate", str(market), "--days", "2"], ["ingest", str(market), "--db", str(database)]):
            subprocess.run([sys.executable, "-m", "liqserver.cli", *command], check=True, capture_output=True)
        with _serving(database) as (target, pid):
            return [*asyncio.run(_ticks(target)), *asyncio.run(_published(target)), *_head(target), *_soak(target, pid)]


async def _ticks(target: str) -> list[Row]:
    market = Market(target)
    follow = liquidation_pb2.StreamLevelsRequest(query=liquidation_pb2.LevelsQuery(symbol=SYMBOL))
    async with grpc.aio.insecure_channel(target) as channel:
        publish: Any = channel.stream_stream(PUBLISH)()
        reading: Any = channel.unary_stream(STREAM)
        stream = reading(follow.SerializeToString())
        await stream.read()
        acknowledged = asyncio.create_task(_drain(publish))
        took, sizes, sent = [], [], []
        for _ in range(TICKS + TICKS // 10):
            batch = market.batch(1, 1, TICK)
            start = time.perf_counter()
            await publish.write(batch)
            while True:
                message = await stream.read()
                end = time.perf_counter()
                update = liquidation_pb2.StreamLevelsResponse.FromString(message)
                if update.WhichOneof("update") == "delta" and update.delta.live.as_of >= market.now:
                    break
            took.append(end - start)
            sizes.append(len(message))
            sent.append(len(batch))
            await asyncio.sleep(0.002)
        await publish.done_writing()
        await acknowledged
        stream.cancel()
    size = round(float(np.mean(sizes)))
    floor = []
    with process("-m", "benchmarks.bench_live", "echo", str(size)) as bare:
        async with grpc.aio.insecure_channel(bare) as channel:
            call: Any = channel.stream_stream(ECHO)()
            for length in sent:
                start = time.perf_counter()
                await call.write(bytes(length))
                await call.read()
                floor.append(time.perf_counter() - start)
                await asyncio.sleep(0.002)
            call.cancel()
    rows = []
    for percentile in (50, 99):
        value, least = (1e3 * float(np.percentile(of[TICKS // 10 :], percentile)) for of in (took, floor))
        name = f"a trade and a mark price in, {size} bytes of delta out, p{percentile}"
        rows.append(row(name, "ms", value, least, goal=2.0, n=TICKS))
    return rows


async def _published(target: str) -> list[Row]:
    rows = []
    for size, count in BATCHES.items():
        market = Market(target)
        batches = [market.batch(size - size // 10, size // 10, TICK) for _ in range(count)]
        took, answered = await _through(target, PUBLISH, batches)
        with process("-m", "benchmarks.bench_live", "echo", str(answered // count)) as bare:
            least, _ = await _through(bare, ECHO, batches)
        name = f"published and stored, batches of {size}"
        events = size * count
        rows.append(
            row(name, "events/s", events / took, events / least, goal=None, n=events, higher_is_better=True),
        )
    return rows


async def _through(target: str, method: str, batches: Sequence[bytes]) -> tuple[float, int]:
    """Send batches as fast as they are taken; return seconds to the end of the stream, and bytes of the answers."""
    async with grpc.aio.insecure_channel(target) as channel:
        call: Any = channel.stream_stream(method)()
        start = time.perf_counter()
        drained = asyncio.create_task(_drain(call))
        for batch in batches:
            await call.write(batch)
        await call.done_writing()
        size = await drained
        return time.perf_counter() - start, size


def _head(target: str) -> list[Row]:
    request = liquidation_pb2.GetLevelsRequest(query=liquidation_pb2.LevelsQuery(symbol=SYMBOL)).SerializeToString()
    with process(*_flowing(target)), grpc.insecure_channel(target) as channel:
        began = _newest(channel).provenance.as_of
        levels: Any = channel.unary_unary(LEVELS)
        size = len(levels(request))
        with process("-m", "benchmarks.bare_server", str(size)) as bare, grpc.insecure_channel(bare) as floor:
            took = in_turns({"ours": levels, "floor": floor.unary_unary(bare_server.METHOD)}, request)
        ended = _newest(channel).provenance.as_of
    if not ended > began:
        raise RuntimeError("the market stood still while it was asked for")
    rows = []
    for percentile, goal in ((50, 1.25), (99, 1.5)):
        value, least = (1e3 * float(np.percentile(took[name], percentile)) for name in ("ours", "floor"))
        name = f"GetLevels at {FLOW} batches/s, {size} bytes, p{percentile}"
        rows.append(row(name, "ms", value, least, goal=goal, n=len(took["ours"])))
    return rows


def _soak(target: str, pid: int) -> list[Row]:
    """Watch the server's memory while events flow, one reader follows, and the newest is asked for once a second."""
    follow = liquidation_pb2.StreamLevelsRequest(query=liquidation_pb2.LevelsQuery(symbol=SYMBOL))
    seconds = round(60 * SOAK_MINUTES)
    with process(*_flowing(target)), grpc.insecure_channel(target) as channel:
        updates = 0
        before = end = 0.0
        asked = time.monotonic()
        for _ in liquidation_pb2_grpc.LiquidationServiceStub(channel).StreamLevels(follow):
            updates += 1
            now = time.monotonic()
            if not before and now > asked + 1:
                before, end = _resident(pid), now + seconds
            if now > asked + 1:
                asked = now
                _newest(channel)
            if before and now > end:
                break
        after = _resident(pid)
    name = f"server's memory after {seconds} s at {FLOW} batches/s"
    return [row(name, "MB", after, before, goal=None, n=updates)]


def _resident(pid: int) -> float:
    """Return the bytes of a process in memory, in millions."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


if __name__ == "__main__":
    what, about = sys.argv[1:]
    asyncio.run(_echo(int(about)) if what == "echo" else _flow(about))
