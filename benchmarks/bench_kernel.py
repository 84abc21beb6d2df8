"""Kernel: 30 days of one-minute steps against a bare numba loop that does nothing but the scatter-adds."""

from __future__ import annotations

import time

import numpy as np
from numba import njit

from benchmarks.rows import Row, row
from liqserver.kernel import BookParameters, History, advance, start_book
from liqserver.kernel.book import cover_history

DAYS, ROWS_PER_STEP, BIN = 30, 6, 5.0
LEVERAGE = np.array([125.0, 100, 75, 50, 33, 25, 20, 10, 5, 3])
RUNS = 15


def market(days: int = DAYS) -> History:
    """Return a random market like BTCUSDT's: 2.4 % a day, flow in six bins of five dollars a minute."""
    rng = np.random.default_rng(1)
    steps = days * 1440
    close = 90_000 * np.exp(np.cumsum(rng.normal(0, 0.024 / np.sqrt(1440), steps)))
    reach = np.abs(rng.normal(0, 25, (2, steps)))
    open_interest = np.full(steps, np.nan)
    open_interest[::5] = 90_000 * np.exp(np.cumsum(rng.normal(0, 5e-4, len(open_interest[::5]))))
    rows = steps * ROWS_PER_STEP
    return History(
        step_end=np.arange(1, steps + 1) * 60_000_000_000,
        mark_low=close - reach[0],
        mark_high=close + reach[1],
        mark_close=close,
        path_source=np.full(steps, 2, dtype=np.uint8),
        open_interest=open_interest,
        funding_rate=np.zeros(steps),
        flow_offset=np.arange(steps + 1) * ROWS_PER_STEP,
        flow_price=(close[:, None] + rng.normal(0, 20, (steps, ROWS_PER_STEP))).ravel(),
        flow_buy=rng.exponential(8, rows),
        flow_sell=rng.exponential(8, rows),
        flow_source=np.ones(steps, dtype=np.uint8),
    )


def parameters() -> BookParameters:
    """Return ten tiers with the first bracket's margin."""
    weight = np.append(1 / LEVERAGE, (1 / LEVERAGE).sum())
    return BookParameters(
        ratio=np.stack([(1 - 1 / LEVERAGE) / 0.996, (1 + 1 / LEVERAGE) / 1.004]),
        mmr=np.full(len(LEVERAGE), 0.004),
        weight=weight / weight.sum(),
        hazard=np.append(LEVERAGE**0.7, 1.0),
        kappa=0.3,
    )


@njit(cache=True, nogil=True, error_model="numpy")
def _scatter(placed, first_bin, per_price, weight, offset, price, buy, sell) -> None:  # type: ignore[no-untyped-def] # noqa: ANN001
    """Add every row's contracts to both sides of every tier at its level, and nothing else."""
    for s in range(len(offset) - 1):
        for side in range(2):
            for r in range(offset[s], offset[s + 1]):
                qty = 0.15 * (buy[r] + sell[r])
                for t in range(placed.shape[1]):
                    placed[side, t, int(price[r] * per_price[side, t]) - first_bin] += qty * weight[t]


def run() -> list[Row]:
    """Measure both in turns."""
    history, given = market(), parameters()
    first = history.first_open_interest()
    assert first is not None
    rest = history.slice(first + 1, len(history))
    started = start_book(float(history.open_interest[first]), given, BIN, int(history.step_end[first]))
    cover_history(started, rest, given, 0, len(rest))

    def ours() -> None:
        advance(started.copy(), given, rest)

    def floor() -> None:
        book = started.copy()
        flow = (rest.flow_offset, rest.flow_price, rest.flow_buy, rest.flow_sell)
        _scatter(book.placed, book.first_bin, given.ratio / BIN, given.weight, *flow)

    took: dict[str, list[float]] = {"ours": [], "floor": []}
    for _ in range(RUNS):
        for name, call in (("ours", ours), ("floor", floor)):
            t0 = time.perf_counter()
            call()
            took[name].append(time.perf_counter() - t0)
    value, bare = (float(np.median(took[name][2:])) for name in ("ours", "floor"))
    steps = len(rest)
    return [
        row("kernel, 30 days of 1-minute steps, 10 tiers", "ms", 1e3 * value, 1e3 * bare, goal=2.0, n=RUNS - 2),
        row("kernel steps", "steps/s", steps / value, steps / bare, goal=0.5, n=RUNS - 2, higher_is_better=True),
    ]
