"""The weights of tiers under which predicted liquidations explain recorded ones best, and how well they are known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from liqserver.score import log_amount
from liqserver.score.skill import OFFSET

PRIOR_SPREAD = 0.5
"""Standard deviation of log weights around those of the prior, up to a common factor: within a factor of 1.6."""

# That common factor is the data's to say; within a factor of ten it is known beforehand.
_LEVEL_SPREAD = 2.3
# Rounds of fit and variance; the second changes the variance by a percent or so, the third by nothing that counts.
_ROUNDS = 3
# Lags over which residuals may be related, intervals.
_LAGS = 24
# Share of the recorded variance that stays unexplained at least: what is fitted exactly is known, but not infinitely.
_LEAST_VARIANCE = 1e-6


@dataclass(frozen=True, slots=True)
class Fit:
    """Weights and how well they are known.

    Attributes
    ----------
    weight : float64, shape (T,)
        Share of everything opened, by tier.
    covariance : float64, shape (T, T)
        Of the log weights.
    r2 : float64, shape (2,)
        R² of log recorded on log predicted liquidations of longs and shorts, in the sample fitted on.
    """

    weight: NDArray[np.float64]
    covariance: NDArray[np.float64]
    r2: NDArray[np.float64]

    @property
    def spread(self) -> NDArray[np.float64]:
        """Standard deviation of each log weight, shape (T,)."""
        return np.sqrt(np.diag(self.covariance))


def fit_weights(
    response: NDArray[np.float64],
    recorded: NDArray[np.float64],
    prior: NDArray[np.float64],
    *,
    spread: float = PRIOR_SPREAD,
) -> Fit:
    """Fit weights common to both sides.

    Log recorded is log predicted times a slope plus a constant, both of each side's own, plus noise of a variance of
    each side's own. Log weights lie around those of the prior with standard deviation ``spread``, their common factor
    with one of ten. What is returned maximises the product of both, with the noise estimated from what is left over
    and widened where neighbouring intervals err alike; the covariance is that of its normal approximation.

    Parameters
    ----------
    response : float64, shape (2, N, T)
        What each tier would liquidate at weight 1, quote units.
    recorded : float64, shape (2, N)
        What was liquidated, quote units.
    prior : float64, shape (T,)
        Positive; where the fit starts, too.
    spread : float
        Positive.

    Raises
    ------
    ValueError
        If an input is not finite, or recorded liquidations do not vary.
    """
    if not (np.isfinite(response).all() and np.isfinite(recorded).all()):
        raise ValueError("responses and recorded liquidations must be finite: leave intervals out that are not known")
    if not np.ptp(recorded, axis=1).all():
        raise ValueError("recorded liquidations must vary on both sides")
    tiers = response.shape[2]
    target = log_amount(recorded)
    target = target - target.mean(axis=1, keepdims=True)
    variation = np.einsum("sn,sn->s", target, target)
    start = np.log(prior)
    # The deviation from the prior, apart into shape and level.
    level = np.full((tiers, tiers), 1 / tiers)
    pull = (np.eye(tiers) - level) / spread + level / _LEVEL_SPREAD

    def predicted_of(log_weight: NDArray[np.float64], side: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return log predicted of a side without its mean, and what it changes with each log weight."""
        weight = np.exp(log_weight)
        amount = response[side] @ weight + OFFSET
        predicted = np.log(amount)
        by_weight = response[side] * weight / amount[:, None]
        return predicted - predicted.mean(), by_weight - by_weight.mean(axis=0)

    def left_of(log_weight: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return what the best slope of each side leaves over, shape (2, N)."""
        out = np.empty_like(target)
        for side in range(2):
            predicted, _ = predicted_of(log_weight, side)
            out[side] = target[side] - (predicted @ target[side]) / (predicted @ predicted) * predicted
        return out

    def residuals(log_weight: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.concatenate([(left_of(log_weight) / noise[:, None]).ravel(), pull @ (log_weight - start)])

    def slopes(log_weight: NDArray[np.float64]) -> NDArray[np.float64]:
        out = []
        for side in range(2):
            predicted, by_weight = predicted_of(log_weight, side)
            square = predicted @ predicted
            slope = predicted @ target[side] / square
            of_slope = (target[side] - 2 * slope * predicted) @ by_weight / square
            out.append(-(slope * by_weight + np.outer(predicted, of_slope)) / noise[side])
        return np.concatenate([*out, pull])

    at = start
    for _ in range(_ROUNDS):
        noise = np.sqrt(np.maximum(_noise_variance(left_of(at)), _LEAST_VARIANCE * variation / target.shape[1]))
        at = least_squares(residuals, at, slopes, method="lm", xtol=1e-10, ftol=1e-10).x
    r2 = 1 - np.square(left_of(at)).sum(axis=1) / variation
    slope = slopes(at)
    return Fit(np.exp(at), np.linalg.inv(slope.T @ slope), r2)


def _noise_variance(left: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the variance of each side's residuals (2, N), times how many of them count as one (Newey and West)."""
    count = left.shape[1]
    variance = np.square(left).mean(axis=1)
    together = np.ones(2)
    for lag in range(1, min(_LAGS, count - 1) + 1):
        related = (left[:, lag:] * left[:, :-lag]).sum(axis=1) / count
        together += 2 * (1 - lag / (_LAGS + 1)) * np.divide(related, variance, out=np.zeros(2), where=variance > 0)
    return np.asarray(variance * np.maximum(together, 1.0))
