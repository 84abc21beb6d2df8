"""Answers of models against the original's SQL on the same database, and against themselves with ten times the history.

Server time without the call: `LevelsEngine` on the database's market, which is in memory. Both databases end at the
same moment of one simulated market; one holds the last 30 days of it, the other 300.
"""

from __future__ import annotations

import itertools
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks import baseline_sql
from benchmarks.rows import Row, row, show
from liqserver.live.answers import AmountUnit, LevelsQuery
from liqserver.live.engine import LevelsEngine
from liqserver.models.parameters import Compat, Parameters, Tier
from liqserver.models.tiers import HEATMAP_TIERS
from liqserver.store.database import Database
from liqserver.store.ingest import Status, ingest
from liqserver.store.markets import StoreMarkets

DAYS, TIMES = 30, 10
RUNS, REPLAYS = 200, 3
FLAT = 1.2
"""Most that ten times the history may cost of a time that should not depend on it."""
_COUNT = itertools.count(1)


def simulate(folder: Path) -> Path:
    """Write 300 days of a small market; return the folder of its archive files."""
    market = ("--days", str(DAYS * TIMES), "--trades-per-day", "10000", "--open-interest", "1000", "--seed", "2")
    command = [sys.executable, "-m", "liqserver.cli", "simulate", str(folder), *market]
    subprocess.run(command, check=True, capture_output=True)
    return folder / "data"


def last_days(archive: Path) -> list[Path]:
    """Return the files of the last 30 days; of a month that begins before, the whole file."""
    files = sorted(archive.rglob("*.zip"))
    first = sorted({file.stem[-10:] for file in files if "daily" in file.parts})[-DAYS]
    daily = [file for file in files if "daily" in file.parts and file.stem[-10:] >= first]
    return daily + [file for file in files if "monthly" in file.parts and file.stem[-7:] >= first[:7]]


class Stored:
    """A database with the engine on it, whose market is in memory and asked once of each kind."""

    def __init__(self, database: Database) -> None:
        self._cur = database.cursor()
        self._engine = LevelsEngine(StoreMarkets(database))
        baseline_sql.prepare(self._cur)
        newest = self._engine.levels(LevelsQuery("BTCUSDT")).provenance
        self._end, self._price = newest.as_of, newest.current_price.value
        self._moments = np.random.default_rng(1)
        self._require_same_levels()

    def calls(self) -> dict[str, Callable[[], None]]:
        """Return what is measured."""
        return {"sql": self._sql, "openinterest": self._open_interest, "book": self._book}

    def replay(self) -> None:
        """Ask for the newest book with parameters never seen."""
        self._engine.levels(LevelsQuery("BTCUSDT", parameters=Parameters(kappa=0.3 + next(_COUNT) * 1e-6)))

    def _sql(self) -> None:
        baseline_sql.levels(self._cur, 1, self._end, self._price, DAYS)

    def _open_interest(self) -> None:
        changed = Tier(5.0, 0.15 + next(_COUNT) * 1e-6)
        tiers = (changed, *HEATMAP_TIERS[1:])
        self._engine.levels(LevelsQuery("BTCUSDT", model="openinterest", parameters=Parameters(tiers=tiers)))

    def _book(self) -> None:
        # Not the first of the 30 days, so that both databases know open interest.
        back = int(self._moments.integers(0, (DAYS - 1) * baseline_sql.DAY))
        self._engine.levels(LevelsQuery("BTCUSDT"), self._end - back)

    def _require_same_levels(self) -> None:
        """Compare the query with the model that computes as the original did: another program, the same result."""
        query = LevelsQuery(
            "BTCUSDT", model="openinterest", parameters=Parameters(compat=Compat.ORIGINAL), unit=AmountUnit.QTY
        )
        answer = self._engine.levels(query)
        found = baseline_sql.levels(self._cur, 1, self._end, self._price, DAYS)
        for side, sign in enumerate((1, -1)):
            rows = found["long"] == (sign > 0)
            entry = found["price"][rows] / (1 - sign * 0.996 / found["leverage"][rows])
            expected = float((found["notional"][rows] / entry).sum())
            if not abs(answer.total[side] - expected) < 0.02 * expected:
                raise AssertionError(f"of side {side} the model has {answer.total[side]:g}, the query {expected:g}")


def run() -> list[Row]:
    """Measure with 30 and with 300 days, in turns."""
    with tempfile.TemporaryDirectory(prefix="bench-models-") as name:
        folder = Path(name)
        archive = simulate(folder / "market")
        with (
            _database(folder / "30.duckdb", last_days(archive)) as less,
            _database(folder / "300.duckdb", [archive]) as more,
        ):
            stored = {DAYS: Stored(less), DAYS * TIMES: Stored(more)}
            took = _in_turns(
                {(days, what): call for days, of in stored.items() for what, call in of.calls().items()}, RUNS
            )
            took |= _in_turns({(days, "replay"): of.replay for days, of in stored.items()}, REPLAYS)
    rows = []
    for days in stored:
        for what, key, goal in (
            ("openinterest, new parameters", "openinterest", 0.1),
            ("position_book, past moments", "book", 0.2),
            # The book remembers from the first day on: only of 30 days it is a replay of 30 days.
            ("position_book, new parameters", "replay", 3.0 if days == DAYS else None),
        ):
            rows.append(_row(f"{what}, {days} days / SQL", took[days, key], took[days, "sql"], goal))
    for what, key, goal in (
        ("SQL", "sql", None),
        ("openinterest, new parameters", "openinterest", FLAT),
        ("position_book, past moments", "book", FLAT),
        ("position_book, new parameters", "replay", None),
    ):
        rows.append(_row(f"{what}, 300 days / 30 days", took[DAYS * TIMES, key], took[DAYS, key], goal))
    return rows


def _in_turns(calls: dict[tuple[int, str], Callable[[], None]], runs: int) -> dict[tuple[int, str], list[float]]:
    """Call each in turns; return seconds per call, without the first."""
    took: dict[tuple[int, str], list[float]] = {key: [] for key in calls}
    for _ in range(runs + 1):
        for key, call in calls.items():
            took[key].append(_seconds(call))
    return {key: seconds[1:] for key, seconds in took.items()}


def _row(name: str, took: list[float], floor: list[float], goal: float | None) -> Row:
    return row(name, "ms", 1e3 * median(took), 1e3 * median(floor), goal=goal, n=len(took))


def _database(path: Path, sources: list[Path]) -> Database:
    database = Database(path)
    report = ingest(database, sources, base_bin=5.0)
    if report.of(Status.REJECTED) or not report.of(Status.INGESTED):
        raise AssertionError(report)
    return database


def _seconds(work: Callable[[], None]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


if __name__ == "__main__":
    show(run())
