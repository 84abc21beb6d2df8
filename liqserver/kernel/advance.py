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
from concurrent.futures import ThreadPoolExecutor
from functools import cache

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
# Share of open interest below which the farthest bin of a tier counts as empty.
_NOTHING = 1e-12
# Slack of price / width for prices on the edge of a bin.
_EDGE = 1e-9
# Half-lives of the mean price that the trend is measured against, and of the typical distance from it, nanoseconds.
_TREND_MEMORY = 3.0 * 3_600_000_000_000
_TREND_SPREAD_MEMORY = 72.0 * 3_600_000_000_000
# Distances from the mean beyond this many typical ones count as this many.
_TREND_LIMIT = 3.0


def advance(
    book: PositionBook,
    parameters: BookParameters,
    history: History,
    start: int = 0,
    stop: int | None = None,
    *,
    audit: bool = False,
    threads: int = 1,
) -> NDArray[np.float64]:
    """Advance ``book`` in place through steps ``start:stop`` of ``history``, all unless given.

    Advancing through a history at once or piece by piece gives the same bytes, as long as the pieces end at
    steps with open interest.

    Parameters
    ----------
    book : PositionBook
        Changed in place; its grid grows as needed.
    parameters : BookParameters
        How positions open and close.
    history : History
        Its steps from ``start`` on are after ``book.ts``.
    start, stop : int
        Steps to take.
    audit : bool
        Whether to report what happened in each step.
    threads : int
        With 2, longs and shorts are advanced beside each other, to the same bytes; worth it for many steps.

    Returns
    -------
    float64, shape (S, 10)
        Columns of ``AUDIT_COLUMNS`` of the steps taken; S is 0 without ``audit``.

    Raises
    ------
    ValueError
        If step ``start`` ends at or before ``book.ts``.
    """
    if stop is None:
        stop = len(history)
    steps = stop - start
    out = np.zeros((steps if audit else 0, len(AUDIT_COLUMNS)))
    if not steps:
        return out
    step_end = history.step_end[start:stop]
    if int(step_end[0]) <= book.ts:
        raise ValueError(f"history starts at {int(step_end[0])}, the book is already at {book.ts}")
    cover_history(book, history, parameters, start, stop)
    mark_low, mark_high = history.mark_low[start:stop], history.mark_high[start:stop]
    mark_close, open_interest = history.mark_close[start:stop], history.open_interest[start:stop]
    funding_rate, flow_offset = history.funding_rate[start:stop], history.flow_offset[start : stop + 1]
    flow = _flow_by_step(flow_offset, history.flow_price, history.flow_buy, history.flow_sell)
    lift = np.ones(steps)
    if parameters.trend_tilt != 0:
        _lean_on_trend(book.trend, book.ts, parameters.trend_tilt, step_end, mark_close, lift)

    def advance_side(side: int) -> None:
        _advance_side(
            side,
            book.placed[side],
            book.scale[side],
            book.mass[side],
            book.shift[side],
            book.unplaced[side],
            book.edge[side],
            book.far[side],
            book.first_bin,
            1.0 / book.width,
            parameters.ratio[side],
            parameters.mmr,
            parameters.weight,
            parameters.hazard,
            parameters.kappa,
            parameters.taker_tilt,
            parameters.funding_erosion,
            lift,
            mark_low if side == LONG else mark_high,
            mark_close,
            open_interest,
            funding_rate,
            flow_offset,
            history.flow_price,
            history.flow_buy,
            history.flow_sell,
            *flow,
            out[:, side::2],
        )

    if threads > 1:
        longs = _pool().submit(advance_side, LONG)
        advance_side(SHORT)
        longs.result()
    else:
        advance_side(LONG)
        advance_side(SHORT)
    book.ts = int(step_end[-1])
    return out


@njit(cache=True, nogil=True, error_model="numpy")
def _lean_on_trend(
    trend: NDArray[np.float64],
    ts: int,
    tilt: float,
    step_end: NDArray[np.int64],
    mark_close: NDArray[np.float64],
    lift: NDArray[np.float64],
) -> None:
    """Take every step's price into the trend.

    Writes to ``lift`` the share of what longs open that has a level, relative to a market without trend; that of
    shorts is its inverse.
    """
    usual, follow, follow_spread = -1, 0.0, 0.0
    for s in range(len(step_end)):
        if math.isnan(mark_close[s]):
            continue
        price = math.log(mark_close[s])
        if math.isnan(trend[0]):
            trend[0] = price
            continue
        elapsed = step_end[s] - (step_end[s - 1] if s else ts)
        if elapsed != usual:
            # Steps are of equal length most of the time.
            usual = elapsed
            follow = 1.0 - 0.5 ** (elapsed / _TREND_MEMORY)
            follow_spread = 1.0 - 0.5 ** (elapsed / _TREND_SPREAD_MEMORY)
        trend[0] += follow * (price - trend[0])
        away = price - trend[0]
        trend[1] += follow_spread * (away * away - trend[1])
        if trend[1] > 0:
            distance = min(max(away / math.sqrt(trend[1]), -_TREND_LIMIT), _TREND_LIMIT)
            lift[s] = math.exp(-tilt * distance)


@cache
def _pool() -> ThreadPoolExecutor:
    """Return the threads for long sides of books: the sides need nothing of each other."""
    return ThreadPoolExecutor(thread_name_prefix="kernel")


@njit(cache=True, nogil=True, error_model="numpy")
def _advance_side(
    side: int,
    placed: NDArray[np.float64],
    scale: NDArray[np.float64],
    mass: NDArray[np.float64],
    shift: NDArray[np.float64],
    unplaced: NDArray[np.float64],
    edge: NDArray[np.int64],
    far: NDArray[np.int64],
    first_bin: int,
    per_width: float,
    ratio: NDArray[np.float64],
    mmr: NDArray[np.float64],
    weight: NDArray[np.float64],
    hazard: NDArray[np.float64],
    kappa: float,
    tilt: float,
    erosion: float,
    lift: NDArray[np.float64],
    path: NDArray[np.float64],
    mark_close: NDArray[np.float64],
    open_interest: NDArray[np.float64],
    funding_rate: NDArray[np.float64],
    flow_offset: NDArray[np.int64],
    flow_price: NDArray[np.float64],
    flow_buy: NDArray[np.float64],
    flow_sell: NDArray[np.float64],
    buys: NDArray[np.float64],
    sells: NDArray[np.float64],
    lowest: NDArray[np.float64],
    highest: NDArray[np.float64],
    most_rows: int,
    audit: NDArray[np.float64],
) -> None:
    steps = len(path)
    tiers = len(ratio)
    bins = placed.shape[1]
    audited = len(audit) > 0
    long = side == LONG
    sign = 1.0 if long else -1.0
    # A position's bin is entry price * per_price - origin, cut to an integer (nothing lies below bin 0).
    per_price = ratio * per_width
    origin = shift * per_width + (first_bin - _EDGE)
    qty, units = np.empty(most_rows), np.empty(tiers)
    fastest = hazard.max()
    total = _total(mass, unplaced)
    levelled = weight[:tiers].sum()
    most = 1.0 / levelled

    start = 0
    while start < steps:
        # An interval ends at a step with open interest; the last one may still be open.
        stop = start
        while stop < steps and math.isnan(open_interest[stop]):
            stop += 1
        closes = stop < steps
        stop = min(stop + 1, steps)
        before = total
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
                    shift[t] += paid / (1 - sign * mmr[t])
                    origin[t] = shift[t] * per_width + (first_bin - _EDGE)

            known = not math.isnan(path[s])
            touched = path[s] * per_width
            first_row, last_row = flow_offset[s], flow_offset[s + 1]
            step_change = target - total
            turnover = max(kappa * flow, abs(step_change))
            room = turnover - abs(step_change)
            lean = min(max(tilt * kappa * (buys[s] - sells[s]), -room), room)

            # 2. liquidated
            liquidated = 0.0
            if known:
                for t in range(tiers):
                    at = touched - origin[t]
                    if long:
                        if at >= edge[t] + 1:
                            continue
                        low, high = max(math.floor(at), 0), edge[t]
                        edge[t] = low - 1
                    else:
                        if at < edge[t]:
                            continue
                        low, high = edge[t], min(math.floor(at), bins - 1)
                        edge[t] = high + 1
                    gone = 0.0
                    for b in range(low, high + 1):
                        gone += placed[t, b]
                        placed[t, b] = 0.0
                    gone = min(gone * scale[t], mass[t])
                    mass[t] -= gone
                    liquidated += gone

            # 3. opened
            wanted = max((turnover + step_change + sign * lean) / 2, step_change + liquidated, 0.0)
            # Nobody can have opened more than was traded.
            opened = min(wanted, flow)
            unexplained = wanted - opened
            more = min(lift[s] if long else 1.0 / lift[s], most)
            if opened > 0:
                by_buy = 1.0 + sign * tilt
                by_sell = 1.0 - sign * tilt
                weighted = by_buy * buys[s] + by_sell * sells[s]
                if weighted <= 0:
                    by_buy, by_sell, weighted = 1.0, 1.0, flow
                share = opened / weighted
                for row in range(first_row, last_row):
                    qty[row - first_row] = share * (by_buy * flow_buy[row] + by_sell * flow_sell[row])
                # By itself, so that the divisions of several tiers are done at once.
                for t in range(tiers):
                    units[t] = weight[t] * more / scale[t]
                for t in range(tiers):
                    slope, at_zero = per_price[t], origin[t]
                    tier = weight[t] * more
                    unit = units[t]
                    bottom = lowest[s] * slope - at_zero
                    top = highest[s] * slope - at_zero
                    reach = touched - at_zero
                    clear = not known or (top + 1 < reach if long else bottom - 1 > reach)
                    if clear and bottom >= 0 and top < bins:
                        # The usual case: the path of the step reaches none of what it opens.
                        low, high = int(bottom), int(top)
                        for row in range(first_row, last_row):
                            placed[t, int(flow_price[row] * slope - at_zero)] += qty[row - first_row] * unit
                        mass[t] += opened * tier
                    else:
                        met = math.floor(touched - at_zero) if known else (bins if long else -1)
                        gone = 0.0
                        low, high = bins, -1
                        for row in range(first_row, last_row):
                            b = int(flow_price[row] * slope - at_zero)
                            if b >= met if long else b <= met:
                                gone += qty[row - first_row] * tier
                                continue
                            b = min(max(b, 0), bins - 1)
                            low, high = min(low, b), max(high, b)
                            placed[t, b] += qty[row - first_row] * unit
                        liquidated += gone
                        mass[t] = max(mass[t] + opened * tier - gone, 0.0)
                    if low > high:
                        continue
                    if long:
                        edge[t], far[t] = max(edge[t], high), min(far[t], low)
                    else:
                        edge[t], far[t] = min(edge[t], low), max(far[t], high)
                unplaced[tiers] += opened * max(weight[tiers] + levelled * (1.0 - more), 0.0)
            unplaced[tiers] += unexplained

            # 4. closed
            now = unplaced[tiers]
            exposed = hazard[tiers] * now
            for t in range(tiers):
                held = mass[t] + unplaced[t]
                now += held
                exposed += hazard[t] * held
            excess = now - target
            if excess < 0:
                # The step's own path liquidated some of what it opened.
                unplaced[tiers] -= excess
                unexplained -= excess
                now = target
            if excess > 0 and excess * fastest < exposed:
                # The usual case: no tier runs empty.
                rate = excess / exposed
                unplaced[tiers] *= 1.0 - rate * hazard[tiers]
                left = unplaced[tiers]
                smallest = 1.0
                for t in range(tiers):
                    keep = 1.0 - rate * hazard[t]
                    unplaced[t] *= keep
                    mass[t] *= keep
                    scale[t] *= keep
                    left += mass[t] + unplaced[t]
                    smallest = min(smallest, scale[t])
                if smallest < _SMALLEST_SCALE:
                    for t in range(tiers):
                        if scale[t] < _SMALLEST_SCALE:
                            _rescale(placed[t], scale, t)
                total = left
            else:
                if excess > 0:
                    _close_by_speed(side, excess, placed, scale, mass, unplaced, edge, hazard)
                total = _total(mass, unplaced)
            if audited:
                audit[s, 0] = opened + unexplained
                audit[s, 1] = max(now - total, 0.0)
                audit[s, 2] = liquidated
                audit[s, 3] = unexplained
                audit[s, 4] = unplaced[tiers]
        if closes:
            # What is left of old entries far from price dwindles without end; bins are let go where nothing shows.
            for t in range(tiers):
                least = _NOTHING * total / scale[t]
                if long:
                    while far[t] <= edge[t] and placed[t, far[t]] <= least:
                        placed[t, far[t]] = 0.0
                        far[t] += 1
                else:
                    while far[t] >= edge[t] and placed[t, far[t]] <= least:
                        placed[t, far[t]] = 0.0
                        far[t] -= 1
        start = stop


@njit(cache=True, nogil=True, error_model="numpy")
def _total(mass: NDArray[np.float64], unplaced: NDArray[np.float64]) -> float:
    """Add up a side; always in this order, so that a book resumed adds up to the last bit like one that went on."""
    tiers = len(mass)
    total: float = unplaced[tiers]
    for t in range(tiers):
        total += mass[t] + unplaced[t]
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
    tiers = len(mass)
    limit = np.inf
    rate = 0.0
    while True:
        gone, exposed, fastest = 0.0, 0.0, 0.0
        for t in range(tiers + 1):
            held = unplaced[t] + (mass[t] if t < tiers else 0.0)
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
        unplaced[t] *= keep
        if t == tiers:
            break
        mass[t] *= keep
        scale[t] *= keep
        if scale[t] < _SMALLEST_SCALE:
            _rescale(placed[t], scale, t)
            if keep == 0.0:
                edge[t] = -1 if side == LONG else placed.shape[1]


@njit(cache=True, nogil=True, error_model="numpy")
def _rescale(row: NDArray[np.float64], scale: NDArray[np.float64], t: int) -> None:
    """Multiply a tier's scale into its bins."""
    for b in range(len(row)):
        row[b] *= scale[t]
    scale[t] = 1.0


def warm_up() -> None:
    """Compile the kernel, or load it from numba's cache, by advancing a book that is thrown away."""
    one = np.ones(1)
    parameters = BookParameters(
        ratio=np.array([[0.9], [1.1]]),
        mmr=np.zeros(1),
        weight=np.array([0.5, 0.5]),
        hazard=np.ones(2),
        kappa=0.5,
        trend_tilt=0.5,
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
