"""Print liquidation levels as they change, by a live node that trades nothing.

    python live_levels.py --instrument BTCUSDT-PERP.BINANCE

The strategy is what a backtest would run: only the node's configuration knows where levels come from. Ctrl-C ends it.
"""

from __future__ import annotations

import argparse

from nautilus_trader.config import LiveExecEngineConfig, LoggingConfig, StrategyConfig, TradingNodeConfig
from nautilus_trader.core.data import Data
from nautilus_trader.live.node import TradingNode
from nautilus_trader.model.data import DataType
from nautilus_trader.model.identifiers import ClientId, InstrumentId, TraderId
from nautilus_trader.trading.strategy import Strategy

from liqclient.nt import CLIENT_ID, LiqServerDataClientConfig, LiqServerLiveDataClientFactory, LiquidationLevels


class WatchConfig(StrategyConfig, frozen=True, kw_only=True):
    """Configuration of `Watch`.

    Parameters
    ----------
    instrument_id : InstrumentId
        What to watch.
    """

    instrument_id: InstrumentId


class Watch(Strategy):
    """Logs the nearest clusters of each levels."""

    def on_start(self) -> None:
        """Subscribe; the same in a backtest."""
        self.subscribe_data(
            DataType(LiquidationLevels), client_id=ClientId(CLIENT_ID), instrument_id=self.config.instrument_id
        )

    def on_data(self, data: Data) -> None:
        """Log one line."""
        if not isinstance(data, LiquidationLevels):
            return
        sides = []
        for name, amount, cluster in (
            ("longs", data.long.sum(), data.cluster_below()),
            ("shorts", data.short.sum(), data.cluster_above()),
        ):
            nearest = "none" if cluster is None else f"{cluster.amount:,.0f} at {cluster.peak:,.0f}"
            sides.append(f"{name} {amount:,.0f}, nearest cluster {nearest}")
        self.log.info(f"{data.reference_price:,.1f}  {'  '.join(sides)}")

    def on_stop(self) -> None:
        """Unsubscribe."""
        self.unsubscribe_data(
            DataType(LiquidationLevels), client_id=ClientId(CLIENT_ID), instrument_id=self.config.instrument_id
        )


def main() -> None:
    """Run the node until it is told to stop."""
    parser = argparse.ArgumentParser(description="Print liquidation levels as they change.")
    parser.add_argument("--instrument", default="BTCUSDT-PERP.BINANCE", help="instrument to watch [%(default)s]")
    parser.add_argument("--target", default="127.0.0.1:50051", help="address of the server [%(default)s]")
    given = parser.parse_args()
    node = TradingNode(
        TradingNodeConfig(
            trader_id=TraderId("WATCH-001"),
            logging=LoggingConfig(log_level="INFO"),
            exec_engine=LiveExecEngineConfig(reconciliation=False),
            data_clients={CLIENT_ID: LiqServerDataClientConfig(target=given.target, max_rate=1.0)},
            timeout_post_stop=1.0,
        )
    )
    node.add_data_client_factory(CLIENT_ID, LiqServerLiveDataClientFactory)
    node.trader.add_strategy(Watch(WatchConfig(instrument_id=InstrumentId.from_str(given.instrument))))
    node.build()
    try:
        node.run()
    finally:
        node.dispose()


if __name__ == "__main__":
    main()
