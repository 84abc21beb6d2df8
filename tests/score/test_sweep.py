"""What paths sweep, by hand."""

import numpy as np
import pytest

from liqserver.score.sweep import Path, by_distance, swept, swept_profile, swept_volume

HOUR = 3_600_000_000_000
PRICE = np.array([90.0, 95.0, 99.0, 101.0, 104.0])
LEVELS = np.array([[1.0, 2.0, 4.0, 0.0, 0.0], [0.0, 0.0, 0.0, 8.0, 16.0]])


def test_a_path_sweeps_what_it_reaches() -> None:
    assert swept(PRICE, LEVELS, Path(100.0, 104.0, 95.0)).tolist() == [6.0, 24.0]
    assert swept(PRICE, LEVELS, Path(100.0, 100.5, 98.0)).tolist() == [4.0, 0.0]
    assert swept(PRICE, LEVELS, Path(100.0, 100.0, 100.0)).tolist() == [0.0, 0.0]


def test_a_moved_map_is_swept_elsewhere() -> None:
    # By 5 %: longs at 94.5, 99.75 and beyond price; shorts at 106 and 109.
    assert swept(PRICE, LEVELS, Path(100.0, 107.0, 99.0), 0.05).tolist() == [2.0, 8.0]
    # By -5 %: longs at 85.5, 90.25, 94.05; shorts below price are none.
    assert swept(PRICE, LEVELS, Path(100.0, 107.0, 94.0), -0.05).tolist() == [4.0, 0.0]


def test_levels_by_distance() -> None:
    profile = by_distance(PRICE, LEVELS, 100.0)
    # Bins of half a tenth of a percent: the 1 % of the level at 99 begins bin 20.
    assert profile[0, 20] == 4.0
    assert profile[1, 20] == 8.0
    assert profile.sum(axis=1).tolist() == [7.0, 24.0]
    assert by_distance(PRICE, LEVELS, 97.0).sum(axis=1).tolist() == [3.0, 24.0]


def test_a_constant_profile_is_swept_as_far_as_price_goes() -> None:
    profile = np.zeros((2, 500))
    profile[0, 20] = 4.0
    profile[1, :] = 1.0
    got = swept_profile(
        profile,
        start=np.array([100.0, 200.0, 100.0, np.nan]),
        high=np.array([100.0, 202.0, 101.0, 1.0]),
        low=np.array([98.0, 200.0, 98.975, 1.0]),
    )
    assert got[0].tolist() == pytest.approx([4.0, 0.0, 2.0, np.nan], nan_ok=True)
    assert got[1].tolist() == pytest.approx([0.0, 20.0, 20.0, np.nan], nan_ok=True)


def test_volume_that_was_traded_lately_where_price_goes_through() -> None:
    got = swept_volume(
        np.array([1, 2, 5]) * HOUR,
        price=np.array([99.0, 101.0, 98.0]),
        notional=np.array([10.0, 20.0, 40.0]),
        open_time=np.array([1, 2, 3, 5]) * HOUR,
        start=np.full(4, 100.0),
        high=np.array([102.0, 102.0, 102.0, 100.0]),
        low=np.array([97.0, 98.5, 98.5, 97.0]),
        lookback=2 * HOUR,
    )
    # What is traded at the moment a path begins is known; what is older than the lookback, or later, does not count.
    np.testing.assert_allclose(got, [[10, 10, 0, 40], [0, 20, 20, 0]], atol=1e-9)
