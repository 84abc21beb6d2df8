"""Small markets with candles and trades for the tests of models."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace

import numpy as np
from hypothesis import strategies as st

from liqserver.kernel import History, Source
from liqserver.margin import BracketTable, builtin_tables
from liqserver.margin.brackets import midnight
from liqserver.models.market import CANDLE_PERIOD, SIZE_CLASSES, Candles, Market, ModelLevels, SizedFlow, Trades
from liqserver.models.parameters import Parameters
from liqserver.models.registry import MODELS
from tests.kernel.markets import MINUTE, histories, history

BTC = tuple(table for table in builtin_tables() if table.symbol == "BTCUSDT")
START = midnight("2025-09-01")
HOUR, DAY = 60 * MINUTE, 1440 * MINUTE


def candles(rows: list[tuple[int, float, float, float, float, float]]) -> Candles:
    """Return candles of (end, open, high, low, close, quote volume)."""
    columns = np.array([row[1:] for row in rows], dtype=np.float64).reshape(-1, 5).T
    return Candles(np.array([row[0] for row in rows], dtype=np.int64), *(column.copy() for column in columns))


def trades(rows: list[tuple[int, float, float, bool]]) -> Trades:
    """Return trades of (known at, price, qty, taker buys)."""
    return Trades(
        np.array([row[0] for row in rows], dtype=np.int64),
        np.array([row[1] for row in rows], dtype=np.float64),
        np.array([row[2] for row in rows], dtype=np.float64),
        np.array([row[3] for row in rows], dtype=np.bool_),
    )


def sized_flow(rows: list[tuple[int, float, float, int, int, bool]]) -> SizedFlow:
    """Return flow of (known at, price, qty, count, size class, taker buys)."""
    return SizedFlow(
        np.array([row[0] for row in rows], dtype=np.int64),
        np.array([row[1] for row in rows], dtype=np.float64),
        np.array([row[2] for row in rows], dtype=np.float64),
        np.array([row[3] for row in rows], dtype=np.int64),
        np.array([row[4] for row in rows], dtype=np.uint8),
        np.array([row[5] for row in rows], dtype=np.bool_),
    )


@dataclass(frozen=True, eq=False)
class GivenDetails:
    """Details in memory, empty unless given; see ``liqserver.models.market.Details``."""

    given_candles: Candles = field(default_factory=lambda: candles([]))
    given_trades: Trades = field(default_factory=lambda: trades([]))
    given_flow: SizedFlow = field(default_factory=lambda: sized_flow([]))

    def candles(self) -> Candles:
        return self.given_candles

    def large_trades(self) -> Trades:
        return self.given_trades

    def sized_flow(self) -> SizedFlow:
        return self.given_flow


def with_trades(of: History) -> History:
    """Return ``of`` with its flow marked as stemming from trades."""
    source = np.where(np.diff(of.flow_offset) > 0, Source.TRADES, Source.NONE).astype(np.uint8)
    return replace(of, flow_source=source)


def market(
    steps: list[dict[str, object]] | History,
    details: GivenDetails | None = None,
    *,
    tables: tuple[BracketTable, ...] = BTC,
    width: float = 10.0,
    start: int = START,
) -> Market:
    """Return a market of one-minute steps (as ``tests.kernel.markets.history`` takes them) and details."""
    of = steps if isinstance(steps, History) else history(steps, start=start)
    return Market("BINANCE", "BTCUSDT", 0.1, "built in", width, with_trades(of), tables, details or GivenDetails())


def cut(of: Market, ts: int) -> Market:
    """Return ``of`` as it was known at ``ts``."""

    def rows[Columns: (Candles, Trades, SizedFlow)](columns: Columns) -> Columns:
        names = [column.name for column in fields(columns)]
        known = getattr(columns, names[0]) <= ts
        return type(columns)(*(getattr(columns, name)[known] for name in names))

    details = of.details
    known = GivenDetails(rows(details.candles()), rows(details.large_trades()), rows(details.sized_flow()))
    return replace(of, history=of.history.until(ts), details=known)


def ask(model: str, of: Market, ts: int, **given: object) -> ModelLevels:
    """Return a model's answer with ``given`` parameters."""
    chosen = MODELS[model]
    return chosen.timeline(of, chosen.resolve(Parameters(**given))).at(ts)  # type: ignore[arg-type]


def amounts(levels: ModelLevels) -> dict[tuple[str, float, float], float]:
    """Return contracts by (side, leverage, left edge of the bin) where there are any."""
    out = {}
    for side, tier, at in np.argwhere(levels.qty > 0):
        edge = round((levels.first_bin + int(at)) * levels.width, 9)
        out["long" if side == 0 else "short", float(levels.leverage[tier]), edge] = float(levels.qty[side, tier, at])
    return out


@st.composite
def markets(draw: st.DrawFn) -> Market:
    """Draw rough markets with candles made of their steps, some missing, and trades of all sizes."""
    drawn = draw(histories(min_steps=16, max_steps=90))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    # As loaded from a store: the newest price goes on, and minutes without trades are known to have none.
    newest = np.maximum.accumulate(np.where(np.isnan(drawn.mark_close), 0, np.arange(len(drawn))))
    price = drawn.mark_close[newest]
    source = np.full(len(drawn), Source.TRADES, dtype=np.uint8)
    of = replace(drawn, step_end=drawn.step_end + START, mark_close=price, flow_source=source)
    rows = []
    for number in range(len(of) // 5):
        first, last = 5 * number, 5 * number + 4
        low, high = np.nanmin(price[first : last + 1]), np.nanmax(price[first : last + 1])
        if rng.random() < 0.9:
            end = START + (number + 1) * CANDLE_PERIOD
            rows.append((end, price[first], high, low, price[last], float(rng.exponential(1e6))))
    singles, flow = [], []
    for at in np.sort(rng.integers(0, len(of), size=int(rng.integers(0, 40)))):
        close, buys = float(price[at]), bool(rng.random() < 0.5)
        notional = float(np.exp(rng.uniform(np.log(500.0), np.log(2e7))))
        row_class = int(np.searchsorted(SIZE_CLASSES, notional, side="right")) - 1
        known_at = int(of.step_end[at])
        flow.append((known_at, close, notional / close, 1, row_class, buys))
        if notional >= 1e5:
            singles.append((known_at, close, notional / close, buys))
    details = GivenDetails(candles(rows), trades(singles), sized_flow(flow))
    return Market("BINANCE", "BTCUSDT", 0.1, "built in", 10.0, of, BTC, details)


def grows(less: ModelLevels, more: ModelLevels) -> bool:
    """Return whether no bin holds less in ``more`` than in ``less``, within rounding."""
    longer = amounts(more)
    return all(longer.get(key, 0.0) >= amount * (1 - 1e-9) for key, amount in amounts(less).items())


def ends(of: Market, count: int = 4) -> list[int]:
    """Return some ends of steps of which the last is the newest."""
    return [int(ts) for ts in of.history.step_end[np.linspace(1, len(of.history) - 1, count).astype(int)]]
