"""Every way that levels come into a backtest, with real engines and a real server: all give a strategy the same."""

from __future__ import annotations

from pathlib import Path

import pytest
from nautilus_trader.backtest.config import (
    BacktestDataConfig,
    BacktestEngineConfig,
    BacktestRunConfig,
    BacktestVenueConfig,
)
from nautilus_trader.backtest.node import BacktestNode
from nautilus_trader.model.data import Bar, CustomData, DataType
from nautilus_trader.model.identifiers import ClientId
from nautilus_trader.model.instruments import CryptoPerpetual
from nautilus_trader.persistence.catalog import ParquetDataCatalog
from nautilus_trader.persistence.config import DataCatalogConfig

import liqclient
from liqclient.nt import (
    CLIENT_ID,
    LevelsQuery,
    LiquidationActor,
    LiquidationActorConfig,
    LiquidationLevels,
    add_levels,
    levels_data_config,
    replay_levels,
)
from liqserver.rpc.server import EmbeddedServer
from tests.nt.engines import QUIET, Witness, engine_with

HOUR = 3_600_000_000_000

type Seen = list[tuple[int, int, str]]


@pytest.fixture(scope="module")
def replayed(client: liqclient.Client, query: LevelsQuery, bars: list[Bar], instrument: CryptoPerpetual) -> Seen:
    """What a strategy sees of a replay that the engine fetches as it goes."""
    engine, witness = engine_with(instrument, bars)
    add_levels(engine, client, query)
    engine.run()
    engine.dispose()
    return witness.seen


def test_replay_delivers_each_hour_once_when_it_is_available(
    replayed: Seen, client: liqclient.Client, query: LevelsQuery, bars: list[Bar]
) -> None:
    expected = list(replay_levels(client, query, start=bars[0].ts_init, end=bars[-1].ts_init))
    assert [json for _, _, json in replayed] == [levels.to_json() for levels in expected]
    assert [ts for ts, _, _ in replayed] == [levels.ts_init for levels in expected]
    # The first bar ends at 01:01, the last at midnight of the second day: the levels of midnight come after it.
    first = bars[0].ts_init // HOUR * HOUR + HOUR
    assert [levels.ts_event for levels in expected] == [*range(first, bars[-1].ts_init, HOUR)], (
        "levels of the last midnight are available a nanosecond after the last bar, when the backtest has ended"
    )
    # Sixty bars from one to the next; the bar that ends with the hour is known before the levels as of it.
    assert [count for _, count, _ in replayed] == [60 * (n + 1) for n in range(len(expected))]


def test_levels_added_as_a_list_are_delivered_the_same(
    replayed: Seen, client: liqclient.Client, query: LevelsQuery, bars: list[Bar], instrument: CryptoPerpetual
) -> None:
    engine, witness = engine_with(instrument, bars)
    levels = replay_levels(client, query, start=bars[0].ts_init, end=bars[-1].ts_init)
    data_type = DataType(LiquidationLevels)
    engine.add_data([CustomData(data_type, of) for of in levels], client_id=ClientId(CLIENT_ID))
    engine.run()
    engine.dispose()
    assert witness.seen == replayed


def test_actor_that_asks_the_server_as_time_goes_by_delivers_the_same(
    replayed: Seen, market_server: str, bars: list[Bar], instrument: CryptoPerpetual
) -> None:
    engine, witness = engine_with(instrument, bars)
    config = LiquidationActorConfig(instrument_ids=(instrument.id,), target=market_server, every="1h")
    engine.add_actor(LiquidationActor(config))
    engine.run()
    engine.dispose()
    assert witness.seen == replayed


@pytest.mark.parametrize("chunk_size", [None, 500])
def test_node_on_a_catalogue_delivers_the_same_without_a_server(
    replayed: Seen, catalog: ParquetDataCatalog, bars: list[Bar], instrument: CryptoPerpetual, chunk_size: int | None
) -> None:
    run = BacktestRunConfig(
        engine=BacktestEngineConfig(logging=QUIET),
        venues=[
            BacktestVenueConfig(
                name="BINANCE", oms_type="NETTING", account_type="MARGIN", starting_balances=["1000000 USDT"]
            )
        ],
        data=[
            BacktestDataConfig(
                catalog_path=catalog.path, data_cls=Bar, instrument_id=instrument.id, bar_spec="1-MINUTE-LAST"
            ),
            levels_data_config(catalog.path, instrument.id),
        ],
        chunk_size=chunk_size,
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
    assert witness.seen == replayed


def test_catalogue_of_an_engine_delivers_the_same_when_a_strategy_subscribes(
    replayed: Seen, catalog: ParquetDataCatalog, bars: list[Bar], instrument: CryptoPerpetual
) -> None:
    engine, witness = engine_with(instrument, bars, [DataCatalogConfig(path=catalog.path)])
    engine.run()
    engine.dispose()
    assert witness.seen == replayed


def test_delay_postpones_levels_the_same_in_replay_and_actor(
    client: liqclient.Client, market_server: str, bars: list[Bar], instrument: CryptoPerpetual
) -> None:
    delay = 90 * 1_000_000_000
    query = LevelsQuery(
        instrument_id=str(instrument.id), every="30m", delay=delay, bin_size=500, price_range=(0.1, 0.05)
    )
    engine, one = engine_with(instrument, bars[:300])
    add_levels(engine, client, query)
    engine.run()
    engine.dispose()
    engine, other = engine_with(instrument, bars[:300])
    config = LiquidationActorConfig(
        instrument_ids=(instrument.id,),
        target=market_server,
        every="30m",
        delay_ns=delay,
        bin_size=500,
        price_range=(0.1, 0.05),
    )
    engine.add_actor(LiquidationActor(config))
    engine.run()
    engine.dispose()
    assert one.seen == other.seen
    assert len(one.levels) == 10
    for levels in one.levels:
        assert levels.ts_event % (HOUR // 2) == 0
        assert levels.ts_init - levels.ts_event == delay
        assert levels.bin_size == 500
        assert levels.prices[0] >= 0.9 * levels.reference_price - 500
        assert levels.prices[-1] <= 1.05 * levels.reference_price


def test_two_actors_with_two_models_are_told_apart_by_model(
    market_server: str, bars: list[Bar], instrument: CryptoPerpetual
) -> None:
    engine, witness = engine_with(instrument, bars[:200])
    for model in ("position_book", "time_evolving"):
        config = LiquidationActorConfig(
            component_id=f"levels-{model}", instrument_ids=(instrument.id,), target=market_server, model=model
        )
        engine.add_actor(LiquidationActor(config))
    engine.run()
    engine.dispose()
    assert [levels.model for levels in witness.levels] == ["position_book", "time_evolving"] * 3


def test_parameters_of_an_actor_reach_the_model(
    client: liqclient.Client, market_server: str, bars: list[Bar], instrument: CryptoPerpetual
) -> None:
    engine, witness = engine_with(instrument, bars[:100])
    config = LiquidationActorConfig(
        instrument_ids=(instrument.id,),
        target=market_server,
        parameters={"kappa": 0.5, "tiers": [{"leverage": 10.0, "weight": 1.0}]},
    )
    engine.add_actor(LiquidationActor(config))
    engine.run()
    engine.dispose()
    chosen = liqclient.Parameters(kappa=0.5, tiers=[liqclient.LeverageTier(10.0, 1.0)])
    [levels] = witness.levels
    asked = client.levels("BTCUSDT", as_of=levels.ts_event, parameters=chosen)
    assert levels.parameters_hash == asked.provenance.parameters_hash
    assert levels.long.tolist() == asked.long.tolist()


def test_server_that_is_gone_ends_the_run_of_an_actor_with_its_error(
    bars: list[Bar], instrument: CryptoPerpetual, unused_port: int
) -> None:
    engine, witness = engine_with(instrument, bars[:100])
    config = LiquidationActorConfig(instrument_ids=(instrument.id,), target=f"127.0.0.1:{unused_port}")
    engine.add_actor(LiquidationActor(config))
    with pytest.raises(liqclient.Unavailable):
        engine.run()
    assert witness.levels == []


def test_server_that_is_gone_is_told_when_a_replay_is_added(
    query: LevelsQuery, bars: list[Bar], instrument: CryptoPerpetual, unused_port: int
) -> None:
    engine, _ = engine_with(instrument, bars[:100])
    with liqclient.Client(f"127.0.0.1:{unused_port}") as nobody, pytest.raises(liqclient.Unavailable):
        add_levels(engine, nobody, query)
    engine.dispose()


def test_replay_that_breaks_off_ends_the_run_with_its_error(
    market_db: Path, query: LevelsQuery, bars: list[Bar], instrument: CryptoPerpetual
) -> None:
    engine, witness = engine_with(instrument, bars)
    with EmbeddedServer(market_db) as server, liqclient.Client(server.target) as client:
        add_levels(engine, client, query)
    # Server and client are gone; what a connection had taken in before may still come.
    with pytest.raises((liqclient.LiqClientError, RuntimeError)):
        engine.run()
    assert len(witness.levels) < 40


def test_replay_needs_an_engine_that_has_data(
    client: liqclient.Client, query: LevelsQuery, instrument: CryptoPerpetual, bars: list[Bar]
) -> None:
    engine, _ = engine_with(instrument, bars)
    engine.clear_data()
    with pytest.raises(ValueError, match="must have its market data before levels are added"):
        add_levels(engine, client, query)
    engine.dispose()
