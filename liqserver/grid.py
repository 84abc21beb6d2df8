"""Price grids: bins of equal width in quote units, multiples of the tick.

Bin ``b`` of width ``w`` covers ``[b*w, (b+1)*w)``; its price, wherever one number is shown, is the left edge.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

# A bin is one basis point of price or a little less: a tenth of the nearest level's distance at 125x.
BASE_BIN_FRACTION = 1e-4
# Bins of an answer when the caller names none: about a thousandth of price.
DEFAULT_BIN_FRACTION = 1e-3
# Slack of a quotient of two decimal numbers held in binary.
_EPSILON = 1e-9


def nice_floor(value: float) -> float:
    """Return the largest of 1, 2 or 5 times a power of ten that is at most ``value``.

    Raises
    ------
    ValueError
        If ``value`` is not positive and finite.
    """
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"value must be positive and finite, was {value!r}")
    exponent = math.floor(math.log10(value) + _EPSILON)
    for mantissa in (5, 2, 1):
        # A decimal literal rounds once; 10.0**-4 * 5 would round twice.
        nice = float(f"{mantissa}e{exponent}")
        if nice <= value * (1 + _EPSILON):
            return nice
    raise AssertionError("unreachable: one times the power of ten is at most the value")


def multiple_of(value: float, unit: float) -> int | None:
    """Return n with ``value == n * unit`` within rounding, or None when there is none."""
    n = round(value / unit)
    if n < 1 or abs(value / unit - n) > 1e-6:
        return None
    return n


def base_bin(price: float, tick_size: float) -> float:
    """Return the width of the bins in which flow is stored for a symbol.

    The largest nice multiple (1, 2, 5 times a power of ten) of ``tick_size`` up to a basis point of price,
    and never less than one tick.
    """
    n = price * BASE_BIN_FRACTION / tick_size
    multiple = round(nice_floor(n)) if n >= 1 else 1
    # Written as decimal and read back, so that 0.1 * 50 is 5.0 and not 5.000000000000001.
    return float(f"{multiple * tick_size:.12g}")


def default_bin_size(price: float, base: float) -> float:
    """Return the bin width of an answer when none is asked for: a nice multiple of ``base``."""
    n = price * DEFAULT_BIN_FRACTION / base
    multiple = round(nice_floor(n)) if n >= 1 else 1
    return float(f"{multiple * base:.12g}")


def bin_index(price: float, width: float) -> int:
    """Return the index of the bin that holds ``price``; a price on an edge belongs to the bin above it."""
    return math.floor(price / width + _EPSILON)


def bin_edges(first: int, count: int, width: float) -> NDArray[np.float64]:
    """Return the left edges of ``count`` bins from index ``first``, shape (count,), quote units."""
    # Rounded to the decimals of the width, so that 863 * 0.1 reads 86.3.
    decimals = max(0, 12 - math.ceil(math.log10(max(abs(first) + count, 1) * width + 1)))
    edges: NDArray[np.float64] = np.round(np.arange(first, first + count, dtype=np.float64) * width, decimals)
    return edges


@njit(cache=True, nogil=True)
def rebinned(
    qty: NDArray[np.float64], first_bin: int, width: float, multiple: int, first: int, count: int, notional: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Add up bins by wider ones.

    Parameters
    ----------
    qty : float64, shape (2, T, n)
        Contracts in bins of ``width`` (quote units), the first of which is ``first_bin``.
    multiple, first, count : int
        The wider bins: ``multiple`` times as wide, ``count`` of them from bin ``first`` of that width on.
    notional : bool
        Whether to value contracts at the middles of their own bins, quote units.

    Returns
    -------
    float64, shape (2, T, count)
        By the wider bins.
    float64, shape (2,)
        Sums of all of ``qty``, in the wider bins or not.
    """
    sides, tiers, bins = qty.shape
    out = np.zeros((sides, tiers, count))
    total = np.zeros(sides)
    low = first * multiple - first_bin
    for side in range(sides):
        for t in range(tiers):
            for b in range(min(max(low, 0), bins)):
                total[side] += qty[side, t, b] * ((first_bin + b + 0.5) * width if notional else 1.0)
            for b in range(max(low + count * multiple, 0), bins):
                total[side] += qty[side, t, b] * ((first_bin + b + 0.5) * width if notional else 1.0)
            for wide in range(count):
                start = low + wide * multiple
                held = 0.0
                for b in range(max(start, 0), min(start + multiple, bins)):
                    held += qty[side, t, b] * ((first_bin + b + 0.5) * width if notional else 1.0)
                out[side, t, wide] = held
                total[side] += held
    return out, total
