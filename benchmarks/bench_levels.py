"""GetLevels over loopback against an empty call that returns as many bytes; servers in processes of their own."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import numpy as np

import liqclient
from benchmarks import bare_server
from benchmarks.rows import Row, row
from liqserver.v1 import liquidation_pb2

CALLS = 3_000
LEVELS = "/liqserver.v1.LiquidationService/GetLevels"


@contextmanager
def process(*command: str) -> Iterator[str]:
    """Run a server that prints its address first; yield the address, end the server."""
    with subprocess.Popen(
        [sys.executable, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        assert server.stdin is not None
        try:
            line = server.stdout.readline()
            if not line:
                raise RuntimeError(f"{command} did not start")
            yield line.strip()
        finally:
            server.stdin.close()
            server.send_signal(signal.SIGTERM)
            server.wait(10)


def in_turns(calls: dict[str, grpc.UnaryUnaryMultiCallable[bytes, bytes]], request: bytes) -> dict[str, list[float]]:
    """Call each in turns; return seconds per call, without the first tenth."""
    took: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(CALLS + CALLS // 10):
        for name, call in calls.items():
            t0 = time.perf_counter()
            call(request)
            took[name].append(time.perf_counter() - t0)
    return {name: seconds[CALLS // 10 :] for name, seconds in took.items()}


def run() -> list[Row]:
    """Measure the newest levels of a simulated market, and past ones never asked for before."""
    with tempfile.TemporaryDirectory() as folder:
        market, database = Path(folder, "market"), Path(folder, "bench.duckdb")
        liqserver = ("-m", "liqserver.cli")
        for command in (["simulate", str(market), "--days", "3"], ["ingest", str(market), "--db", str(database)]):
            subprocess.run([sys.executable, *liqserver, *command], check=True, capture_output=True)
        serve = (*liqserver, "serve", "--db", str(database), "--port", "0", "--print-target")
        with process(*serve) as target:
            return _newest(target) + _past(target)


def _newest(target: str) -> list[Row]:
    query = liquidation_pb2.LevelsQuery(symbol="BTCUSDT")
    request = liquidation_pb2.GetLevelsRequest(query=query).SerializeToString()
    with grpc.insecure_channel(target) as channel:
        size = len(channel.unary_unary(LEVELS)(request))
        with process("-m", "benchmarks.bare_server", str(size)) as bare, grpc.insecure_channel(bare) as floor:
            calls = {"ours": channel.unary_unary(LEVELS), "floor": floor.unary_unary(bare_server.METHOD)}
            took = in_turns(calls, request)
    rows = []
    for percentile, goal in ((50, 1.25), (99, 1.5)):
        value, least = (1e3 * float(np.percentile(took[name], percentile)) for name in ("ours", "floor"))
        name = f"GetLevels, newest data, {size} bytes, p{percentile}"
        rows.append(row(name, "ms", value, least, goal=goal, n=CALLS))
    return rows


def _past(target: str) -> list[Row]:
    with liqclient.Client(target) as client, grpc.insecure_channel(target) as channel:
        newest = client.levels("BTCUSDT").provenance
        start = newest.history_start
        assert start is not None
        moments = np.random.default_rng(1).integers(start, newest.as_of, 300)
        size = 0
        took = []
        call = channel.unary_unary(LEVELS)
        for moment in moments:
            query = liquidation_pb2.LevelsQuery(symbol="BTCUSDT")
            request = liquidation_pb2.GetLevelsRequest(query=query, as_of=int(moment)).SerializeToString()
            t0 = time.perf_counter()
            size = max(size, len(call(request)))
            took.append(time.perf_counter() - t0)
        with process("-m", "benchmarks.bare_server", str(size)) as bare, grpc.insecure_channel(bare) as floor:
            least = in_turns({"floor": floor.unary_unary(bare_server.METHOD)}, request)["floor"]
    name = "GetLevels, as of moments never asked for, p50"
    return [row(name, "ms", 1e3 * float(np.median(took)), 1e3 * float(np.median(least)), goal=None, n=len(took))]
