"""Backtest engines with a strategy that writes down what it is given, and when."""

from __future__ import annotations

from collections.abc import Sequence

from nautilus_trader.backtest.config import BacktestEngineConfig
from nautilus_trader.backtest.engine import BacktestEngine
from nautilus_trader.config import LoggingConfig
from nautilus_trader.core.data import Data
from nautilus_trader.model.currencies import USDT
from nautilus_trader.model.data import Bar, DataType
from nautilus_trader.model.enums import AccountType, OmsType
from nautilus_trader.model.identifiers import Venue
from nautilus_trader.model.instruments import CryptoPerpetual
from nautilus_trader.model.objects import Money
from nautilus_trader.persistence.config import DataCatalogConfig
from nautilus_trader.trading.config import StrategyConfig
from nautilus_trader.trading.strategy import Strategy

from liqclient.nt import LiquidationLevels

QUIET = LoggingConfig(bypass_logging=True)


class Witness(Strategy):
    """Writes down all levels, and how many bars came before each."""

    def __init__(self, instrument: CryptoPerpetual, bars: Sequence[Bar]) -> None:
        super().__init__(StrategyConfig())
        self._instrument_id = instrument.id
        self._bar_types = {bar.bar_type for bar in bars}
        self.bars = 0
        self.levels: list[LiquidationLevels] = []
        self.seen: list[tuple[int, int, str]] = []

    def on_start(self) -> None:
        self.subscribe_data(DataType(LiquidationLevels), instrument_id=self._instrument_id)
        for bar_type in self._bar_types:
            self.subscribe_bars(bar_type)

    def on_bar(self, bar: Bar) -> None:
        self.bars += 1

    def on_data(self, data: Data) -> None:
        assert isinstance(data, LiquidationLevels)
        self.levels.append(data)
        self.seen.append((self.clock.timestamp_ns(), self.bars, data.to_json()))

    def on_stop(self) -> None:
        pass


def engine_with(
    instrument: CryptoPerpetual, bars: Sequence[Bar], catalogs: Sequence[DataCatalogConfig] = ()
) -> tuple[BacktestEngine, Witness]:
    """Return an engine with a venue, an instrument, bars, and a witness."""
    engine = BacktestEngine(BacktestEngineConfig(logging=QUIET, catalogs=list(catalogs)))
    engine.add_venue(
        venue=Venue("BINANCE"),
        oms_type=OmsType.NETTING,
        account_type=AccountType.MARGIN,
        starting_balances=[Money(1_000_000, USDT)],
        base_currency=USDT,
    )
    engine.add_instrument(instrument)
    engine.add_data(list(bars))
    witness = Witness(instrument, bars)
    engine.add_strategy(witness)
    return engine, witness
