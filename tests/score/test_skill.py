"""Placement skill on data whose answer is known."""

import numpy as np
import pytest

from liqserver.score import MIN_INTERVALS, log_amount, placement_skill, split_days

HOUR = 3_600_000_000_000


def market(noise: float, n: int = 2400, seed: int = 1) -> dict[str, np.ndarray]:
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


def test_a_constant_prediction_gives_no_score() -> None:
    data = market(0.5)
    data["predicted"][:] = 0.0
    assert placement_skill(**data, cut=1200 * HOUR) is None


def test_days_are_utc() -> None:
    assert split_days(np.array([0, 23, 24, 72]) * HOUR).tolist() == [0, 0, 1, 2]
