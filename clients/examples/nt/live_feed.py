"""Publish BTCUSDT of Binance's USD-M futures to a liqserver, by a live node that trades nothing.

    liqserver serve --db live.duckdb
    python live_feed.py

Market data need no key. Ctrl-C ends it; what is left is sent first.
"""

from __future__ import annotations

import argparse

from nautilus_trader.adapters.binance import (
    BINANCE,
    BinanceAccountType,
    BinanceDataClientConfig,
    BinanceLiveDataClientFactory,
)
from nautilus_trader.config import InstrumentProviderConfig, LiveExecEngineConfig, LoggingConfig, TradingNodeConfig
from nautilus_trader.live.node import TradingNode
from nautilus_trader.model.identifiers import InstrumentId, TraderId

from liqclient.nt import MarketDataFeed, MarketDataFeedConfig


def main() -> None:
    """Run the node until it is told to stop."""
    parser = argparse.ArgumentParser(description="Publish a market of Binance to a liqserver.")
    parser.add_argument("--instrument", default="BTCUSDT-PERP.BINANCE", help="instrument to publish [%(default)s]")
    parser.add_argument("--target", default="127.0.0.1:50051", help="address of the server [%(default)s]")
    parser.add_argument("--url-http", help="another address of Binance's REST interface")
    parser.add_argument("--url-ws", help="another address of Binance's WebSocket streams")
    given = parser.parse_args()
    instrument_id = InstrumentId.from_str(given.instrument)
    node = TradingNode(
        TradingNodeConfig(
            trader_id=TraderId("FEED-001"),
            logging=LoggingConfig(log_level="INFO"),
            exec_engine=LiveExecEngineConfig(reconciliation=False),
            data_clients={
                BINANCE: BinanceDataClientConfig(
                    account_type=BinanceAccountType.USDT_FUTURES,
                    base_url_http=given.url_http,
                    base_url_ws=given.url_ws,
                    instrument_provider=InstrumentProviderConfig(load_ids=frozenset([instrument_id])),
                )
            },
            timeout_post_stop=1.0,
        )
    )
    node.add_data_client_factory(BINANCE, BinanceLiveDataClientFactory)
    feed = MarketDataFeedConfig(instrument_ids=(instrument_id,), target=given.target, open_interest_url=given.url_http)
    node.trader.add_actor(MarketDataFeed(feed))
    node.build()
    try:
        node.run()
    finally:
        node.dispose()


if __name__ == "__main__":
    main()
