"""The actor's configuration, and where it refuses to run."""

from __future__ import annotations

import pytest
from nautilus_trader.backtest.config import (
    BacktestDataConfig,
    BacktestEngineConfig,
    BacktestRunConfig,
    BacktestVenueConfig,
)
from nautilus_trader.backtest.node import BacktestNode
from nautilus_trader.common.config import ImportableActorConfig
from nautilus_trader.model.data import Bar
from nautilus_trader.model.identifiers import InstrumentId
from nautilus_trader.model.instruments import CryptoPerpetual
from nautilus_trader.persistence.catalog import ParquetDataCatalog
from nautilus_trader.test_kit.stubs.component import TestComponentStubs

import liqclient
from liqclient.nt import LevelsQuery, LiquidationActor, LiquidationActorConfig
from tests.nt.engines import QUIET, Witness


def test_config_survives_json_and_names_what_to_ask_for() -> None:
    config = LiquidationActorConfig(
        instrument_ids=(InstrumentId.from_str("BTCUSDT-PERP.BINANCE"), InstrumentId.from_str("BTC-USD.HL")),
        symbols={"BTC-USD.HL": "BTCUSDT"},
        venue="BINANCE",
        parameters={"kappa": 0.25, "tiers": [{"leverage": 20.0, "weight": 1.0}]},
        price_range=(0.1, 0.05),
        unit="qty",
        every="5m",
        delay_ns=7,
    )
    again = LiquidationActorConfig.parse(config.json())
    assert again.queries() == config.queries()
    assert config.queries()[1] == LevelsQuery(
        instrument_id="BTC-USD.HL",
        symbol="BTCUSDT",
        venue="BINANCE",
        parameters=liqclient.Parameters(kappa=0.25, tiers=[liqclient.LeverageTier(20.0, 1.0)]),
        price_range=(0.1, 0.05),
        unit="qty",
        every="5m",
        delay=7,
    )
    assert config.queries()[0].symbol == "BTCUSDT"


def test_actor_without_instruments_or_with_a_length_that_is_none_is_refused(instrument: CryptoPerpetual) -> None:
    with pytest.raises(ValueError, match="instrument_ids must name at least one instrument"):
        LiquidationActor(LiquidationActorConfig(instrument_ids=()))
    with pytest.raises(ValueError, match="every must be a whole number"):
        LiquidationActor(LiquidationActorConfig(instrument_ids=(instrument.id,), every="soon"))


def test_actor_refuses_a_live_clock(instrument: CryptoPerpetual) -> None:
    actor = LiquidationActor(LiquidationActorConfig(instrument_ids=(instrument.id,)))
    actor.register_base(
        portfolio=TestComponentStubs.portfolio(),
        msgbus=TestComponentStubs.msgbus(),
        cache=TestComponentStubs.cache(),
        clock=TestComponentStubs.clock(),
    )
    with pytest.raises(RuntimeError, match="LiquidationActor is for backtests"):
        actor.start()


def test_node_builds_the_actor_from_importable_config(
    market_server: str, catalog: ParquetDataCatalog, bars: list[Bar], instrument: CryptoPerpetual
) -> None:
    actor = ImportableActorConfig(
        actor_path="liqclient.nt:LiquidationActor",
        config_path="liqclient.nt:LiquidationActorConfig",
        config={"instrument_ids": [str(instrument.id)], "target": market_server, "every": "4h"},
    )
    run = BacktestRunConfig(
        engine=BacktestEngineConfig(logging=QUIET, actors=[actor]),
        venues=[
            BacktestVenueConfig(
                name="BINANCE", oms_type="NETTING", account_type="MARGIN", starting_balances=["1000000 USDT"]
            )
        ],
        data=[
            BacktestDataConfig(
                catalog_path=catalog.path, data_cls=Bar, instrument_id=instrument.id, bar_spec="1-MINUTE-LAST"
            )
        ],
        raise_exception=True,
    )
    node = BacktestNode([run])
    node.build()
    engine = node.get_engine(run.id)
    assert engine is not None
    witness = Witness(instrument, bars)
    engine.add_strategy(witness)
    node.run()
    node.dispose()
    four_hours = 4 * 3_600_000_000_000
    assert [of.ts_event % four_hours for of in witness.levels] == [0] * 11
