"""How much models agree on one grid."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from liqserver.live.answers import ModelPair, Sides


def agreement(edges: NDArray[np.float64], amounts: dict[int, NDArray[np.float64]]) -> tuple[ModelPair, ...]:
    """Return every pair of models, each side's amounts taken as shares of their sum.

    Parameters
    ----------
    edges : float64, shape (n,)
        Left edges of the bins, quote units.
    amounts : dict of float64, shape (2, n)
        Longs and shorts by index of the model.
    """
    return tuple(_pair(a, b, edges, amounts[a], amounts[b]) for a, b in combinations(sorted(amounts), 2))


def _pair(
    a: int, b: int, edges: NDArray[np.float64], first: NDArray[np.float64], second: NDArray[np.float64]
) -> ModelPair:
    overlap: list[float | None] = []
    rank: list[float | None] = []
    differ_most: tuple[float, Sides, float] | None = None
    for side, name in enumerate((Sides.LONG, Sides.SHORT)):
        rank.append(rank_correlation(first[side], second[side]))
        if not (first[side].any() and second[side].any()):
            overlap.append(None)
            continue
        difference = first[side] / first[side].sum() - second[side] / second[side].sum()
        # 1 - total variation; rounding must not leave [0, 1].
        overlap.append(min(max(1 - float(np.abs(difference).sum()) / 2, 0.0), 1.0))
        at = int(np.abs(difference).argmax())
        if differ_most is None or abs(difference[at]) > abs(differ_most[2]):
            differ_most = float(edges[at]), name, float(difference[at])
    return ModelPair(a, b, (overlap[0], overlap[1]), (rank[0], rank[1]), differ_most)


def rank_correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> float | None:
    """Return Spearman's rank correlation, ties at their mean rank; None when one of them does not vary.

    Parameters
    ----------
    first, second : float64, shape (n,)
    """
    ranks = [_ranks(values) for values in (first, second)]
    a, b = (rank - rank.mean() for rank in ranks)
    spread = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / spread if spread > 0 else None


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    _, index, count = np.unique(values, return_inverse=True, return_counts=True)
    # Mean of the ranks that equal values take up.
    return np.asarray((np.cumsum(count) - (count - 1) / 2)[index])
