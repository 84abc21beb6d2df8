"""Leverage tiers and the brackets they are placed with: the same for every model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from liqserver.margin import BracketTable, Side, liquidation_ratio, simplified_liquidation_price, simplified_ratio
from liqserver.models.parameters import MarginFormula, ParameterError, Parameters, ParameterSpec, Tier, number
from liqserver.models.selection import MissingDetail

SIDES = (Side.LONG, Side.SHORT)
"""In the order of rows, wherever an array has one row per side."""

BEGINNING = -(2**63)

ORIGINAL_MMR = 0.004
"""Maintenance margin rate of every position in LiquidationHeatmap's models, whatever its leverage."""


def tiers_allowed(value: object) -> bool:
    """Return whether ``value`` is a usable tuple of tiers."""
    if not isinstance(value, tuple) or not 1 <= len(value) <= 64:
        return False
    leverages = [tier.leverage for tier in value]
    return (
        all(math.isfinite(tier.leverage) and 1 < tier.leverage <= 500 for tier in value)
        and all(math.isfinite(tier.weight) and tier.weight >= 0 for tier in value)
        and all(tier.hazard is None or (math.isfinite(tier.hazard) and 0 < tier.hazard <= 1e6) for tier in value)
        and len(set(leverages)) == len(leverages)
        and sum(tier.weight for tier in value) > 0
    )


def _tiers_without_hazard(value: object) -> bool:
    return tiers_allowed(value) and isinstance(value, tuple) and all(tier.hazard is None for tier in value)


MARGIN_FORMULA = ParameterSpec(
    "margin_formula",
    "Exact margin with brackets, or the simplified formula of LiquidationHeatmap.",
    "must be exact or simplified",
    lambda value: isinstance(value, MarginFormula),
)
POSITION_NOTIONAL = ParameterSpec(
    "position_notional", "Notional of a typical position; decides its bracket.", *number(0, 1e9, open_low=True)
)
TIERS_WITHOUT_HAZARD = ParameterSpec(
    "tiers",
    "Leverage tiers: leverage, and share of an entry relative to the others.",
    "must be 1 to 64 tiers of different leverage in (1, 500], weights >= 0 that do not all vanish, no hazards",
    _tiers_without_hazard,
)

HEATMAP_TIERS = tuple(
    Tier(leverage, weight) for leverage, weight in ((5.0, 0.15), (10.0, 0.3), (25.0, 0.25), (50.0, 0.2), (100.0, 0.1))
)
"""Tiers of LiquidationHeatmap and their shares."""


def leverages(parameters: Parameters) -> NDArray[np.float64]:
    """Return the leverage of each tier, shape (T,)."""
    return np.array([tier.leverage for tier in parameters.tiers or ()])


def shares(parameters: Parameters) -> NDArray[np.float64]:
    """Return the weight of each tier as a share of all, shape (T,), adding up to 1."""
    weight = np.array([tier.weight for tier in parameters.tiers or ()])
    return np.asarray(weight / weight.sum())


class Dated(Protocol):
    """Something that holds from ``start`` (UNIX nanoseconds) on."""

    @property
    def start(self) -> int:
        """UNIX nanoseconds from which it holds."""


def in_force[Holding: Dated](steps: Sequence[Holding], ts: int) -> Holding:
    """Return the last of ``steps`` (by start, the first since `BEGINNING`) that holds at ``ts``."""
    return [step for step in steps if step.start <= ts][-1]


@dataclass(frozen=True, slots=True)
class BracketPeriod:
    """A bracket table and the time from which it is used; None for the simplified formula, which has none."""

    start: int
    table: BracketTable | None

    @property
    def table_id(self) -> str:
        """Id of the table; empty without one."""
        return "" if self.table is None else self.table.table_id


def bracket_periods(parameters: Parameters, tables: tuple[BracketTable, ...]) -> tuple[BracketPeriod, ...]:
    """Return which bracket table is used when.

    Parameters
    ----------
    parameters : Parameters
        In force; ``margin_formula`` decides.
    tables : tuple of BracketTable
        By date of effect; may be empty with the simplified formula. The first also serves entries before its date.

    Raises
    ------
    MissingDetail
        If brackets are needed and there is no table.
    """
    if parameters.margin_formula is MarginFormula.SIMPLIFIED:
        return (BracketPeriod(BEGINNING, None),)
    if not tables:
        raise MissingDetail(
            "brackets", "all but the simplified margin formula need a bracket table of the symbol, and none is known"
        )
    starts = [BEGINNING, *(table.effective_from for table in tables[1:])]
    return tuple(BracketPeriod(start, table) for start, table in zip(starts, tables, strict=True))


def bracket_notional(leverage: ArrayLike, notional: ArrayLike, table: BracketTable) -> NDArray[np.float64]:
    """Return the notional that decides the bracket of a position, quote units, arguments broadcast together.

    Nobody can hold more at a leverage than the brackets allow; a tier above all of them is margin that shrank.
    """
    most = np.maximum(table.max_notional(leverage), table.notional_cap[0])
    return np.asarray(np.minimum(notional, most))


def level_ratios(
    side: Side, leverage: NDArray[np.float64], notional: ArrayLike, table: BracketTable | None
) -> NDArray[np.float64]:
    """Return liquidation price over entry price.

    Parameters
    ----------
    side : Side
    leverage : float64, shape (T,)
        Of each tier.
    notional : array_like
        Notional of a position at entry, quote units; broadcasts with ``leverage``.
    table : BracketTable or None
        None for the simplified formula, which does not depend on the notional.

    Returns
    -------
    float64, shape of ``leverage`` and ``notional`` broadcast together

    Raises
    ------
    ParameterError
        If a tier's leverage leaves no room between entry and liquidation.
    """
    if table is None:
        ratio = np.broadcast_to(
            simplified_ratio(side, leverage), np.broadcast_shapes(leverage.shape, np.shape(notional))
        )
    else:
        ratio = liquidation_ratio(side, leverage, bracket_notional(leverage, notional, table), table)
    dead = ratio >= 1 if side is Side.LONG else ratio <= 1
    if dead.any():
        where = f"by {table.table_id}" if table is not None else "by the simplified formula"
        tier = np.broadcast_to(leverage, ratio.shape)[dead][0]
        raise ParameterError("tiers", f"{tier:g}x", f"but {where} that is liquidated at its entry")
    return ratio


def flat_ratios(leverage: NDArray[np.float64], mmr: float) -> NDArray[np.float64]:
    """Return liquidation price over entry price by the simplified formula with one rate, shape (2, T)."""
    return np.stack([simplified_liquidation_price(side, 1.0, leverage, mmr) for side in SIDES])
