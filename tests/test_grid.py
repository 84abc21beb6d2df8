import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from liqserver import grid


@given(st.floats(1e-12, 1e12))
def test_nice_floor_any_value_is_at_most_it_and_more_than_two_fifths(value: float) -> None:
    nice = grid.nice_floor(value)
    assert nice <= value * (1 + 1e-9)
    assert nice > value * 0.4 * (1 - 1e-9)


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_nice_floor_impossible_value_raises_and_says_what_it_was(value: float) -> None:
    with pytest.raises(ValueError, match="was"):
        grid.nice_floor(value)


@pytest.mark.parametrize(
    ("price", "tick", "expected"),
    [
        (90_000.0, 0.1, 5.0),
        (63_610.0, 1.0, 5.0),
        (3_000.0, 0.01, 0.2),
        (0.7, 0.0001, 0.0001),
        (1e-5, 1e-8, 1e-8),
    ],
)
def test_base_bin_symbols_of_every_scale_is_near_a_basis_point(price: float, tick: float, expected: float) -> None:
    assert grid.base_bin(price, tick) == expected


def test_bin_index_price_on_an_edge_belongs_to_the_bin_above() -> None:
    assert grid.bin_index(86.3, 0.1) == 863
    assert grid.bin_index(86.29, 0.1) == 862


def test_bin_edges_decimal_width_reads_as_decimal() -> None:
    np.testing.assert_array_equal(grid.bin_edges(863, 3, 0.1), [86.3, 86.4, 86.5])


@given(st.integers(1, 10_000), st.sampled_from([0.1, 0.01, 5.0, 1e-7, 0.25]))
def test_multiple_of_true_multiples_are_found(n: int, unit: float) -> None:
    assert grid.multiple_of(n * unit, unit) == n
    assert grid.multiple_of((n + 0.5) * unit, unit) is None
