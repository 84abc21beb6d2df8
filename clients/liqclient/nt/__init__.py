"""Liquidation levels as custom data of Nautilus Trader 1: in backtests from a catalogue, a replay, or a live server.

>>> from liqclient.nt import LiquidationLevels  # doctest: +SKIP
>>> strategy.subscribe_data(DataType(LiquidationLevels), instrument_id=instrument_id)  # doctest: +SKIP

Not affiliated with, endorsed or supported by Nautech Systems Pty Ltd.
"""

from liqclient.nt._actor import LiquidationActor, LiquidationActorConfig
from liqclient.nt._archive import MarketFile, market_files, read_market, step_size_of
from liqclient.nt._catalog import CLIENT_ID, CatalogConflictError, export_levels, levels_data_config, write_data
from liqclient.nt._data import LiquidationAlert, LiquidationLevels
from liqclient.nt._feed import add_levels, replay_levels
from liqclient.nt._instrument import perpetual
from liqclient.nt._query import LevelsQuery

__all__ = [
    "CLIENT_ID",
    "CatalogConflictError",
    "LevelsQuery",
    "LiquidationActor",
    "LiquidationActorConfig",
    "LiquidationAlert",
    "LiquidationLevels",
    "MarketFile",
    "add_levels",
    "export_levels",
    "levels_data_config",
    "market_files",
    "perpetual",
    "read_market",
    "replay_levels",
    "step_size_of",
    "write_data",
]
