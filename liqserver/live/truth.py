"""What was really liquidated, as far as it is known: what models are fitted to and judged by."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from liqserver.live.errors import MissingInput
from liqserver.store.archive import interval_name
from liqserver.store.database import Database
from liqserver.store.ledger import symbol_keys
from liqserver.store.liquidations import KnownSums, saturation, summed_records, summed_totals

HOUR = 3_600_000_000_000


@dataclass(frozen=True, slots=True)
class Truth:
    """Liquidations of a market by interval.

    Attributes
    ----------
    open_time : ndarray of int64, shape (N,)
        UNIX nanoseconds at which each interval begins: one after the other, none left out.
    period : int
        Length of an interval, nanoseconds.
    liquidated : ndarray of float64, shape (2, N)
        Notional of longs and shorts, quote units; NaN where nothing is known.
    source : str
        Where it is from, a sentence.
    """

    open_time: NDArray[np.int64]
    period: int
    liquidated: NDArray[np.float64]
    source: str

    def at(self, open_time: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return what was liquidated in the intervals that begin at ``open_time`` (M,), shape (2, M), NaN elsewhere."""
        out = np.full((2, len(open_time)), np.nan)
        if len(self.open_time):
            place, off = np.divmod(open_time - self.open_time[0], self.period)
            there = (off == 0) & (place >= 0) & (place < len(self.open_time))
            out[:, there] = self.liquidated[:, place[there]]
        return out


def known_liquidations(database: Database, venue: str, symbol: str, *, until: int, period: int = HOUR) -> Truth:
    """Return what is known of a market's liquidations.

    Totals that others have added up go first, where there are any: they are complete. Otherwise single liquidations
    that were recorded are added up, which are a lower bound where their feed was full.

    Parameters
    ----------
    database : Database
        Open; a cursor of its own is used.
    venue, symbol : str
        The market, as stored.
    until : int
        UNIX nanoseconds: nothing that could be known later only is used.
    period : int
        Length of an interval, nanoseconds.

    Raises
    ------
    MissingInput
        If nothing is known until then.
    KeyError
        If there is no such market.
    """
    cur = database.cursor()
    try:
        key = symbol_keys(cur)[venue, symbol]
        totals = summed_totals(cur, key, interval=period, until=until)
        if totals is not None:
            sums, of = totals
            return _filled(sums, period, f"totals by {interval_name(of)}, as their publisher added them up")
        records = summed_records(cur, key, interval=period, until=until)
        if records is None or not len(records.ts):
            raise MissingInput(
                "liquidations",
                f"nothing is known of real liquidations of {venue}:{symbol} by {interval_name(period)} until then: "
                "ingest totals (liquidations_1h.csv with --symbol), liquidationSnapshot files or force_orders_DATE.csv",
            )
        full = saturation(cur, key, start=int(records.ts[0]), end=int(records.ts[-1]) + period)
        source = "single liquidation orders that were recorded, added up"
        if full is not None:
            source += f"; a lower bound, since their feed was full in {full.minutes:,} minutes"
        return _filled(records, period, source)
    finally:
        cur.close()


def _filled(sums: KnownSums, period: int, source: str) -> Truth:
    """Return sums with the intervals between them that are not known."""
    count = int(sums.ts[-1] - sums.ts[0]) // period + 1 if len(sums.ts) else 0
    liquidated = np.full((2, count), np.nan)
    if count:
        liquidated[:, (sums.ts - sums.ts[0]) // period] = sums.notional
    first = int(sums.ts[0]) if count else 0
    return Truth(first + period * np.arange(count, dtype=np.int64), period, liquidated, source)
