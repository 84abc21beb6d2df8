"""Ingest of aggTrades against DuckDB's own typed scan-and-aggregate of the same files.

The floor reads the same CSV with the same explicit types and groups by minute, price bin and taker: what a database
does at least to reduce trades. Ingest hashes the file, checks every row and the ids, keeps size classes and large
trades, writes everything to disk and commits.

Zipped, the floor is the processor time of inflating the files and of the scan, each measured alone, added, and spread
over all cores without loss.
"""

from __future__ import annotations

import os
import tempfile
import time
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import duckdb
import numpy as np

from benchmarks.rows import Row, row, show
from liqserver.store.archive import ArchiveFile, Csv, parse_file, unpack
from liqserver.store.database import Database
from liqserver.store.ingest import Status, ingest

ROWS_PER_FILE = 2_500_000
FILES = 4
REPEATS = 5
GOAL = 0.8
_FIRST_DAY = np.datetime64("2025-12-01", "D")


def write_trades(path: Path, rows: int, *, day: np.datetime64, first_id: int, seed: int) -> None:
    """Write a day of aggTrades as the archive has them: a random walk of price, sizes spread over five decades."""
    rng = np.random.default_rng(seed)
    midnight = int(day.astype("datetime64[ms]").astype(np.int64))
    fills = rng.integers(1, 4, rows)
    last = 7_000_000_000 + np.cumsum(fills)
    columns = {
        "agg_trade_id": np.arange(first_id, first_id + rows),
        "price": np.round(90_000 + np.cumsum(rng.normal(0, 0.25, rows)), 1),
        "quantity": np.maximum(np.round(rng.lognormal(-4, 2, rows), 3), 0.001),
        "first_trade_id": last - fills + 1,
        "last_trade_id": last,
        "transact_time": midnight + np.sort(rng.integers(0, 86_400_000, rows)),
        "is_buyer_maker": rng.random(rows) < 0.5,
    }
    with duckdb.connect() as con:
        con.register("trades", columns)
        con.execute(f"COPY trades TO '{path}' (HEADER true)")


def run(rows_per_file: int = ROWS_PER_FILE, files: int = FILES, repeats: int = REPEATS) -> list[Row]:
    """Measure, alternating; a row for ingest of text as a whole, one for that of zips."""
    with tempfile.TemporaryDirectory(prefix="bench-ingest-") as name:
        folder = Path(name)
        archive = folder / "archive"
        archive.mkdir()
        for n in range(files):
            day = _FIRST_DAY + np.timedelta64(n, "D")
            write_trades(
                archive / f"BTCUSDT-aggTrades-{day}.csv",
                rows_per_file,
                day=day,
                first_id=2_900_000_000 + n * rows_per_file,
                seed=n,
            )
        zips = folder / "zips"
        zips.mkdir()
        for path in archive.iterdir():
            with zipfile.ZipFile(zips / f"{path.stem}.zip", "w", zipfile.ZIP_DEFLATED) as packed:
                packed.write(path, path.name)
        csvs = [_csv(path) for path in sorted(archive.iterdir())]
        # Compiled code is made once for an installation and loaded once for a process.
        _ingest(folder / "warm.duckdb", archive, files)
        floor, ours, least, zipped = [], [], [], []
        for n in range(repeats):
            floor.append(_seconds(lambda: _scan_and_aggregate(csvs)))
            ours.append(_seconds(partial(_ingest, folder / f"{n}.duckdb", archive, files)))
            inflation = _processor_seconds(partial(_inflate, sorted(zips.iterdir())))
            scan = _processor_seconds(lambda: _scan_and_aggregate(csvs))
            least.append((inflation + scan) / len(os.sched_getaffinity(0)))
            zipped.append(_seconds(partial(_ingest, folder / f"zipped-{n}.duckdb", zips, files)))
    rows = rows_per_file * files / 1e6
    return [
        row(
            f"ingest of aggTrades, {rows:g} M rows in {files} {kind} files",
            "M rows/s",
            rows / median(took),
            rows / median(least_possible),
            goal=GOAL,
            n=repeats,
            higher_is_better=True,
        )
        for kind, took, least_possible in (("csv", ours, floor), ("zip", zipped, least))
    ]


def _csv(path: Path) -> Csv:
    file = parse_file(path)
    if not isinstance(file, ArchiveFile):
        raise AssertionError(f"{path} has no name of the archive")
    return unpack(file, path.parent)


def _scan_and_aggregate(csvs: list[Csv]) -> None:
    with duckdb.connect() as con:
        for csv in csvs:
            con.execute(
                f"""
                SELECT transact_time // 60000 AS minute, floor(price / 5)::INTEGER AS bin, is_buyer_maker,
                       sum(quantity), sum(price * quantity), count(*)
                FROM {csv.sql()} GROUP BY ALL
                """
            ).fetchnumpy()


def _inflate(paths: list[Path]) -> None:
    for path in paths:
        with zipfile.ZipFile(path) as archive, archive.open(archive.infolist()[0]) as packed:
            while packed.read(1 << 20):
                pass


def _ingest(path: Path, archive: Path, files: int) -> None:
    # As `liqserver ingest` opens it.
    with Database(path, keep_pages=False) as db:
        report = ingest(db, [archive])
    if len(report.of(Status.INGESTED)) != files:
        raise AssertionError(report)


def _seconds(work: Callable[[], None]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _processor_seconds(work: Callable[[], None]) -> float:
    """Return the seconds that all threads of this process spend on it together."""
    began = time.process_time()
    work()
    return time.process_time() - began


if __name__ == "__main__":
    show(run())
