"""Liquidation levels as custom data of Nautilus Trader 1: in backtests and in live nodes, and their market data back.

>>> from liqclient.nt import LiquidationLevels  # doctest: +SKIP
>>> levels, source = DataType(LiquidationLevels), ClientId(CLIENT_ID)  # doctest: +SKIP
>>> strategy.subscribe_data(levels, client_id=source, instrument_id=instrument_id)  # doctest: +SKIP

Not affiliated with, endorsed or supported by Nautech Systems Pty Ltd.
"""

from importlib.metadata import version

# Of version 2 there is `liqclient.nt.v2`; both are imported as the same package.
if version("nautilus_trader").startswith("1."):
    from liqclient.nt._actor import LiquidationActor, LiquidationActorConfig
    from liqclient.nt._archive import MarketFile, market_files, read_market, step_size_of
    from liqclient.nt._catalog import CatalogConflictError, export_levels, levels_data_config, write_data
    from liqclient.nt._config import LiqServerDataClientConfig
    from liqclient.nt._constants import CLIENT_ID
    from liqclient.nt._data import LiquidationAlert, LiquidationLevels
    from liqclient.nt._factories import LiqServerLiveDataClientFactory
    from liqclient.nt._feed import add_levels, replay_levels
    from liqclient.nt._instrument import perpetual
    from liqclient.nt._live_client import LiqServerDataClient
    from liqclient.nt._market_feed import MarketDataFeed, MarketDataFeedConfig
    from liqclient.nt._open_interest import BinanceOpenInterest, OpenInterestError, OpenInterestSource
    from liqclient.nt._publisher import PublishCounts
    from liqclient.nt._query import LevelsQuery, alert_rules_of

__all__ = [
    "CLIENT_ID",
    "BinanceOpenInterest",
    "CatalogConflictError",
    "LevelsQuery",
    "LiqServerDataClient",
    "LiqServerDataClientConfig",
    "LiqServerLiveDataClientFactory",
    "LiquidationActor",
    "LiquidationActorConfig",
    "LiquidationAlert",
    "LiquidationLevels",
    "MarketDataFeed",
    "MarketDataFeedConfig",
    "MarketFile",
    "OpenInterestError",
    "OpenInterestSource",
    "PublishCounts",
    "add_levels",
    "alert_rules_of",
    "export_levels",
    "levels_data_config",
    "market_files",
    "perpetual",
    "read_market",
    "replay_levels",
    "step_size_of",
    "write_data",
]
