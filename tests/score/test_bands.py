"""Coverage of bands, counted by hand and by how it varies."""

from __future__ import annotations

import numpy as np
import pytest

from liqserver.score.bands import band_coverage

HOUR = 3_600_000_000_000
TIME = 1_700_006_400_000_000_000 + HOUR * np.arange(480, dtype=np.int64)


def test_share_below_and_above_are_counted_and_what_is_not_known_is_left_out() -> None:
    real = np.full(480, 5.0)
    real[:48], real[48:72], real[72:120] = 0.5, 20.0, np.nan
    found = band_coverage(TIME, np.full(480, 1.0), np.full(480, 10.0), real)
    assert found is not None
    assert (found.scored, found.days) == (432, 18)
    assert found.below == pytest.approx(48 / 432)
    assert found.above == pytest.approx(24 / 432)
    assert found.share.value == pytest.approx(360 / 432)
    assert found.share.low < found.share.value < found.share.high


def test_ends_belong_to_the_band() -> None:
    real = np.where(np.arange(480) % 2, 1.0, 10.0)
    found = band_coverage(TIME, np.full(480, 1.0), np.full(480, 10.0), real)
    assert found is not None
    assert (found.share.value, found.share.low, found.share.high) == (1.0, 1.0, 1.0)


def test_interval_of_confidence_grows_when_misses_come_on_the_same_days() -> None:
    scattered = np.where(np.arange(480) % 10, 5.0, 0.0)
    together = np.where(np.arange(480) < 48, 0.0, 5.0)
    ends = [band_coverage(TIME, np.full(480, 1.0), np.full(480, 9.0), of) for of in (scattered, together)]
    apart, near = (of.share.high - of.share.low for of in ends if of is not None)
    assert near > 3 * apart


def test_too_little_is_no_figure() -> None:
    real = np.where(np.arange(480) < 239, 5.0, np.nan)
    assert band_coverage(TIME, np.full(480, 1.0), np.full(480, 9.0), real) is None
