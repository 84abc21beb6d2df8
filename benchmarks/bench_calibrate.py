"""Calibration on six months of one-minute steps, against one run of the book over the same and against a limit."""

from __future__ import annotations

import time
from typing import cast

import numpy as np

from benchmarks.bench_kernel import BIN, market
from benchmarks.rows import Row, row
from liqserver.calibrate import calibrate, calibrate_best, gather_all
from liqserver.margin import builtin_tables
from liqserver.models.market import Details, Market
from liqserver.models.parameters import with_hazards
from liqserver.models.position_book import DEFAULTS, begin, drive, epochs

DAYS, HOUR = 180, 3_600_000_000_000
LIMIT = 120.0
RUNS = 3
WEEKS = 20


def run() -> list[Row]:
    """Measure in turns: the book alone, one calibration, one a week besides."""
    tables = tuple(table for table in builtin_tables() if table.symbol == "BTCUSDT")
    # Nothing asks for candles or single trades here.
    of = Market("BINANCE", "BTCUSDT", 0.1, "built in", BIN, market(DAYS), tables, cast(Details, None))
    hours = HOUR * np.arange(DAYS * 24, dtype=np.int64)
    end = int(of.history.step_end[-1])
    real = np.zeros((2, len(hours)))
    took: dict[str, list[float]] = {"book": [], "one": [], "weekly": []}
    for i in range(RUNS + 1):
        start = time.perf_counter()
        steps = epochs(with_hazards(DEFAULTS), of.brackets)
        book, first = begin(of.history, steps, of.base_bin)
        swept = drive(book, of.history, steps, first, len(of.history), audit=True)[:, 4:6]
        took["book"].append(time.perf_counter() - start)
        if i == 0:
            # What a book like it liquidates, with noise: it has to be fitted, whatever it is.
            notional = np.nan_to_num(swept * of.history.mark_close[first:, None])
            np.add.at(real.T, (of.history.step_end[first:] - 1) // HOUR, notional)
            real *= np.random.default_rng(2).lognormal(0, 0.8, real.shape)
        start = time.perf_counter()
        calibrate(of, hours, HOUR, real, end)
        took["one"].append(time.perf_counter() - start)
        start = time.perf_counter()
        evidence = gather_all(of, hours, HOUR, end)
        for week in range(WEEKS):
            calibrate_best(evidence, real, end - 7 * 24 * HOUR * week)
        took["weekly"].append(time.perf_counter() - start)
    book_alone, one, weekly = (float(np.median(took[name][1:])) for name in took)
    name = f"calibration, {DAYS} days of 1-minute steps"
    return [
        row(name, "s", one, LIMIT, goal=1.0, n=RUNS),
        row(f"{name}, and at {WEEKS} earlier weeks", "s", weekly, LIMIT, goal=1.0, n=RUNS),
        row(f"{name}, in runs of the book", "s", one, book_alone, goal=None, n=RUNS),
    ]
