"""Liquidation prices of linear contracts, exact over a bracket table, and the simplified form of older tools.

Source of the exact form: Binance, "How to calculate liquidation price of USDⓈ-M futures", one-way mode. With
``s`` = +1 for longs and -1 for shorts, in bracket n::

    LP_n = (WB - TMM + UPNL + cum_n - s*qty*entry) / (qty*mmr_n - s*qty)

where n is the bracket of the notional *at the liquidation price*. No search for n is needed. mmr rises over the
brackets and cum is continuous, so the maintenance margin is the upper envelope of its lines,
``max_n(mmr_n * notional - cum_n)``. The margin balance less that envelope is the smallest of n straight lines,
each of which crosses zero at its LP_n and all of which rise with price for a long and fall for a short. It
therefore crosses zero exactly once: at the highest LP_n for a long, at the lowest for a short. At a border
between brackets both neighbours give the same price, where looking up and resolving again could oscillate.

The mark price triggers: a long is liquidated at mark <= LP, a short at mark >= LP. A price is never below 0:
LP = 0 says that a long is never liquidated (its margin covers a fall to zero), and that a short is liquidated at
any price (its equity is gone even at zero).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import IntEnum
from functools import reduce
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike

from liqserver.margin.brackets import BracketError, BracketTable, FloatArray


class Side(IntEnum):
    """Side of a position; the value is its sign."""

    LONG = 1
    SHORT = -1


SIMPLIFIED_MMR: Mapping[int, float] = MappingProxyType({5: 0.004, 10: 0.004, 25: 0.01, 50: 0.01, 100: 0.025})
"""Maintenance margin rate per leverage, as LiquidationHeatmap has it (no bracket of any exchange)."""


def liquidation_price(
    side: Side,
    entry_price: float,
    qty: float,
    wallet_balance: float,
    table: BracketTable,
    *,
    other_maintenance_margin: float = 0.0,
    other_unrealized_pnl: float = 0.0,
) -> float:
    """Return the liquidation price of one position, isolated or cross, quote units.

    Parameters
    ----------
    side : Side
    entry_price : float
        Quote units, positive.
    qty : float
        Size of the position in base units, positive on both sides.
    wallet_balance : float
        Quote units: the margin of an isolated position, the whole wallet for a cross position.
    table : BracketTable
        The bracket is that of the notional at the liquidation price, whatever it is at entry.
    other_maintenance_margin, other_unrealized_pnl : float
        Sums over the other cross positions, quote units; 0 for an isolated position.

    Returns
    -------
    float
        0.0 for a long that no price liquidates and for a short that every price does.

    Raises
    ------
    ValueError
        If an argument is out of its range, naming it.
    """
    for name, amount in (("wallet_balance", wallet_balance), ("other_unrealized_pnl", other_unrealized_pnl)):
        if not math.isfinite(amount):
            raise ValueError(f"{name} must be finite, was {amount!r}")
    if not (math.isfinite(other_maintenance_margin) and other_maintenance_margin >= 0):
        raise ValueError(f"other_maintenance_margin must be finite and not negative, was {other_maintenance_margin!r}")
    entry = _at_least("entry_price", entry_price)
    notional = _at_least("qty", qty) * entry
    collateral = wallet_balance - other_maintenance_margin + other_unrealized_pnl
    return float(entry * _ratio(_sign(side), np.asarray(collateral / notional), notional, table))


def isolated_liquidation_price(
    side: Side, entry_price: ArrayLike, leverage: ArrayLike, notional: ArrayLike, table: BracketTable
) -> FloatArray:
    """Return liquidation prices of isolated positions whose margin is ``notional / leverage``, quote units.

    Parameters
    ----------
    side : Side
    entry_price : array_like
        Quote units, positive.
    leverage : array_like
        At least 1. Whether the exchange allows it for the notional is asked by `check_leverage`.
    notional : array_like
        ``qty * entry_price``, quote units, positive.
    table : BracketTable

    Returns
    -------
    ndarray
        Shape of the three arguments broadcast together; 0.0 for a long that no price liquidates.

    Raises
    ------
    ValueError
        If an argument is out of its range, naming it.
    """
    entry = _at_least("entry_price", entry_price)
    return entry * liquidation_ratio(side, leverage, notional, table)


def liquidation_ratio(side: Side, leverage: ArrayLike, notional: ArrayLike, table: BracketTable) -> FloatArray:
    """Return liquidation price over entry price of isolated positions.

    It depends on the notional at entry and the leverage only, not on the entry price: with WB = N/L the general
    form divided by the entry price is ``(1 - s/L - s*cum_n/N) / (1 - s*mmr_n)``, highest of all brackets for
    longs and lowest for shorts (module docstring).

    Parameters
    ----------
    side : Side
    leverage : array_like
        At least 1, as for `isolated_liquidation_price`.
    notional : array_like
        At entry, quote units, positive.
    table : BracketTable

    Returns
    -------
    ndarray
        Shape of ``leverage`` and ``notional`` broadcast together; 0.0 for a long that no price liquidates.

    Raises
    ------
    ValueError
        If an argument is out of its range, naming it.
    """
    margin = 1.0 / _at_least("leverage", leverage, 1.0)
    return _ratio(_sign(side), margin, _at_least("notional", notional), table)


def check_leverage(leverage: ArrayLike, notional: ArrayLike, table: BracketTable) -> None:
    """Check that positions of ``notional`` (quote units) may be opened at ``leverage``, broadcast together.

    Raises
    ------
    BracketError
        If a leverage is above the maximum of the bracket of its notional, or a notional above the last cap.
    ValueError
        If a leverage is below 1 or a notional not positive.
    """
    wanted, size = np.broadcast_arrays(_at_least("leverage", leverage, 1.0), _at_least("notional", notional))
    bracket = table.index(size)
    allowed = table.max_leverage[bracket]
    above = wanted > allowed
    if above.any():
        raise BracketError(
            f"{table.table_id}: leverage must be at most {allowed[above].flat[0]:.16g} for notional "
            f"{size[above].flat[0]:.16g} (bracket {bracket[above].flat[0] + 1}), "
            f"was {wanted[above].flat[0]:.16g}"
        )


def bankruptcy_price(side: Side, entry_price: ArrayLike, leverage: ArrayLike) -> FloatArray:
    """Return where isolated margin ``notional / leverage`` is lost: ``entry * (1 - s/L)``, quote units.

    Parameters
    ----------
    side : Side
    entry_price : array_like
        Quote units, positive.
    leverage : array_like
        At least 1.

    Returns
    -------
    ndarray
        Shape of the arguments broadcast together.

    Raises
    ------
    ValueError
        If an argument is out of its range, naming it.
    """
    entry = _at_least("entry_price", entry_price)
    return entry * (1.0 - _sign(side) / _at_least("leverage", leverage, 1.0))


def simplified_liquidation_price(side: Side, entry_price: ArrayLike, leverage: ArrayLike, mmr: ArrayLike) -> FloatArray:
    """Return LiquidationHeatmap's approximation ``entry * (1 - s/L + s*mmr/L)``, quote units.

    Parameters
    ----------
    side : Side
    entry_price : array_like
        Quote units, positive.
    leverage : array_like
        At least 1.
    mmr : array_like
        Maintenance margin rate, a fraction in [0, 1); the original's are in `SIMPLIFIED_MMR`.

    Returns
    -------
    ndarray
        Shape of the arguments broadcast together.

    Raises
    ------
    ValueError
        If an argument is out of its range, naming it.
    """
    entry = _at_least("entry_price", entry_price)
    return entry * _simplified_ratio(_sign(side), _at_least("leverage", leverage, 1.0), mmr)


def simplified_ratio(side: Side, leverage: ArrayLike) -> FloatArray:
    """Return liquidation price over entry price as `simplified_liquidation_price` has it.

    The rate is that of the highest leverage of `SIMPLIFIED_MMR` not above the one asked for (125x takes that of
    100x, 20x that of 10x); below 5x it is that of 5x. The original defines the five tabled leverages only; the
    steps between and beyond them are ours.

    Parameters
    ----------
    side : Side
    leverage : array_like
        At least 1.

    Returns
    -------
    ndarray
        Shape of ``leverage``.

    Raises
    ------
    ValueError
        If an argument is out of its range, naming it.
    """
    values = _at_least("leverage", leverage, 1.0)
    step = np.searchsorted(np.array(list(SIMPLIFIED_MMR)), values, side="right") - 1
    rates = np.array(list(SIMPLIFIED_MMR.values()))[np.maximum(step, 0)]
    return _simplified_ratio(_sign(side), values, rates)


def _simplified_ratio(sign: float, leverage: FloatArray, mmr: ArrayLike) -> FloatArray:
    rates = np.asarray(mmr, dtype=np.float64)
    bad = ~((rates >= 0) & (rates < 1))
    if bad.any():
        raise ValueError(f"mmr must be in [0, 1), was {rates[bad].flat[0]}")
    return 1.0 - sign * (1.0 - rates) / leverage


def _ratio(sign: float, collateral: FloatArray, notional: FloatArray, table: BracketTable) -> FloatArray:
    """Return LP / entry from collateral as a fraction of the notional at entry (1/L when isolated)."""
    worst = np.maximum if sign > 0 else np.minimum
    per_bracket = (
        (1.0 - sign * (collateral + cum / notional)) / (1.0 - sign * mmr)
        for mmr, cum in zip(table.mmr, table.cum, strict=True)
    )
    return np.asarray(np.maximum(reduce(worst, per_bracket), 0.0))


def _sign(side: Side) -> float:
    if side not in (Side.LONG, Side.SHORT):
        raise ValueError(f"side must be Side.LONG (+1) or Side.SHORT (-1), was {side!r}")
    return float(side)


def _at_least(name: str, value: ArrayLike, minimum: float | None = None) -> FloatArray:
    """Return ``value`` as float64 after checking that it is finite and positive, or at least ``minimum``."""
    values = np.asarray(value, dtype=np.float64)
    ok = np.isfinite(values) & (values > 0 if minimum is None else values >= minimum)
    if not ok.all():
        rule = "positive" if minimum is None else f"at least {minimum:g}"
        raise ValueError(f"{name} must be finite and {rule}, was {values[~ok].flat[0]}")
    return values
