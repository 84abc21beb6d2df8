"""Bands on numbers worked out by hand, and on noise whose quantiles are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from liqserver.calibrate import Scatter, fit_scatter, plausible_weights, weight_variance
from liqserver.calibrate.scatter import PROBABILITIES
from liqserver.score.skill import OFFSET

NORMAL = np.array([-2.5758, -2.3263, -1.9600, *[0.0] * 19, 1.9600, 2.3263, 2.5758])
NORMAL[3:-3] = np.interp(PROBABILITIES[3:-3], [0.05, 0.5, 0.95], [-1.6449, 0.0, 1.6449])


def scatter(*, constant: float = 0.0, slope: float = 0.0, spread: float = 1.0) -> Scatter:
    """Return longs and shorts alike; recorded amounts are as large as predicted ones but for what is given."""
    return Scatter(
        centre=np.array([[constant, slope]] * 2),
        width=np.array([[math.log(spread), 0.0]] * 2),
        reach=np.array([[math.log(OFFSET), math.log(1e9)]] * 2),
        quantiles=NORMAL,
        scale=np.ones(2),
    )


def test_band_without_anything_else_is_the_quantiles_of_the_noise() -> None:
    # log(x + o) is 11.5129 + log 10 at 90 000: times and over exp(1.6449 / 2) = 2.2759, the offset taken off again.
    low, high = scatter(spread=0.5).band(np.full((2, 1), 90_000.0), 0.9)
    factor = math.exp(1.6449 / 2)
    assert high == pytest.approx(np.full((2, 1), 100_000 * factor - 10_000))
    assert low == pytest.approx(np.full((2, 1), 100_000 / factor - 10_000))


def test_band_of_next_to_nothing_begins_at_nothing() -> None:
    low, high = scatter().band(np.zeros((2, 1)), 0.9)
    assert low.tolist() == [[0.0], [0.0]]
    assert high == pytest.approx(np.full((2, 1), 10_000 * math.exp(1.6449) - 10_000))


def test_weights_that_are_not_known_widen_the_band_as_variances_add_up() -> None:
    amount, variance = np.full((2, 1), 1e6), np.full((2, 1), 0.75)
    wide = scatter(spread=0.5).band(amount, 0.9, variance)
    # 0.5² + 0.75 = 1².
    assert np.stack(wide) == pytest.approx(np.stack(scatter(spread=1.0).band(amount, 0.9)))


def test_beyond_what_was_seen_the_centre_goes_on_with_slope_one() -> None:
    of = scatter(slope=0.5)
    inside, twice = (of.recorded(np.full((2, 1), x - OFFSET), 0.5) + OFFSET for x in (1e9, 2e9))
    assert twice / inside == pytest.approx(2.0)


def test_fit_finds_centre_width_and_tails() -> None:
    rng = np.random.default_rng(3)
    predicted = rng.lognormal(13, 2, (2, 4000))
    log = np.log(predicted + OFFSET)
    spread = np.exp(1.0 - 0.1 * log)
    recorded = np.exp(0.4 + 1.1 * log + spread * rng.standard_t(5, log.shape)) - OFFSET
    found = fit_scatter(predicted, np.maximum(recorded, 0.0))
    assert found.centre[:, 1] == pytest.approx([0.1, 0.1], abs=0.03)
    assert found.width[:, 1] == pytest.approx([-0.1, -0.1], abs=0.04)
    for share in (0.5, 0.8, 0.9, 0.95):
        low, high = found.band(predicted, share)
        inside = (recorded >= low) & (recorded <= high)
        assert inside.mean(axis=1) == pytest.approx([share, share], abs=0.02)
        # Not only on the whole: of small and large predictions as well.
        for part in np.array_split(np.argsort(predicted[0]), 4):
            assert inside[0, part].mean() == pytest.approx(share, abs=0.06)


def test_scale_is_total_recorded_over_total_predicted() -> None:
    predicted = np.array([[1e6, 2e6, 4e6], [1e6, 3e6, 1e6]])
    assert fit_scatter(predicted, predicted * [[3.0], [2.0]]).scale == pytest.approx([3.0, 2.0])


@given(arrays(np.float64, (4, 4), elements=st.floats(-0.6, 0.6)))
def test_plausible_weights_have_the_covariance(root: np.ndarray) -> None:
    covariance = root @ root.T
    members = plausible_weights(covariance)
    assert members.shape == (8, 4)
    log = np.log(members)
    np.testing.assert_allclose(log.mean(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(log.T @ log / len(log), covariance, atol=1e-9)


def test_weight_variance_of_one_tier_is_that_tiers_and_of_an_empty_bin_nothing() -> None:
    members = plausible_weights(np.diag([0.09, 0.25]))
    by_tier = np.array([[[5.0, 0.0, 0.0], [0.0, 7.0, 0.0]]] * 2)
    assert weight_variance(by_tier, members) == pytest.approx(np.array([[0.09, 0.25, 0.0]] * 2))


def test_weight_variance_of_a_mix_is_smaller_than_of_its_parts() -> None:
    members = plausible_weights(np.diag([0.01, 0.01]))
    # Two tiers that hold the same, independent: log(a + b) has half the variance.
    assert weight_variance(np.full((2, 2, 1), 3.0), members) == pytest.approx(np.full((2, 1), 0.005), rel=0.02)
