"""Derived figures on numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from liqserver.live.answers import DerivedFigures
from liqserver.live.derived import derived_figures, realised_volatility
from liqserver.live.window import Window
from tests.kernel.markets import MINUTE, history

# Bins of 10 from 60 to 140; the price is 100.
WINDOW = Window(bin_size=10.0, multiple=1, first=6, count=8)
MIDDLE = WINDOW.edges + 5


def figures(long: list[float], short: list[float], volatility: float | None = None) -> DerivedFigures:
    amount = np.array([long, short])
    return derived_figures(WINDOW, amount, MIDDLE, amount, 100.0, volatility)


def test_cluster_is_the_nearest_run_of_bins_of_three_times_the_mean() -> None:
    # Longs below 100: 80 and 90 are single dense bins if they hold at least 3 x 16/4 = 12.
    found = figures([0.0, 3.0, 13.0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0, 0]).cluster_below
    assert found is not None
    assert (found.low, found.high, found.peak, found.amount) == (80.0, 90.0, 80.0, 13.0)
    # The nearer edge is 90, ten below the price.
    assert found.distance == pytest.approx(0.1)
    assert found.distance_volatility is None


def test_cluster_may_have_one_bin_between_that_is_not_dense_and_not_two() -> None:
    window = Window(bin_size=1.0, multiple=1, first=100, count=20)
    short = np.full(20, 0.1)
    short[[3, 5]] = 50.0  # one between
    short[[8]] = 60.0  # two between
    amount = np.stack([np.zeros(20), short])
    found = derived_figures(window, amount, window.edges + 0.5, amount, 100.0, 0.02).cluster_above
    assert found is not None
    assert (found.low, found.high, found.peak) == (103.0, 106.0, 103.0)
    assert found.amount == pytest.approx(100.1)
    assert found.distance == pytest.approx(0.03)
    assert found.distance_volatility == pytest.approx(1.5)


def test_cluster_that_holds_the_price_is_at_distance_zero() -> None:
    found = figures([0, 0, 0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 9.0, 0.5, 0, 0]).cluster_above
    assert found is not None
    assert found.distance == 0.0


def test_cluster_is_none_where_a_side_is_flat_or_empty() -> None:
    found = figures([1.0, 1.0, 1.0, 1.0, 0, 0, 0, 0], [0.0] * 8)
    assert found.cluster_below is None
    assert found.cluster_above is None


def test_cumulative_adds_up_from_the_price_outward() -> None:
    found = figures([1.0, 2.0, 3.0, 4.0, 0, 0, 0, 0], [0, 0, 0, 0, 5.0, 6.0, 7.0, 8.0])
    assert found.cumulative[0].tolist() == [10.0, 9.0, 7.0, 4.0, 0, 0, 0, 0]
    assert found.cumulative[1].tolist() == [0, 0, 0, 0, 5.0, 11.0, 18.0, 26.0]


def test_imbalances_look_at_all_bins_within_their_distance() -> None:
    # Middles 95 and 105 lie within 5 and 10 %; none within 1 and 2 %.
    near = figures([0, 0, 0, 1.0, 0, 0, 0, 0], [0, 0, 0, 0, 3.0, 0, 0, 0]).imbalances
    assert [(of.range, of.long, of.short, of.imbalance) for of in near] == [
        (0.01, 0.0, 0.0, None),
        (0.02, 0.0, 0.0, None),
        (0.05, 1.0, 3.0, 0.5),
        (0.1, 1.0, 3.0, 0.5),
    ]


def test_realised_volatility_is_the_root_of_the_summed_squares_scaled_to_a_day() -> None:
    # Every minute up and down by 0.1 %: a day has 1 440 of them.
    steps = [{"low": p, "high": p, "close": p} for p in (100.0 * math.exp(0.001 * (i % 2)) for i in range(61))]
    volatility = realised_volatility(history(steps), 61)
    assert volatility == pytest.approx(0.001 * math.sqrt(1440))


def test_realised_volatility_takes_the_last_24_hours_and_30_returns_at_least() -> None:
    wild = [{"low": p, "high": p, "close": p} for p in (100.0 * math.exp(0.1 * (i % 2)) for i in range(100))]
    calm = [{"low": 100.0, "high": 100.0, "close": 100.0}] * 1440
    of = history(wild + calm)
    assert realised_volatility(of, 100) == pytest.approx(0.1 * math.sqrt(1440))
    assert realised_volatility(of, len(of)) == 0.0
    assert realised_volatility(of, 30) is None
    assert realised_volatility(of, 31) is not None
    assert realised_volatility(of, 0) is None
    assert of.step_end[0] == MINUTE
