"""The kernel: the only code that changes a position book.

Per step, in this order:

1. *funded*: a settlement moves the levels of a tier by its share of the rate (``funding_erosion``);
2. *liquidated*: the path of the mark price empties every bin it touched;
3. *opened*: with V the traded volume, D the change of open interest in the step and d the tilt, the identity
   (both sides of every trade open or close, longs equal shorts) gives
   ``opened = (max(kappa*V, |D|) + D +- d) / 2`` on either side, at the prices that traded, spread over the
   tiers, placed at their liquidation price. What the step's own path touches is liquidated in the step;
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

from liqserver.kernel.book import LONG, SHORT, BookParameters, PositionBook, cover_history
from liqserver.kernel.history import History

# Columns of the audit of a step, contracts. Opened and closed include what is unexplained and liquidated
# respectively does not: total_after = total_before + opened - closed - liquidated, on either side.
AUDIT_COLUMNS = (
    "opened_long",
    "opened_short",
    "closed_long",
    "closed_short",
    "liquidated_long",
    "liquidated_short",
    "unexplained_long",
    "unexplained_short",
)

# A scale this small is multiplied into its row, far from where doubles lose precision.
_SMALLEST_SCALE = 1e-100
# Slack of price / width for prices on the edge of a bin.
_EDGE = 1e-9


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
    float64, shape (S, 8)
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
        book.first_bin,
        1.0 / book.width,
        parameters.ratio,
        parameters.mmr,
        parameters.weight,
        parameters.hazard,
        parameters.kappa,
        parameters.taker_tilt,
        parameters.funding_erosion,
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
    first_bin: int,
    per_width: float,
    ratio: NDArray[np.float64],
    mmr: NDArray[np.float64],
    weight: NDArray[np.float64],
    hazard: NDArray[np.float64],
    kappa: float,
    tilt: float,
    erosion: float,
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
    # Level, in bins, of a position = entry price * bins_per_price - origin.
    bins_per_price = ratio * per_width
    origin = np.empty((2, tiers))
    swept = np.empty((2, tiers), dtype=np.int64)
    scaled = np.empty((2, tiers))
    total = np.empty(2)
    liquidated = np.empty(2)
    opened = np.empty(2)
    unexplained = np.empty(2)
    for side in range(2):
        for t in range(tiers):
            origin[side, t] = shift[side, t] * per_width + first_bin - _EDGE
    longs = np.sum(mass[LONG]) + np.sum(unplaced[LONG])

    start = 0
    while start < steps:
        # An interval ends at a step with open interest; the last one may still be open.
        stop = start
        while stop < steps and math.isnan(open_interest[stop]):
            stop += 1
        closes = stop < steps
        stop = min(stop + 1, steps)
        before = longs
        change = open_interest[stop - 1] - before if closes else 0.0
        volume = 0.0
        for row in range(flow_offset[start], flow_offset[stop]):
            volume += flow_buy[row] + flow_sell[row]

        traded = 0.0
        for s in range(start, stop):
            buy, sell = 0.0, 0.0
            for row in range(flow_offset[s], flow_offset[s + 1]):
                buy += flow_buy[row]
                sell += flow_sell[row]
            flow = buy + sell
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
                        origin[side, t] = shift[side, t] * per_width + first_bin - _EDGE

            # 2. liquidated
            path = not math.isnan(mark_low[s])
            for side in range(2):
                total[side] = np.sum(mass[side]) + np.sum(unplaced[side])
                liquidated[side] = 0.0
                unexplained[side] = 0.0
            for t in range(tiers):
                swept[LONG, t] = bins
                swept[SHORT, t] = -1
                if path:
                    at = max(math.floor(mark_low[s] * per_width - origin[LONG, t]), 0)
                    swept[LONG, t] = at
                    if edge[LONG, t] >= at:
                        gone = 0.0
                        for b in range(at, edge[LONG, t] + 1):
                            gone += placed[LONG, t, b]
                            placed[LONG, t, b] = 0.0
                        edge[LONG, t] = at - 1
                        gone = min(gone * scale[LONG, t], mass[LONG, t])
                        mass[LONG, t] -= gone
                        liquidated[LONG] += gone
                    at = min(math.floor(mark_high[s] * per_width - origin[SHORT, t]), bins - 1)
                    swept[SHORT, t] = at
                    if edge[SHORT, t] <= at:
                        gone = 0.0
                        for b in range(edge[SHORT, t], at + 1):
                            gone += placed[SHORT, t, b]
                            placed[SHORT, t, b] = 0.0
                        edge[SHORT, t] = at + 1
                        gone = min(gone * scale[SHORT, t], mass[SHORT, t])
                        mass[SHORT, t] -= gone
                        liquidated[SHORT] += gone

            # 3. opened
            step_change = target - total[LONG]
            turnover = max(kappa * flow, abs(step_change))
            lean = tilt * kappa * (buy - sell)
            room = turnover - abs(step_change)
            lean = min(max(lean, -room), room)
            for side in range(2):
                sign = 1.0 if side == LONG else -1.0
                step_change = target - total[side]
                wanted = max((turnover + step_change + sign * lean) / 2, step_change + liquidated[side], 0.0)
                # Nobody can have opened more than was traded.
                opened[side] = min(wanted, flow)
                unexplained[side] = wanted - opened[side]
                if opened[side] > 0:
                    by_buy = 1.0 + sign * tilt
                    by_sell = 1.0 - sign * tilt
                    weighted = by_buy * buy + by_sell * sell
                    if weighted <= 0:
                        by_buy, by_sell, weighted = 1.0, 1.0, flow
                    share = opened[side] / weighted
                    for t in range(tiers):
                        scaled[side, t] = weight[t] / scale[side, t]
                    for row in range(flow_offset[s], flow_offset[s + 1]):
                        qty = share * (by_buy * flow_buy[row] + by_sell * flow_sell[row])
                        price = flow_price[row]
                        for t in range(tiers):
                            b = math.floor(price * bins_per_price[side, t] - origin[side, t])
                            if side == LONG:
                                if b >= swept[LONG, t]:
                                    liquidated[LONG] += qty * weight[t]
                                    mass[LONG, t] -= qty * weight[t]
                                    continue
                                b = max(b, 0)
                                edge[LONG, t] = max(edge[LONG, t], b)
                            else:
                                if b <= swept[SHORT, t]:
                                    liquidated[SHORT] += qty * weight[t]
                                    mass[SHORT, t] -= qty * weight[t]
                                    continue
                                b = min(b, bins - 1)
                                edge[SHORT, t] = min(edge[SHORT, t], b)
                            placed[side, t, b] += qty * scaled[side, t]
                    for t in range(tiers):
                        mass[side, t] = max(mass[side, t] + opened[side] * weight[t], 0.0)
                    unplaced[side, tiers] += opened[side] * weight[tiers]
                unplaced[side, tiers] += unexplained[side]

                # 4. closed
                now = np.sum(mass[side]) + np.sum(unplaced[side])
                excess = now - target
                if excess < 0:
                    # The step's own path liquidated some of what it opened.
                    unplaced[side, tiers] -= excess
                    unexplained[side] -= excess
                    excess = 0.0
                closed = _close(side, excess, now, placed, scale, mass, unplaced, edge, hazard)
                if audited:
                    audit[s, side] = opened[side] + unexplained[side]
                    audit[s, 2 + side] = closed
                    audit[s, 4 + side] = liquidated[side]
                    audit[s, 6 + side] = unexplained[side]
            longs = np.sum(mass[LONG]) + np.sum(unplaced[LONG])
        start = stop


@njit(cache=True, nogil=True, error_model="numpy")
def _close(
    side: int,
    excess: float,
    now: float,
    placed: NDArray[np.float64],
    scale: NDArray[np.float64],
    mass: NDArray[np.float64],
    unplaced: NDArray[np.float64],
    edge: NDArray[np.int64],
    hazard: NDArray[np.float64],
) -> float:
    """Take ``excess`` contracts out of the tiers in proportion to hazard x contracts; return what left."""
    tiers = mass.shape[1]
    if excess <= 0:
        return 0.0
    # A tier cannot lose more than it has: those that would are emptied, the others share the rest.
    left = excess
    emptied = 0.0
    rate = 0.0
    capped = True
    limit = np.inf
    while capped:
        capped = False
        exposed = 0.0
        for t in range(tiers + 1):
            if hazard[t] < limit:
                held = unplaced[side, t] + (mass[side, t] if t < tiers else 0.0)
                exposed += hazard[t] * held
        if exposed <= 0:
            break
        rate = (left - emptied) / exposed
        fastest = 0.0
        for t in range(tiers + 1):
            if hazard[t] < limit:
                fastest = max(fastest, hazard[t])
        if rate * fastest > 1:
            # Empty the fastest tiers first; equal hazards go together.
            limit = fastest
            emptied = 0.0
            for t in range(tiers + 1):
                if hazard[t] >= limit:
                    emptied += unplaced[side, t] + (mass[side, t] if t < tiers else 0.0)
            capped = True
    for t in range(tiers + 1):
        keep = 0.0 if hazard[t] >= limit else max(1.0 - rate * hazard[t], 0.0)
        unplaced[side, t] *= keep
        if t == tiers:
            break
        mass[side, t] *= keep
        scale[side, t] *= keep
        if scale[side, t] < _SMALLEST_SCALE:
            factor = scale[side, t]
            for b in range(placed.shape[2]):
                placed[side, t, b] *= factor
            scale[side, t] = 1.0
            if factor == 0.0:
                edge[side, t] = -1 if side == LONG else placed.shape[2]
    after = np.sum(mass[side]) + np.sum(unplaced[side])
    closed: float = now - after
    return closed
