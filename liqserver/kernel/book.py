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
from numba import njit
from numpy.typing import NDArray

from liqserver.kernel.history import History

LONG, SHORT = 0, 1
# Farther than any bin: what an empty long tier has for its farthest.
_NOWHERE = np.int64(1 << 60)


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
    edge, far : int64, shape (2, T)
        The bin nearest to price that the tier may hold any in, and the farthest: longs lie in ``far`` to ``edge``
        (edge -1: none), shorts in ``edge`` to ``far`` (edge n: none). All other bins are 0.
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
    far: NDArray[np.int64]
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
            far=self.far.copy(),
            trend=self.trend.copy(),
            ts=self.ts,
        )

    def assign(self, other: PositionBook | PackedBook) -> None:
        """Become a copy of ``other``, in the memory of this book, on a grid that holds the grids of both.

        Only bins that may hold any are touched: a copy costs what is held, not how wide the grid is.
        """
        _clear(self.placed, self.edge, self.far)
        if other.bins:
            if not self.bins:
                self.first_bin = other.first_bin
            self.cover(other.first_bin, other.first_bin + other.bins - 1)
        offset = other.first_bin - self.first_bin
        if isinstance(other, PackedBook):
            _unpack(other.values, other.edge, other.far, self.placed, offset)
        else:
            _copy(other.placed, other.edge, other.far, self.placed, offset)
        _on_grid(other.edge, other.far, other.bins, self.edge, self.far, self.bins, offset)
        self.scale[:], self.mass[:], self.shift[:] = other.scale, other.mass, other.shift
        self.unplaced[:], self.trend[:] = other.unplaced, other.trend
        self.width, self.ts = other.width, other.ts

    def packed(self) -> PackedBook:
        """Return a copy without the bins that hold nothing."""
        return PackedBook(
            width=self.width,
            first_bin=self.first_bin,
            bins=self.bins,
            values=_pack(self.placed, self.edge, self.far),
            scale=self.scale.copy(),
            mass=self.mass.copy(),
            shift=self.shift.copy(),
            unplaced=self.unplaced.copy(),
            edge=self.edge.copy(),
            far=self.far.copy(),
            trend=self.trend.copy(),
            ts=self.ts,
        )

    def total(self) -> NDArray[np.float64]:
        """Open contracts of longs and shorts, placed or not, shape (2,)."""
        return np.asarray(self.mass.sum(axis=1) + self.unplaced.sum(axis=1))

    def no_level(self) -> NDArray[np.float64]:
        """Contracts without a level because of their kind, longs and shorts, shape (2,)."""
        return self.unplaced[:, -1].copy()

    def unknown_entry(self) -> NDArray[np.float64]:
        """Contracts whose entry lies before the first data, longs and shorts, shape (2,)."""
        return np.asarray(self.unplaced[:, :-1].sum(axis=1))

    def levels(self, *, by_tier: bool = True) -> tuple[int, NDArray[np.float64]]:
        """Return what lies where at prices as they are now.

        Parameters
        ----------
        by_tier : bool
            Whether to tell the tiers apart; otherwise T is 1 and they are added up.

        Returns
        -------
        first_bin : int
            Index of the first bin that may hold any.
        qty : float64, shape (2, T, n)
            Contracts, up to the last bin that may hold any. Levels that funding moved by a fraction of a bin are in
            the bin they fall into.
        """
        moved = np.empty(self.edge.shape, dtype=np.int64)
        first, last = map(int, _held(self.edge, self.far, self.shift, self.width, moved))
        if first > last:
            return 0, np.zeros((2, self.edge.shape[1] if by_tier else 1, 0))
        out = np.zeros((2, self.edge.shape[1] if by_tier else 1, last - first + 1))
        _read(self.placed, self.scale, self.edge, self.far, moved, first, out)
        return self.first_bin + first, out

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
        _copy(self.placed, self.edge, self.far, placed, offset)
        _on_grid(self.edge, self.far, self.bins, self.edge, self.far, placed.shape[2], offset)
        self.placed, self.first_bin = placed, first


@dataclass(frozen=True, slots=True)
class PackedBook:
    """A position book to keep: of its bins, only those that may hold any; see ``PositionBook``.

    Attributes
    ----------
    values : float64, shape (m,)
        ``placed`` of those bins, tier after tier, longs first.
    bins : int
        Number of bins of the book's grid.
    """

    width: float
    first_bin: int
    bins: int
    values: NDArray[np.float64]
    scale: NDArray[np.float64]
    mass: NDArray[np.float64]
    shift: NDArray[np.float64]
    unplaced: NDArray[np.float64]
    edge: NDArray[np.int64]
    far: NDArray[np.int64]
    trend: NDArray[np.float64]
    ts: int


@njit(cache=True, nogil=True)
def _on_grid(
    edge: NDArray[np.int64],
    far: NDArray[np.int64],
    bins: int,
    new_edge: NDArray[np.int64],
    new_far: NDArray[np.int64],
    new_bins: int,
    offset: int,
) -> None:
    """Write nearest and farthest bins on a grid that begins ``offset`` bins earlier; empty tiers stay empty."""
    for t in range(edge.shape[1]):
        new_edge[LONG, t] = edge[LONG, t] + offset if edge[LONG, t] >= 0 else -1
        new_edge[SHORT, t] = edge[SHORT, t] + offset if edge[SHORT, t] < bins else new_bins
        new_far[LONG, t] = far[LONG, t] + offset if far[LONG, t] != _NOWHERE else _NOWHERE
        new_far[SHORT, t] = far[SHORT, t] + offset if far[SHORT, t] >= 0 else far[SHORT, t]


@njit(cache=True, nogil=True)
def _clear(placed: NDArray[np.float64], edge: NDArray[np.int64], far: NDArray[np.int64]) -> None:
    for side in range(2):
        for t in range(edge.shape[1]):
            low, high = (far[side, t], edge[side, t]) if side == LONG else (edge[side, t], far[side, t])
            for b in range(low, high + 1):
                placed[side, t, b] = 0.0
            # Empty, so that growing has nothing to copy.
            edge[side, t] = -1 if side == LONG else placed.shape[2]


@njit(cache=True, nogil=True)
def _held(
    edge: NDArray[np.int64],
    far: NDArray[np.int64],
    shift: NDArray[np.float64],
    width: float,
    moved: NDArray[np.int64],
) -> tuple[np.int64, np.int64]:
    """Write how many bins funding moved each tier, and return the first and last bin that then may hold any."""
    first, last = _NOWHERE, -_NOWHERE
    for side in range(2):
        for t in range(edge.shape[1]):
            by = math.floor(shift[side, t] / width + 0.5)
            moved[side, t] = by
            low, high = (far[side, t], edge[side, t]) if side == LONG else (edge[side, t], far[side, t])
            if low <= high:
                first, last = min(first, low + by), max(last, high + by)
    return first, last


@njit(cache=True, nogil=True)
def _copy(
    source: NDArray[np.float64],
    edge: NDArray[np.int64],
    far: NDArray[np.int64],
    target: NDArray[np.float64],
    offset: int,
) -> None:
    for side in range(2):
        for t in range(edge.shape[1]):
            low, high = (far[side, t], edge[side, t]) if side == LONG else (edge[side, t], far[side, t])
            for b in range(low, high + 1):
                target[side, t, b + offset] = source[side, t, b]


@njit(cache=True, nogil=True)
def _pack(placed: NDArray[np.float64], edge: NDArray[np.int64], far: NDArray[np.int64]) -> NDArray[np.float64]:
    size = 0
    for t in range(edge.shape[1]):
        size += max(edge[LONG, t] - far[LONG, t] + 1, 0) + max(far[SHORT, t] - edge[SHORT, t] + 1, 0)
    values = np.empty(size)
    at = 0
    for side in range(2):
        for t in range(edge.shape[1]):
            low, high = (far[side, t], edge[side, t]) if side == LONG else (edge[side, t], far[side, t])
            for b in range(low, high + 1):
                values[at] = placed[side, t, b]
                at += 1
    return values


@njit(cache=True, nogil=True)
def _unpack(
    values: NDArray[np.float64],
    edge: NDArray[np.int64],
    far: NDArray[np.int64],
    target: NDArray[np.float64],
    offset: int,
) -> None:
    at = 0
    for side in range(2):
        for t in range(edge.shape[1]):
            low, high = (far[side, t], edge[side, t]) if side == LONG else (edge[side, t], far[side, t])
            for b in range(low, high + 1):
                target[side, t, b + offset] = values[at]
                at += 1


@njit(cache=True, nogil=True)
def _read(
    placed: NDArray[np.float64],
    scale: NDArray[np.float64],
    edge: NDArray[np.int64],
    far: NDArray[np.int64],
    moved: NDArray[np.int64],
    first: int,
    out: NDArray[np.float64],
) -> None:
    apart = out.shape[1] > 1
    for side in range(2):
        for t in range(edge.shape[1]):
            low, high = (far[side, t], edge[side, t]) if side == LONG else (edge[side, t], far[side, t])
            row = t if apart else 0
            factor, by = scale[side, t], moved[side, t] - first
            for b in range(low, high + 1):
                out[side, row, b + by] += placed[side, t, b] * factor


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
        far=np.stack([np.full(tiers, _NOWHERE), np.full(tiers, -1, dtype=np.int64)]),
        trend=np.array([np.nan, 0.0]),
        ts=ts,
    )


def cover_history(book: PositionBook, history: History, parameters: BookParameters, start: int, stop: int) -> None:
    """Grow ``book``'s grid to every level that the flow of steps ``start:stop`` of ``history`` can open."""
    flow_price = history.flow_price[history.flow_offset[start] : history.flow_offset[stop]]
    if not len(flow_price):
        return
    low, high = float(flow_price.min()), float(flow_price.max())
    slack = 0.0
    if parameters.funding_erosion > 0:
        # Levels are stored without what funding has moved them, so entries land that much further out.
        paid = float(np.abs(history.funding_rate[start:stop]).sum()) + float(np.abs(book.shift).max(initial=0.0)) / high
        slack = parameters.funding_erosion * paid * high / (1 - float(parameters.mmr.max()))
    first = math.floor((low * float(parameters.ratio[LONG].min()) - slack) / book.width) - 1
    last = math.floor((high * float(parameters.ratio[SHORT].max()) + slack) / book.width) + 1
    if book.bins == 0:
        book.first_bin = first
    book.cover(first, last)
