"""The actor's configuration, and where it refuses to run."""

from __future__ import annotations

import json
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

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

import liqclient
from liqclient.nt import LevelsQuery, LiquidationActor, LiquidationActorConfig
from tests.nt.engines import QUIET, Witness, engine_with
from tests.nt.processes import MINUTE, SECOND, Flow, Node, ServerProcess


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


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"max_rate": -1.0}, "max_rate must be above 0 and finite, or None, was -1.0"),
        ({"heartbeat": "1d"}, "heartbeat must be 100 ms to 1 minute, was '1d'"),
        ({"alert_rules": ({"near_cluster": {}},)}, r"alert_rules\[0\] must have a name"),
    ],
)
def test_what_no_node_could_follow_is_refused(
    config: dict[str, Any], message: str, instrument: CryptoPerpetual
) -> None:
    with pytest.raises(ValueError, match=message):
        LiquidationActor(LiquidationActorConfig(instrument_ids=(instrument.id,), **config))


CONFIG = {
    "instrument_ids": ["BTCUSDT-PERP.BINANCE"],
    "every": "1m",
    "bin_size": 100.0,
    "alert_rules": [{"name": "near", "near_cluster": {"distance": 0.19}}],
}


def test_live_node_publishes_the_first_levels_of_each_moment_and_alerts(tmp_path: Path) -> None:
    start = (time.time_ns() // MINUTE - 300) * MINUTE
    with (
        ServerProcess(tmp_path / "live.duckdb") as server,
        Flow(server.target, start, speed=60),
        Node(actor=CONFIG | {"target": server.target}, external=True) as node,
    ):
        # The subscription goes to no client: the actor publishes anyway.
        node.say(who="one", what="subscribe")
        node.say(who="one", what="subscribe", type="alerts")
        node.until(lambda: len([of for of in node.given() if of["type"] == "LiquidationLevels"]) >= 6)
        node.until(lambda: [of for of in node.given() if of["type"] == "LiquidationAlert"])
        assert node.finish() == 0
    levels = [of for of in node.given() if of["type"] == "LiquidationLevels"]
    minutes = [of["ts_event"] // MINUTE for of in levels]
    assert minutes == sorted(set(minutes))
    assert max(b - a for a, b in pairwise(minutes)) <= 2
    assert {of["bin_size"] for of in levels} == {100.0}
    assert "ERROR" not in node.text


def test_live_node_publishes_as_many_as_it_is_told_and_outlives_the_server(tmp_path: Path) -> None:
    database, start = tmp_path / "live.duckdb", (time.time_ns() // MINUTE - 5) * MINUTE
    with ServerProcess(database) as first, Flow(first.target, start):
        config = CONFIG | {"target": first.target, "max_rate": 5.0, "alert_rules": []}
        with Node(actor=config, external=True) as node:
            node.say(who="one", what="subscribe")
            node.until(lambda: len(node.given()) > 8)
            first.kill()
            node.until(lambda: "LiquidationActor: levels of BTCUSDT-PERP.BINANCE do not come" in node.text)
            before = len(node.given())
            with ServerProcess(database, first.port):
                node.until(lambda: len(node.given()) > before + 5, 60)
                assert "come again after" in node.text
    times = [of["ts_init"] for of in node.given()][:8]
    assert times[-1] - times[0] > 1.2 * SECOND


def test_the_same_configuration_runs_in_a_backtest(
    market_server: str, bars: list[Bar], instrument: CryptoPerpetual
) -> None:
    engine, witness = engine_with(instrument, bars[:30])
    config = LiquidationActorConfig.parse(json.dumps(CONFIG | {"target": market_server}))
    engine.add_actor(LiquidationActor(config))
    engine.run()
    engine.dispose()
    assert [of.ts_event for of in witness.levels] == [bar.ts_init for bar in bars[:29]]


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
