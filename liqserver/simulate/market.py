"""A market of leveraged traders, hedgers and market makers, advanced second by second.

Pure: arrays in, arrays out, no files and no clock. Quantities are whole lots and trade prices whole ticks, so the
sums of long and short contracts agree exactly, always.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from .config import DAY_SECONDS, SimulationConfig, day_ms
from .scenarios import phase_at

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
# A numba record: attributes by name, known to numba and not to mypy.
Record = Any

ISOLATED, CROSS, HEDGER, MAKER = 0, 1, 2, 3
KINDS = ("isolated", "cross", "hedger", "maker")

_HOUR = 3600
_FUNDING_SECONDS = 8 * _HOUR
_METRICS_SECONDS = 300
_NEVER = np.int64(2**62)
# Room a chunk of steps keeps free for what one second may bring.
_TRADE_SLACK = 1 << 16
_SLOT_SLACK = 4096
_LIQUIDATION_SLICES = 40

# Impact, basis and order handling: stylised, of no consequence for the layout and hence not configurable.
_BASIS_SECONDS = 60.0
_MARK_BASIS_SECONDS = 75.0
_BASIS_PER_IMBALANCE = 0.006
_TREND_SECONDS = 4.0 * _HOUR
_EXCITATION_SECONDS = 300.0
_JUMP_SECONDS = 60.0
_CHILD_SIGMA = 1.1
_PASSIVE_FILL = 0.5
_PASSIVE_CANCEL = 0.002
_MARGIN_CALL_AT = 0.7
_AVERAGE_DOWN_AT = 0.5
# Levels drawn at random lie between these shares of price away from it, evenly by logarithm.
_NEAREST_LEVEL, _FARTHEST_LEVEL = 0.004, 0.4
_DUE_MS = 300_000
# What of the log of market makers' pace is left after an hour.
_NOISE_KEPT = math.exp(-1 / 12)
# Prices this far from where the list of near positions was made, as a log, are looked at by going through that list.
_NEAR = 0.004
# Traders leave earlier than they meant to: stops, targets, liquidations. Measured, used to size arrivals.
_STAY = 0.66


def _fields(kind: type[np.generic], names: str) -> list[tuple[str, type[np.generic]]]:
    return [(name, kind) for name in names.split()]


_PARAMS = np.dtype(
    _fields(
        np.float64,
        "tick lot news_sd slow_decay slow_kick fast_decay fast_kick slow_var fast_var jump_rate jump_size "
        "impact permanent child_lots arrival_rate hedger_rate noise_rate maker_target notional notional_sigma "
        "notional_exponent notional_cap calm_tilt hedger_notional hedger_hold_ms hold_ms hold_exponent hold_sigma "
        "trend contrarian trend_strength long_bias cross cross_multiple passive stop take add_margin "
        "funding_from_margin excitation drift leverage_tilt average_down random_levels",
    )
)

_STATE = np.dtype(
    _fields(
        np.int64,
        "second next_id n_used n_free n_active long_lots short_lots trader_long trader_short hedger_long "
        "hedger_short n_due due_until_ms n_near n_trades n_liquidations n_minutes n_metrics n_fundings "
        "open_long open_short close_long close_short directional_open_long directional_open_short "
        "directional_close_long directional_close_short liquidated_long liquidated_short volume",
    )
    + _fields(
        np.float64,
        "index basis mark last mark_basis log_trend log_slow log_fast vol jump excited fast_return premium_sum "
        "premium_count funding_rate mark_open mark_high mark_low long_trigger short_trigger stop_long take_long "
        "stop_short take_short near_low near_high",
    )
)


class _Positions(NamedTuple):
    """Open positions by slot; a slot without lots and without an order is free."""

    side: NDArray[np.int8]
    kind: NDArray[np.int8]
    leverage: Ints
    lots: Ints
    to_open: Ints
    to_close: Ints
    passive: Bools
    active: Bools
    alive: Bools
    near: Bools
    may_add: Bools
    may_double: Bools
    pays_from_margin: Bools
    entry: Floats
    wallet: Floats
    liquidation: Floats
    distance: Floats
    margin_call: Floats
    stop: Floats
    take: Floats
    opened_ms: Ints
    changed_ms: Ints
    exit_ms: Ints
    id: Ints
    free: Ints
    orders: Ints
    due: Ints
    close: Ints


class _Out(NamedTuple):
    """What one chunk of steps emits."""

    price: Ints
    lots: Ints
    ms: Ints
    buyer_is_maker: Bools
    fills: Ints
    liq_trade: Ints
    liq_side: NDArray[np.int8]
    liq_kind: NDArray[np.int8]
    liq_leverage: Ints
    liq_id: Ints
    liq_lots: Ints
    liq_last: Ints
    liq_limit: Ints
    liq_average: Floats
    liq_entry: Floats
    liq_price: Floats
    liq_mark: Floats
    minute_ms: Ints
    mark: Floats
    metrics_ms: Ints
    metrics: Ints
    metrics_mark: Floats
    funding_ms: Ints
    funding: Floats


# Columns of _Out.metrics, in this order, all in lots.
_METRICS = (
    "long_lots",
    "short_lots",
    "volume",
    "open_long",
    "open_short",
    "close_long",
    "close_short",
    "directional_open_long",
    "directional_open_short",
    "directional_close_long",
    "directional_close_short",
    "liquidated_long",
    "liquidated_short",
)


# Called from compiled code only: a third of the compile time would go into wrappers nobody calls.
_INNER: dict[str, Any] = {"cache": True, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}


def _inner[F: Callable[..., Any]](function: F) -> F:
    compiled: F = numba.njit(**_INNER)(function)
    return compiled


@numba.njit(cache=True)
def liquidation_price(side: int, qty: float, entry: float, wallet: float, rates: Floats, amounts: Floats) -> float:
    """Return the mark price at which a lone position is liquidated.

    Maintenance margin is the largest of its brackets' lines, so the price where equity falls short is the extreme of
    the brackets' own solutions: no bracket has to be guessed and none resolved again.

    Parameters
    ----------
    side : int
        +1 long, -1 short.
    qty : float
        Absolute position, base units.
    entry : float
        Average entry price, quote units.
    wallet : float
        Balance behind the position, quote units: isolated margin or cross wallet.
    rates, amounts : ndarray, shape (brackets,)
        Maintenance margin rate and maintenance amount (quote units) of each bracket.

    Returns
    -------
    float
        Quote units; 0 where a long has no liquidation price.
    """
    best = 0.0 if side > 0 else np.inf
    for i in range(rates.shape[0]):
        price = (wallet + amounts[i] - side * qty * entry) / (qty * rates[i] - side * qty)
        best = max(best, price) if side > 0 else min(best, price)
    return max(best, 0.0)


def maintenance_amounts(brackets: tuple[tuple[float, float, float], ...]) -> Floats:
    """Return the maintenance amount of each bracket, quote units, shape (brackets,): margin is continuous."""
    out = np.zeros(len(brackets), dtype=np.float64)
    for i in range(1, len(brackets)):
        out[i] = out[i - 1] + brackets[i - 1][0] * (brackets[i][1] - brackets[i - 1][1])
    return np.round(out, 6)


@_inner
def _activity(second: int) -> float:
    """Return the pace of trading by time of day and week, 1 on average: Europe and America awake, weekends slow."""
    hour = (second % 86_400) / 3600.0
    # 1970-01-01 was a Thursday.
    weekday = (second // 86_400 + 3) % 7
    daily = 1.0 + 0.35 * math.sin(2 * math.pi * (hour - 8.5) / 24) + 0.1 * math.sin(4 * math.pi * (hour - 12.0) / 24)
    return daily * (0.72 if weekday >= 5 else 1.112)


@_inner
def _watch(s: Record, pos: _Positions, i: int) -> None:
    """Widen the bounds that tell when any position's own prices must be looked at, where they are near."""
    if pos.side[i] > 0:
        upper, lower = pos.take[i], max(pos.liquidation[i], pos.margin_call[i], pos.stop[i])
    else:
        upper, lower = min(pos.liquidation[i], pos.margin_call[i], pos.stop[i]), pos.take[i]
    if lower < s.near_low and upper > s.near_high:
        return
    if not pos.near[i]:
        pos.near[i] = True
        pos.close[s.n_near] = i
        s.n_near += 1
    if pos.side[i] > 0:
        s.long_trigger = max(s.long_trigger, pos.liquidation[i], pos.margin_call[i])
        s.stop_long = max(s.stop_long, pos.stop[i])
        s.take_long = min(s.take_long, pos.take[i])
    else:
        s.short_trigger = min(s.short_trigger, pos.liquidation[i], pos.margin_call[i])
        s.stop_short = min(s.stop_short, pos.stop[i])
        s.take_short = max(s.take_short, pos.take[i])


@_inner
def _remargin(s: Record, p: Record, pos: _Positions, i: int, rates: Floats, amounts: Floats, now_ms: int) -> None:
    """Set liquidation and margin-call price of slot ``i`` after its margin or quantity changed."""
    side = pos.side[i]
    far = 0.0 if side > 0 else np.inf
    if pos.kind[i] == HEDGER or p.random_levels > 0:
        pos.liquidation[i] = far
        pos.margin_call[i] = far
    else:
        price = liquidation_price(side, pos.lots[i] * p.lot, pos.entry[i], pos.wallet[i], rates, amounts)
        pos.liquidation[i] = price
        pos.margin_call[i] = far
        if pos.may_double[i] and price > 0.0:
            pos.margin_call[i] = pos.entry[i] + _AVERAGE_DOWN_AT * (price - pos.entry[i])
        elif pos.may_add[i] and price > 0.0:
            pos.margin_call[i] = pos.entry[i] + _MARGIN_CALL_AT * (price - pos.entry[i])
    pos.changed_ms[i] = now_ms
    _watch(s, pos, i)


@_inner
def _release(s: Record, pos: _Positions, i: int) -> None:
    pos.alive[i] = False
    pos.lots[i] = 0
    pos.to_open[i] = 0
    pos.to_close[i] = 0
    pos.free[s.n_free] = i
    s.n_free += 1


@_inner
def _take_slot(s: Record, pos: _Positions) -> int:
    if s.n_free > 0:
        s.n_free -= 1
        i = pos.free[s.n_free]
    else:
        i = s.n_used
        s.n_used += 1
    pos.alive[i] = True
    pos.id[i] = s.next_id
    s.next_id += 1
    return i  # type: ignore[no-any-return]


@_inner
def _order(s: Record, pos: _Positions, i: int) -> None:
    """Put slot ``i`` among those with a working order, once."""
    if not pos.active[i]:
        pos.active[i] = True
        pos.orders[s.n_active] = i
        s.n_active += 1


@_inner
def _account_buy(s: Record, before: int, lots: int) -> int:
    """Book a purchase on an account that held ``before`` lots (short below 0); return what it holds now."""
    closes = min(lots, max(-before, 0))
    s.close_short += closes
    s.open_long += lots - closes
    s.short_lots -= closes
    s.long_lots += lots - closes
    return before + lots


@_inner
def _account_sell(s: Record, before: int, lots: int) -> int:
    closes = min(lots, max(before, 0))
    s.close_long += closes
    s.open_short += lots - closes
    s.long_lots -= closes
    s.short_lots += lots - closes
    return before - lots


@_inner
def _flatten_chance(s: Record, p: Record) -> float:
    """Return how likely a maker trades towards flat, so that the makers' gross position keeps its size."""
    gross = 0.5 * (s.long_lots + s.short_lots - s.trader_long - s.trader_short - s.hedger_long - s.hedger_short)
    return 0.5 + 0.5 * min(max(4.0 * (gross / p.maker_target - 1.0), -1.0), 1.0)  # type: ignore[no-any-return]


@_inner
def _print_trade(s: Record, p: Record, out: _Out, rng: np.random.Generator, taker: int, lots: int) -> int:
    """Print one aggregated trade at the taker's side of the book and move the price; return the price in ticks."""
    if s.n_trades >= out.price.shape[0]:
        raise OverflowError("more trades in one second than the buffer holds")
    push = 0.5 * taker * p.impact * math.sqrt(s.vol) * lots * p.lot
    s.basis += push
    mid = s.index * math.exp(s.basis) / p.tick
    ticks: int = math.ceil(mid) if taker > 0 else math.floor(mid)
    s.basis += push
    n = s.n_trades
    out.price[n] = ticks
    out.lots[n] = lots
    out.buyer_is_maker[n] = taker < 0
    out.fills[n] = 1 + rng.poisson(0.6 * min(lots / p.child_lots, 20.0))
    s.n_trades = n + 1
    s.volume += lots
    s.last = ticks * p.tick
    return ticks


@_inner
def _with_maker(s: Record, p: Record, makers: Ints, rng: np.random.Generator, side: int, lots: int) -> None:
    """Let a market maker take the other side of an order of ``side``, and book it on the maker's account."""
    a = rng.integers(0, makers.shape[0])
    b = rng.integers(0, makers.shape[0])
    if rng.random() < _flatten_chance(s, p) and (makers[b] - makers[a]) * side > 0:
        a = b
    if side > 0:
        makers[a] = _account_sell(s, makers[a], lots)
    else:
        makers[a] = _account_buy(s, makers[a], lots)


@_inner
def _churn(s: Record, p: Record, out: _Out, makers: Ints, rng: np.random.Generator, lots: int) -> None:
    """One trade between two market-making accounts: volume that hardly changes open interest."""
    taker = 1 if rng.random() < 0.5 + 0.15 * math.tanh(s.fast_return) else -1
    buyer = rng.integers(0, makers.shape[0])
    seller = (buyer + 1 + rng.integers(0, makers.shape[0] - 1)) % makers.shape[0]
    flatten = rng.random() < _flatten_chance(s, p)
    if (makers[buyer] > makers[seller]) == flatten:
        buyer, seller = seller, buyer
    makers[buyer] = _account_buy(s, makers[buyer], lots)
    makers[seller] = _account_sell(s, makers[seller], lots)
    _print_trade(s, p, out, rng, taker, lots)


@_inner
def _child(p: Record, rng: np.random.Generator) -> int:
    size = p.child_lots * math.exp(_CHILD_SIGMA * rng.standard_normal() - 0.5 * _CHILD_SIGMA**2)
    return int(min(max(round(size), 1.0), 1e9))


@_inner
def _book_open(s: Record, side: int, kind: int, lots: int) -> None:
    if side > 0:
        _account_buy(s, 0, lots)
        if kind == HEDGER:
            s.hedger_long += lots
        else:
            s.trader_long += lots
            s.directional_open_long += lots
    else:
        _account_sell(s, 0, lots)
        if kind == HEDGER:
            s.hedger_short += lots
        else:
            s.trader_short += lots
            s.directional_open_short += lots


@_inner
def _book_close(s: Record, side: int, kind: int, lots: int) -> None:
    if side > 0:
        _account_sell(s, lots, lots)
        if kind == HEDGER:
            s.hedger_long -= lots
        else:
            s.trader_long -= lots
            s.directional_close_long += lots
    else:
        _account_buy(s, -lots, lots)
        if kind == HEDGER:
            s.hedger_short -= lots
        else:
            s.trader_short -= lots
            s.directional_close_short += lots


@_inner
def _new_position(
    s: Record,
    p: Record,
    pos: _Positions,
    rng: np.random.Generator,
    leverages: Ints,
    cumulative: Floats,
    caps: Floats,
    hedger: bool,
) -> int:
    """Let someone arrive who wants a position; return its slot."""
    i = _take_slot(s, pos)
    price = s.index * math.exp(s.basis)
    oi = max(s.long_lots, 1)
    pos.may_add[i] = False
    pos.may_double[i] = False
    pos.distance[i] = np.nan
    pos.pays_from_margin[i] = False
    pos.passive[i] = rng.random() < p.passive
    if hedger:
        # Arbitrageurs lean against what traders hold, market makers having carried it until now.
        imbalance = (s.trader_long - s.trader_short + s.hedger_long - s.hedger_short) / oi
        pos.side[i] = -1 if rng.random() < 1.0 / (1.0 + math.exp(-8.0 * imbalance)) else 1
        pos.kind[i] = HEDGER
        pos.leverage[i] = 1
        notional = p.hedger_notional * math.exp(rng.standard_normal())
        hold = p.hedger_hold_ms * math.exp(rng.standard_normal())
    else:
        draw = rng.random() * cumulative[leverages.shape[0] - 1]
        k = 0
        while k < leverages.shape[0] - 1 and draw > cumulative[k]:
            k += 1
        leverage = leverages[k]
        move = math.log(price) - s.log_trend
        z = min(max(move / (p.news_sd * math.sqrt(0.5 * _TREND_SECONDS) * s.vol), -3.0), 3.0)
        odds = p.long_bias
        camp = rng.random()
        if camp < p.trend:
            odds += p.trend_strength * z
        elif camp < p.trend + p.contrarian:
            odds -= p.trend_strength * z
        pos.side[i] = 1 if rng.random() < 1.0 / (1.0 + math.exp(-odds)) else -1
        pos.kind[i] = CROSS if rng.random() < p.cross else ISOLATED
        pos.leverage[i] = leverage
        notional = p.notional * (leverage / 10.0) ** -p.notional_exponent
        notional *= math.exp(p.notional_sigma * rng.standard_normal())
        notional = min(notional, caps[k])
        hold = p.hold_ms * (leverage / 10.0) ** -p.hold_exponent * math.exp(p.hold_sigma * rng.standard_normal())
        pos.may_add[i] = rng.random() < p.add_margin
        pos.pays_from_margin[i] = rng.random() < p.funding_from_margin
        # Drawn only where asked for: other markets draw the same numbers with the option as without.
        if p.average_down > 0:
            pos.may_double[i] = rng.random() < p.average_down and 2.2 * notional < caps[k]
        if p.random_levels > 0:
            pos.distance[i] = _NEAREST_LEVEL * (_FARTHEST_LEVEL / _NEAREST_LEVEL) ** rng.random()
    lots = max(int(min(notional, p.notional_cap) / (price * p.lot)), 1)
    pos.lots[i] = 0
    pos.to_open[i] = lots
    pos.to_close[i] = 0
    pos.entry[i] = price
    pos.exit_ms[i] = s.second * 1000 + int(min(max(hold, 5000.0), 400 * 86_400_000.0))
    side = pos.side[i]
    far_below, far_above = 0.0, np.inf
    pos.stop[i] = far_below if side > 0 else far_above
    pos.take[i] = far_above if side > 0 else far_below
    pos.liquidation[i] = pos.stop[i]
    pos.margin_call[i] = pos.stop[i]
    pos.wallet[i] = 0.0
    if not hedger:
        reach = min(1.0 / pos.leverage[i], 0.1)
        if rng.random() < p.stop:
            pos.stop[i] = price * (1.0 - side * reach * (0.3 + 0.6 * rng.random()))
        if rng.random() < p.take:
            pos.take[i] = max(price * (1.0 + side * reach * (0.3 + rng.standard_exponential())), p.tick)
        if pos.kind[i] == CROSS:
            # Nobody holds a wallet below the initial margin; the rest is what makes cross leverage lower.
            multiple = 1.0 + (p.cross_multiple - 1.0) * math.exp(rng.standard_normal())
            pos.wallet[i] = lots * p.lot * price / pos.leverage[i] * multiple
    pos.opened_ms[i] = s.second * 1000
    pos.changed_ms[i] = pos.opened_ms[i]
    return i


@_inner
def _fill_open(
    s: Record, p: Record, pos: _Positions, i: int, lots: int, price: float, rates: Floats, amounts: Floats
) -> None:
    held = pos.lots[i]
    if held == 0:
        pos.opened_ms[i] = s.second * 1000
    pos.entry[i] = (pos.entry[i] * held + price * lots) / (held + lots)
    pos.lots[i] = held + lots
    pos.to_open[i] -= lots
    if pos.kind[i] == ISOLATED:
        pos.wallet[i] += lots * p.lot * price / pos.leverage[i]
    _book_open(s, pos.side[i], pos.kind[i], lots)
    _remargin(s, p, pos, i, rates, amounts, s.second * 1000)


@_inner
def _fill_close(
    s: Record, p: Record, pos: _Positions, i: int, lots: int, price: float, rates: Floats, amounts: Floats
) -> None:
    held = pos.lots[i]
    if pos.kind[i] == CROSS:
        pos.wallet[i] += pos.side[i] * lots * p.lot * (price - pos.entry[i])
    else:
        pos.wallet[i] *= (held - lots) / held
    pos.lots[i] = held - lots
    pos.to_close[i] -= lots
    _book_close(s, pos.side[i], pos.kind[i], lots)
    if pos.lots[i] == 0:
        _release(s, pos, i)
    else:
        _remargin(s, p, pos, i, rates, amounts, s.second * 1000)


@_inner
def _want_out(s: Record, pos: _Positions, i: int, passive: bool) -> None:
    """Cancel what is still to be opened and order the close of what is held."""
    pos.to_open[i] = 0
    if pos.lots[i] == 0:
        _release(s, pos, i)
        return
    pos.to_close[i] = pos.lots[i]
    pos.passive[i] = passive
    pos.exit_ms[i] = _NEVER
    pos.stop[i] = 0.0 if pos.side[i] > 0 else np.inf
    pos.take[i] = np.inf if pos.side[i] > 0 else 0.0
    _order(s, pos, i)


@_inner
def _due(s: Record, pos: _Positions, i: int) -> None:
    """Note slot ``i`` among those whose time is up before the list is next made."""
    if pos.exit_ms[i] < s.due_until_ms:
        if s.n_due < pos.due.shape[0]:
            pos.due[s.n_due] = i
            s.n_due += 1
        else:
            s.due_until_ms = 0


@_inner
def _leave(s: Record, p: Record, pos: _Positions, rng: np.random.Generator) -> None:
    """Let those go whose time is up; every few minutes, list whose time comes next."""
    now_ms = s.second * 1000
    if now_ms >= s.due_until_ms:
        s.due_until_ms = now_ms + _DUE_MS
        s.n_due = 0
        for i in range(s.n_used):
            if pos.alive[i]:
                _due(s, pos, i)
    k = 0
    while k < s.n_due:
        i = pos.due[k]
        # A slot taken anew meanwhile is judged by the time of whoever has it now.
        if pos.alive[i] and pos.exit_ms[i] > now_ms and pos.exit_ms[i] < s.due_until_ms:
            k += 1
            continue
        if pos.alive[i] and pos.exit_ms[i] <= now_ms:
            _want_out(s, pos, i, rng.random() < p.passive)
        s.n_due -= 1
        pos.due[k] = pos.due[s.n_due]


@_inner
def _liquidate(
    s: Record, p: Record, pos: _Positions, i: int, makers: Ints, rng: np.random.Generator, out: _Out
) -> None:
    """Close slot ``i`` by an immediate order, in slices that walk the book."""
    n = s.n_liquidations
    side = pos.side[i]
    total = pos.lots[i]
    rest = total
    paid = 0.0
    lots = 0
    # Where the margin is used up; the exchange's own price band bounds it for cross positions.
    bankruptcy = pos.entry[i] - side * pos.wallet[i] / (total * p.lot)
    limit = max(bankruptcy, 0.95 * s.mark) if side > 0 else min(bankruptcy, 1.05 * s.mark)
    worst = math.floor(limit / p.tick) if side > 0 else math.ceil(limit / p.tick)
    while rest > 0:
        lots = min(rest, max(_child(p, rng), total // _LIQUIDATION_SLICES + 1))
        _with_maker(s, p, makers, rng, -side, lots)
        ticks = _print_trade(s, p, out, rng, -side, lots)
        # Past bankruptcy the insurance fund pays: the order fills all the same.
        worst = min(worst, ticks) if side > 0 else max(worst, ticks)
        paid += ticks * p.tick * lots
        rest -= lots
    out.liq_trade[n] = s.n_trades - 1
    out.liq_side[n] = side
    out.liq_kind[n] = pos.kind[i]
    out.liq_leverage[n] = pos.leverage[i]
    out.liq_id[n] = pos.id[i]
    out.liq_lots[n] = total
    out.liq_last[n] = lots
    out.liq_limit[n] = worst
    out.liq_average[n] = paid / total
    out.liq_entry[n] = pos.entry[i]
    out.liq_price[n] = pos.liquidation[i]
    out.liq_mark[n] = s.mark
    s.n_liquidations = n + 1
    if side > 0:
        s.liquidated_long += total
    else:
        s.liquidated_short += total
    _book_close(s, side, pos.kind[i], total)
    _release(s, pos, i)


@_inner
def _gather(s: Record, pos: _Positions) -> None:
    """List the positions with a price of their own near the market's."""
    s.near_low = min(s.mark, s.last) * math.exp(-_NEAR)
    s.near_high = max(s.mark, s.last) * math.exp(_NEAR)
    for k in range(s.n_near):
        pos.near[pos.close[k]] = False
    s.n_near = 0
    for i in range(s.n_used):
        if pos.alive[i]:
            _watch(s, pos, i)


@_inner
def _scan(
    s: Record,
    p: Record,
    pos: _Positions,
    makers: Ints,
    rng: np.random.Generator,
    out: _Out,
    rates: Floats,
    amounts: Floats,
) -> None:
    """Look at the prices of every position near; set the bounds anew."""
    now_ms = s.second * 1000
    last = s.last
    if not s.near_low < min(s.mark, last) <= max(s.mark, last) < s.near_high:
        _gather(s, pos)
    s.long_trigger, s.short_trigger = 0.0, np.inf
    s.stop_long, s.take_long = 0.0, np.inf
    s.stop_short, s.take_short = np.inf, 0.0
    # In the order of slots, whatever came near first.
    watched = np.sort(pos.close[: s.n_near])
    s.n_near = 0
    for i in watched:
        pos.near[i] = False
        if not pos.alive[i]:
            continue
        side = pos.side[i]
        if pos.lots[i] > 0:
            if (s.mark - pos.liquidation[i]) * side <= 0:
                _liquidate(s, p, pos, i, makers, rng, out)
                continue
            if (s.mark - pos.margin_call[i]) * side <= 0 and pos.may_double[i]:
                pos.may_double[i] = False
                if pos.to_open[i] == 0 and pos.to_close[i] == 0:
                    pos.to_open[i] = pos.lots[i]
                    _order(s, pos, i)
                _remargin(s, p, pos, i, rates, amounts, now_ms)
            elif (s.mark - pos.margin_call[i]) * side <= 0:
                # One late deposit, from half to twice the initial margin.
                initial = pos.lots[i] * p.lot * pos.entry[i] / pos.leverage[i]
                pos.wallet[i] += initial * (0.5 + 1.5 * rng.random())
                pos.may_add[i] = False
                _remargin(s, p, pos, i, rates, amounts, now_ms)
        if pos.to_close[i] == 0:
            if (last - pos.stop[i]) * side <= 0:
                _want_out(s, pos, i, False)
            elif (last - pos.take[i]) * side >= 0:
                _want_out(s, pos, i, rng.random() < 0.7)
        if pos.alive[i]:
            _watch(s, pos, i)


@_inner
def _work_orders(
    s: Record,
    p: Record,
    pos: _Positions,
    makers: Ints,
    rng: np.random.Generator,
    out: _Out,
    rates: Floats,
    amounts: Floats,
) -> None:
    """Execute a slice of every working order."""
    k = 0
    while k < s.n_active:
        i = pos.orders[k]
        if not pos.alive[i] or pos.to_open[i] + pos.to_close[i] == 0:
            s.n_active -= 1
            pos.orders[k] = pos.orders[s.n_active]
            pos.active[i] = False
            continue
        k += 1
        opening = pos.to_open[i] > 0
        if pos.passive[i]:
            if opening and rng.random() < _PASSIVE_CANCEL:
                pos.to_open[i] = 0
                if pos.lots[i] == 0:
                    _release(s, pos, i)
                continue
            if rng.random() > _PASSIVE_FILL:
                if not opening and rng.random() < 0.01:
                    pos.passive[i] = False
                continue
        if opening and abs(s.index * math.exp(s.basis) / s.mark - 1.0) * pos.leverage[i] > 0.3:
            # The exchange refuses an entry that would be liquidated at once.
            pos.to_open[i] = 0
            if pos.lots[i] == 0:
                _release(s, pos, i)
            continue
        side = pos.side[i] if opening else -pos.side[i]
        taker = -side if pos.passive[i] else side
        slices = 1 + min((pos.to_open[i] + pos.to_close[i]) // int(p.child_lots * 240 + 1), 50)
        for _ in range(slices):
            rest = pos.to_open[i] if opening else pos.to_close[i]
            if rest == 0:
                break
            lots = min(_child(p, rng), rest)
            _with_maker(s, p, makers, rng, side, lots)
            price = _print_trade(s, p, out, rng, taker, lots) * p.tick
            if opening:
                _fill_open(s, p, pos, i, lots, price, rates, amounts)
            else:
                _fill_close(s, p, pos, i, lots, price, rates, amounts)


@_inner
def _settle_funding(s: Record, p: Record, pos: _Positions, out: _Out, rates: Floats, amounts: Floats) -> None:
    """Fix the funding rate of the period that ends now and pay it."""
    premium = s.premium_sum / max(s.premium_count, 1.0)
    rate = premium + min(max(0.0001 - premium, -0.0005), 0.0005)
    rate = round(min(max(rate, -0.003), 0.003) * 1e8) / 1e8
    s.funding_rate = rate
    s.premium_sum = 0.0
    s.premium_count = 0.0
    n = s.n_fundings
    out.funding_ms[n] = s.second * 1000
    out.funding[n] = rate
    s.n_fundings = n + 1
    for i in range(s.n_used):
        if not pos.alive[i] or pos.lots[i] == 0 or pos.kind[i] == HEDGER:
            continue
        pays = pos.side[i] * pos.lots[i] * p.lot * s.mark * rate
        # What an isolated position receives goes to the balance, not to its margin.
        if pos.kind[i] == CROSS or (pos.pays_from_margin[i] and pays > 0):
            pos.wallet[i] -= pays
            _remargin(s, p, pos, i, rates, amounts, s.second * 1000)


@_inner
def _move_index(s: Record, p: Record, rng: np.random.Generator, cumulative: Floats, tilt: Floats) -> None:
    """Advance volatility, news, index, basis and mark price by one second."""
    pace = _activity(s.second)
    if s.second % 60 == 0:
        s.log_slow = s.log_slow * p.slow_decay + p.slow_kick * rng.standard_normal()
        s.log_fast = s.log_fast * p.fast_decay + p.fast_kick * rng.standard_normal()
        # Scaled so that variance is 1 on average, whatever the spread of its logarithm.
        level = s.log_slow + s.log_fast - p.slow_var - p.fast_var
        s.vol = math.exp(min(max(level, -2.5), 2.0))
        calm = p.calm_tilt * -min(max(level, -1.5), 1.5) + p.leverage_tilt
        total = 0.0
        for k in range(tilt.shape[0]):
            total += tilt[k] * math.exp(calm * cumulative[tilt.shape[0] + k])
            cumulative[k] = total
    move = p.news_sd * s.vol * math.sqrt(pace) * rng.standard_normal()
    if rng.random() < p.jump_rate * s.vol:
        # News that takes minutes to be priced, and that unsettles the market for hours.
        size = p.jump_size * rng.standard_exponential()
        s.jump += size if rng.random() < 0.48 else -size
        s.log_fast += 0.35
    step = s.jump / _JUMP_SECONDS
    s.jump -= step
    # Arbitrage carries the perpetual's deviation into the index, the rest of it fades.
    target = _BASIS_PER_IMBALANCE * (s.trader_long - s.trader_short) / max(s.long_lots, 1)
    correction = (s.basis - target) / _BASIS_SECONDS
    s.basis -= correction
    move += step + p.permanent * correction + p.drift
    s.index *= math.exp(move)
    s.fast_return += -s.fast_return / 30.0 + move / (p.news_sd * math.sqrt(30.0) * s.vol)
    mid = s.index * math.exp(s.basis)
    s.log_trend += (math.log(mid) - s.log_trend) / _TREND_SECONDS
    s.premium_sum += mid / s.index - 1.0
    s.premium_count += 1.0
    # The mark price is the median of three: index and funding, index and mean basis, last price.
    s.mark_basis += (mid - s.index - s.mark_basis) / _MARK_BASIS_SECONDS
    to_funding = (_FUNDING_SECONDS - s.second % _FUNDING_SECONDS) / _FUNDING_SECONDS
    one = s.index * (1.0 + s.funding_rate * to_funding)
    two = s.index + s.mark_basis
    median = max(min(one, two), min(max(one, two), s.last))
    s.mark = round(median / p.tick) * p.tick


@_inner
def _emit_minute(s: Record, out: _Out) -> None:
    if s.second % 60 == 0:
        s.mark_open, s.mark_high, s.mark_low = s.mark, s.mark, s.mark
    s.mark_high = max(s.mark_high, s.mark)
    s.mark_low = min(s.mark_low, s.mark)
    if s.second % 60 == 59:
        n = s.n_minutes
        out.minute_ms[n] = (s.second - 59) * 1000
        out.mark[n, 0], out.mark[n, 1], out.mark[n, 2], out.mark[n, 3] = s.mark_open, s.mark_high, s.mark_low, s.mark
        s.n_minutes = n + 1


@_inner
def _emit_metrics(s: Record, out: _Out) -> None:
    n = s.n_metrics
    out.metrics_ms[n] = s.second * 1000
    out.metrics_mark[n] = s.mark
    row = out.metrics[n]
    row[0], row[1], row[2] = s.long_lots, s.short_lots, s.volume
    row[3], row[4], row[5], row[6] = s.open_long, s.open_short, s.close_long, s.close_short
    row[7], row[8] = s.directional_open_long, s.directional_open_short
    row[9], row[10] = s.directional_close_long, s.directional_close_short
    row[11], row[12] = s.liquidated_long, s.liquidated_short
    s.volume = 0
    s.open_long, s.open_short, s.close_long, s.close_short = 0, 0, 0, 0
    s.directional_open_long, s.directional_open_short = 0, 0
    s.directional_close_long, s.directional_close_short = 0, 0
    s.liquidated_long, s.liquidated_short = 0, 0
    s.n_metrics = n + 1


@_inner
def _spread_times(s: Record, out: _Out, rng: np.random.Generator, first: int) -> None:
    """Give the trades of this second their millisecond, in order."""
    n = s.n_trades - first
    total = 0.0
    for k in range(first, s.n_trades):
        total += rng.standard_exponential()
        out.ms[k] = int(total * 1e6)
    total += rng.standard_exponential()
    for k in range(first, first + n):
        out.ms[k] = s.second * 1000 + min(int(out.ms[k] / (total * 1e3)), 999)


@_inner
def _populate(
    s: Record,
    p: Record,
    pos: _Positions,
    makers: Ints,
    rng: np.random.Generator,
    leverages: Ints,
    cumulative: Floats,
    caps: Floats,
    rates: Floats,
    amounts: Floats,
    trader_lots: int,
    hedger_lots: int,
) -> None:
    """Fill the book the warm-up begins with: positions of some age, opened around the starting price."""
    for j in range(makers.shape[0]):
        lots = int(2.0 * p.maker_target / makers.shape[0] * rng.standard_exponential())
        # In pairs, so that the makers start level.
        if j % 2 == 1:
            makers[j] = _account_sell(s, 0, max(makers[j - 1], 0))
        elif j + 1 < makers.shape[0]:
            makers[j] = _account_buy(s, 0, lots)
    price = s.index
    while s.n_used < pos.lots.shape[0] - _SLOT_SLACK:
        traders = s.trader_long + s.trader_short < trader_lots
        if not traders and s.hedger_long + s.hedger_short >= hedger_lots:
            break
        i = _new_position(s, p, pos, rng, leverages, cumulative, caps, not traders)
        # Whoever is found holding holds for longer than who arrives: short stays are seldom caught.
        stay = (pos.exit_ms[i] - s.second * 1000) * 1e-3
        keep = stay / 3600.0 / (stay / 3600.0 + 30.0)
        pos.exit_ms[i] = s.second * 1000 + int(stay * 1000 * rng.random())
        side = pos.side[i]
        entry = math.floor(price * math.exp(0.025 * rng.standard_normal()) / p.tick) * p.tick
        lots = pos.to_open[i]
        wallet = pos.wallet[i] if pos.kind[i] == CROSS else lots * p.lot * entry / pos.leverage[i]
        level = liquidation_price(side, lots * p.lot, entry, wallet, rates, amounts)
        if rng.random() > keep or (pos.kind[i] != HEDGER and (price - level) * side <= 0.002 * price):
            _release(s, pos, i)
            continue
        if (price - pos.stop[i]) * side <= 0 or (price - pos.take[i]) * side >= 0:
            pos.stop[i] = 0.0 if side > 0 else np.inf
            pos.take[i] = np.inf if side > 0 else 0.0
        pos.entry[i] = entry
        _fill_open(s, p, pos, i, lots, entry, rates, amounts)
        _with_maker(s, p, makers, rng, side, lots)
    s.volume = 0
    s.open_long, s.open_short, s.close_long, s.close_short = 0, 0, 0, 0
    s.directional_open_long, s.directional_open_short = 0, 0


@numba.njit(cache=True)
def _advance(
    states: NDArray[np.void],
    params: NDArray[np.void],
    pos: _Positions,
    makers: Ints,
    rng: np.random.Generator,
    out: _Out,
    leverages: Ints,
    cumulative: Floats,
    tilt: Floats,
    caps: Floats,
    rates: Floats,
    amounts: Floats,
    seconds: int,
) -> int:
    """Advance the market by at most ``seconds``; return how many were done before room ran short."""
    s: Record = states[0]
    p: Record = params[0]
    for done in range(seconds):
        if (
            s.n_trades > out.price.shape[0] - _TRADE_SLACK
            or s.n_used - s.n_free > pos.lots.shape[0] - _SLOT_SLACK
            or s.n_used > pos.lots.shape[0] - _SLOT_SLACK
            or s.n_liquidations > out.liq_lots.shape[0] // 2
        ):
            return done
        first = s.n_trades
        _move_index(s, p, rng, cumulative, tilt)
        if s.second % _FUNDING_SECONDS == 0:
            _settle_funding(s, p, pos, out, rates, amounts)
        last = s.last
        if (
            s.mark <= s.long_trigger
            or s.mark >= s.short_trigger
            or last <= s.stop_long
            or last >= s.take_long
            or last >= s.stop_short
            or last <= s.take_short
            or min(s.mark, last) <= s.near_low
            or max(s.mark, last) >= s.near_high
        ):
            _scan(s, p, pos, makers, rng, out, rates, amounts)
        _leave(s, p, pos, rng)
        pace = _activity(s.second) * (0.4 + 0.6 * s.vol)
        s.excited -= s.excited / _EXCITATION_SECONDS
        arrivals = rng.poisson(p.arrival_rate * (1.0 - p.excitation) * pace + p.excitation * s.excited)
        arrivals = min(arrivals, 200)
        s.excited += arrivals / _EXCITATION_SECONDS
        hedgers = min(rng.poisson(p.hedger_rate), 200)
        for k in range(arrivals + hedgers):
            i = _new_position(s, p, pos, rng, leverages, cumulative, caps, k >= arrivals)
            _watch(s, pos, i)
            _order(s, pos, i)
            _due(s, pos, i)
        _work_orders(s, p, pos, makers, rng, out, rates, amounts)
        for _ in range(min(rng.poisson(p.noise_rate * pace), 5000)):
            _churn(s, p, out, makers, rng, _child(p, rng))
        _spread_times(s, out, rng, first)
        _emit_minute(s, out)
        s.second += 1
        if s.second % _METRICS_SECONDS == 0:
            _emit_metrics(s, out)
    return seconds


@dataclass(frozen=True, eq=False)
class Trades:
    """Aggregated trades of a day, in order of time; all arrays of shape (n,).

    ``price_ticks`` counts ticks, ``qty_lots`` lots; times are ms since 1970 UTC as in the files.
    """

    agg_trade_id: Ints
    price_ticks: Ints
    qty_lots: Ints
    first_trade_id: Ints
    last_trade_id: Ints
    ts_ms: Ints
    is_buyer_maker: Bools


@dataclass(frozen=True, eq=False)
class Klines:
    """One-minute bars of the last price, shape (1440,); prices in ticks, ``quote_volume`` in ticks times lots."""

    open_ms: Ints
    open: Ints
    high: Ints
    low: Ints
    close: Ints
    volume_lots: Ints
    quote_volume: Ints
    count: Ints
    taker_buy_lots: Ints
    taker_buy_quote: Ints


@dataclass(frozen=True, eq=False)
class Liquidations:
    """Every liquidation of a day, in order of time; all arrays of shape (n,).

    ``position_side`` is +1 where a long was liquidated, so that the order sold. ``in_feed`` tells what the exchange
    shows of them: at most one a second. Prices in quote units, ``limit_ticks`` in ticks, quantities in lots.
    """

    ts_ms: Ints
    position_side: NDArray[np.int8]
    kind: NDArray[np.int8]
    leverage: Ints
    position_id: Ints
    qty_lots: Ints
    last_fill_lots: Ints
    limit_ticks: Ints
    average_price: Floats
    entry_price: Floats
    liquidation_price: Floats
    mark_price: Floats
    in_feed: Bools


@dataclass(frozen=True, eq=False)
class BookSnapshot:
    """Every open position at one instant, shape (n,) each; ``side`` is +1 long, -1 short, ``kind`` indexes ``KINDS``.

    ``liquidation_price`` and ``entry_price`` are quote units and NaN where there is none; ``changed_ms`` is when
    quantity or margin last changed. Positions are ordered by ``position_id``, market makers (negative ids) first.
    """

    ts_ms: int
    position_id: Ints
    side: NDArray[np.int8]
    kind: NDArray[np.int8]
    leverage: Ints
    entry_price: Floats
    liquidation_price: Floats
    qty_lots: Ints
    opened_ms: Ints
    changed_ms: Ints


@dataclass(frozen=True, eq=False)
class SimulatedDay:
    """One UTC day of the market.

    ``metrics_ms`` are the ends of the five-minute periods (00:05 to 24:00), ``metrics`` the columns named by
    ``METRICS_COLUMNS`` in lots: contracts open at that instant, flow within the period. ``mark`` holds open, high, low
    and close of the mark price per minute, shape (1440, 4). ``snapshots`` are
    taken every ``book_minutes``, the last at 24:00; the first written day also has the one it starts with.
    """

    day: date
    trades: Trades
    klines: Klines
    liquidations: Liquidations
    mark_open_ms: Ints
    mark: Floats
    metrics_ms: Ints
    metrics: Ints
    metrics_mark: Floats
    funding_ms: Ints
    funding_rate: Floats
    snapshots: tuple[BookSnapshot, ...]


METRICS_COLUMNS = _METRICS


class SimulatedMarket:
    """The market of a configuration, to be run once from its first to its last day.

    Parameters
    ----------
    config : SimulationConfig
        What to simulate.

    Raises
    ------
    ValueError
        If the traded volume asked for is too small for the turnover of positions that the holding times imply.
    """

    def __init__(self, config: SimulationConfig) -> None:
        self.config = config
        # Seeds are folded with a constant of their own, so that seed 0 of another tool is not seed 0 of this one.
        self._rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([config.seed, 0x11C51])))
        self._noise_rng = np.random.Generator(np.random.PCG64([config.seed, 0x501CE]))
        self._log_noise = config.volume_noise * float(self._noise_rng.standard_normal())
        self._params = np.zeros(1, dtype=_PARAMS)
        self._set_params()
        self._rates = np.array([rate for _, rate, _ in config.brackets], dtype=np.float64)
        self._amounts = maintenance_amounts(config.brackets)
        capacity = 2 * _SLOT_SLACK + int(
            20 * config.open_interest * config.start_price / (2.0 * config.median_notional)
        )
        self._positions = _empty_positions(capacity)
        self._makers = np.zeros(config.market_makers, dtype=np.int64)
        hourly = config.trades_per_day // 24
        self._out = _empty_out(2 * _TRADE_SLACK + 3 * hourly)
        self._states = np.zeros(1, dtype=_STATE)
        self._agg_id = 1
        self._trade_id = 1
        self._started = False

    def _set_params(self) -> None:
        c = self.config
        p: Record = self._params[0]
        mix = [(leverage, share) for leverage, share in c.leverage_mix if share > 0]
        self._leverages = np.array([leverage for leverage, _ in mix], dtype=np.int64)
        self._tilt = np.array([share for _, share in mix], dtype=np.float64)
        self._tilt /= self._tilt.sum()
        # First half: running sums of the shares, set every minute; second half: log leverage over 10.
        self._cumulative = np.concatenate((np.cumsum(self._tilt), np.log(self._leverages / 10.0)))
        self._caps = np.array([max_notional(c.brackets, int(x)) for x in self._leverages], dtype=np.float64)
        p["tick"], p["lot"] = c.tick_size, c.lot_size
        p["news_sd"] = c.daily_volatility / math.sqrt(DAY_SECONDS)
        for name, sd, seconds in (
            ("slow", c.volatility_slow_sd, c.volatility_slow_days * DAY_SECONDS),
            ("fast", c.volatility_fast_sd, c.volatility_fast_hours * _HOUR),
        ):
            decay = math.exp(-60.0 / seconds)
            p[f"{name}_decay"] = decay
            p[f"{name}_kick"] = sd * math.sqrt(1 - decay * decay)
            p[f"{name}_var"] = sd * sd
        p["jump_rate"] = c.jumps_per_day / DAY_SECONDS
        p["jump_size"] = c.jump_size
        volume = c.open_interest * c.turnover
        p["impact"] = 0.01 / (c.depth_share * volume)
        p["permanent"] = c.permanent_impact
        # Most orders end in a slice smaller than the others.
        p["child_lots"] = max(1.2 * volume / c.trades_per_day / c.lot_size, 1.0)
        p["notional"], p["notional_sigma"] = c.median_notional, c.notional_sigma
        p["notional_exponent"] = c.notional_leverage_exponent
        p["notional_cap"] = 0.02 * c.open_interest * c.start_price
        p["calm_tilt"] = c.leverage_calm_tilt
        p["hedger_notional"], p["hedger_hold_ms"] = c.hedger_notional, c.hedger_hold_days * 86_400_000.0
        p["hold_ms"] = c.hold_hours * 3_600_000.0
        p["hold_exponent"], p["hold_sigma"] = c.hold_leverage_exponent, c.hold_sigma
        p["trend"], p["contrarian"] = c.trend_share, c.contrarian_share
        p["trend_strength"], p["long_bias"] = c.trend_strength, c.long_bias
        p["cross"], p["cross_multiple"] = c.cross_share, c.cross_wallet_multiple
        p["passive"], p["stop"], p["take"] = c.passive_share, c.stop_share, c.take_profit_share
        p["add_margin"], p["funding_from_margin"] = c.add_margin_share, c.funding_from_margin_share
        p["excitation"] = c.self_excitation
        p["average_down"], p["random_levels"] = c.average_down_share, float(c.random_levels)
        self._set_rates(p, volume)
        self._usual = self._params.copy()

    def _set_rates(self, p: Record, volume: float) -> None:
        """Size arrivals so that open interest and volume come out as asked for."""
        c = self.config
        ratio = self._leverages / 10.0
        hold = c.hold_hours * _HOUR * ratio**-c.hold_leverage_exponent * math.exp(c.hold_sigma**2 / 2)
        size = _capped_mean(
            c.median_notional * ratio**-c.notional_leverage_exponent,
            c.notional_sigma,
            np.minimum(self._caps, float(p["notional_cap"])),
        )
        size /= c.start_price
        # Both sides count: open interest is held twice, once long and once short.
        held = 2 * c.open_interest * c.trader_share
        p["arrival_rate"] = held / (float(np.sum(self._tilt * size * hold)) * _STAY)
        opened = float(p["arrival_rate"]) * DAY_SECONDS * float(np.sum(self._tilt * size))
        hedger_size = float(_capped_mean(np.array([c.hedger_notional]), 1.0, np.array([float(p["notional_cap"])]))[0])
        hedger_size /= c.start_price
        hedger_hold = c.hedger_hold_days * DAY_SECONDS * math.exp(0.5)
        p["hedger_rate"] = 2 * c.open_interest * c.hedger_share / (hedger_size * hedger_hold)
        opened += float(p["hedger_rate"]) * DAY_SECONDS * hedger_size
        noise = volume - 2 * opened
        if noise < 0.05 * volume:
            least = 2 * opened / 0.95 / c.open_interest
            raise ValueError(
                f"turnover was {c.turnover!r}; allowed: at least {least:.2f} with these holding times, "
                "or longer ones (hold_hours, hedger_hold_days)"
            )
        p["noise_rate"] = noise / (float(p["child_lots"]) * c.lot_size) / DAY_SECONDS
        makers = 1 - c.trader_share - c.hedger_share
        p["maker_target"] = max(c.open_interest * makers / c.lot_size, 1.0)

    def days(self, on_warmup: Callable[[], None] | None = None) -> Iterator[SimulatedDay]:
        """Run the market and yield each written day.

        Parameters
        ----------
        on_warmup : callable, optional
            Called after each day of warm-up, which is not yielded.

        Raises
        ------
        RuntimeError
            If the market was run before.
        """
        if self._started:
            raise RuntimeError("a market runs once: make a new one for another run")
        self._started = True
        c = self.config
        begin = c.start - timedelta(days=c.warmup_days)
        self._begin(day_ms(begin) // 1000)
        for _ in range(c.warmup_days):
            for _ in range(24):
                self._enter_hour(-1)
                self._run(_HOUR)
            if on_warmup is not None:
                on_warmup()
        self._agg_id, self._trade_id = 1_000_000_001, 3_000_000_001
        for n in range(c.days):
            yield self._run_day(c.start + timedelta(days=n))

    def _begin(self, second: int) -> None:
        c = self.config
        s: Record = self._states[0]
        s["second"], s["next_id"] = second, 1
        for name in ("index", "mark", "last", "mark_open", "mark_high", "mark_low"):
            s[name] = c.start_price
        s["log_trend"] = math.log(c.start_price)
        s["funding_rate"] = 0.0001
        s["vol"] = 1.0
        s["short_trigger"] = s["take_long"] = s["stop_short"] = math.inf
        s["excited"] = float(self._params[0]["arrival_rate"])
        s["log_slow"] = c.volatility_slow_sd * self._rng.standard_normal()
        s["log_fast"] = c.volatility_fast_sd * self._rng.standard_normal()
        lots = 2 * c.open_interest / c.lot_size
        _run_populate(
            self._states,
            self._params,
            self._positions,
            self._makers,
            self._rng,
            self._leverages,
            self._cumulative,
            self._caps,
            self._rates,
            self._amounts,
            int(lots * c.trader_share),
            int(lots * c.hedger_share),
        )

    def _run_day(self, day: date) -> SimulatedDay:
        chunks: list[dict[str, NDArray[Any]]] = []
        snapshots: list[BookSnapshot] = []
        previous_close = round(float(self._states[0]["last"]) / self.config.tick_size)
        if day == self.config.start:
            snapshots.append(self._snapshot())
        piece = math.gcd(60, self.config.book_minutes)
        hours = 24 * (day - self.config.start).days
        for minute in range(0, 1440, piece):
            if minute % 60 == 0:
                self._enter_hour(hours + minute // 60)
            chunks.extend(self._run(60 * piece))
            if (minute + piece) % self.config.book_minutes == 0:
                snapshots.append(self._snapshot())
        return self._assemble(day, chunks, tuple(snapshots), previous_close)

    def _enter_hour(self, hour: int) -> None:
        """Let the next hour, counted from the first written one, go by the scenario's phase."""
        c = self.config
        phase = phase_at(c.scenario, c.days, hour)
        p: Record = self._params[0]
        usual: Record = self._usual[0]
        p["drift"] = phase.drift_per_hour / _HOUR
        p["news_sd"] = usual["news_sd"] * phase.volatility
        p["jump_rate"] = usual["jump_rate"] * phase.jumps
        for name in ("arrival_rate", "hedger_rate"):
            p[name] = usual[name] * phase.pace
        for name in ("hold_ms", "hedger_hold_ms"):
            p[name] = usual[name] / phase.pace
        p["long_bias"] = usual["long_bias"] + phase.long_bias
        p["leverage_tilt"] = phase.leverage_tilt
        camps = ("contrarian", "trend") if phase.swapped else ("trend", "contrarian")
        p["trend"], p["contrarian"] = (usual[name] for name in camps)
        if c.volume_noise:
            self._log_noise *= _NOISE_KEPT
            self._log_noise += c.volume_noise * math.sqrt(1 - _NOISE_KEPT**2) * self._noise_rng.standard_normal()
            p["noise_rate"] = usual["noise_rate"] * math.exp(self._log_noise - c.volume_noise**2 / 2)

    def _run(self, seconds: int) -> list[dict[str, NDArray[Any]]]:
        """Advance; return what was emitted, in one piece or in several where the buffers ran full."""
        chunks = []
        left = seconds
        while left:
            left -= _advance(
                self._states,
                self._params,
                self._positions,
                self._makers,
                self._rng,
                self._out,
                self._leverages,
                self._cumulative,
                self._tilt,
                self._caps,
                self._rates,
                self._amounts,
                left,
            )
            chunks.append(self._take())
            self._make_room()
        return chunks

    def _take(self) -> dict[str, NDArray[Any]]:
        """Copy out what the last chunk emitted and clear the counters."""
        s: Record = self._states[0]
        counts = {
            "liq": int(s["n_liquidations"]),
            "min": int(s["n_minutes"]),
            "mar": int(s["n_minutes"]),
            "met": int(s["n_metrics"]),
            "fun": int(s["n_fundings"]),
        }
        trades = int(s["n_trades"])
        chunk = {name: getattr(self._out, name)[: counts.get(name[:3], trades)].copy() for name in self._out._fields}
        chunk["liq_ms"] = chunk["ms"][chunk["liq_trade"]]
        for name in ("n_trades", "n_liquidations", "n_minutes", "n_metrics", "n_fundings"):
            s[name] = 0
        return chunk

    def _make_room(self) -> None:
        capacity = self._positions.lots.shape[0]
        if int(self._states[0]["n_used"]) <= capacity - 2 * _SLOT_SLACK:
            return
        grown = _empty_positions(2 * capacity)
        for name in grown._fields:
            getattr(grown, name)[:capacity] = getattr(self._positions, name)
        self._positions = grown

    def _assemble(
        self,
        day: date,
        chunks: list[dict[str, NDArray[Any]]],
        snapshots: tuple[BookSnapshot, ...],
        previous_close: int,
    ) -> SimulatedDay:
        all_ = {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}
        n = all_["price"].shape[0]
        last_id = self._trade_id + np.cumsum(all_["fills"]) - 1
        trades = Trades(
            agg_trade_id=self._agg_id + np.arange(n, dtype=np.int64),
            price_ticks=all_["price"],
            qty_lots=all_["lots"],
            first_trade_id=last_id - all_["fills"] + 1,
            last_trade_id=last_id,
            ts_ms=all_["ms"],
            is_buyer_maker=all_["buyer_is_maker"],
        )
        klines = minute_klines(trades, day_ms(day), previous_close)
        if n:
            self._agg_id += n
            self._trade_id = int(last_id[-1]) + 1
        seconds = all_["liq_ms"] // 1000
        in_feed = np.ones(seconds.shape[0], dtype=np.bool_)
        if self.config.liquidation_feed_limit and seconds.shape[0]:
            # The feed shows the latest order of each second.
            in_feed[:-1] = seconds[1:] != seconds[:-1]
        liquidations = Liquidations(
            ts_ms=all_["liq_ms"],
            position_side=all_["liq_side"],
            kind=all_["liq_kind"],
            leverage=all_["liq_leverage"],
            position_id=all_["liq_id"],
            qty_lots=all_["liq_lots"],
            last_fill_lots=all_["liq_last"],
            limit_ticks=all_["liq_limit"],
            average_price=all_["liq_average"],
            entry_price=all_["liq_entry"],
            liquidation_price=all_["liq_price"],
            mark_price=all_["liq_mark"],
            in_feed=in_feed,
        )
        return SimulatedDay(
            day=day,
            trades=trades,
            klines=klines,
            liquidations=liquidations,
            mark_open_ms=all_["minute_ms"],
            mark=all_["mark"],
            metrics_ms=all_["metrics_ms"],
            metrics=all_["metrics"],
            metrics_mark=all_["metrics_mark"],
            funding_ms=all_["funding_ms"],
            funding_rate=all_["funding"],
            snapshots=snapshots,
        )

    def _snapshot(self) -> BookSnapshot:
        s: Record = self._states[0]
        pos = self._positions
        held = np.flatnonzero(pos.lots[: int(s["n_used"])] > 0)
        held = held[np.argsort(pos.id[held])]
        makers = np.flatnonzero(self._makers != 0)
        level = pos.liquidation[held]
        if self.config.random_levels:
            away = 1 - pos.side[held] * pos.distance[held]
            level = np.where(np.isfinite(away), float(s["mark"]) * away, level)
        level = np.where((level > 0) & np.isfinite(level), level, np.nan)
        none = np.full(makers.shape[0], np.nan)
        start = np.full(makers.shape[0], day_ms(self.config.start - timedelta(days=self.config.warmup_days)))
        inventory = self._makers[makers]
        now_ms = int(s["second"]) * 1000
        return BookSnapshot(
            ts_ms=now_ms,
            position_id=np.concatenate((-1 - makers, pos.id[held])),
            side=np.concatenate((np.sign(inventory).astype(np.int8), pos.side[held])),
            kind=np.concatenate((np.full(makers.shape[0], MAKER, dtype=np.int8), pos.kind[held])),
            leverage=np.concatenate((np.ones(makers.shape[0], dtype=np.int64), pos.leverage[held])),
            entry_price=np.concatenate((none, pos.entry[held])),
            liquidation_price=np.concatenate((none, level)),
            qty_lots=np.concatenate((np.abs(inventory), pos.lots[held])),
            opened_ms=np.concatenate((start, pos.opened_ms[held])),
            changed_ms=np.concatenate((start, pos.changed_ms[held])),
        )


@numba.njit(cache=True)
def _run_populate(
    states: NDArray[np.void],
    params: NDArray[np.void],
    pos: _Positions,
    makers: Ints,
    rng: np.random.Generator,
    leverages: Ints,
    cumulative: Floats,
    caps: Floats,
    rates: Floats,
    amounts: Floats,
    trader_lots: int,
    hedger_lots: int,
) -> None:
    _populate(
        states[0],
        params[0],
        pos,
        makers,
        rng,
        leverages,
        cumulative,
        caps,
        rates,
        amounts,
        trader_lots,
        hedger_lots,
    )


def max_notional(brackets: tuple[tuple[float, float, float], ...], leverage: int) -> float:
    """Return the largest notional (quote units) that may be held at ``leverage``.

    Raises
    ------
    ValueError
        If no bracket allows this leverage.
    """
    allowed = [cap for cap, _, highest in brackets if highest >= leverage]
    if not allowed:
        raise ValueError(f"leverage was {leverage!r}; allowed: at most {brackets[0][2]:g}")
    return allowed[-1]


def minute_klines(trades: Trades, start_ms: int, previous_close: int) -> Klines:
    """Return the 1440 one-minute bars of the day that starts at ``start_ms``.

    A minute without trades repeats the close before it (``previous_close``, ticks, before the first trade).
    """
    minute = (trades.ts_ms - start_ms) // 60_000
    edges = np.searchsorted(minute, np.arange(1441))
    first, count = edges[:-1], np.diff(edges)
    busy = np.flatnonzero(count)
    price = trades.price_ticks
    close = np.full(1440, previous_close, dtype=np.int64)
    if busy.shape[0]:
        # The latest busy minute up to each minute; -1 before the first.
        latest = np.searchsorted(busy, np.arange(1440), side="right") - 1
        known = latest >= 0
        close[known] = price[edges[busy[latest[known]] + 1] - 1]
    open_, high, low = (np.concatenate(([previous_close], close[:-1])) for _ in range(3))
    quiet = count == 0
    volume, quote, buy, buy_quote = (np.zeros(1440, dtype=np.int64) for _ in range(4))
    if busy.shape[0]:
        starts = first[busy]
        value = price * trades.qty_lots
        bought = ~trades.is_buyer_maker
        open_[busy] = price[starts]
        high[busy] = np.maximum.reduceat(price, starts)
        low[busy] = np.minimum.reduceat(price, starts)
        volume[busy] = np.add.reduceat(trades.qty_lots, starts)
        quote[busy] = np.add.reduceat(value, starts)
        buy[busy] = np.add.reduceat(trades.qty_lots * bought, starts)
        buy_quote[busy] = np.add.reduceat(value * bought, starts)
    for column in (open_, high, low):
        column[quiet] = close[quiet]
    return Klines(
        open_ms=start_ms + 60_000 * np.arange(1440, dtype=np.int64),
        open=open_,
        high=high,
        low=low,
        close=close,
        volume_lots=volume,
        quote_volume=quote,
        count=count.astype(np.int64),
        taker_buy_lots=buy,
        taker_buy_quote=buy_quote,
    )


def _capped_mean(median: Floats, sigma: float, cap: Floats) -> Floats:
    """Return the mean of min(X, cap) with X lognormal, element by element."""
    if sigma == 0:
        return np.minimum(median, cap)
    z = np.log(cap / median) / sigma

    def normal(x: Floats) -> Floats:
        return np.array([0.5 * math.erfc(-value / math.sqrt(2)) for value in x])

    out: Floats = median * math.exp(sigma**2 / 2) * normal(z - sigma) + cap * (1 - normal(z))
    return out


def _empty_positions(capacity: int) -> _Positions:
    def ints() -> Ints:
        return np.zeros(capacity, dtype=np.int64)

    def floats() -> Floats:
        return np.zeros(capacity, dtype=np.float64)

    def flags() -> Bools:
        return np.zeros(capacity, dtype=np.bool_)

    return _Positions(
        side=np.zeros(capacity, dtype=np.int8),
        kind=np.zeros(capacity, dtype=np.int8),
        leverage=ints(),
        lots=ints(),
        to_open=ints(),
        to_close=ints(),
        passive=flags(),
        active=flags(),
        alive=flags(),
        near=flags(),
        may_add=flags(),
        may_double=flags(),
        pays_from_margin=flags(),
        entry=floats(),
        wallet=floats(),
        liquidation=floats(),
        distance=floats(),
        margin_call=floats(),
        stop=floats(),
        take=floats(),
        opened_ms=ints(),
        changed_ms=ints(),
        exit_ms=ints(),
        id=ints(),
        free=ints(),
        orders=ints(),
        due=ints(),
        close=ints(),
    )


def _empty_out(trades: int, liquidations: int = 1 << 16) -> _Out:
    def ints(n: int) -> Ints:
        return np.zeros(n, dtype=np.int64)

    def floats(n: int) -> Floats:
        return np.zeros(n, dtype=np.float64)

    return _Out(
        price=ints(trades),
        lots=ints(trades),
        ms=ints(trades),
        buyer_is_maker=np.zeros(trades, dtype=np.bool_),
        fills=ints(trades),
        liq_trade=ints(liquidations),
        liq_side=np.zeros(liquidations, dtype=np.int8),
        liq_kind=np.zeros(liquidations, dtype=np.int8),
        liq_leverage=ints(liquidations),
        liq_id=ints(liquidations),
        liq_lots=ints(liquidations),
        liq_last=ints(liquidations),
        liq_limit=ints(liquidations),
        liq_average=floats(liquidations),
        liq_entry=floats(liquidations),
        liq_price=floats(liquidations),
        liq_mark=floats(liquidations),
        minute_ms=ints(60),
        mark=np.zeros((60, 4), dtype=np.float64),
        metrics_ms=ints(12),
        metrics=np.zeros((12, len(_METRICS)), dtype=np.int64),
        metrics_mark=floats(12),
        funding_ms=ints(1),
        funding=floats(1),
    )
