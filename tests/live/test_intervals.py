"""Sums and price paths by interval, on numbers worked out by hand."""

from __future__ import annotations

import numpy as np

from liqserver.live.intervals import price_path, summed
from tests.kernel.markets import MINUTE, NAN, history


def test_summed_row_at_an_edge_belongs_to_the_interval_that_ends_there() -> None:
    rows = np.array([[1.0], [2.0], [4.0], [8.0]])
    out = summed(np.array([1, 10, 11, 30]), rows, np.array([0, 10, 20, 30]))
    assert out.ravel().tolist() == [3.0, 4.0, 8.0]


def test_price_path_goes_on_from_the_newest_price_at_the_start() -> None:
    of = history(
        [
            {"low": 99.0, "high": 101.0, "close": 100.0},
            {"low": 104.0, "high": 106.0, "close": 105.0},  # jumps up: 100 is part of the range
            {"low": 103.0, "high": 105.0, "close": 104.0},
            {"close": 104.0},
            {"low": 90.0, "high": 91.0, "close": 90.5},
        ]
    )
    edges = MINUTE * np.array([0, 1, 3, 4, 5])
    path = price_path(of, edges)
    np.testing.assert_array_equal(
        path,
        np.array(
            [
                [100.0, 101.0, 99.0, 100.0],  # nothing was known before: its own first price
                [100.0, 106.0, 100.0, 104.0],
                [NAN, NAN, NAN, NAN],  # no path became known
                [104.0, 104.0, 90.0, 90.5],
            ]
        ).T,
    )
