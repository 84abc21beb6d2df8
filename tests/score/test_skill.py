"""Placement skill on data whose answer is known."""

from typing import Any

import numpy as np
import pytest

from liqserver.score import MIN_DAYS, MIN_INTERVALS, controls_skill, log_amount, parts_of, placement_skill, split_days

HOUR = 3_600_000_000_000


def market(noise: float, n: int = 2400, seed: int = 1) -> dict[str, Any]:
    """Real = a control plus a hidden part that the prediction knows, in logs."""
    rng = np.random.default_rng(seed)
    control, hidden = rng.normal(size=(2, n))
    real = np.exp(12 + control + hidden + noise * rng.normal(size=n))
    return {
        "open_time": np.arange(n) * HOUR,
        "predicted": np.exp(10 + control + hidden),
        "real": real,
        "controls": np.column_stack([np.ones(n), control]),
    }


def test_gain_of_a_prediction_that_knows_half_of_the_variance() -> None:
    data = market(0.0)
    skill = placement_skill(**data, cut=1200 * HOUR)
    assert skill is not None
    assert (skill.fitted, skill.scored, skill.days) == (1200, 1200, 50)
    # The offset of the logarithm bends the relation a little.
    assert skill.controls.value == pytest.approx(0.5, abs=0.06)
    assert skill.gain.value == pytest.approx(0.5, abs=0.06)
    assert skill.r.value == pytest.approx(1.0, abs=0.02)
    assert skill.gain.low < skill.gain.value < skill.gain.high


def test_a_prediction_of_noise_gains_nothing() -> None:
    data = market(0.5)
    data["predicted"] = np.exp(np.random.default_rng(9).normal(12, 1, 2400))
    skill = placement_skill(**data, cut=1200 * HOUR)
    assert skill is not None
    assert skill.gain.low < 0.005
    assert abs(skill.gain.value) < 0.01
    assert abs(skill.r.value) < 0.1


def test_figures_agree_with_numpy() -> None:
    data = market(0.7)
    skill = placement_skill(**data, cut=1300 * HOUR)
    assert skill is not None
    x, y = log_amount(data["predicted"]), log_amount(data["real"])
    assert skill.r.value == pytest.approx(np.corrcoef(x[1300:], y[1300:])[0, 1])
    slope, at_zero = np.polyfit(x[:1300], y[:1300], 1)
    error = y[1300:] - at_zero - slope * x[1300:]
    assert skill.alone.value == pytest.approx(1 - (error @ error) / np.square(y[1300:] - y[:1300].mean()).sum())
    assert skill.slope.value == pytest.approx(np.polyfit(x[1300:], y[1300:], 1)[0])
    assert skill.share.value == pytest.approx(data["predicted"][1300:].sum() / data["real"][1300:].sum())
    assert skill.share.low < skill.share.value < skill.share.high


def test_slope_of_a_prediction_with_too_large_differences() -> None:
    data = market(0.0)
    # In logs twice as far apart as they should be; large, so that the offset does not bend.
    data["real"] *= 1e6
    data["predicted"] = np.square(data["real"]) / 1e12
    skill = placement_skill(**data, cut=1200 * HOUR)
    assert skill is not None
    assert skill.slope.value == pytest.approx(0.5, abs=0.01)


def test_what_is_added_to_the_null_is_measured_on_the_same_days() -> None:
    data = market(0.3)
    rng = np.random.default_rng(4)
    null = data["predicted"] * np.exp(0.5 * rng.normal(size=2400))
    null[1250:1260] = np.nan
    skill = placement_skill(**data, cut=1200 * HOUR, null=null)
    alone = placement_skill(**{**data, "predicted": np.where(np.isnan(null), np.nan, null)}, cut=1200 * HOUR)
    without = placement_skill(
        **{**data, "predicted": np.where(np.isnan(null), np.nan, data["predicted"])}, cut=1200 * HOUR
    )
    assert skill is not None
    assert alone is not None
    assert without is not None
    assert skill.over_null is not None
    assert skill.scored == 1190
    assert skill.over_null.value == pytest.approx(without.gain.value - alone.gain.value)
    # Both have the luck of the same days: the difference is known better than either.
    assert skill.over_null.high - skill.over_null.low < (skill.gain.high - skill.gain.low) / 2
    assert skill.over_null.low > 0
    same = placement_skill(**data, cut=1200 * HOUR, null=data["predicted"])
    assert same is not None
    assert same.over_null is not None
    assert (same.over_null.value, same.over_null.low, same.over_null.high) == pytest.approx((0, 0, 0), abs=1e-12)


def test_shuffled_truth_gains_nothing() -> None:
    data = market(0.2)
    real = data["real"].reshape(100, 24)
    data["real"] = real[np.random.default_rng(5).permutation(100)].ravel()
    skill = placement_skill(**data, cut=1200 * HOUR)
    assert skill is not None
    assert abs(skill.gain.value) < 0.02
    assert skill.gain.low < 0.01


def test_the_controls_alone() -> None:
    data = market(0.3)
    skill = placement_skill(**data, cut=1200 * HOUR)
    alone = controls_skill(data["open_time"], data["real"], data["controls"], 1200 * HOUR)
    assert skill is not None
    assert alone is not None
    assert (alone.value, alone.low, alone.high) == pytest.approx(
        (skill.controls.value, skill.controls.low, skill.controls.high)
    )
    assert controls_skill(data["open_time"], data["real"], data["controls"], 2300 * HOUR) is None


def test_units_are_millions() -> None:
    assert log_amount(np.array([0.0, 990_000.0])) == pytest.approx(np.log([0.01, 1.0]))


def test_what_comes_after_the_cut_does_not_change_the_fit() -> None:
    data = market(0.5)
    skill = placement_skill(**data, cut=1200 * HOUR)
    missing = {key: value.copy() for key, value in data.items()}
    missing["real"][1500:] = np.nan
    part = placement_skill(**missing, cut=1200 * HOUR)
    assert skill is not None
    assert part is not None
    assert part.scored == 300
    assert part.fitted == skill.fitted


@pytest.mark.parametrize("cut", [MIN_INTERVALS - 1, 2400 - MIN_INTERVALS + 1])
def test_too_little_data_gives_no_score(cut: int) -> None:
    assert placement_skill(**market(0.5), cut=cut * HOUR) is None


def test_too_few_days_give_no_score() -> None:
    data = market(0.5)
    # Enough hours, all of them of nine days.
    data["open_time"] = np.concatenate(
        [np.arange(1200) * HOUR, 1200 * HOUR + np.arange(1200) * (9 * 24 * HOUR // 1200)]
    )
    assert placement_skill(**data, cut=1200 * HOUR) is None
    parts = parts_of(data["open_time"], data["controls"], 1200 * HOUR, data["real"])
    assert (parts.scored, parts.days) == (1200, MIN_DAYS - 1)
    assert parts.shortage == "not enough data: 9 UTC days to score on, at least 10 must be"


def test_a_constant_prediction_gives_no_score() -> None:
    data = market(0.5)
    data["predicted"][:] = 0.0
    assert placement_skill(**data, cut=1200 * HOUR) is None


def test_days_are_utc() -> None:
    assert split_days(np.array([0, 23, 24, 72]) * HOUR).tolist() == [0, 0, 1, 2]
