"""Bracket tables: which maintenance margin a position of a given notional needs, and since when.

An exchange splits notional into brackets. In bracket n the maintenance margin is ``mmr_n * notional - cum_n``,
where ``cum`` (the maintenance amount) makes it continuous from one bracket to the next:
``cum_n = cum_(n-1) + floor_n * (mmr_n - mmr_(n-1))``.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

type FloatArray = NDArray[np.float64]
type Tier = tuple[float, float, float]
"""``(notional_cap, mmr, max_leverage)`` of one bracket."""

_COLUMNS = ("notional_floor", "notional_cap", "mmr", "cum", "max_leverage")
# What may separate a published cum from the one its neighbours ask for: rounding in binary, nothing else.
# Every table of 858 perpetuals agrees within 1e-9 quote units.
_CUM_ABS_TOLERANCE = 1e-6
_CUM_REL_TOLERANCE = 1e-12
_DAY = 86_400 * 10**9


class BracketError(ValueError):
    """A bracket table is not one, is missing, or does not allow what is asked of it."""


def format_date(ts: int) -> str:
    """Return the UTC date of ``ts`` (UNIX nanoseconds) as ``YYYY-MM-DD``."""
    return str(np.datetime64(ts, "ns").astype("datetime64[D]"))


def midnight(text: str) -> int:
    """Return the UNIX nanoseconds at which the UTC date ``text`` (``YYYY-MM-DD``) begins.

    Raises
    ------
    ValueError
        If ``text`` is not a date of that form, or one that int64 nanoseconds cannot hold.
    """
    ts = (date.fromisoformat(text) - date(1970, 1, 1)).days * _DAY
    if abs(ts) >= 2**63 or format_date(ts) != text:
        raise ValueError(f"date must be YYYY-MM-DD from 1678 to 2261, was {text!r}")
    return ts


@dataclass(frozen=True, eq=False, slots=True)
class BracketTable:
    """The brackets of one symbol from a date of effect on.

    Parameters
    ----------
    venue, symbol : str
        For example ``BINANCE`` and ``BTCUSDT``.
    effective_from : int
        UNIX ns from which the table holds. Where only an observation is known, its date: the true one is then
        not later.
    source : str
        Where the numbers come from, for people.
    notional_floor, notional_cap : array_like, shape (n,)
        Quote units. Bracket n holds ``floor < notional <= cap``; the first one holds 0 as well. Only the
        last cap may be inf.
    mmr : array_like, shape (n,)
        Maintenance margin rate, a fraction in (0, 1), rising.
    cum : array_like, shape (n,)
        Maintenance amount, quote units.
    max_leverage : array_like, shape (n,)
        At least 1, falling.

    The arrays are copied to float64 and made read-only.

    Raises
    ------
    BracketError
        If a column breaks its rule, naming the table, the bracket (counted from 1), the column and the value.
    """

    venue: str
    symbol: str
    effective_from: int
    source: str
    notional_floor: FloatArray
    notional_cap: FloatArray
    mmr: FloatArray
    cum: FloatArray
    max_leverage: FloatArray

    def __post_init__(self) -> None:
        for name in ("venue", "symbol"):
            text = getattr(self, name)
            if not isinstance(text, str) or not text or ":" in text:
                raise BracketError(f"{name} must be a name without a colon, was {text!r}")
        if type(self.effective_from) is not int or abs(self.effective_from) >= 2**63:
            raise BracketError(f"effective_from must be UNIX ns as an int, was {self.effective_from!r}")
        for name in _COLUMNS:
            column = np.array(getattr(self, name), dtype=np.float64)
            if column.ndim != 1 or column.size == 0:
                raise BracketError(f"{self.table_id}: {name} must have shape (n,) with n > 0, had {column.shape}")
            if column.size != np.size(self.notional_floor):
                raise BracketError(
                    f"{self.table_id}: {name} must have as many brackets as notional_floor "
                    f"({np.size(self.notional_floor)}), had {column.size}"
                )
            column.setflags(write=False)
            object.__setattr__(self, name, column)
        self._check()

    @classmethod
    def from_tiers(
        cls, venue: str, symbol: str, effective_from: int, source: str, tiers: Iterable[Tier]
    ) -> BracketTable:
        """Build a table from ``(notional_cap, mmr, max_leverage)`` per bracket; floors and cum follow.

        ``cum`` is computed in decimal, so that it is the published number and not one beside it.

        Raises
        ------
        BracketError
            As the constructor does, and where a number is none.
        """
        rows = [tuple(map(float, tier)) for tier in tiers]
        for number, row in enumerate(rows, 1):
            if len(row) != 3 or not all(map(math.isfinite, row[1:] if number == len(rows) else row)):
                raise BracketError(
                    f"{venue}:{symbol}:{format_date(effective_from)}: bracket {number} must be three finite "
                    f"numbers (notional_cap, mmr, max_leverage), was {row!r}"
                )
        floors, cums = [0.0], [Decimal(0)]
        for (cap, mmr, _), (_, next_mmr, _) in pairwise(rows):
            floors.append(cap)
            cums.append(cums[-1] + Decimal(repr(cap)) * (Decimal(repr(next_mmr)) - Decimal(repr(mmr))))
        columns = np.array(rows, dtype=np.float64).reshape(-1, 3)
        return cls(
            venue,
            symbol,
            effective_from,
            source,
            notional_floor=np.array(floors[: len(rows)]),
            notional_cap=columns[:, 0],
            mmr=columns[:, 1],
            cum=np.array(cums[: len(rows)], dtype=np.float64),
            max_leverage=columns[:, 2],
        )

    @property
    def table_id(self) -> str:
        """``venue:symbol:date of effect``, for example ``BINANCE:BTCUSDT:2025-08-21``."""
        return f"{self.venue}:{self.symbol}:{format_date(self.effective_from)}"

    def __len__(self) -> int:
        return int(self.mmr.size)

    def index(self, notional: ArrayLike) -> NDArray[np.intp]:
        """Return the index (from 0) of the bracket of each notional; a notional equal to a cap is below it.

        Parameters
        ----------
        notional : array_like
            Quote units, any shape.

        Raises
        ------
        ValueError
            If a notional is negative or not finite.
        BracketError
            If a notional is above the last cap: no such position can be opened.
        """
        values = _notional(notional)
        above = values > self.notional_cap[-1]
        if above.any():
            raise BracketError(
                f"{self.table_id}: notional must be at most the last cap {self.notional_cap[-1]:.16g}, "
                f"was {values[above].flat[0]:.16g}"
            )
        return np.asarray(np.searchsorted(self.notional_cap, values, side="left"))

    def maintenance_margin(self, notional: ArrayLike) -> FloatArray:
        """Return ``mmr * notional - cum`` with the bracket of each notional, quote units, same shape.

        Above the last cap the last bracket goes on: nobody can open there, but price can carry a short there.

        Raises
        ------
        ValueError
            If a notional is negative or not finite.
        """
        values = _notional(notional)
        i = np.minimum(np.searchsorted(self.notional_cap, values, side="left"), len(self) - 1)
        return np.asarray(self.mmr[i] * values - self.cum[i])

    def max_notional(self, leverage: ArrayLike) -> FloatArray:
        """Return the largest notional that may be opened at each leverage, quote units, same shape.

        It is the cap of the last bracket whose max leverage is at least ``leverage``, and 0 where even the
        first bracket allows less: no position of any size has that leverage.

        Raises
        ------
        ValueError
            If a leverage is below 1 or not finite.
        """
        values = np.asarray(leverage, dtype=np.float64)
        bad = ~(np.isfinite(values) & (values >= 1))
        if bad.any():
            raise ValueError(f"leverage must be finite and at least 1, was {values[bad].flat[0]}")
        allowed = np.searchsorted(-self.max_leverage, -values, side="right")
        return np.asarray(np.concatenate(([0.0], self.notional_cap))[allowed])

    def _check(self) -> None:
        columns = {name: getattr(self, name) for name in _COLUMNS}
        for i in range(len(self)):
            last = i == len(self) - 1
            floor, cap, mmr, cum, leverage = (float(column[i]) for column in columns.values())
            for name, column in columns.items():
                unbounded = last and name == "notional_cap" and column[i] == math.inf
                if not (unbounded or math.isfinite(column[i])):
                    self._refuse(i, name, "finite")
            before = float(self.notional_cap[i - 1]) if i else 0.0
            if floor != before:
                self._refuse(i, "notional_floor", f"{before:.16g}" + (", the cap before it" if i else ""))
            if cap <= floor:
                self._refuse(i, "notional_cap", f"above its floor {floor:.16g}")
            if not 0 < mmr < 1:
                self._refuse(i, "mmr", "between 0 and 1")
            if leverage < 1:
                self._refuse(i, "max_leverage", "at least 1")
            if i == 0:
                if cum != 0:
                    self._refuse(i, "cum", "0")
                continue
            mmr_before, leverage_before = float(self.mmr[i - 1]), float(self.max_leverage[i - 1])
            if mmr <= mmr_before:
                self._refuse(i, "mmr", f"above {mmr_before:.16g}, that of the bracket before it")
            if leverage >= leverage_before:
                self._refuse(i, "max_leverage", f"below {leverage_before:.16g}, that of the bracket before it")
            expected = float(self.cum[i - 1]) + floor * (mmr - mmr_before)
            if not math.isclose(cum, expected, rel_tol=_CUM_REL_TOLERANCE, abs_tol=_CUM_ABS_TOLERANCE):
                self._refuse(i, "cum", f"{expected:.12g}, so that the maintenance margin is continuous")

    def _refuse(self, i: int, column: str, rule: str) -> None:
        value = float(getattr(self, column)[i])
        raise BracketError(f"{self.table_id}: bracket {i + 1}: {column} must be {rule}, was {value:.16g}")


@dataclass(frozen=True, slots=True)
class BracketHistory:
    """All known tables of one symbol, by date of effect.

    Parameters
    ----------
    tables : sequence of BracketTable
        At least one, any order, all of one venue and symbol, no two with the same ``effective_from``.

    Raises
    ------
    BracketError
        If ``tables`` breaks one of these rules.
    """

    tables: Sequence[BracketTable]

    def __post_init__(self) -> None:
        tables = tuple(sorted(self.tables, key=lambda table: table.effective_from))
        if not tables:
            raise BracketError("tables must hold at least one bracket table, was empty")
        first = tables[0]
        for before, table in pairwise(tables):
            if (table.venue, table.symbol) != (first.venue, first.symbol):
                raise BracketError(f"tables must be of one symbol, was {first.table_id} beside {table.table_id}")
            if table.effective_from == before.effective_from:
                raise BracketError(f"tables must differ in date of effect, was {table.table_id} twice")
        object.__setattr__(self, "tables", tables)

    @property
    def earliest(self) -> BracketTable:
        """The first table known, for callers who knowingly use it before its date of effect."""
        return self.tables[0]

    def at(self, ts: int) -> BracketTable:
        """Return the table in force at ``ts`` (UNIX ns).

        Raises
        ------
        BracketError
            If ``ts`` is before the first table known.
        """
        i = bisect_right(self.tables, ts, key=lambda table: table.effective_from)
        if i == 0:
            first = self.earliest
            raise BracketError(
                f"ts must be at or after {format_date(first.effective_from)}, when the first bracket table "
                f"known of {first.venue}:{first.symbol} takes effect, was {format_date(ts)} ({ts})"
            )
        return self.tables[i - 1]


def _notional(notional: ArrayLike) -> FloatArray:
    values = np.asarray(notional, dtype=np.float64)
    bad = ~(np.isfinite(values) & (values >= 0))
    if bad.any():
        raise ValueError(f"notional must be finite and not negative, was {values[bad].flat[0]}")
    return values
