"""What grows with the data and what must not: memory, speed, room on disk and the time to answer.

By default ten million trades; ``python -m benchmarks scale --rows 100000000`` for a hundred. Files are written,
ingested and removed a few at a time: room is needed for the database and ten million trades as text, 0.7 GB. What
would grow with the number of files is DuckDB's cache of the pages it wrote: an ingest by itself gives them back after
each file, a server keeps them up to ``memory_limit`` of `Database`.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import duckdb
import numpy as np

from benchmarks.bench_ingest import write_trades
from benchmarks.rows import Row, row, show
from liqserver.live.answers import LevelsQuery
from liqserver.live.engine import LevelsEngine
from liqserver.store.database import Database
from liqserver.store.ingest import Status, ingest
from liqserver.store.markets import StoreMarkets

ROWS = 10_000_000
ROWS_PER_DAY, DAYS_AT_ONCE = 2_500_000, 4
FILES = (20, 200)
ROWS_PER_SMALL_FILE = 50_000
MEMORY_GOAL = 1.2
DAY = 86_400_000_000_000
_FIRST_DAY = np.datetime64("2025-01-01", "D")
# The kernel's own mark of the largest resident size, which is of this program alone.
_INGEST = """
import sys
from pathlib import Path
from liqserver.store.database import Database
from liqserver.store.ingest import Status, ingest

# As `liqserver ingest` opens it.
with Database(Path(sys.argv[1]), keep_pages=False) as database:
    report = ingest(database, [Path(path) for path in sys.argv[2:]])
assert len(report.of(Status.INGESTED)) == len(sys.argv) - 2
[peak] = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")]
print(peak)
"""


def run(rows: int = ROWS) -> list[Row]:
    """Measure memory over files, then all else over trades."""
    with tempfile.TemporaryDirectory(prefix="bench-scale-") as name:
        return [_memory(Path(name)), *_scale(Path(name), rows)]


def _memory(folder: Path) -> Row:
    files = [_zipped(_trades(folder, n, ROWS_PER_SMALL_FILE)) for n in range(max(FILES))]
    few, many = (_peak(folder / f"{n}.duckdb", files[:n]) for n in FILES)
    for file in files:
        file.unlink()
    name = f"peak memory of an ingest, {FILES[1]} files / {FILES[0]} files"
    return row(name, "MB", many, few, goal=MEMORY_GOAL, n=1)


def _peak(db: Path, files: list[Path]) -> float:
    done = subprocess.run(
        [sys.executable, "-c", _INGEST, str(db), *map(str, files)], check=True, capture_output=True, text=True
    )
    return int(done.stdout) * 1024 / 1e6


def _scale(folder: Path, rows: int) -> list[Row]:
    days = max(rows // ROWS_PER_DAY, 1)
    path = folder / "scale.duckdb"
    seconds, text_bytes = [], 0
    with Database(path) as database:
        for first in range(0, days, DAYS_AT_ONCE):
            batch = range(first, min(first + DAYS_AT_ONCE, days))
            files = [_trades(folder, n, ROWS_PER_DAY) for n in batch]
            text_bytes += sum(file.stat().st_size for file in files)
            others = [file for n, trades in zip(batch, files, strict=True) for file in _other_kinds(folder, n, trades)]
            seconds += [_seconds(partial(_ingest, database, [file])) for file in files]
            _ingest(database, others)
            for file in (*files, *others):
                file.unlink()
            print(f"   {(batch[-1] + 1) * ROWS_PER_DAY / 1e6:,.1f} M trades", file=sys.stderr)
    stored = path.stat().st_size
    with Database(path) as database:
        answers = _answers(database, min(days, 30))
    millions = days * ROWS_PER_DAY / 1e6
    name = f"{millions:g} M trades"
    speed = [ROWS_PER_DAY / 1e6 / of for of in seconds]
    tenth = max(len(speed) // 10, 1)
    return [
        row(
            f"ingest of {name} / of the first tenth of them",
            "M rows/s",
            millions / sum(seconds),
            float(np.mean(speed[:tenth])),
            goal=None,
            n=days,
            higher_is_better=True,
        ),
        row(
            f"database of {name} / its text, each million",
            "MB",
            stored / 1e6 / millions,
            text_bytes / 1e6 / millions,
            goal=None,
            n=1,
        ),
        *answers,
    ]


def _answers(database: Database, days: int) -> list[Row]:
    """Ask what needs the last days, before and after they are in memory; the floor adds the same flow up in SQL."""
    cur = database.cursor()
    [(newest,)] = cur.execute("SELECT max(ts_event) FROM flow").fetchall()
    sql = "SELECT bin, size_class, sum(buy_notional), sum(sell_notional) FROM flow WHERE ts_event > ? GROUP BY ALL"
    cur.execute(sql, [newest - days * DAY]).fetchnumpy()
    floor = _seconds(lambda: cur.execute(sql, [newest - days * DAY]).fetchnumpy())
    engine = LevelsEngine(StoreMarkets(database))
    query = LevelsQuery("BTCUSDT")
    first = _seconds(lambda: engine.levels(query))
    heatmap = _seconds(lambda: engine.heatmap(query, lookback=(days - 1) * DAY, interval=DAY // 24))
    again = _seconds(lambda: engine.heatmap(query, lookback=(days - 1) * DAY, interval=DAY // 24))
    return [
        row(f"{what} / SQL over {days} days", "s", took, floor, goal=None, n=1)
        for what, took in (
            (f"first levels of {days} days", first),
            (f"heatmap of {days} days by the hour, first", heatmap),
            (f"heatmap of {days} days by the hour, again", again),
        )
    ]


# --- files -----------------------------------------------------------------------------------------------------


def _trades(folder: Path, n: int, rows: int) -> Path:
    path = folder / f"BTCUSDT-aggTrades-{_FIRST_DAY + np.timedelta64(n, 'D')}.csv"
    write_trades(path, rows, day=_FIRST_DAY + np.timedelta64(n, "D"), first_id=1 + n * rows, seed=n)
    return path


def _zipped(csv: Path) -> Path:
    path = csv.with_suffix(".zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packed:
        packed.write(csv, csv.name)
    csv.unlink()
    return path


def _other_kinds(folder: Path, n: int, trades: Path) -> Iterable[Path]:
    """Write what the models need beside the trades of a day: mark prices (those of the trades) and open interest."""
    day = _FIRST_DAY + np.timedelta64(n, "D")
    candles = folder / "markPriceKlines" / f"BTCUSDT-1m-{day}.csv"
    candles.parent.mkdir(exist_ok=True)
    metrics = folder / f"BTCUSDT-metrics-{day}.csv"
    with duckdb.connect() as con:
        con.execute(
            f"""
            COPY (
                SELECT transact_time // 60000 * 60000 AS open_time, first(price) AS open, max(price) AS high,
                       min(price) AS low, last(price) AS close, 0 AS volume, open_time + 59999 AS close_time,
                       0 AS quote_volume, 60 AS count, 0 AS taker_buy_volume, 0 AS taker_buy_quote_volume, 0 AS ignore
                FROM '{trades}' GROUP BY open_time ORDER BY open_time
            ) TO '{candles}' (HEADER true)
            """
        )
        con.execute(
            f"""
            COPY (
                SELECT strftime(TIMESTAMP '{day}' + to_minutes(5 * i), '%Y-%m-%d %H:%M:%S') AS create_time,
                       'BTCUSDT' AS symbol, round(80000 + 500 * sin({n} + i / 20), 3) AS sum_open_interest,
                       NULL AS sum_open_interest_value, NULL AS count_toptrader_long_short_ratio,
                       NULL AS sum_toptrader_long_short_ratio, NULL AS count_long_short_ratio,
                       NULL AS sum_taker_long_short_vol_ratio
                FROM range(1, 289) AS r(i)
            ) TO '{metrics}' (HEADER true)
            """
        )
    return candles, metrics


def _ingest(database: Database, files: list[Path]) -> None:
    report = ingest(database, files)
    if len(report.of(Status.INGESTED)) != len(files):
        raise AssertionError(report)


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


if __name__ == "__main__":
    show(run())
