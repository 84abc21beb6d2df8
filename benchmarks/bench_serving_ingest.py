"""GetLevels while the server ingests, against GetLevels of the same server at rest, in one run.

The server is a process of its own, the caller another, one call after the other. At rest is before the ingest and after
it. Ingested are the trades of whole days (zipped, a symbol nobody asks for), then the days that follow those that the
caller asks about, after which their market is read anew.
"""

from __future__ import annotations

import itertools
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import grpc
import numpy as np

import liqclient
from benchmarks.bench_ingest import write_trades
from benchmarks.bench_levels import LEVELS, process
from benchmarks.rows import Row, row, show
from liqserver.v1 import liquidation_pb2

DAYS, NEW_DAYS = 3, 2
TRADES_PER_DAY = 300_000
LARGE_FILES, LARGE_ROWS = 5, 2_500_000
REST_SECONDS = 6.0
GOAL = 3.0
type Call = grpc.UnaryUnaryMultiCallable[bytes, bytes]
_LIQSERVER = (sys.executable, "-m", "liqserver.cli")
_QUERY = liquidation_pb2.LevelsQuery(symbol="BTCUSDT")


def run(large_files: int = LARGE_FILES, large_rows: int = LARGE_ROWS) -> list[Row]:
    """Measure both kinds of calls, in turns."""
    with tempfile.TemporaryDirectory(prefix="bench-serving-") as name:
        folder = Path(name)
        days = ("--days", str(DAYS + NEW_DAYS), "--trades-per-day", str(TRADES_PER_DAY))
        _run("simulate", str(folder / "market"), *days)
        files = sorted((folder / "market" / "data").rglob("*.zip"))
        new_days = sorted({file.stem[-10:] for file in files if "daily" in file.parts})[DAYS:]
        later = [file for file in files if file.stem[-10:] in new_days]
        _run("ingest", *(str(file) for file in files if file not in later), "--db", str(folder / "bench.duckdb"))
        large = [_large(folder, n, large_rows) for n in range(large_files)]
        serve = (*_LIQSERVER[1:], "serve", "--db", str(folder / "bench.duckdb"), "--port", "0", "--print-target")
        with process(*serve) as target:
            return _measure(target, large, later)


def _measure(target: str, large: list[Path], later: list[Path]) -> list[Row]:
    with grpc.insecure_channel(target) as channel, liqclient.Client(target) as client:
        call: Call = channel.unary_unary(LEVELS)
        calls = _calls(client)
        _in_turns(call, calls, _for_seconds(1.0))
        rest = _in_turns(call, calls, _for_seconds(REST_SECONDS))
        over = threading.Event()
        ingested: list[str] = []

        def ingest() -> None:
            try:
                # Two ingests: the large files would come last otherwise.
                for files in (large, later):
                    ingested.extend(at.file.status for at in client.ingest(files) if at.file)
            finally:
                over.set()

        writer = threading.Thread(target=ingest)
        began = time.perf_counter()
        writer.start()
        meanwhile = _in_turns(call, calls, over.is_set)
        seconds = time.perf_counter() - began
        writer.join()
        if ingested != ["ingested"] * (len(large) + len(later)):
            raise AssertionError(ingested)
        for name, took in _in_turns(call, calls, _for_seconds(REST_SECONDS)).items():
            rest[name] += took
    rows = []
    for name in calls:
        for percentile, goal in ((50, None), (99, GOAL)):
            value, least = (1e3 * float(np.percentile(took[name], percentile)) for took in (meanwhile, rest))
            what = f"GetLevels, {name}, during {seconds:.0f} s of ingest, p{percentile}"
            rows.append(row(what, "ms", value, least, goal=goal, n=len(meanwhile[name])))
    return rows


def _calls(client: liqclient.Client) -> dict[str, Callable[[], bytes]]:
    """Return what makes the next request of each kind."""
    where = client.levels("BTCUSDT").provenance
    assert where.history_start is not None
    moments = np.random.default_rng(1).integers(where.history_start, where.as_of, 1 << 20)
    past = itertools.cycle(int(moment) for moment in moments)
    newest = liquidation_pb2.GetLevelsRequest(query=_QUERY).SerializeToString()
    return {
        "newest data": lambda: newest,
        "as of a moment": lambda: liquidation_pb2.GetLevelsRequest(query=_QUERY, as_of=next(past)).SerializeToString(),
    }


def _in_turns(call: Call, calls: dict[str, Callable[[], bytes]], over: Callable[[], bool]) -> dict[str, list[float]]:
    took: dict[str, list[float]] = {name: [] for name in calls}
    while not over():
        for name, request in calls.items():
            message = request()
            began = time.perf_counter()
            call(message)
            took[name].append(time.perf_counter() - began)
    return took


def _for_seconds(seconds: float) -> Callable[[], bool]:
    until = time.perf_counter() + seconds
    return lambda: time.perf_counter() > until


def _large(folder: Path, n: int, rows: int) -> Path:
    day = np.datetime64("2025-12-01", "D") + np.timedelta64(n, "D")
    csv = folder / f"ETHUSDT-aggTrades-{day}.csv"
    write_trades(csv, rows, day=day, first_id=1 + n * rows, seed=n)
    with zipfile.ZipFile(csv.with_suffix(".zip"), "w", zipfile.ZIP_DEFLATED) as packed:
        packed.write(csv, csv.name)
    csv.unlink()
    return csv.with_suffix(".zip")


def _run(*arguments: str) -> None:
    subprocess.run([*_LIQSERVER, *arguments], check=True, capture_output=True)


if __name__ == "__main__":
    show(run())
