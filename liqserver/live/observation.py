"""What is observed of a market for those who want to hear of its events."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np

from liqserver.live.answers import AmountUnit, Cluster, LevelsAnswer, LevelsQuery
from liqserver.live.derived import side_clusters
from liqserver.live.engine import DAY, MINUTE, LevelsEngine
from liqserver.live.intervals import price_path
from liqserver.live.window import window_around

# Of an audit asked for at once.
_AUDIT_SPAN = 30 * DAY


@dataclass(frozen=True, slots=True)
class Look:
    """What to observe; equal looks at the same data see the same.

    Attributes
    ----------
    query : LevelsQuery
        Symbol, venue, model, parameters, bins, range and unit.
    path : bool
        Whether to look at the path of the price since the observation before.
    burst : int
        Nanoseconds before the first observation from which liquidations are told; 0 for not at all.
    since : int, optional
        UNIX nanoseconds: the moment of the observation before; None for the first.
    counted : int, optional
        UNIX nanoseconds up to which the observations before have told liquidations; None where none has.
    """

    query: LevelsQuery
    path: bool
    burst: int
    since: int | None = None
    counted: int | None = None

    def next(self, seen: Observation) -> Look:
        """Return the look that follows on what this one saw; the bins stay, whatever the price does."""
        return replace(
            self,
            query=replace(self.query, bin_size=seen.bin_size),
            since=seen.as_of,
            counted=seen.liquidated[-1].end if seen.liquidated else self.counted,
        )


@dataclass(frozen=True, slots=True)
class Liquidated:
    """What was liquidated in the minute up to ``end`` (UNIX nanoseconds), in the query's unit."""

    end: int
    long: float
    short: float


@dataclass(frozen=True, slots=True)
class Observation:
    """What rules look at, at one moment.

    Attributes
    ----------
    symbol : str
        Symbol.
    as_of : int
        UNIX nanoseconds: the moment.
    price : float
        Current price.
    low, high : float
        Price range of the answer.
    clusters : tuple of tuple of Cluster
        All of longs, then all of shorts.
    path : tuple of float
        Lowest and highest price since the observation before, the current one included; where that was less than a
        minute ago, the current price alone.
    volatility : float or None
        Realised volatility of a day.
    liquidated : tuple of Liquidated
        Minutes since those of the observation before, by time; at the first, of the longest interval before it.
    oldest_input : int
        UNIX nanoseconds that the oldest input reaches which the model cannot do without.
    watermarks : dict of str to int
        UNIX nanoseconds that each input reaches.
    bin_size : float
        Width of a bin.
    unit : AmountUnit
        Unit of the amounts.
    """

    symbol: str
    as_of: int
    price: float
    low: float
    high: float
    clusters: tuple[tuple[Cluster, ...], tuple[Cluster, ...]]
    path: tuple[float, float]
    volatility: float | None = None
    liquidated: tuple[Liquidated, ...] = ()
    oldest_input: int = 0
    watermarks: dict[str, int] = field(default_factory=dict)
    bin_size: float = 0.0
    unit: AmountUnit = AmountUnit.NOTIONAL


def observe(engine: LevelsEngine, look: Look) -> Observation:
    """Observe the newest data; raises ``AskError`` as ``LevelsEngine.levels`` does."""
    query = look.query
    answer = engine.levels(query)
    where, derived = answer.provenance, answer.derived
    price = where.current_price.value
    volatility = None if derived is None else derived.realised_volatility
    path = (price, price)
    if look.path and look.since is not None and where.as_of - look.since >= MINUTE:
        history = engine.resident(where.venue, where.symbol).market.history
        _, high, low, _ = price_path(history, np.array([look.since, where.as_of]))[:, 0].tolist()
        path = (price, price) if math.isnan(low) else (min(low, price), max(high, price))
    liquidated: tuple[Liquidated, ...] = ()
    if look.burst:
        start = where.as_of - look.burst if look.counted is None else look.counted
        # Of minutes that are over: an open one would be told again when it is.
        start = -(-max(start, where.history_start) // MINUTE) * MINUTE
        liquidated = _liquidated(engine, query, start, where.as_of // MINUTE * MINUTE)
    return Observation(
        symbol=where.symbol,
        as_of=where.as_of,
        price=price,
        low=price * (1 - query.down),
        high=price * (1 + query.up),
        clusters=_clusters(answer, query, price, volatility),
        path=path,
        volatility=volatility,
        liquidated=liquidated,
        oldest_input=where.as_of - where.staleness,
        watermarks=where.watermarks,
        bin_size=answer.bin_size,
        unit=answer.unit,
    )


def _clusters(
    answer: LevelsAnswer, query: LevelsQuery, price: float, volatility: float | None
) -> tuple[tuple[Cluster, ...], tuple[Cluster, ...]]:
    # The mean that makes a bin dense is over all bins of the range, and the answer leaves out those that are empty.
    width = answer.bin_size
    window = window_around(price, query.down, query.up, width, width)
    amount = np.zeros((2, window.count))
    amount[:, np.rint(answer.price / width).astype(np.int64) - window.first] = answer.amount
    return side_clusters(window, amount, price, volatility)


def _liquidated(engine: LevelsEngine, query: LevelsQuery, start: int, until: int) -> tuple[Liquidated, ...]:
    out: list[Liquidated] = []
    while until - start >= MINUTE:
        answer = engine.audit(query, MINUTE, start, min(until, start + _AUDIT_SPAN))
        ends = (answer.open_time + MINUTE).tolist()
        out += map(Liquidated, ends, answer.liquidated[0].tolist(), answer.liquidated[1].tolist())
        start = ends[-1]
    return tuple(out)
