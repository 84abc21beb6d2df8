"""How sources are put on one line of steps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from liqserver.kernel import History, Source
from liqserver.store.history import MINUTE, Candles, assemble

NOTHING = np.empty(0)
NO_TIMES = np.empty(0, dtype=np.int64)


def minutes(*numbers: int) -> NDArray[np.int64]:
    return np.array(numbers, dtype=np.int64) * MINUTE


def candles(period: int, ends: list[int], lows: list[float], highs: list[float], volume: float = 0.0) -> Candles:
    """Candles of ``period`` minutes; close in the middle, taker side not known."""
    low, high = np.array(lows), np.array(highs)
    return Candles(
        period * MINUTE,
        minutes(*ends),
        low,
        high,
        (low + high) / 2,
        np.full(len(ends), volume),
        np.full(len(ends), np.nan),
    )


def build(
    *,
    flow: list[tuple[int, float, float, float]] = [],  # noqa: B006 - read only
    covered: list[tuple[int, int]] = [],  # noqa: B006
    klines: list[Candles] = [],  # noqa: B006
    mark: list[Candles] = [],  # noqa: B006
    oi: list[tuple[int, float]] = [],  # noqa: B006
    funding: list[tuple[int, float]] = [],  # noqa: B006
) -> History:
    """Assemble from rows in minutes: flow (end, price, buy, sell), covered (start, end), oi (time, value)."""
    rows = np.array(flow, dtype=np.float64).reshape(-1, 4)
    return assemble(
        flow_end=minutes(*(int(end) for end in rows[:, 0])),
        flow_price=rows[:, 1].copy(),
        flow_buy=rows[:, 2].copy(),
        flow_sell=rows[:, 3].copy(),
        covered=np.array(covered, dtype=np.int64).reshape(-1, 2) * MINUTE,
        klines=klines,
        mark=mark,
        oi_ts=minutes(*(ts for ts, _ in oi)),
        oi=np.array([value for _, value in oi]),
        funding_ts=np.array([ts for ts, _ in funding], dtype=np.int64),
        funding=np.array([value for _, value in funding]),
        base_bin=1.0,
    )


def test_assemble_trades_mark_and_open_interest_meet_in_one_step_a_minute() -> None:
    history = build(
        flow=[(1, 100.0, 1.0, 2.0), (1, 101.0, 3.0, 0.0), (2, 100.0, 1.0, 0.0)],
        covered=[(0, 2)],
        mark=[candles(1, [1, 2], [99.0, 99.5], [101.5, 100.5])],
        oi=[(1, 10.0), (2, 11.0)],
    )
    assert history.step_end.tolist() == minutes(1, 2).tolist()
    assert history.flow_offset.tolist() == [0, 2, 3]
    assert history.open_interest.tolist() == [10.0, 11.0]
    assert history.mark_low.tolist() == [99.0, 99.5]
    assert set(history.path_source) == {Source.MARK_PRICE}
    assert set(history.flow_source) == {Source.TRADES}


def test_assemble_missing_mark_minute_last_prices_stand_in_and_say_so() -> None:
    history = build(
        flow=[(1, 100.0, 1.0, 1.0), (2, 98.0, 1.0, 0.0), (2, 103.0, 0.0, 3.0)],
        covered=[(0, 2)],
        mark=[candles(1, [1], [99.0], [101.0])],
    )
    assert history.path_source.tolist() == [Source.MARK_PRICE, Source.TRADES]
    assert (history.mark_low[1], history.mark_high[1]) == (98.0, 103.0)
    # The newest price is the mean of the minute's trades: (98 * 1 + 103 * 3) / 4.
    assert history.mark_close[1] == pytest.approx(101.75)


def test_assemble_missing_mark_minute_candle_goes_before_trades() -> None:
    history = build(
        flow=[(1, 100.0, 1.0, 1.0)], covered=[(0, 1)], klines=[candles(1, [1], [97.0], [104.0], volume=2.0)]
    )
    assert history.path_source.tolist() == [Source.KLINES]
    assert history.flow_source.tolist() == [Source.TRADES]
    assert (history.mark_low[0], history.mark_high[0]) == (97.0, 104.0)
    assert history.flow_buy.sum() + history.flow_sell.sum() == 2.0


def test_assemble_no_trades_candle_volume_is_spread_evenly_over_its_range() -> None:
    # 8 contracts over 100.5 to 104.5: half a bin, three bins, half a bin; taker side not known: halves.
    history = build(klines=[candles(5, [5], [100.5], [104.5], volume=8.0)])
    assert history.step_end.tolist() == minutes(5).tolist()
    assert history.flow_price.tolist() == [100.75, 101.5, 102.5, 103.5, 104.25]
    assert (history.flow_buy + history.flow_sell).tolist() == pytest.approx([1.0, 2.0, 2.0, 2.0, 1.0])
    assert history.flow_buy.tolist() == history.flow_sell.tolist()
    assert history.flow_source.tolist() == [Source.KLINES]


def test_assemble_candle_without_range_keeps_all_its_volume_at_its_price() -> None:
    history = build(klines=[candles(1, [1], [100.0], [100.0], volume=3.0)])
    assert history.flow_price.tolist() == [100.0]
    assert history.flow_buy.sum() + history.flow_sell.sum() == pytest.approx(3.0)


def test_assemble_candle_with_known_takers_splits_by_them() -> None:
    one = candles(1, [1], [100.0], [101.0], volume=4.0)
    known = Candles(one.period, one.end, one.low, one.high, one.close, one.volume, np.array([1.0]))
    history = build(klines=[known])
    assert (history.flow_buy.sum(), history.flow_sell.sum()) == pytest.approx((1.0, 3.0))


def test_assemble_candles_that_overlap_trades_or_finer_candles_are_not_counted_twice() -> None:
    history = build(
        flow=[(1, 100.0, 1.0, 0.0)],
        covered=[(0, 5)],
        klines=[
            candles(1, [5, 6, 7], [99.0] * 3, [101.0] * 3, volume=1.0),
            candles(5, [5, 10, 15], [99.0] * 3, [101.0] * 3, volume=10.0),
        ],
    )
    first_rows = history.flow_offset[:-1][np.diff(history.flow_offset) > 0]
    volume = np.add.reduceat(history.flow_buy + history.flow_sell, first_rows)
    # Trades to minute 5; the two finer candles after it; the coarse candle from 10 to 15.
    assert volume.tolist() == pytest.approx([1.0, 1.0, 1.0, 10.0])


def test_assemble_long_mark_candle_beside_short_last_prices_what_is_known_first_stands() -> None:
    history = build(
        flow=[(m, 100.0, 1.0, 0.0) for m in range(1, 6)],
        covered=[(0, 5)],
        mark=[candles(5, [5, 10], [90.0, 91.0], [110.0, 111.0])],
    )
    assert history.path_source.tolist() == [Source.TRADES] * 5 + [Source.MARK_PRICE]
    assert (history.mark_low[5], history.mark_high[5]) == (91.0, 111.0)


def test_assemble_open_interest_where_nothing_else_happened_is_a_step_of_its_own() -> None:
    history = build(flow=[(1, 100.0, 1.0, 0.0)], covered=[(0, 1)], oi=[(10, 5.0)])
    assert history.step_end.tolist() == minutes(1, 10).tolist()
    assert history.mark_close.tolist() == [100.0, 100.0]
    assert history.flow_offset.tolist() == [0, 1, 1]


def test_assemble_funding_a_few_milliseconds_late_belongs_to_the_next_step() -> None:
    history = build(oi=[(1, 5.0), (2, 5.0)], funding=[(MINUTE, 0.1), (MINUTE + 4_000_000, 0.2), (3 * MINUTE, 9.0)])
    assert history.funding_rate.tolist() == [0.1, 0.2]


def test_assemble_nothing_gives_an_empty_history() -> None:
    assert len(build()) == 0


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=100)
def test_assemble_any_sources_volume_is_kept_and_cutting_the_future_changes_no_earlier_step(seed: int) -> None:
    rng = np.random.default_rng(seed)
    start = int(rng.integers(0, 30))
    flow = [
        (m, float(rng.uniform(95, 105)), *map(float, rng.exponential(1, 2)))
        for m in range(start + 1, 60)
        if rng.random() < 0.8
    ]
    fine = [m for m in range(1, 60) if rng.random() < 0.3]
    coarse = [m for m in range(5, 60, 5) if rng.random() < 0.7]
    lows = rng.uniform(90, 100, 60)

    def upto(end: int) -> History:
        def cut(period: int, ends: list[int]) -> Candles:
            kept = [m for m in ends if m <= end]
            return candles(period, kept, [lows[m] for m in kept], [lows[m] + 7.3 for m in kept], volume=2.0)

        return build(
            flow=[row for row in flow if row[0] <= end],
            covered=[(start, end)] if end > start else [],
            klines=[cut(1, fine), cut(5, coarse)],
            mark=[cut(1, [m for m in fine if m % 2])],
            oi=[(m, 1.0 + m) for m in range(5, end + 1, 5)],
        )

    whole = upto(59)
    end = int(rng.integers(1, 60))
    part = upto(end)
    earlier = whole.until(end * MINUTE)
    assert part.step_end.tolist() == earlier.step_end.tolist()
    for name in ("mark_low", "mark_high", "mark_close", "open_interest", "flow_price", "flow_buy", "flow_sell"):
        np.testing.assert_array_equal(getattr(part, name), getattr(earlier, name))
    traded = sum(buy + sell for _, _, buy, sell in flow)
    assert whole.flow_buy.sum() + whole.flow_sell.sum() >= traded - 1e-9
