"""An example strategy: fade the sweep of a cluster of liquidations, take profit at the opposite one.

Where many leveraged longs would be liquidated at nearly the same price, their forced selling is spent once the price
has fallen through. The strategy watches each cluster that the levels show until the price gets there or it is too old.
When a bar trades through one below and closes above its far edge again, it buys, and offers what it bought at the
nearest cluster of shorts above, whose forced buying it hopes to meet there. The other way round for shorts.

Without levels the same rules take the lowest and the highest price of the last day in the clusters' place: what the
levels add, if anything, is the difference between the two. It is an example of using levels, not advice.
"""

from __future__ import annotations

from collections import deque
from decimal import Decimal
from typing import NamedTuple

from nautilus_trader.core.data import Data
from nautilus_trader.model.data import Bar, BarType, DataType
from nautilus_trader.model.enums import OrderSide
from nautilus_trader.model.events import PositionClosed, PositionOpened
from nautilus_trader.model.identifiers import InstrumentId
from nautilus_trader.trading.config import StrategyConfig
from nautilus_trader.trading.strategy import Strategy

from liqclient.nt import LiquidationLevels


class Mark(NamedTuple):
    """A place where forced orders are expected: its edge away from the price, its densest part, when it was seen."""

    far: float
    peak: float
    seen: int


class SweepFadeConfig(StrategyConfig, frozen=True, kw_only=True):
    """Configuration of `SweepFade`.

    Parameters
    ----------
    instrument_id : InstrumentId
        What to trade.
    bar_type : BarType
        Bars to decide by.
    with_levels : bool
        Whether clusters of liquidations are the marks, or the extremes of the last ``lookback`` bars.
    notional : Decimal
        Size of each position in quote units.
    least_share : float
        Smallest cluster that counts, as a share of its side in range.
    memory_hours : int
        Hours that a cluster is watched since it was last seen.
    least_reward : float
        Smallest distance to the target, as a fraction of price; fees must be earned first.
    stop_share : float
        Distance of the stop, as a share of the distance to the target.
    most_bars : int
        Bars after which a position is closed whatever it is worth.
    lookback : int
        Bars of the extremes, without levels.
    """

    instrument_id: InstrumentId
    bar_type: BarType
    with_levels: bool = True
    notional: Decimal = Decimal(10_000)
    least_share: float = 0.02
    memory_hours: int = 48
    least_reward: float = 0.004
    stop_share: float = 0.5
    most_bars: int = 144
    lookback: int = 288


class SweepFade(Strategy):
    """Buys after longs were swept below, sells after shorts were swept above; one position at a time."""

    def __init__(self, config: SweepFadeConfig) -> None:
        super().__init__(config)
        self.below: list[Mark] = []
        self.above: list[Mark] = []
        self.window: deque[tuple[float, float]] = deque(maxlen=config.lookback)
        self.bars_held = 0

    def on_start(self) -> None:
        """Subscribe; the same two lines serve every way levels come in."""
        self.subscribe_bars(self.config.bar_type)
        if self.config.with_levels:
            self.subscribe_data(DataType(LiquidationLevels), instrument_id=self.config.instrument_id)

    def on_data(self, data: Data) -> None:
        """Watch the clusters of new levels, and forget those that were last seen long ago."""
        if not isinstance(data, LiquidationLevels):
            return
        oldest = data.ts_init - self.config.memory_hours * 3_600_000_000_000
        for marks, cluster, side in (
            (self.below, data.cluster_below(), data.long),
            (self.above, data.cluster_above(), data.short),
        ):
            marks[:] = [mark for mark in marks if mark.seen >= oldest]
            if cluster is not None and cluster.amount >= self.config.least_share * side.sum():
                far = cluster.low if marks is self.below else cluster.high
                marks[:] = [mark for mark in marks if mark.peak != cluster.peak]
                marks.append(Mark(far, cluster.peak, data.ts_init))

    def on_bar(self, bar: Bar) -> None:
        """Decide by what was known before the bar, then remember the bar."""
        low, high, close = float(bar.low), float(bar.high), float(bar.close)
        if not self.config.with_levels:
            self._watch_extremes(bar.ts_init)
        swept_below = [mark for mark in self.below if low < mark.far]
        swept_above = [mark for mark in self.above if high > mark.far]
        # What was swept is gone, whether it leads to a trade or not.
        self.below = [mark for mark in self.below if mark not in swept_below]
        self.above = [mark for mark in self.above if mark not in swept_above]
        self.window.append((low, high))
        if not self.portfolio.is_flat(self.config.instrument_id):
            self._mind_the_time()
        elif swept_below and self.above and close > min(mark.far for mark in swept_below):
            self._enter(OrderSide.BUY, close, min(mark.peak for mark in self.above))
        elif swept_above and self.below and close < max(mark.far for mark in swept_above):
            self._enter(OrderSide.SELL, close, max(mark.peak for mark in self.below))

    def on_position_opened(self, event: PositionOpened) -> None:
        """Count its bars from here."""
        self.bars_held = 0

    def on_position_closed(self, event: PositionClosed) -> None:
        """Take back whichever of target and stop was not met."""
        self.cancel_all_orders(self.config.instrument_id)

    def on_stop(self) -> None:
        """Leave nothing open."""
        self.cancel_all_orders(self.config.instrument_id)
        self.close_all_positions(self.config.instrument_id)

    def _watch_extremes(self, ts: int) -> None:
        if len(self.window) == self.config.lookback:
            lowest, highest = min(low for low, _ in self.window), max(high for _, high in self.window)
            self.below, self.above = [Mark(lowest, lowest, ts)], [Mark(highest, highest, ts)]

    def _enter(self, side: OrderSide, price: float, target: float) -> None:
        reward = (target - price) if side is OrderSide.BUY else (price - target)
        if reward < self.config.least_reward * price:
            return
        instrument = self.cache.instrument(self.config.instrument_id)
        stop = price - self.config.stop_share * reward * (1 if side is OrderSide.BUY else -1)
        orders = self.order_factory.bracket(
            instrument_id=instrument.id,
            order_side=side,
            quantity=instrument.make_qty(float(self.config.notional) / price),
            tp_price=instrument.make_price(target),
            sl_trigger_price=instrument.make_price(stop),
        )
        self.submit_order_list(orders)

    def _mind_the_time(self) -> None:
        self.bars_held += 1
        if self.bars_held == self.config.most_bars:
            self.cancel_all_orders(self.config.instrument_id)
            self.close_all_positions(self.config.instrument_id)
