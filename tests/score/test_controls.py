"""Controls of the price path, by hand."""

import numpy as np
import pytest

from liqserver.score import HISTORY, NAMES, Intervals, by_interval, path_controls

HOUR = 3_600_000_000_000


def hours(count: int) -> Intervals:
    """Return flat hours at 100."""
    price = np.full(count, 100.0)
    return Intervals(np.arange(count) * HOUR, price.copy(), price.copy(), price.copy(), np.full(count, 8.0))


def test_controls_by_hand() -> None:
    market = hours(HISTORY + 2)
    last = HISTORY + 1
    market.low[last - 6] = 97.0  # an older extreme than the last 4 hours, within the last 12
    market.low[last], market.high[last], market.close[last] = 98.0, 101.0, 98.5
    of = dict(zip(NAMES, path_controls(market, 0)[last], strict=True))
    assert of["1"] == 1
    assert of["log range"] == pytest.approx(np.log(np.log(101 / 98) + 1e-4))
    assert of["adverse move"] == pytest.approx(0.02)
    assert of["log adverse move"] == pytest.approx(np.log(0.0201))
    assert of["log volume"] == pytest.approx(np.log(8))
    assert of["depth 4 h"] == pytest.approx(0.02)
    assert of["log depth 4 h"] == pytest.approx(np.log(0.0201))
    assert of["depth 12 h"] == of["depth 168 h"] == 0
    shorts = dict(zip(NAMES, path_controls(market, 1)[last], strict=True))
    assert shorts["adverse move"] == pytest.approx(0.01)
    assert shorts["depth 168 h"] == pytest.approx(0.01)


def test_controls_need_their_history_and_nothing_later() -> None:
    market = hours(HISTORY + 30)
    rng = np.random.default_rng(3)
    market.low[:] -= rng.exponential(1, len(market))
    before = path_controls(market, 0)
    assert np.isnan(before[:HISTORY]).all()
    assert np.isfinite(before[HISTORY:]).all()
    market.low[HISTORY + 10 :] = 1.0
    np.testing.assert_array_equal(path_controls(market, 0)[: HISTORY + 10], before[: HISTORY + 10])


def test_controls_of_shorter_intervals_look_back_as_many_hours() -> None:
    half = HOUR // 2
    count = 2 * (HISTORY + 2)
    price = np.full(count, 100.0)
    market = Intervals(np.arange(count) * half, price.copy(), price.copy(), price.copy(), np.full(count, 8.0))
    last = count - 1
    market.low[last - 8] = 97.0  # exactly the earliest of the 4 hours before
    market.low[last] = 98.0
    of = dict(zip(NAMES, path_controls(market, 0, half)[last], strict=True))
    assert of["depth 4 h"] == 0
    market.low[last - 8], market.low[last - 9] = 100.0, 97.0
    of = dict(zip(NAMES, path_controls(market, 0, half)[last], strict=True))
    assert of["depth 4 h"] == pytest.approx(0.02)
    assert of["depth 12 h"] == 0
    assert np.isnan(path_controls(market, 0, half)[: 2 * HISTORY]).all()
    with pytest.raises(ValueError, match="must be a multiple"):
        path_controls(market, 0, 7 * HOUR // 5)


def test_an_interval_that_is_not_known_leaves_those_that_look_back_at_it_unknown() -> None:
    market = hours(HISTORY + 30)
    market.low[HISTORY + 5] = market.high[HISTORY + 5] = np.nan
    of = path_controls(market, 0)
    assert np.isfinite(of[HISTORY : HISTORY + 5]).all()
    assert np.isnan(of[HISTORY + 5 :]).any(axis=1).all()


def test_steps_become_intervals() -> None:
    five = HOUR // 12
    nan = float("nan")
    step_end = np.array([HOUR, HOUR + five, HOUR + 7 * five, 2 * HOUR, 2 * HOUR + 1, 4 * HOUR])
    got = by_interval(
        step_end,
        high=np.array([9.0, 3, 7, 5, nan, 8]),
        low=np.array([0.0, 2, 4, 1, nan, 6]),
        close=np.array([4.0, 2.5, 5, 3, 3, 7]),
        volume=np.array([9.0, 1, 2, 4, 8, 16]),
        open_time=HOUR * np.arange(1, 4),
        period=HOUR,
    )
    # A step belongs to the interval that it ends in, also at its very end; without a price nothing is known.
    np.testing.assert_array_equal(got.high, [7, nan, 8])
    np.testing.assert_array_equal(got.low, [1, nan, 6])
    np.testing.assert_array_equal(got.close, [3, nan, 7])
    np.testing.assert_array_equal(got.volume, [7, nan, 16])
