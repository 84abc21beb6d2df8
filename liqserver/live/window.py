"""The bins of an answer, and what a model's levels hold in them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from liqserver import grid
from liqserver.live.errors import InvalidField
from liqserver.models.market import ModelLevels

MAX_BINS = 50_000


@dataclass(frozen=True, slots=True)
class Window:
    """Bins of equal width that cover a price range, each a whole number of base bins.

    Attributes
    ----------
    bin_size : float
        Width of a bin, quote units.
    multiple : int
        Base bins per bin.
    first : int
        Bin i covers ``[(first + i) * bin_size, ... + bin_size)``.
    count : int
        Number of bins.
    """

    bin_size: float
    multiple: int
    first: int
    count: int

    @property
    def edges(self) -> NDArray[np.float64]:
        """Left edges, quote units, shape (count,)."""
        return grid.bin_edges(self.first, self.count, self.bin_size)

    def amounts(
        self, levels: ModelLevels, *, notional: bool, by_tier: bool = False
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return what ``levels`` hold in these bins, and in all bins together.

        Parameters
        ----------
        levels : ModelLevels
            On base bins.
        notional : bool
            In quote units, each base bin at its middle; else in contracts.
        by_tier : bool
            Whether to tell the tiers apart; otherwise T is 1 and they are added up first.

        Returns
        -------
        float64, shape (2, T, count)
            Longs and shorts by tier.
        float64, shape (2,)
            Sums of all tiers and all bins, also those outside the window.
        """
        qty = levels.qty
        if not by_tier and qty.shape[1] > 1:
            qty = qty.sum(axis=1, keepdims=True)
        return grid.rebinned(qty, levels.first_bin, levels.width, self.multiple, self.first, self.count, notional)


def window_around(price: float, down: float, up: float, bin_size: float, base_bin: float) -> Window:
    """Return the bins from ``price * (1 - down)`` to ``price * (1 + up)``.

    Parameters
    ----------
    price, base_bin : float
        Quote units.
    down, up : float
        Fractions of the price.
    bin_size : float
        Quote units; 0 for a suitable width.

    Raises
    ------
    InvalidField
        If ``bin_size`` is no multiple of the base bin, or that would be more than ``MAX_BINS`` bins.
    """
    multiple = grid.multiple_of(bin_size or grid.default_bin_size(price, base_bin), base_bin)
    if multiple is None:
        raise InvalidField("query.bin_size", f"{bin_size:g}", f"must be a multiple of the base bin {base_bin:g}")
    width = float(f"{multiple * base_bin:.12g}")
    low, high = price * (1 - down), price * (1 + up)
    if (high - low) / width > MAX_BINS:
        raise InvalidField(
            "query.bin_size",
            f"{width:g}",
            f"over {low:g} to {high:g} that is {(high - low) / width:.0f} bins, at most {MAX_BINS} are allowed: "
            "ask for wider bins or a narrower query.price_range",
        )
    first = grid.bin_index(low, width)
    return Window(width, multiple, first, grid.bin_index(high, width) - first + 1)
