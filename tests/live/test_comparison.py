"""Agreement of models on numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from liqserver.live.answers import Sides
from liqserver.live.comparison import agreement, rank_correlation

EDGES = np.array([10.0, 20.0, 30.0])


def test_agreement_shares_not_amounts_are_compared() -> None:
    a = np.array([[1.0, 1.0, 2.0], [0.0, 0.0, 0.0]])
    b = np.array([[10.0, 10.0, 20.0], [1.0, 0.0, 0.0]])
    (pair,) = agreement(EDGES, {0: a, 3: b})
    assert (pair.a, pair.b) == (0, 3)
    assert pair.overlap == (1.0, None)
    assert pair.rank_correlation == (pytest.approx(1.0), None)


def test_agreement_names_the_bin_where_shares_differ_most() -> None:
    # Longs: 1/2, 1/2, 0 against 1/4, 1/2, 1/4, total variation 1/4. Shorts: 1, 0, 0 against 0, 0, 1: nothing shared.
    a = np.array([[2.0, 2.0, 0.0], [7.0, 0.0, 0.0]])
    b = np.array([[1.0, 2.0, 1.0], [0.0, 0.0, 3.0]])
    (pair,) = agreement(EDGES, {0: a, 1: b})
    assert pair.overlap == (pytest.approx(0.75), 0.0)
    assert pair.differ_most == (10.0, Sides.SHORT, 1.0)


def test_agreement_of_empty_models_has_nothing_to_say() -> None:
    (pair,) = agreement(EDGES, {0: np.zeros((2, 3)), 1: np.zeros((2, 3))})
    assert pair.overlap == pair.rank_correlation == (None, None)
    assert pair.differ_most is None


def test_rank_correlation_ties_share_their_mean_rank() -> None:
    # Ranks 1.5, 1.5, 3 against 1, 2, 3: sum of products of deviations 1.5, spreads 1.5 and 2.
    assert rank_correlation(np.array([5.0, 5.0, 9.0]), np.array([1.0, 4.0, 8.0])) == pytest.approx(1.5 / np.sqrt(3.0))
    assert rank_correlation(np.array([1.0, 2.0, 3.0]), np.array([9.0, 4.0, 1.0])) == pytest.approx(-1.0)
    assert rank_correlation(np.ones(3), np.arange(3.0)) is None


amounts = arrays(np.float64, (2, 6), elements=st.sampled_from([0.0, 0.5, 1.0, 3.0, 100.0]))


@given(amounts, amounts)
def test_agreement_is_symmetric_and_bounded(a: np.ndarray, b: np.ndarray) -> None:
    (there,), (back,) = (agreement(np.arange(6.0), {0: x, 1: y}) for x, y in ((a, b), (b, a)))
    assert there.overlap == pytest.approx(back.overlap)
    for overlap, rank in zip(there.overlap, there.rank_correlation, strict=True):
        assert overlap is None or 0 <= overlap <= 1
        assert rank is None or abs(rank) <= 1 + 1e-12
    (same,) = agreement(np.arange(6.0), {0: a, 1: a})
    assert all(overlap in (None, 1.0) for overlap in same.overlap)
