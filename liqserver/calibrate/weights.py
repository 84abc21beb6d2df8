"""The weights of tiers under which predicted liquidations explain real ones best."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from liqserver.score import log_amount
from liqserver.score.skill import OFFSET

_STEPS = 200
_LONGEST_STEP = 1.0
_DONE = 1e-9


@dataclass(frozen=True, slots=True)
class Fit:
    """Weights and how well they are known.

    Attributes
    ----------
    weight : float64, shape (T,)
        Share of everything opened, by tier.
    spread : float64, shape (T,)
        Standard deviation of log weight.
    r2 : float64, shape (2,)
        R² of log real on log predicted liquidations of longs and shorts, in the sample fitted on.
    """

    weight: NDArray[np.float64]
    spread: NDArray[np.float64]
    r2: NDArray[np.float64]


def fit_weights(
    response: NDArray[np.float64], real: NDArray[np.float64], prior: NDArray[np.float64], *, ridge: float
) -> Fit:
    """Fit weights common to both sides.

    Minimises the sum over both sides of (1 - R²) of log real on log predicted liquidations, with an intercept and a
    slope of each side's own, plus ``ridge`` times the squared deviation of log weights from those of the prior up to
    a common factor (Levenberg-Marquardt).

    Parameters
    ----------
    response : float64, shape (2, N, T)
        What each tier would liquidate at weight 1, quote units.
    real : float64, shape (2, N)
        What was liquidated, quote units.
    prior : float64, shape (T,)
        Positive; where the fit starts, too.
    ridge : float
        Positive.

    Raises
    ------
    ValueError
        If an input is not finite, or real liquidations do not vary.
    """
    if not (np.isfinite(response).all() and np.isfinite(real).all()):
        raise ValueError("responses and real liquidations must be finite: leave intervals out that are not known")
    target = log_amount(real)
    target = target - target.mean(axis=1, keepdims=True)
    variation = np.einsum("sn,sn->s", target, target)
    if not np.ptp(real, axis=1).all():
        raise ValueError("real liquidations must vary on both sides")
    tiers = response.shape[2]
    # Removes what all tiers have in common: the prior says nothing about the level.
    spread_only = np.eye(tiers) - 1 / tiers
    start = np.log(prior)

    def evaluate(log_weight: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        weight = np.exp(log_weight)
        residuals, slopes = [], []
        for side in range(2):
            amount = response[side] @ weight + OFFSET
            predicted = np.log(amount)
            predicted = predicted - predicted.mean()
            square = predicted @ predicted
            slope = predicted @ target[side] / square
            by_weight = response[side] * weight / amount[:, None]
            by_weight -= by_weight.mean(axis=0)
            of_slope = (target[side] - 2 * slope * predicted) @ by_weight / square
            norm = np.sqrt(variation[side])
            residuals.append((target[side] - slope * predicted) / norm)
            slopes.append(-(slope * by_weight + np.outer(predicted, of_slope)) / norm)
        residuals.append(np.sqrt(ridge) * spread_only @ (log_weight - start))
        slopes.append(np.sqrt(ridge) * spread_only)
        return np.concatenate(residuals), np.concatenate(slopes)

    at = start.copy()
    residual, slope = evaluate(at)
    error = float(residual @ residual)
    damping = 1e-3
    for _ in range(_STEPS):
        normal, gradient = slope.T @ slope, slope.T @ residual
        step = -np.linalg.solve(normal + damping * np.diag(np.diag(normal) + 1e-9), gradient)
        step = np.clip(step, -_LONGEST_STEP, _LONGEST_STEP)
        new_residual, new_slope = evaluate(at + step)
        new_error = float(new_residual @ new_residual)
        if new_error >= error:
            damping *= 4
            if damping > 1e8:
                break
            continue
        gained, damping = error - new_error, max(damping / 5, 1e-9)
        at, residual, slope, error = at + step, new_residual, new_slope, new_error
        if gained < _DONE:
            break
    count = real.shape[1]
    left = residual[: 2 * count].reshape(2, count)
    r2 = 1 - np.einsum("sn,sn->s", left, left)
    # The usual estimate of a least-squares fit: error variance times the inverse of the normal matrix.
    covariance = (1 - r2).sum() / (2 * count - tiers - 4) * np.linalg.pinv(slope.T @ slope)
    return Fit(np.exp(at), np.sqrt(np.diag(covariance)), r2)
