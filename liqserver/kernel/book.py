"""The position book: open contracts by side x leverage tier x liquidation-price bin.

Sides are rows: 0 long, 1 short. Positions of tier t whose entry is known are *placed* in bins. What has no
bin is *unplaced*: positions that were open before the first data (unknown entry, held per tier so that they
turn over like the rest) and, as tier of their own behind the last, positions without a level of interest
(cross margin, hedges, low leverage).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from liqserver.kernel.history import History

LONG, SHORT = 0, 1


class BookParametersError(ValueError):
    """A parameter outside what is allowed; carries the field and says what it was."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message


@dataclass(frozen=True, slots=True)
class BookParameters:
    """How positions open and close, for T tiers.

    Attributes
    ----------
    ratio : float64, shape (2, T)
        Liquidation price as a multiple of the entry price, longs then shorts (see ``liqserver.margin``).
    mmr : float64, shape (T,)
        Maintenance margin rate at the liquidation price, used for the erosion by funding.
    weight : float64, shape (T + 1,)
        Share of new positions; the last entry is the tier without levels. Adds up to 1.
    hazard : float64, shape (T + 1,)
        Relative rates of voluntary closing, positive; only their ratios matter.
    kappa : float
        Share of traded volume that opens or closes directional positions, in (0, 1].
    taker_tilt : float
        Tilt of openings towards the aggressor's side, in [-1, 1].
    funding_erosion : float
        Share of funding paid from the margin of positions, in [0, 1].
    trend_tilt : float
        How much more of what opens against the trend has a level, in [-1, 1]: exp(trend_tilt * u) times as much on
        the side that price has moved against by u typical distances from its mean of some hours.
    """

    ratio: NDArray[np.float64]
    mmr: NDArray[np.float64]
    weight: NDArray[np.float64]
    hazard: NDArray[np.float64]
    kappa: float
    taker_tilt: float = 0.0
    funding_erosion: float = 0.0
    trend_tilt: float = 0.0

    def __post_init__(self) -> None:
        """Check every value.

        Raises
        ------
        BookParametersError
            Naming the field, what it was and what is allowed.
        """
        tiers = self.ratio.shape[1]
        for name, shape in (("ratio", (2, tiers)), ("mmr", (tiers,)), ("weight", (tiers + 1,))):
            if getattr(self, name).shape != shape:
                raise BookParametersError(name, f"shape was {getattr(self, name).shape}, must be {shape}")
        if self.hazard.shape != self.weight.shape:
            raise BookParametersError("hazard", f"shape was {self.hazard.shape}, must be {self.weight.shape}")
        if not (np.all(np.isfinite(self.weight)) and np.all(self.weight >= 0)):
            raise BookParametersError("weight", f"was {self.weight.tolist()}, must be finite and not negative")
        if not math.isclose(float(self.weight.sum()), 1.0, abs_tol=1e-9):
            raise BookParametersError("weight", f"added up to {float(self.weight.sum())!r}, must add up to 1")
        if not (np.all(np.isfinite(self.hazard)) and np.all(self.hazard > 0)):
            raise BookParametersError("hazard", f"was {self.hazard.tolist()}, must be finite and positive")
        if not (np.all(self.ratio[LONG] < 1) and np.all(self.ratio[SHORT] > 1)):
            raise BookParametersError("ratio", "longs must be liquidated below entry and shorts above it")
        for name, low, high in (
            ("kappa", 0.0, 1.0),
            ("taker_tilt", -1.0, 1.0),
            ("trend_tilt", -1.0, 1.0),
            ("funding_erosion", 0.0, 1.0),
        ):
            value = getattr(self, name)
            if not (low <= value <= high) or (name == "kappa" and value == 0):
                allowed = f"({low:g}, {high:g}]" if name == "kappa" else f"[{low:g}, {high:g}]"
                raise BookParametersError(name, f"was {value!r}, must be in {allowed}")


@dataclass(slots=True)
class PositionBook:
    """State of one market: all amounts are contracts (base units).

    Attributes
    ----------
    width : float
        Width of a bin, quote units. Bin i covers ``[(first_bin + i) * width, ... + width)``.
    first_bin : int
        Index of the first bin.
    placed : float64, shape (2, T, n)
        Amounts divided by ``scale``: closing a tier in proportion is one multiplication of its scale.
    scale, mass, shift : float64, shape (2, T)
        Factor of ``placed``; the tier's placed contracts; how far funding moved its levels (quote units).
    unplaced : float64, shape (2, T + 1)
        Unknown entries by tier; last, the positions without a level.
    edge : int64, shape (2, T)
        Highest bin a long of the tier may be in (-1: none), lowest for shorts (n: none).
    trend : float64, shape (2,)
        Mean of the log price (NaN before the first) and of the square of its distance from that, over the past
        hours and days; followed only with a ``trend_tilt``.
    ts : int
        UNIX nanoseconds of the last step taken.
    """

    width: float
    first_bin: int
    placed: NDArray[np.float64]
    scale: NDArray[np.float64]
    mass: NDArray[np.float64]
    shift: NDArray[np.float64]
    unplaced: NDArray[np.float64]
    edge: NDArray[np.int64]
    trend: NDArray[np.float64]
    ts: int

    @property
    def bins(self) -> int:
        """Number of bins."""
        return int(self.placed.shape[2])

    def copy(self) -> PositionBook:
        """Return an independent copy."""
        return PositionBook(
            width=self.width,
            first_bin=self.first_bin,
            placed=self.placed.copy(),
            scale=self.scale.copy(),
            mass=self.mass.copy(),
            shift=self.shift.copy(),
            unplaced=self.unplaced.copy(),
            edge=self.edge.copy(),
            trend=self.trend.copy(),
            ts=self.ts,
        )

    def assign(self, other: PositionBook) -> None:
        """Become a copy of ``other``, in the memory of this book where it fits."""
        for name in ("placed", "scale", "mass", "shift", "unplaced", "edge", "trend"):
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine.shape == theirs.shape:
                np.copyto(mine, theirs)
            else:
                setattr(self, name, theirs.copy())
        self.width, self.first_bin, self.ts = other.width, other.first_bin, other.ts

    def total(self) -> NDArray[np.float64]:
        """Open contracts of longs and shorts, placed or not, shape (2,)."""
        return np.asarray(self.mass.sum(axis=1) + self.unplaced.sum(axis=1))

    def no_level(self) -> NDArray[np.float64]:
        """Contracts without a level because of their kind, longs and shorts, shape (2,)."""
        return self.unplaced[:, -1].copy()

    def unknown_entry(self) -> NDArray[np.float64]:
        """Contracts whose entry lies before the first data, longs and shorts, shape (2,)."""
        return np.asarray(self.unplaced[:, :-1].sum(axis=1))

    def levels(self) -> NDArray[np.float64]:
        """Contracts by side, tier and bin at prices as they are now, shape (2, T, n).

        Levels that funding moved by a fraction of a bin are shown in the bin they fall into.
        """
        out = self.placed * self.scale[:, :, None]
        if self.shift.any():
            for side in (LONG, SHORT):
                for tier in range(out.shape[1]):
                    moved = math.floor(self.shift[side, tier] / self.width + 0.5)
                    if moved:
                        out[side, tier] = _moved(out[side, tier], moved)
        return out

    def to_bytes(self) -> bytes:
        """Return the whole state as bytes; books that hold the same give the same bytes, whatever their grid."""
        occupied = np.flatnonzero(self.placed.any(axis=(0, 1)))
        first, last = (int(occupied[0]), int(occupied[-1]) + 1) if len(occupied) else (0, 0)
        head = np.array([self.first_bin + first if len(occupied) else 0, self.ts], dtype=np.int64)
        parts = (self.placed[:, :, first:last], self.scale, self.mass, self.shift, self.unplaced, self.trend)
        return head.tobytes() + np.float64(self.width).tobytes() + b"".join(part.tobytes() for part in parts)

    def cover(self, low_bin: int, high_bin: int) -> None:
        """Grow the grid so that it holds bins ``low_bin`` to ``high_bin``; contents stay where they are."""
        first = min(self.first_bin, low_bin)
        last = max(self.first_bin + self.bins - 1, high_bin)
        if first == self.first_bin and last == self.first_bin + self.bins - 1:
            return
        offset = self.first_bin - first
        placed = np.zeros((2, self.placed.shape[1], last - first + 1))
        placed[:, :, offset : offset + self.bins] = self.placed
        # An empty long tier keeps -1, an empty short tier keeps "one past the end".
        longs_empty = self.edge[LONG] < 0
        shorts_empty = self.edge[SHORT] >= self.bins
        self.edge[LONG] = np.where(longs_empty, -1, self.edge[LONG] + offset)
        self.edge[SHORT] = np.where(shorts_empty, placed.shape[2], self.edge[SHORT] + offset)
        self.placed, self.first_bin = placed, first


def _moved(row: NDArray[np.float64], by: int) -> NDArray[np.float64]:
    """Shift a row by whole bins; what leaves the grid stays in its outermost bin."""
    out = np.zeros_like(row)
    index = np.clip(np.arange(len(row)) + by, 0, len(row) - 1)
    np.add.at(out, index, row)
    return out


def start_book(open_interest: float, parameters: BookParameters, width: float, ts: int) -> PositionBook:
    """Return the book before any known entry: all of the open interest is there, none of it has a level.

    Unknown entries are split over the tiers as a market in balance would hold them (weight / hazard), so that
    fast tiers warm up fast and slow ones slowly.

    Parameters
    ----------
    open_interest : float
        Contracts on each side.
    parameters : BookParameters
        Tiers, weights and hazards.
    width : float
        Width of a bin, quote units.
    ts : int
        UNIX nanoseconds of the open interest.
    """
    tiers = parameters.ratio.shape[1]
    mix = parameters.weight / parameters.hazard
    unplaced = np.empty((2, tiers + 1))
    unplaced[:] = open_interest * (mix / mix.sum())
    return PositionBook(
        width=width,
        first_bin=0,
        placed=np.zeros((2, tiers, 0)),
        scale=np.ones((2, tiers)),
        mass=np.zeros((2, tiers)),
        shift=np.zeros((2, tiers)),
        unplaced=unplaced,
        edge=np.stack([np.full(tiers, -1, dtype=np.int64), np.zeros(tiers, dtype=np.int64)]),
        trend=np.array([np.nan, 0.0]),
        ts=ts,
    )


def cover_history(book: PositionBook, history: History, parameters: BookParameters) -> None:
    """Grow ``book``'s grid to every level that the flow of ``history`` can open."""
    if not len(history.flow_price):
        return
    low, high = float(history.flow_price.min()), float(history.flow_price.max())
    slack = 0.0
    if parameters.funding_erosion > 0:
        # Levels are stored without what funding has moved them, so entries land that much further out.
        paid = float(np.abs(history.funding_rate).sum()) + float(np.abs(book.shift).max(initial=0.0)) / high
        slack = parameters.funding_erosion * paid * high / (1 - float(parameters.mmr.max()))
    first = math.floor((low * float(parameters.ratio[LONG].min()) - slack) / book.width) - 1
    last = math.floor((high * float(parameters.ratio[SHORT].max()) + slack) / book.width) + 1
    if book.bins == 0:
        book.first_bin = first
    book.cover(first, last)
