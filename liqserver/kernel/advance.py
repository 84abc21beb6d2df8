"""The kernel: the only code that changes a position book.

Per step, in this order:

1. *funded*: a settlement moves the levels of a tier by its share of the rate (``funding_erosion``);
2. *liquidated*: the path of the mark price empties every bin it touched;
3. *opened*: with V the traded volume, D the change of open interest in the step and d the tilt, the identity
   (both sides of every trade open or close, longs equal shorts) gives
   ``opened = (max(kappa*V, |D|) + D +- d) / 2`` on either side, at the prices that traded, spread over the
   tiers, placed at their liquidation price. What the step's own path touches is liquidated in the step. With a
   ``trend_tilt`` more of what opens against the trend has a level and less of what opens with it (or the other way
   round); positions without levels make up for it;
4. *closed*: what exceeds the open interest leaves, tier by tier in proportion to its hazard.

More may be liquidated than the identity leaves room to close; then so much more was opened (somebody took the
other side), at most the traded volume; the rest is booked to the tier without levels and reported as
*unexplained*.

Open interest is known at some steps only. D of such an interval is spread over its steps in proportion to
volume, so an interval is advanced when it is complete; until then D is 0 and a copy of the book shows it.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from liqserver.kernel.book import LONG, SHORT, BookParameters, PositionBook, cover_history, start_book
from liqserver.kernel.history import History

# Columns of the audit of a step, contracts. What was opened includes what is unexplained, what was closed does not
# include what was liquidated: total after = total before + opened - closed - liquidated, on either side. The last two
# are what is open after the step without a level because of its kind.
AUDIT_COLUMNS = (
    "opened_long",
    "opened_short",
    "closed_long",
    "closed_short",
    "liquidated_long",
    "liquidated_short",
    "unexplained_long",
    "unexplained_short",
    "no_level_long",
    "no_level_short",
)

# A scale this small is multiplied into its row, far from where doubles lose precision.
_SMALLEST_SCALE = 1e-100
# Slack of price / width for prices on the edge of a bin.
_EDGE = 1e-9
# Half-lives of the mean price that the trend is measured against, and of the typical distance from it, nanoseconds.
_TREND_MEMORY = 3.0 * 3_600_000_000_000
_TREND_SPREAD_MEMORY = 72.0 * 3_600_000_000_000
# Distances from the mean beyond this many typical ones count as this many.
_TREND_LIMIT = 3.0


def advance(
    book: PositionBook, parameters: BookParameters, history: History, *, audit: bool = False
) -> NDArray[np.float64]:
    """Advance ``book`` in place through all steps of ``history``.

    Advancing through a history at once or piece by piece gives the same bytes, as long as the pieces end at
    steps with open interest.

    Parameters
    ----------
    book : PositionBook
        Changed in place; its grid grows as needed.
    parameters : BookParameters
        How positions open and close.
    history : History
        Steps after ``book.ts``.
    audit : bool
        Whether to report what happened in each step.

    Returns
    -------
    float64, shape (S, 10)
        Columns of ``AUDIT_COLUMNS``; S is 0 without ``audit``.

    Raises
    ------
    ValueError
        If the history starts at or before ``book.ts``.
    """
    steps = len(history)
    out = np.zeros((steps if audit else 0, len(AUDIT_COLUMNS)))
    if not steps:
        return out
    if int(history.step_end[0]) <= book.ts:
        raise ValueError(f"history starts at {int(history.step_end[0])}, the book is already at {book.ts}")
    cover_history(book, history, parameters)
    _advance(
        book.placed,
        book.scale,
        book.mass,
        book.shift,
        book.unplaced,
        book.edge,
        book.trend,
        book.ts,
        book.first_bin,
        1.0 / book.width,
        parameters.ratio,
        parameters.mmr,
        parameters.weight,
        parameters.hazard,
        parameters.kappa,
        parameters.taker_tilt,
        parameters.trend_tilt,
        parameters.funding_erosion,
        history.step_end,
        history.mark_low,
        history.mark_high,
        history.mark_close,
        history.open_interest,
        history.funding_rate,
        history.flow_offset,
        history.flow_price,
        history.flow_buy,
        history.flow_sell,
        out,
    )
    book.ts = int(history.step_end[-1])
    return out


@njit(cache=True, nogil=True, error_model="numpy")
def _advance(
    placed: NDArray[np.float64],
    scale: NDArray[np.float64],
    mass: NDArray[np.float64],
    shift: NDArray[np.float64],
    unplaced: NDArray[np.float64],
    edge: NDArray[np.int64],
    trend: NDArray[np.float64],
    ts: int,
    first_bin: int,
    per_width: float,
    ratio: NDArray[np.float64],
    mmr: NDArray[np.float64],
    weight: NDArray[np.float64],
    hazard: NDArray[np.float64],
    kappa: float,
    tilt: float,
    trend_tilt: float,
    erosion: float,
    step_end: NDArray[np.int64],
    mark_low: NDArray[np.float64],
    mark_high: NDArray[np.float64],
    mark_close: NDArray[np.float64],
    open_interest: NDArray[np.float64],
    funding_rate: NDArray[np.float64],
    flow_offset: NDArray[np.int64],
    flow_price: NDArray[np.float64],
    flow_buy: NDArray[np.float64],
    flow_sell: NDArray[np.float64],
    audit: NDArray[np.float64],
) -> None:
    steps = len(mark_low)
    tiers = ratio.shape[1]
    bins = placed.shape[2]
    audited = len(audit) > 0
    # A position's bin is entry price * per_price - origin, cut to an integer (nothing lies below bin 0).
    per_price = ratio * per_width
    origin = shift * per_width + (first_bin - _EDGE)
    buys, sells, lowest, highest, most_rows = _flow_by_step(flow_offset, flow_price, flow_buy, flow_sell)
    qty = np.empty(most_rows)
    total = np.empty(2)
    for side in range(2):
        total[side] = _total(side, mass, unplaced)
    levelled = weight[:tiers].sum()
    most = 1.0 / levelled
    usual, follow, follow_spread = -1, 0.0, 0.0

    start = 0
    while start < steps:
        # An interval ends at a step with open interest; the last one may still be open.
        stop = start
        while stop < steps and math.isnan(open_interest[stop]):
            stop += 1
        closes = stop < steps
        stop = min(stop + 1, steps)
        before = total[LONG]
        change = open_interest[stop - 1] - before if closes else 0.0
        volume = 0.0
        for s in range(start, stop):
            volume += buys[s] + sells[s]

        traded = 0.0
        for s in range(start, stop):
            flow = buys[s] + sells[s]
            traded += flow
            target = before
            if closes and s == stop - 1:
                target = open_interest[s]
            elif closes and volume > 0:
                target = before + change * (traded / volume)

            # 1. funded
            if erosion > 0 and funding_rate[s] != 0 and not math.isnan(mark_close[s]):
                paid = erosion * funding_rate[s] * mark_close[s]
                for t in range(tiers):
                    shift[LONG, t] += paid / (1 - mmr[t])
                    shift[SHORT, t] += paid / (1 + mmr[t])
                    for side in range(2):
                        origin[side, t] = shift[side, t] * per_width + (first_bin - _EDGE)

            # Share of what longs open that has a level, relative to a market without trend; for shorts its inverse.
            lift = 1.0
            if trend_tilt != 0 and not math.isnan(mark_close[s]):
                elapsed = step_end[s] - (step_end[s - 1] if s else ts)
                if elapsed != usual:
                    # Steps are of equal length most of the time.
                    usual = elapsed
                    follow = 1.0 - 0.5 ** (elapsed / _TREND_MEMORY)
                    follow_spread = 1.0 - 0.5 ** (elapsed / _TREND_SPREAD_MEMORY)
                lift = math.exp(-trend_tilt * _follow_trend(trend, math.log(mark_close[s]), follow, follow_spread))
            path = not math.isnan(mark_low[s])
            first_row, last_row = flow_offset[s], flow_offset[s + 1]
            turnover = max(kappa * flow, abs(target - total[LONG]))
            room = turnover - abs(target - total[LONG])
            lean = min(max(tilt * kappa * (buys[s] - sells[s]), -room), room)
            for side in range(2):
                sign = 1.0 if side == LONG else -1.0
                touched = (mark_low[s] if side == LONG else mark_high[s]) * per_width

                # 2. liquidated
                liquidated = 0.0
                if path:
                    for t in range(tiers):
                        at = touched - origin[side, t]
                        if side == LONG:
                            if at >= edge[side, t] + 1:
                                continue
                            low, high = max(math.floor(at), 0), edge[side, t]
                            edge[side, t] = low - 1
                        else:
                            if at < edge[side, t]:
                                continue
                            low, high = edge[side, t], min(math.floor(at), bins - 1)
                            edge[side, t] = high + 1
                        gone = 0.0
                        for b in range(low, high + 1):
                            gone += placed[side, t, b]
                            placed[side, t, b] = 0.0
                        gone = min(gone * scale[side, t], mass[side, t])
                        mass[side, t] -= gone
                        liquidated += gone

                # 3. opened
                step_change = target - total[side]
                wanted = max((turnover + step_change + sign * lean) / 2, step_change + liquidated, 0.0)
                # Nobody can have opened more than was traded.
                opened = min(wanted, flow)
                unexplained = wanted - opened
                more = min(lift if side == LONG else 1.0 / lift, most)
                if opened > 0:
                    by_buy = 1.0 + sign * tilt
                    by_sell = 1.0 - sign * tilt
                    weighted = by_buy * buys[s] + by_sell * sells[s]
                    if weighted <= 0:
                        by_buy, by_sell, weighted = 1.0, 1.0, flow
                    share = opened / weighted
                    for row in range(first_row, last_row):
                        qty[row - first_row] = share * (by_buy * flow_buy[row] + by_sell * flow_sell[row])
                    for t in range(tiers):
                        slope, at_zero = per_price[side, t], origin[side, t]
                        tier = weight[t] * more
                        unit = tier / scale[side, t]
                        bottom = lowest[s] * slope - at_zero
                        top = highest[s] * slope - at_zero
                        reach = touched - at_zero
                        clear = not path or (top + 1 < reach if side == LONG else bottom - 1 > reach)
                        if clear and bottom >= 0 and top < bins:
                            # The usual case: the path of the step reaches none of what it opens.
                            low, high = int(bottom), int(top)
                            for row in range(first_row, last_row):
                                placed[side, t, int(flow_price[row] * slope - at_zero)] += qty[row - first_row] * unit
                            mass[side, t] += opened * tier
                        else:
                            met = math.floor(touched - at_zero) if path else (bins if side == LONG else -1)
                            gone = 0.0
                            low, high = bins, -1
                            for row in range(first_row, last_row):
                                b = int(flow_price[row] * slope - at_zero)
                                if b >= met if side == LONG else b <= met:
                                    gone += qty[row - first_row] * tier
                                    continue
                                b = min(max(b, 0), bins - 1)
                                low, high = min(low, b), max(high, b)
                                placed[side, t, b] += qty[row - first_row] * unit
                            liquidated += gone
                            mass[side, t] = max(mass[side, t] + opened * tier - gone, 0.0)
                        if side == LONG:
                            edge[side, t] = max(edge[side, t], high)
                        else:
                            edge[side, t] = min(edge[side, t], low)
                    unplaced[side, tiers] += opened * max(weight[tiers] + levelled * (1.0 - more), 0.0)
                unplaced[side, tiers] += unexplained

                # 4. closed
                now = unplaced[side, tiers]
                exposed = hazard[tiers] * now
                fastest = hazard[tiers]
                for t in range(tiers):
                    held = mass[side, t] + unplaced[side, t]
                    now += held
                    exposed += hazard[t] * held
                    fastest = max(fastest, hazard[t])
                excess = now - target
                if excess < 0:
                    # The step's own path liquidated some of what it opened.
                    unplaced[side, tiers] -= excess
                    unexplained -= excess
                    now = target
                if excess > 0 and excess * fastest < exposed:
                    # The usual case: no tier runs empty.
                    rate = excess / exposed
                    unplaced[side, tiers] *= 1.0 - rate * hazard[tiers]
                    left = unplaced[side, tiers]
                    for t in range(tiers):
                        keep = 1.0 - rate * hazard[t]
                        unplaced[side, t] *= keep
                        mass[side, t] *= keep
                        scale[side, t] *= keep
                        left += mass[side, t] + unplaced[side, t]
                        if scale[side, t] < _SMALLEST_SCALE:
                            _rescale(placed[side, t], scale, side, t)
                    total[side] = left
                else:
                    if excess > 0:
                        _close_by_speed(side, excess, placed, scale, mass, unplaced, edge, hazard)
                    total[side] = _total(side, mass, unplaced)
                if audited:
                    audit[s, side] = opened + unexplained
                    audit[s, 2 + side] = max(now - total[side], 0.0)
                    audit[s, 4 + side] = liquidated
                    audit[s, 6 + side] = unexplained
                    audit[s, 8 + side] = unplaced[side, tiers]
        start = stop


@njit(cache=True, nogil=True, error_model="numpy")
def _total(side: int, mass: NDArray[np.float64], unplaced: NDArray[np.float64]) -> float:
    """Add up a side; always in this order, so that a book resumed adds up to the last bit like one that went on."""
    tiers = mass.shape[1]
    total: float = unplaced[side, tiers]
    for t in range(tiers):
        total += mass[side, t] + unplaced[side, t]
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def _flow_by_step(
    flow_offset: NDArray[np.int64],
    flow_price: NDArray[np.float64],
    flow_buy: NDArray[np.float64],
    flow_sell: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], int]:
    """Return bought, sold, lowest and highest price of each step, and the most rows a step has."""
    steps = len(flow_offset) - 1
    buys, sells = np.zeros(steps), np.zeros(steps)
    lowest, highest = np.full(steps, np.inf), np.full(steps, -np.inf)
    most_rows = 0
    for s in range(steps):
        most_rows = max(most_rows, flow_offset[s + 1] - flow_offset[s])
        for row in range(flow_offset[s], flow_offset[s + 1]):
            buys[s] += flow_buy[row]
            sells[s] += flow_sell[row]
            lowest[s] = min(lowest[s], flow_price[row])
            highest[s] = max(highest[s], flow_price[row])
    return buys, sells, lowest, highest, most_rows


@njit(cache=True, nogil=True, error_model="numpy")
def _follow_trend(trend: NDArray[np.float64], price: float, follow: float, follow_spread: float) -> float:
    """Take a log price into the trend, mean and spread by these shares.

    Returns how far the price is from the mean, in typical distances, within the limit.
    """
    if math.isnan(trend[0]):
        trend[0] = price
        return 0.0
    trend[0] += follow * (price - trend[0])
    away = price - trend[0]
    trend[1] += follow_spread * (away * away - trend[1])
    if trend[1] <= 0:
        return 0.0
    return float(min(max(away / math.sqrt(trend[1]), -_TREND_LIMIT), _TREND_LIMIT))


@njit(cache=True, nogil=True, error_model="numpy")
def _close_by_speed(
    side: int,
    excess: float,
    placed: NDArray[np.float64],
    scale: NDArray[np.float64],
    mass: NDArray[np.float64],
    unplaced: NDArray[np.float64],
    edge: NDArray[np.int64],
    hazard: NDArray[np.float64],
) -> None:
    """Take ``excess`` contracts out when that empties tiers: the fastest go whole, the others share the rest."""
    tiers = mass.shape[1]
    limit = np.inf
    rate = 0.0
    while True:
        gone, exposed, fastest = 0.0, 0.0, 0.0
        for t in range(tiers + 1):
            held = unplaced[side, t] + (mass[side, t] if t < tiers else 0.0)
            if hazard[t] >= limit:
                gone += held
            else:
                exposed += hazard[t] * held
                fastest = max(fastest, hazard[t])
        if exposed <= 0:
            break
        rate = (excess - gone) / exposed
        if rate * fastest <= 1:
            break
        limit = fastest
    for t in range(tiers + 1):
        keep = 0.0 if hazard[t] >= limit else max(1.0 - rate * hazard[t], 0.0)
        unplaced[side, t] *= keep
        if t == tiers:
            break
        mass[side, t] *= keep
        scale[side, t] *= keep
        if scale[side, t] < _SMALLEST_SCALE:
            _rescale(placed[side, t], scale, side, t)
            if keep == 0.0:
                edge[side, t] = -1 if side == LONG else placed.shape[2]


@njit(cache=True, nogil=True, error_model="numpy")
def _rescale(row: NDArray[np.float64], scale: NDArray[np.float64], side: int, t: int) -> None:
    """Multiply a tier's scale into its bins."""
    for b in range(len(row)):
        row[b] *= scale[side, t]
    scale[side, t] = 1.0


def warm_up() -> None:
    """Compile the kernel, or load it from numba's cache, by advancing a book that is thrown away."""
    one = np.ones(1)
    parameters = BookParameters(
        ratio=np.array([[0.9], [1.1]]), mmr=np.zeros(1), weight=np.array([0.5, 0.5]), hazard=np.ones(2), kappa=0.5
    )
    history = History(
        step_end=np.ones(1, dtype=np.int64),
        mark_low=one.copy(),
        mark_high=one.copy(),
        mark_close=one.copy(),
        path_source=np.zeros(1, dtype=np.uint8),
        open_interest=one.copy(),
        funding_rate=np.zeros(1),
        flow_offset=np.array([0, 1]),
        flow_price=one.copy(),
        flow_buy=one.copy(),
        flow_sell=one.copy(),
        flow_source=np.zeros(1, dtype=np.uint8),
    )
    advance(start_book(1.0, parameters, 0.01, 0), parameters, history)
