"""Fitting weights to responses whose weights are known."""

import numpy as np
import pytest

from liqserver.calibrate import fit_weights
from liqserver.score import log_amount

TRUE = np.array([0.02, 0.005, 0.01])
EQUAL = np.full(3, 0.001)


def made(noise: float, n: int = 3000, seed: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Return responses and what a mix of TRUE liquidates, with noise in its logarithm."""
    rng = np.random.default_rng(seed)
    response = rng.lognormal(16, 1.5, (2, n, 3)) * (rng.random((2, n, 3)) < 0.3)
    real = (response @ TRUE + 10_000) * np.exp(noise * rng.normal(size=(2, n))) - 10_000
    return response, np.maximum(real, 0.0)


def test_finds_the_weights_without_noise() -> None:
    response, real = made(0.0)
    fit = fit_weights(response, real, EQUAL, spread=1e3)
    np.testing.assert_allclose(fit.weight, TRUE, rtol=1e-3)
    np.testing.assert_allclose(fit.r2, 1, atol=1e-5)


def test_true_shape_lies_within_its_spread() -> None:
    away = []
    for seed in range(12):
        response, real = made(0.6, n=400, seed=seed)
        fit = fit_weights(response, real, EQUAL, spread=1e3)
        # The level depends on the noise of small liquidations, the shape does not.
        off = np.log(fit.weight / TRUE)
        away.append((off - off.mean()) / fit.spread)
    assert 0.3 < np.sqrt(np.mean(np.square(away))) < 1.5


def test_a_strong_prior_keeps_its_shape_and_leaves_its_level_to_the_data() -> None:
    response, _ = made(0.0)
    real = response @ (7 * EQUAL)
    fit = fit_weights(response, real, EQUAL, spread=1e-3)
    np.testing.assert_allclose(fit.weight, 7 * EQUAL, rtol=1e-3)


def test_r2_is_that_of_a_regression_on_the_prediction() -> None:
    response, real = made(0.5)
    fit = fit_weights(response, real, EQUAL, spread=0.5)
    for side in range(2):
        r = np.corrcoef(log_amount(response[side] @ fit.weight), log_amount(real[side]))[0, 1]
        assert fit.r2[side] == pytest.approx(r * r)


@pytest.mark.parametrize("bad", ["nan", "constant"])
def test_refuses_what_says_nothing(bad: str) -> None:
    response, real = made(0.5, n=50)
    if bad == "nan":
        real[0, 3] = np.nan
    else:
        real[:] = 5.0
    with pytest.raises(ValueError, match="finite" if bad == "nan" else "vary"):
        fit_weights(response, real, EQUAL, spread=0.5)
