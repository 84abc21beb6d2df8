"""How far recorded liquidations lie from predicted ones, and the bands that follow from it.

Of an interval in which the map predicts x, log(y + o) of what is recorded lies around a line in log(x + o), o being
the offset of ``liqserver.score.skill``: with a spread that depends on x, and with tails as they were seen. This is the
noise of the map itself: positions it does not see, margin added, orders the record leaves out. What is not known of
the weights comes on top of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from liqserver.score.skill import OFFSET

PROBABILITIES = (0.005, 0.01, 0.025, *np.round(np.arange(0.05, 0.951, 0.05), 2).tolist(), 0.975, 0.99, 0.995)
"""Probabilities whose quantiles a ``Scatter`` holds."""

BANDS = (0.1, 0.99)
"""Smallest and largest share that a band can be asked for to cover."""

# Added to the size of a residual before its logarithm: some are next to nothing by chance.
_LEAST_RESIDUAL = 0.05


@dataclass(frozen=True, slots=True)
class Scatter:
    """Recorded liquidations given predicted ones; rows are longs and shorts.

    With u = log(predicted + o) held within ``reach``, log(recorded + o) = log(predicted + o) + ``centre[0]`` +
    ``centre[1]`` u + exp(``width[0]`` + ``width[1]`` u) z, and z has ``quantiles``. Amounts are quote units.

    Attributes
    ----------
    centre, width, reach : float64, shape (2, 2)
        Constant and slope; least and most u seen.
    quantiles : float64, shape (K,)
        Of z at ``PROBABILITIES``, both sides taken together.
    scale : float64, shape (2,)
        Total recorded over total predicted.
    """

    centre: NDArray[np.float64]
    width: NDArray[np.float64]
    reach: NDArray[np.float64]
    quantiles: NDArray[np.float64]
    scale: NDArray[np.float64]

    def recorded(
        self, predicted: NDArray[np.float64], probability: float, variance: NDArray[np.float64] | float = 0.0
    ) -> NDArray[np.float64]:
        """Return what a record stays below with ``probability`` where ``predicted`` is predicted.

        Parameters
        ----------
        predicted : float64, shape (2, n)
            Longs and shorts, quote units.
        probability : float
            In (0, 1).
        variance : float64, shape (2, n)
            Of log predicted, for what is not known of the weights.

        Returns
        -------
        float64, shape (2, n)
            Quote units of the record, not negative.
        """
        log = np.log(predicted + OFFSET)
        at = np.clip(log, self.reach[:, :1], self.reach[:, 1:])
        spread = np.sqrt(np.exp(2 * (self.width[:, :1] + self.width[:, 1:] * at)) + variance)
        z = float(np.interp(probability, PROBABILITIES, self.quantiles))
        value = np.exp(log + self.centre[:, :1] + self.centre[:, 1:] * at + spread * z) - OFFSET
        return np.asarray(np.maximum(value, 0.0))

    def band(
        self, predicted: NDArray[np.float64], share: float, variance: NDArray[np.float64] | float = 0.0
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return low and high ends, as ``recorded``, between which ``share`` of records lie, as many on either side."""
        low, high = (self.recorded(predicted, p, variance) for p in ((1 - share) / 2, (1 + share) / 2))
        return low, high


def fit_scatter(predicted: NDArray[np.float64], recorded: NDArray[np.float64]) -> Scatter:
    """Return the scatter of recorded liquidations around predicted ones.

    Ordinary least squares twice: of log recorded on log predicted, then of the logarithm of what is left over.

    Parameters
    ----------
    predicted, recorded : float64, shape (2, N)
        Longs and shorts by interval, quote units; N of some hundreds, neither side constant.
    """
    x, y = np.log(predicted + OFFSET), np.log(recorded + OFFSET)
    centre, width, z = np.empty((2, 2)), np.empty((2, 2)), np.empty_like(x)
    for side in range(2):
        slope, constant = np.polyfit(x[side], y[side], 1)
        left = y[side] - constant - slope * x[side]
        by_size, at_zero = np.polyfit(x[side], np.log(np.abs(left) + _LEAST_RESIDUAL), 1)
        centre[side], width[side] = (constant, slope - 1), (at_zero, by_size)
        z[side] = left / np.exp(at_zero + by_size * x[side])
    return Scatter(
        centre=centre,
        width=width,
        reach=np.stack([x.min(axis=1), x.max(axis=1)], axis=1),
        quantiles=np.quantile(z, PROBABILITIES),
        scale=recorded.sum(axis=1) / predicted.sum(axis=1),
    )


def plausible_weights(covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return factors of weights that are plausible: mean and covariance of their logarithms are 0 and ``covariance``.

    The sigma points of the unscented transform: few, and the same every time.

    Parameters
    ----------
    covariance : float64, shape (T, T)
        Of log weights; may be singular.

    Returns
    -------
    float64, shape (2 T, T)
        Positive, one row for each member.
    """
    value, vector = np.linalg.eigh(covariance)
    root = vector * np.sqrt(np.maximum(value, 0.0) * len(value))
    return np.exp(np.concatenate([root.T, -root.T]))


def weight_variance(by_tier: NDArray[np.float64], members: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the variance of log amounts over ``members``.

    Parameters
    ----------
    by_tier : float64, shape (2, T, n)
        Amounts by tier; in proportion to the tiers' weights.
    members : float64, shape (M, T)
        Factors of the weights; see ``plausible_weights``.

    Returns
    -------
    float64, shape (2, n)
        0 where nothing is.
    """
    whole = by_tier.sum(axis=1)
    amount = np.einsum("mt,stn->msn", members, by_tier)
    ratio = np.divide(amount, whole, out=np.ones_like(amount), where=np.broadcast_to(whole > 0, amount.shape))
    return np.asarray(np.square(np.log(ratio)).mean(axis=0))
