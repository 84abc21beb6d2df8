"""Controls of the price path, by hand."""

import numpy as np
import pytest

from liqserver.score import HISTORY, NAMES, Intervals, path_controls, regroup

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


def test_regroup_takes_whole_intervals_only() -> None:
    five = HOUR // 12
    count = 7 + 24 + 3
    price = 100.0 + np.arange(count)
    candles = Intervals(HOUR - 7 * five + np.arange(count) * five, price + 1, price - 1, price, np.ones(count))
    got = regroup(candles, five)
    np.testing.assert_array_equal(got.open_time, [HOUR, 2 * HOUR])
    np.testing.assert_array_equal(got.low, [106, 118])
    np.testing.assert_array_equal(got.high, [119, 131])
    np.testing.assert_array_equal(got.close, [118, 130])
    np.testing.assert_array_equal(got.volume, [12, 12])


def test_regroup_refuses_a_gap() -> None:
    five = HOUR // 12
    at = np.delete(np.arange(24), 5) * five
    price = np.ones(len(at))
    with pytest.raises(ValueError, match="apart"):
        regroup(Intervals(at, price, price, price, price), five)
