"""Known truth: whether a model knows where levels are, beyond how far from price they usually are.

A simulated market tells what no exchange does: all levels. Both the map and the truth are taken as shares of what lies
within ``REACH`` of price, by distance from price; the null is the mean of the true shares, what somebody knows who
knows the market's habits and nothing of its past. What a map adds is how its departures from the null go along with
those of the truth.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from liqserver.score.skill import DAY, MIN_DAYS, Estimate, over_days

REACH = 0.12
"""How far from price levels count, as a share of price."""

BINS = 120
"""Bins of equal width within reach: a thousandth of price each, 100 dollars at a price of 100 000."""

# Shares that differ by less differ by rounding alone.
_ROUNDING = 1e-12


@dataclass(frozen=True, slots=True)
class TruthSkill:
    """How well predicted levels of one side agree with the true ones.

    Attributes
    ----------
    lift : Estimate
        Correlation over bins of (predicted - null) with (true - null), mean over snapshots. The null is the same for
        both, so a map pays for a wrong profile by distance.
    centred : Estimate
        The same with the mean of the predicted shares as null of the prediction: its profile by distance forgiven.
    plain : Estimate
        Correlation of predicted and true shares.
    by_snapshot : float64, shape (S,)
        What ``lift`` is the mean of; NaN for snapshots without true levels.
    """

    lift: Estimate
    centred: Estimate
    plain: Estimate
    by_snapshot: NDArray[np.float64]


def distance_edges(price: float, side: int) -> NDArray[np.float64]:
    """Return the prices that bound the bins of one side, nearest first, shape (BINS + 1,).

    Parameters
    ----------
    price : float
        Quote units.
    side : int
        0 for longs, whose levels lie below price, 1 for shorts.
    """
    away = np.linspace(0.0, REACH, BINS + 1)
    return np.asarray(price * (1 - away if side == 0 else 1 + away))


def profile_of_bins(
    edges: NDArray[np.float64], qty: NDArray[np.float64], price: float, side: int
) -> NDArray[np.float64]:
    """Return what lies in each bin of distance, shape (BINS,), from contracts in price bins.

    A price bin that spans several is divided among them by width.

    Parameters
    ----------
    edges : float64, shape (n + 1,)
        Ascending, quote units.
    qty : float64, shape (n,)
        Contracts, any unit.
    price, side
        As in ``distance_edges``.
    """
    total = np.concatenate([[0.0], np.cumsum(qty)])
    return np.asarray(np.abs(np.diff(np.interp(distance_edges(price, side), edges, total))))


def profile_of_levels(
    level: NDArray[np.float64], qty: NDArray[np.float64], price: float, side: int
) -> NDArray[np.float64]:
    """Return what lies in each bin of distance, shape (BINS,), from positions with exact levels.

    Parameters
    ----------
    level : float64, shape (n,)
        Liquidation prices, quote units; those out of reach or NaN are left out.
    qty : float64, shape (n,)
        Contracts, any unit.
    price, side
        As in ``distance_edges``.
    """
    away = (price - level if side == 0 else level - price) / price
    inside = (away >= 0) & (away < REACH)
    which = np.minimum((away[inside] * (BINS / REACH)).astype(np.int64), BINS - 1)
    return np.bincount(which, qty[inside], minlength=BINS).astype(np.float64)


def shares(profile: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return each row divided by its sum, shape (S, BINS); NaN for rows of nothing."""
    total = profile.sum(axis=1, keepdims=True)
    return np.asarray(np.divide(profile, total, out=np.full(profile.shape, np.nan), where=total > 0))


def truth_skill(
    predicted: NDArray[np.float64], true: NDArray[np.float64], day: NDArray[np.int64], *, seed: int = 0
) -> TruthSkill | None:
    """Measure one side of a model against the truth.

    Parameters
    ----------
    predicted, true : float64, shape (S, BINS)
        Profiles of the same snapshots. A prediction of nothing within reach counts as saying the null.
    day : int64, shape (S,)
        UTC day of each snapshot: the blocks of the bootstrap.
    seed : int
        Of the bootstrap.

    Returns
    -------
    TruthSkill or None
        None with fewer than ``MIN_DAYS`` days.

    Raises
    ------
    ValueError
        If shapes do not agree, or a profile is negative or not finite.
    """
    if predicted.shape != true.shape or true.shape[:1] != day.shape or true.shape[1:] != (BINS,):
        raise ValueError(
            f"predicted, true and day must have shapes (S, {BINS}), (S, {BINS}) and (S,), "
            f"had {predicted.shape}, {true.shape} and {day.shape}"
        )
    for name, profile in (("predicted", predicted), ("true", true)):
        if not (np.isfinite(profile).all() and (profile >= 0).all()):
            raise ValueError(f"{name} must be finite and not negative")
    found = true.sum(axis=1) > 0
    if len(np.unique(day[found])) < MIN_DAYS:
        return None
    of_truth, of_model = shares(true), shares(predicted)
    null = of_truth[found].mean(axis=0)
    silent = np.isnan(of_model).any(axis=1)
    of_model[silent] = null
    own = of_model[found].mean(axis=0)
    lift = correlation(of_model - null, of_truth - null)
    return TruthSkill(
        mean_estimate(lift[found], day[found], seed=seed),
        mean_estimate(correlation(of_model - own, of_truth - null)[found], day[found], seed=seed),
        mean_estimate(correlation(of_model, of_truth)[found], day[found], seed=seed),
        np.where(found, lift, np.nan),
    )


def ceiling(half: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Return the lift that nobody can exceed who does not know the positions themselves.

    Positions are few and of very different sizes: even who knew how much interest is to be expected at every price
    would miss by what chance made of it. Divided at random, the positions' two halves share the former and not the
    latter: their correlation c gives 2c / (1 + c) for the share of the truth's variance that could be known
    (Spearman and Brown), and its root for the correlation.

    Parameters
    ----------
    half, other : float64, shape (S, BINS)
        Profiles of two random halves of the true positions.
    """
    found = (half.sum(axis=1) > 0) & (other.sum(axis=1) > 0)
    one, two = shares(half[found]), shares(other[found])
    c = float(correlation(one - one.mean(axis=0), two - two.mean(axis=0)).mean())
    return float(np.sqrt(max(2 * c / (1 + c), 0.0)))


def mean_estimate(values: NDArray[np.float64], block: NDArray[np.int64], *, seed: int = 0) -> Estimate:
    """Return the mean of values, shape (n,), with its interval of confidence by bootstrap over blocks (n,)."""
    columns = np.stack([np.ones(len(values)), values], axis=1)
    return over_days(columns, block * DAY, lambda sums: np.asarray(sums[..., 1:] / sums[..., :1]), seed=seed)[0]


def correlation(one: NDArray[np.float64], two: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the correlation of each row of shares with that of the other, shape (S,); 0 where a row does not vary."""
    one = one - one.mean(axis=1, keepdims=True)
    two = two - two.mean(axis=1, keepdims=True)
    size = np.sqrt(np.stack([np.square(one).sum(axis=1), np.square(two).sum(axis=1)]))
    varies = (size > _ROUNDING).all(axis=0)
    return np.asarray(np.divide((one * two).sum(axis=1), size.prod(axis=0), out=np.zeros(len(one)), where=varies))
