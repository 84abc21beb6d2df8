"""The measure of known truth, on arrays made by hand."""

import numpy as np
import pytest
from numpy.typing import NDArray

from liqserver.score import truth
from liqserver.score.skill import MIN_DAYS

DAY = np.repeat(np.arange(12), 6)


def profiles(seed: int) -> NDArray[np.float64]:
    """Snapshots of a usual profile by distance and departures from it that have nothing to do with each other."""
    rng = np.random.default_rng(seed)
    usual = np.exp(-np.arange(truth.BINS) / 40)
    return np.asarray(usual * rng.lognormal(0, 0.5, (len(DAY), truth.BINS)))


def test_bins_of_a_side_begin_at_price_and_are_a_thousandth_of_it_wide() -> None:
    longs, shorts = truth.distance_edges(50_000.0, 0), truth.distance_edges(50_000.0, 1)
    assert longs[0] == shorts[0] == 50_000
    np.testing.assert_allclose(longs[[1, -1]], [49_950, 44_000])
    np.testing.assert_allclose(shorts[[1, -1]], [50_050, 56_000])


def test_levels_go_to_the_bin_of_their_distance() -> None:
    level = np.array([99_950.0, 99_850.0, 99_150.0, 88_001.0, 88_000.0, 100_050.0, np.nan])
    found = truth.profile_of_levels(level, np.array([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0]), 100_000.0, 0)
    assert {int(n): found[n] for n in np.flatnonzero(found)} == {0: 1.0, 1: 2.0, 8: 4.0, 119: 8.0}
    found = truth.profile_of_levels(level, np.ones(7), 100_000.0, 1)
    assert {int(n): found[n] for n in np.flatnonzero(found)} == {0: 1.0}


@pytest.mark.parametrize("side", [0, 1])
def test_price_bins_are_divided_by_width(side: int) -> None:
    # Two bins of 250 dollars, of which the bins of distance are 100 wide: 2.5 of them each.
    edges = np.array([99_500.0, 99_750.0, 100_000.0]) if side == 0 else np.array([100_000.0, 100_250.0, 100_500.0])
    qty = np.array([5.0, 10.0]) if side == 0 else np.array([10.0, 5.0])
    found = truth.profile_of_bins(edges, qty, 100_000.0, side)
    np.testing.assert_allclose(found[:6], [4, 4, 3, 2, 2, 0], atol=1e-9)
    assert found.sum() == pytest.approx(15)


def test_what_lies_out_of_reach_is_left_out() -> None:
    edges = np.array([80_000.0, 84_000.0, 88_000.0, 92_000.0])
    assert truth.profile_of_bins(edges, np.array([1.0, 2.0, 4.0]), 100_000.0, 0).sum() == pytest.approx(4)


def test_the_truth_itself_scores_one_in_any_unit() -> None:
    true = profiles(1)
    found = truth.truth_skill(1_000 * true, true, DAY)
    assert found is not None
    assert found.lift.value == pytest.approx(1)
    assert found.centred.value == pytest.approx(1)
    assert found.plain.value == pytest.approx(1)


def test_knowing_the_usual_profile_alone_is_worth_nothing() -> None:
    true = profiles(2)
    usual = np.broadcast_to(truth.shares(true).mean(axis=0), true.shape)
    found = truth.truth_skill(usual, true, DAY)
    assert found is not None
    assert found.lift.value == pytest.approx(0, abs=1e-6)
    assert found.plain.value > 0.4


def test_unrelated_departures_are_worth_nothing_and_a_share_of_the_true_ones_something() -> None:
    true, other = profiles(3), profiles(4)
    unrelated = truth.truth_skill(other, true, DAY)
    half = truth.truth_skill(np.sqrt(true * other), true, DAY)
    assert unrelated is not None
    assert half is not None
    assert abs(unrelated.lift.value) < 0.05
    assert unrelated.lift.low < 0 < unrelated.lift.high
    assert 0.55 < half.lift.low < half.lift.value < half.lift.high < 0.85


def test_a_wrong_usual_profile_is_paid_for_unless_forgiven() -> None:
    true = profiles(5)
    wrong = true * np.exp(np.arange(truth.BINS) / 40)
    found = truth.truth_skill(wrong, true, DAY)
    assert found is not None
    assert found.lift.value < 0.6
    assert found.centred.value > found.lift.value + 0.1


def test_lift_of_a_snapshot_by_hand() -> None:
    true = np.zeros((10, truth.BINS))
    true[:, :4] = 1.0
    true[0, :4] = [4.0, 0.0, 2.0, 2.0]
    predicted = true.copy()
    predicted[0, :4] = [0.0, 3.0, 1.0, 0.0]
    found = truth.truth_skill(predicted, true, np.arange(10))
    assert found is not None
    null = (np.array([0.5, 0.0, 0.25, 0.25]) + 9 * 0.25) / 10
    far = np.zeros(truth.BINS - 4)
    expected = np.corrcoef(
        np.concatenate([np.array([0.0, 0.75, 0.25, 0.0]) - null, far]),
        np.concatenate([np.array([0.5, 0.0, 0.25, 0.25]) - null, far]),
    )[0, 1]
    assert found.by_snapshot[0] == pytest.approx(expected)
    # Where the truth is what it is elsewhere, prediction and truth depart from the null alike.
    np.testing.assert_allclose(found.by_snapshot[1:], 1)
    assert found.lift.value == pytest.approx((expected + 9) / 10)


def test_silence_counts_as_the_null_and_snapshots_without_truth_do_not_count() -> None:
    true = profiles(6)
    predicted = true.copy()
    predicted[:6] = 0
    true[6:12] = 0
    found = truth.truth_skill(predicted, true, DAY)
    assert found is not None
    np.testing.assert_array_equal(found.by_snapshot[:6], 0)
    assert np.isnan(found.by_snapshot[6:12]).all()
    assert found.lift.value == pytest.approx(60 / 66)


def test_few_days_give_no_score() -> None:
    true = profiles(7)
    enough = DAY < MIN_DAYS
    assert truth.truth_skill(true[enough], true[enough], DAY[enough]) is not None
    few = DAY < MIN_DAYS - 1
    assert truth.truth_skill(true[few], true[few], DAY[few]) is None


def test_what_makes_no_sense_is_refused() -> None:
    true = profiles(8)
    with pytest.raises(ValueError, match="must have shapes"):
        truth.truth_skill(true[1:], true, DAY)
    with pytest.raises(ValueError, match="must have shapes"):
        truth.truth_skill(true[:, 1:], true[:, 1:], DAY)
    with pytest.raises(ValueError, match="predicted must be finite and not negative"):
        truth.truth_skill(-true, true, DAY)
    with pytest.raises(ValueError, match="true must be finite"):
        truth.truth_skill(true, np.where(true > 1, np.nan, true), DAY)


def test_interval_is_wider_where_days_differ_more() -> None:
    rng = np.random.default_rng(9)
    noise = rng.normal(0, 0.1, len(DAY))
    alike = truth.mean_estimate(noise, DAY)
    apart = truth.mean_estimate(noise + rng.normal(0, 0.5, 12)[DAY], DAY)
    assert apart.high - apart.low > 3 * (alike.high - alike.low)
    assert alike.low < alike.value < alike.high


def test_ceiling_is_reached_by_who_knows_all_but_chance() -> None:
    """Contracts expected at each place are known; what lies there are twice as many halves, drawn apart."""
    rng = np.random.default_rng(10)
    expected = profiles(11) * 20
    half, other = rng.poisson(expected / 2), rng.poisson(expected / 2)
    found = truth.truth_skill(expected, (half + other).astype(np.float64), DAY)
    assert found is not None
    top = truth.ceiling(half.astype(np.float64), other.astype(np.float64))
    assert 0.6 < top < 0.95
    assert found.lift.value == pytest.approx(top, abs=0.03)
    alike = truth.ceiling(expected, expected)
    assert alike == pytest.approx(1)
