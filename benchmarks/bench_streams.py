"""StreamLevels against a bare grpc.aio server that sends as many bytes; servers in processes of their own.

``python -m benchmarks streams`` takes the sizes of the environment: LIQSERVER_BENCH_READERS (1000),
LIQSERVER_BENCH_RATE (10 updates a second), LIQSERVER_BENCH_SECONDS (5, three times each).
"""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from benchmarks.bench_levels import process
from benchmarks.rows import Row, row
from liqserver.live.answers import LevelsAnswer, LevelsQuery
from liqserver.live.engine import LevelsEngine
from liqserver.live.views import Views
from liqserver.rpc.interceptor import AnswerInterceptor
from liqserver.rpc.liquidation import LiquidationServicer
from liqserver.rpc.streams import LevelStreams
from liqserver.store.database import Database
from liqserver.store.markets import StoreMarkets
from liqserver.v1 import liquidation_pb2, liquidation_pb2_grpc

READERS = int(os.environ.get("LIQSERVER_BENCH_READERS", "1000"))
RATE = float(os.environ.get("LIQSERVER_BENCH_RATE", "10"))
SECONDS = float(os.environ.get("LIQSERVER_BENCH_SECONDS", "5"))
ROUNDS = 3
PLAIN = "/liqserver.v1.LiquidationService/StreamLevels"
ON_CREDIT = "/liqserver.v1.LiquidationService/StreamLevelsOnCredit"
BARE = "/bare.Bare/Stream"
USED = "/bare.Bare/Used"
# Readers of one connection, as in a process that follows several symbols.
PER_CONNECTION = 10
CHANGED_BINS = 20


class Ticking:
    """Real answers of the newest levels, of which some bins change with every tick."""

    def __init__(self, engine: LevelsEngine) -> None:
        self._engine = engine
        self._changed: list[Callable[[str, str], None]] = []
        self._now = time.time_ns()
        self._rng = np.random.default_rng(1)
        self._factor = np.ones(100_000)

    def levels(self, query: LevelsQuery, as_of: int | None = None) -> LevelsAnswer:
        """Answer at the moment of the tick."""
        answer = self._engine.levels(query, as_of)
        bins = np.rint(answer.price / answer.bin_size).astype(np.int64)
        return replace(
            answer,
            amount=answer.amount * self._factor[bins],
            provenance=replace(answer.provenance, as_of=self._now),
        )

    def ready(self, query: LevelsQuery) -> bool:
        """Answer as the engine does."""
        return self._engine.ready(query)

    def watch(self, changed: Callable[[str, str], None]) -> Callable[[], None]:
        """Tell of ticks."""
        self._changed.append(changed)
        return lambda: self._changed.remove(changed)

    def tick(self) -> None:
        """Change some bins."""
        self._now = time.time_ns()
        first = int(self._rng.integers(900, 1300))
        self._factor[first : first + CHANGED_BINS] *= 1.001
        for changed in self._changed:
            changed("BINANCE", "BTCUSDT")


async def _every(seconds: float, tick: Callable[[], None]) -> None:
    due = time.monotonic()
    while True:
        due += seconds
        await asyncio.sleep(due - time.monotonic())
        tick()


async def _serve(kind: str, rate: float, what: str) -> None:
    """Run one of the servers until the pipe closes; ``what`` is a database, or the bytes of a message."""
    readers: set[asyncio.Future[bytes]] = set()

    async def used(request: bytes, context: Any) -> bytes:  # noqa: ANN401
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return f"{time.process_time()} {pages * os.sysconf('SC_PAGE_SIZE')}".encode()

    async def stream(request: bytes, context: Any) -> AsyncIterator[bytes]:  # noqa: ANN401
        loop = asyncio.get_running_loop()
        while True:
            coming: asyncio.Future[bytes] = loop.create_future()
            readers.add(coming)
            yield await coming

    def send() -> None:
        payload = time.time_ns().to_bytes(8, "little") + bytes(int(what) - 8)
        waiting = list(readers)
        readers.clear()
        for coming in waiting:
            if not coming.done():
                coming.set_result(payload)

    handlers: dict[str, Any] = {
        "Used": grpc.unary_unary_rpc_method_handler(used),
        "Stream": grpc.unary_stream_rpc_method_handler(stream),
    }
    tick = send
    with ThreadPoolExecutor(2) as executor:
        if kind == "bare":
            server = grpc.aio.server()
        else:
            database = Database(Path(what), read_only=True)
            engine = LevelsEngine(StoreMarkets(database))
            source = Ticking(engine)
            tick = source.tick
            streams = LevelStreams(Views(source, executor), time.time_ns)
            nothing: Any = None
            server = grpc.aio.server(interceptors=[AnswerInterceptor()])
            liquidation_pb2_grpc.add_LiquidationServiceServicer_to_server(
                LiquidationServicer(engine, nothing, streams, nothing, executor, time.time_ns, nothing), server
            )
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bare.Bare", handlers),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        print(f"127.0.0.1:{port}", flush=True)
        ticking = asyncio.create_task(_every(1 / rate, tick))
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        ticking.cancel()
        await server.stop(0)


@dataclass(frozen=True)
class Measured:
    """What a run cost: seconds of the server's CPU, messages, mean bytes of one, ages in seconds."""

    cpu: float
    messages: int
    size: float
    ages: np.ndarray[Any, np.dtype[np.float64]]

    @property
    def per_message(self) -> float:
        """Microseconds of the server's CPU."""
        return 1e6 * self.cpu / self.messages


def _age_bare(message: bytes) -> float:
    return (time.time_ns() - int.from_bytes(message[:8], "little")) / 1e9


def _age(message: bytes) -> float:
    now = time.time_ns()
    return (now - liquidation_pb2.StreamLevelsResponse.FromString(message).delta.live.as_of) / 1e9


async def _follow(
    target: str, method: str, requests: list[bytes], age: Callable[[bytes], float], seconds: float
) -> Measured:
    """Follow with so many readers, one a request; ages are those of one reader in twenty-five."""
    gc.disable()
    channels = [
        grpc.aio.insecure_channel(target, [("grpc.use_local_subchannel_pool", 1)])
        for _ in range(-(-len(requests) // PER_CONNECTION))
    ]
    counting = False
    messages = size = 0
    ages: list[float] = []
    there = asyncio.Semaphore(0)

    async def read(i: int, request: bytes) -> None:
        nonlocal messages, size
        stub: Any = channels[i // PER_CONNECTION].unary_stream(method)
        call = stub(request)
        first = True
        async for message in call:
            if first:
                first = False
                there.release()
            elif counting:
                messages += 1
                size += len(message)
                if i % 25 == 0:
                    ages.append(age(message))

    readers = [asyncio.create_task(read(i, request)) for i, request in enumerate(requests)]
    for _ in readers:
        await there.acquire()
    await asyncio.sleep(1)
    used: Any = channels[0].unary_unary(USED)
    before = float((await used(b"")).split()[0])
    counting = True
    await asyncio.sleep(seconds)
    counting = False
    after = float((await used(b"")).split()[0])
    for reader in readers:
        reader.cancel()
    await asyncio.gather(*readers, return_exceptions=True)
    for channel in channels:
        await channel.close()
    gc.enable()
    return Measured(after - before, messages, size / max(messages, 1), np.array(ages))


def _request(heartbeat: int = 0, **query: Any) -> liquidation_pb2.StreamLevelsRequest:  # noqa: ANN401
    asked = liquidation_pb2.LevelsQuery(**({"symbol": "BTCUSDT"} | query))
    return liquidation_pb2.StreamLevelsRequest(query=asked, heartbeat=heartbeat)


async def _stalled(target: str, stall: float) -> tuple[float, int, int]:
    """Return the age of the update after a stall, seconds, and the server's bytes before and after the stall."""

    async def read() -> liquidation_pb2.StreamLevelsResponse:
        return liquidation_pb2.StreamLevelsOnCreditResponse.FromString(await call.read()).message

    def one() -> bytes:
        return liquidation_pb2.StreamLevelsOnCreditRequest(credit=1).SerializeToString()

    async with grpc.aio.insecure_channel(target) as channel:
        used: Any = channel.unary_unary(USED)
        call: Any = channel.stream_stream(ON_CREDIT)()
        await call.write(liquidation_pb2.StreamLevelsOnCreditRequest(open=_request()).SerializeToString())
        for _ in range(200):
            await call.write(one())
            while (await read()).WhichOneof("update") == "heartbeat":
                pass
        before = int((await used(b"")).split()[1])
        await asyncio.sleep(stall)
        after = int((await used(b"")).split()[1])
        await call.write(one())
        while (message := await read()).WhichOneof("update") == "heartbeat":
            pass
        age = (time.time_ns() - message.delta.live.as_of) / 1e9
        call.cancel()
        return age, before, after


def run() -> list[Row]:
    """Measure fan-out, many views, and a reader that stalls."""
    with tempfile.TemporaryDirectory() as folder:
        market, database = Path(folder, "market"), Path(folder, "bench.duckdb")
        for command in (["simulate", str(market), "--days", "2"], ["ingest", str(market), "--db", str(database)]):
            subprocess.run([sys.executable, "-m", "liqserver.cli", *command], check=True, capture_output=True)
        return [*_fan_out(database), *_many_views(database), *_stall(database)]


def _ours(database: Path, rate: float) -> tuple[str, ...]:
    return ("-m", "benchmarks.bench_streams", "ours", str(rate), str(database))


def _bare(size: float, rate: float) -> tuple[str, ...]:
    return ("-m", "benchmarks.bench_streams", "bare", str(rate), str(round(size)))


def _fan_out(database: Path) -> list[Row]:
    requests = [_request().SerializeToString()] * READERS
    ours: list[Measured] = []
    bare: list[Measured] = []
    # In turns, so that what else the machine does meets both.
    for _ in range(ROUNDS):
        with process(*_ours(database, RATE)) as target:
            ours.append(asyncio.run(_follow(target, PLAIN, requests, _age, SECONDS)))
        with process(*_bare(ours[0].size, RATE)) as target:
            bare.append(asyncio.run(_follow(target, BARE, requests, _age_bare, SECONDS)))
    what = f"{READERS} readers of one view, {RATE:g}/s"
    cpu, least = (float(np.median([run.per_message for run in runs])) for runs in (ours, bare))
    age, least_age = (1e3 * float(np.percentile(np.concatenate([r.ages for r in runs]), 99)) for runs in (ours, bare))
    delivered, expected = sum(run.messages for run in ours), ROUNDS * READERS * RATE * SECONDS
    return [
        row(f"{what}: server CPU", "us/msg", cpu, least, goal=1.2, n=delivered),
        row(f"{what}: age p99", "ms", age, least_age, goal=None, n=sum(len(run.ages) for run in ours)),
        row(f"{what}: delivered", "msg", delivered, expected, goal=None, n=1, higher_is_better=True),
    ]


def _many_views(database: Path) -> list[Row]:
    # Only updates are counted.
    silent = 60 * 10**9
    with process(*_ours(database, RATE)) as target:
        one = asyncio.run(_follow(target, PLAIN, [_request(silent).SerializeToString()] * 50, _age, SECONDS))
    ranges = [liquidation_pb2.PriceRange(down=0.15 + i / 1000, up=0.2) for i in range(50)]
    requests = [_request(silent, price_range=of).SerializeToString() for of in ranges]
    with process(*_ours(database, RATE)) as target:
        many = asyncio.run(_follow(target, PLAIN, requests, _age, SECONDS))
    name = f"50 views of one symbol against one view of 50 readers, {RATE:g}/s"
    return [
        row(f"{name}: delivered", "msg", many.messages, one.messages, goal=None, n=1, higher_is_better=True),
        row(f"{name}: server CPU", "us/msg", many.per_message, one.per_message, goal=None, n=many.messages),
        row(
            f"{name}: age p99",
            "ms",
            1e3 * float(np.percentile(many.ages, 99)),
            1e3 * float(np.percentile(one.ages, 99)),
            goal=None,
            n=len(many.ages),
        ),
    ]


def _stall(database: Path) -> list[Row]:
    with process(*_ours(database, 200)) as target:
        age, before, after = asyncio.run(_stalled(target, 5.0))
    name = "reader that stalled 5 s at 200/s, on credit"
    return [
        row(f"{name}: age of the next update", "ms", 1e3 * age, 100.0, goal=1.0, n=1),
        row(f"{name}: server's memory after", "MB", after / 1e6, before / 1e6, goal=1.05, n=1),
    ]


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1], float(sys.argv[2]), sys.argv[3]))
