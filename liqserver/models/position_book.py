"""The position book: who opened where, at which leverage, and is still there.

Every step the path liquidates, traded volume and the change of open interest open and close (the identity of
``liqserver.kernel.advance``), high leverage turns over faster than low. The defaults are the same for every market:
how much of what opens has a level is set by one market's real liquidations (docs/accuracy.md). ``liqserver.calibrate``
fits them to another's.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from liqserver.kernel import (
    AUDIT_COLUMNS,
    BookParameters,
    History,
    PackedBook,
    PositionBook,
    advance,
    start_book,
)
from liqserver.margin import BracketTable, Side
from liqserver.models.market import Market, ModelLevels
from liqserver.models.parameters import MarginFormula, Parameters, ParameterSpec, Tier, number
from liqserver.models.tiers import (
    MARGIN_FORMULA,
    POSITION_NOTIONAL,
    SIDES,
    bracket_notional,
    bracket_periods,
    in_force,
    level_ratios,
    leverages,
    tiers_allowed,
)

ID = "position_book"

DESCRIPTION = (
    "Open contracts by side, leverage tier and liquidation price. Per step: the mark price's path liquidates what it "
    "touches; volume and the change of open interest open positions on both sides at the prices that traded, placed "
    "at their liquidation price; the rest closes, fast at high leverage, slowly at low. Longs equal shorts equal "
    "open interest at every row of it."
)
SOURCE = "Accounting identity of futures trading; liquidation prices by the exchange's published formula."
LIMITS = (
    "One set of defaults for all markets: how much of what opens has a level at all was set by the liquidations of "
    "BTCUSDT on three venues, so amounts are a scale, not a census. Which trader opened is not public, "
    "so an interval's openings are split by rule. Margin added or withdrawn later moves real levels and not these. "
    "Entries before the first data have no level until they have turned over (unknown_entry_share)."
)

# The round leverages that people choose: the higher, the less of what opens and the sooner closed. 7 % of what opens
# has a level: real liquidations are that rare beside traded volume, margin is added and stops come first. How these
# were chosen: docs/accuracy.md.
_LEVERAGES = (150.0, 125.0, 100.0, 75.0, 50.0, 25.0, 20.0, 10.0, 5.0, 3.0)
DEFAULTS = Parameters(
    kappa=0.8,
    taker_tilt=0.0,
    trend_tilt=0.25,
    tiers=tuple(Tier(leverage, round(leverage**-1.25, 4)) for leverage in _LEVERAGES),
    no_level_weight=6.7,
    no_level_hazard=4.3,
    hazard_exponent=0.7,
    margin_formula=MarginFormula.EXACT,
    funding_erosion=0.0,
    position_notional=10_000.0,
)


PARAMETERS = (
    ParameterSpec(
        "kappa",
        "Share of traded volume that opens or closes directional positions; the rest is market making and round trips.",
        *number(0, 1, open_low=True),
    ),
    ParameterSpec(
        "trend_tilt",
        "How much more of what opens against the trend of some hours has a level; 0 takes no notice of it.",
        *number(-1, 1),
    ),
    ParameterSpec("taker_tilt", "Tilt of openings towards the aggressor's side; 0 treats both alike.", *number(-1, 1)),
    ParameterSpec(
        "tiers",
        "Leverage tiers: leverage, weight in the flow, hazard of closing.",
        "must be 1 to 64 tiers of different leverage in (1, 500], weights >= 0 that do not all vanish, hazards > 0",
        tiers_allowed,
    ),
    ParameterSpec("no_level_weight", "Weight of positions without a level of interest.", *number(0, 1e6)),
    ParameterSpec("no_level_hazard", "Hazard of closing of those.", *number(0, 1e6, open_low=True)),
    ParameterSpec("hazard_exponent", "e of hazard = leverage^e for tiers that name none.", *number(0, 3)),
    MARGIN_FORMULA,
    ParameterSpec("funding_erosion", "Share of funding paid from the margin of positions.", *number(0, 1)),
    POSITION_NOTIONAL,
)


@dataclass(frozen=True, slots=True)
class Epoch:
    """Book parameters and the time from which they hold (brackets change).

    Attributes
    ----------
    start : int
        UNIX nanoseconds; positions opened from then on are placed by ``parameters``.
    table_id : str
        Bracket table; empty for the simplified formula.
    parameters : BookParameters
        For the kernel.
    """

    start: int
    table_id: str
    parameters: BookParameters


def epochs(parameters: Parameters, tables: tuple[BracketTable, ...]) -> tuple[Epoch, ...]:
    """Return the kernel's parameters for each bracket table in turn.

    Parameters
    ----------
    parameters : Parameters
        In force, complete.
    tables : tuple of BracketTable
        By date of effect; may be empty with the simplified formula. The first also serves entries before its date.

    Raises
    ------
    ValueError
        If the exact formula is asked for and there is no table.
    ParameterError
        If a tier's leverage leaves no room between entry and liquidation.
    """
    return tuple(
        Epoch(period.start, period.table_id, _book_parameters(parameters, period.table))
        for period in bracket_periods(parameters, tables)
    )


def _book_parameters(parameters: Parameters, table: BracketTable | None) -> BookParameters:
    tiers = parameters.tiers
    assert tiers is not None  # noqa: S101 - parameters in force are complete
    leverage = leverages(parameters)
    notional = float(parameters.position_notional or 0.0)
    ratio = np.stack([tier_ratios(side, leverage, parameters, table) for side in SIDES])
    # The simplified formula moves a level by what margin it gains, undivided.
    mmr = (
        np.zeros(len(leverage))
        if table is None
        else table.mmr[table.index(bracket_notional(leverage, notional, table))]
    )
    weight = np.array([*(tier.weight for tier in tiers), parameters.no_level_weight], dtype=np.float64)
    return BookParameters(
        ratio=ratio,
        mmr=np.asarray(mmr, dtype=np.float64),
        weight=weight / weight.sum(),
        hazard=np.array([*(tier.hazard for tier in tiers), parameters.no_level_hazard], dtype=np.float64),
        kappa=float(parameters.kappa or 0.0),
        taker_tilt=float(parameters.taker_tilt or 0.0),
        funding_erosion=float(parameters.funding_erosion or 0.0),
        trend_tilt=float(parameters.trend_tilt or 0.0),
    )


def tier_ratios(
    side: Side, leverage: NDArray[np.float64], parameters: Parameters, table: BracketTable | None
) -> NDArray[np.float64]:
    """Return liquidation price over entry price of each tier, shape (T,).

    Nobody can open above the highest leverage that the brackets allow. A tier above it stands for a position opened
    at that leverage whose margin has shrunk: its distance to liquidation is as much smaller as its leverage is higher.
    """
    notional = float(parameters.position_notional or 0.0)
    if table is None:
        return level_ratios(side, leverage, notional, table)
    highest = float(table.max_leverage.max())
    ratio = level_ratios(side, np.minimum(leverage, highest), notional, table)
    return np.asarray(1 + (ratio - 1) * np.minimum(highest / leverage, 1.0))


def begin(history: History, steps: tuple[Epoch, ...], width: float) -> tuple[PositionBook, int]:
    """Return the book at the first open interest of ``history`` and the index of the next step.

    Raises
    ------
    ValueError
        If the history has no open interest.
    """
    first = history.first_open_interest()
    if first is None:
        raise ValueError("the position book needs open interest")
    ts = int(history.step_end[first])
    return start_book(float(history.open_interest[first]), in_force(steps, ts).parameters, width, ts), first + 1


def drive(
    book: PositionBook, history: History, steps: tuple[Epoch, ...], start: int, stop: int, *, audit: bool = False
) -> NDArray[np.float64]:
    """Advance ``book`` in place through steps ``start:stop`` of ``history``, changing brackets when they changed.

    Parameters change at the first open interest from their date on, so that no interval is cut in two.

    Returns
    -------
    float64, shape (stop - start, 10)
        Columns of ``kernel.AUDIT_COLUMNS``; no rows without ``audit``.
    """
    if start == stop:
        return np.empty((0, len(AUDIT_COLUMNS)))
    cuts = [start]
    for epoch in steps[1:]:
        begins = int(np.searchsorted(history.step_end, epoch.start, side="left"))
        if start < begins < stop:
            ends = np.flatnonzero(~np.isnan(history.open_interest[begins:stop]))
            if len(ends):
                cuts.append(begins + int(ends[0]) + 1)
    cuts.append(stop)
    rows = []
    for first, last in pairwise(cuts):
        if last > first:
            epoch = in_force(steps, int(history.step_end[first]))
            threads = 2 if last - first >= _MANY_STEPS else 1
            rows.append(advance(book, epoch.parameters, history, first, last, audit=audit, threads=threads))
    return np.concatenate(rows)


class BookTimeline:
    """The position book of one market at any moment; see ``liqserver.models.market.Timeline``.

    Keeps books along the way, so that a past moment costs a short replay. Not safe for concurrent use.
    """

    def __init__(self, market: Market, parameters: Parameters) -> None:
        self._market = market
        self._epochs = epochs(parameters, market.brackets)
        self._leverage = leverages(parameters)
        # The steps with open interest: intervals end there, and so do kept books.
        self._known = np.flatnonzero(~np.isnan(market.history.open_interest))
        book, step = begin(market.history, self._epochs, market.base_bin)
        self._kept = [(step, book.packed())]
        self._spacing = max(_HALF_DAY_STEPS, len(market.history) // _KEPT_BOOKS)
        # The book after step ``_at``, where the question before ended: later moments go on from there.
        self._at, self._running = step, book
        # Reused from answer to answer: fresh memory costs more than the copy.
        self._scratch = book.copy()

    def at(self, ts: int, *, by_tier: bool = True) -> ModelLevels:
        """Return the levels as of ``ts`` (UNIX nanoseconds).

        Raises
        ------
        ValueError
            If ``ts`` lies before the first open interest.
        """
        history = self._market.history
        stop = history.steps_until(ts)
        newest = int(np.searchsorted(self._known, stop)) - 1
        if newest < 0:
            raise ValueError(f"{ts} lies before the first open interest")
        interval = self._advance_to(newest)
        book = self._running
        if stop > interval:
            # The interval since the newest open interest is still open; it is advanced on a copy only.
            book = self._scratch
            book.assign(self._running)
            drive(book, history, self._epochs, interval, stop)
        return self._levels(book, float(history.open_interest[interval - 1]), ts, by_tier)

    def with_pending(self, pending: History, *, by_tier: bool = True) -> ModelLevels:
        """Return the levels at the end of ``pending``: steps after all others, of intervals that are still open.

        Those that have become part of the history since are left out.
        """
        history = self._market.history
        pending = pending.slice(pending.steps_until(int(history.step_end[-1])), len(pending))
        if not len(pending):
            return self.at(int(history.step_end[-1]), by_tier=by_tier)
        interval = self._advance_to(len(self._known) - 1)
        book = self._scratch
        book.assign(self._running)
        drive(book, history, self._epochs, interval, len(history))
        drive(book, pending, self._epochs, 0, len(pending))
        known = [value for value in pending.open_interest.tolist() if value == value]
        newest = known[-1] if known else float(history.open_interest[interval - 1])
        return self._levels(book, newest, int(pending.step_end[-1]), by_tier)

    def extend(self, market: Market) -> None:
        """Go on with ``market``, whose history begins with the steps known so far."""
        done = len(self._market.history)
        more = np.flatnonzero(~np.isnan(market.history.open_interest[done:]))
        self._known = np.concatenate([self._known, done + more])
        self._market = market

    def _advance_to(self, newest: int) -> int:
        """Bring the running book to the end of the interval of a known open interest; return the step after it."""
        interval = int(self._known[newest]) + 1
        if interval < self._at:
            # Books are kept from the first question on that looks back: who replays in order needs none.
            self._keep_until(interval)
        step, kept = self._nearest(interval)
        if not step <= self._at <= interval:
            self._running.assign(kept)
            self._at = step
        drive(self._running, self._market.history, self._epochs, self._at, interval)
        self._at = interval
        return interval

    def _levels(self, book: PositionBook, open_interest: float, ts: int, by_tier: bool) -> ModelLevels:
        first_bin, qty = book.levels(by_tier=by_tier)
        return ModelLevels(
            width=book.width,
            first_bin=first_bin,
            leverage=self._leverage,
            qty=qty,
            open_interest=open_interest,
            no_level=book.no_level(),
            unknown_entry=book.unknown_entry(),
            bracket_table=in_force(self._epochs, ts).table_id,
        )

    def audit(self, start: int, end: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return what every step did; see ``liqserver.models.market.EvolvingTimeline``.

        What was open at the first open interest was there before: it is no row's.
        """
        history = self._market.history
        first, stop = history.steps_until(start), history.steps_until(end)
        newest = int(np.searchsorted(self._known, first)) - 1
        step, kept = self._nearest(int(self._known[max(newest, 0)]) + 1)
        if stop <= step:
            return np.empty(0, dtype=np.int64), np.empty((0, len(AUDIT_COLUMNS)))
        book = self._scratch
        book.assign(kept)
        rows = drive(book, history, self._epochs, step, stop, audit=True)
        first = max(first, step)
        return history.step_end[first:stop], rows[first - step :]

    def _nearest(self, step: int) -> tuple[int, PackedBook]:
        """Return the last kept book at or before ``step`` and the step it is after."""
        return self._kept[bisect_right(self._kept, step, key=lambda kept: kept[0]) - 1]

    def _keep_until(self, step: int) -> None:
        """Keep a book every ``_spacing`` steps or so, up to ``step``; what is kept once stays."""
        at, packed = self._kept[-1]
        if step - at < self._spacing:
            return
        ends = self._known + 1
        book = self._scratch
        book.assign(packed)
        while step - at >= self._spacing:
            # The last interval that ends within the spacing, or the next one when it is longer than that.
            within = int(np.searchsorted(ends, at + self._spacing, side="right")) - 1
            end = int(ends[within]) if ends[within] > at else int(ends[within + 1])
            drive(book, self._market.history, self._epochs, at, end)
            at = end
            self._kept.append((at, book.packed()))


_HALF_DAY_STEPS = 12 * 60
_KEPT_BOOKS = 1_000
# From so many steps on, a second thread is worth its start.
_MANY_STEPS = 2_000
