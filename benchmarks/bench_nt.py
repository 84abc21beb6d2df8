"""Levels in Nautilus Trader: a month's backtest with them against the same without, how fast a catalogue is filled,
and how long an event takes to a live strategy against how long to a bare reader of the same stream.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from nautilus_trader.backtest.config import BacktestEngineConfig
from nautilus_trader.backtest.engine import BacktestEngine
from nautilus_trader.config import LiveExecEngineConfig, LoggingConfig, TradingNodeConfig
from nautilus_trader.core.data import Data
from nautilus_trader.live.node import TradingNode
from nautilus_trader.model.data import Bar, BarType, DataType
from nautilus_trader.model.enums import AccountType, OmsType
from nautilus_trader.model.identifiers import ClientId, InstrumentId, TraderId, Venue
from nautilus_trader.model.instruments import CryptoPerpetual
from nautilus_trader.model.objects import Currency, Money
from nautilus_trader.persistence.catalog import ParquetDataCatalog
from nautilus_trader.trading.config import StrategyConfig
from nautilus_trader.trading.strategy import Strategy

import liqclient
from benchmarks.bench_live import PUBLISH, TICK, Market, _drain, _serving
from benchmarks.rows import Row, row
from liqclient.nt import (
    CLIENT_ID,
    LevelsQuery,
    LiqServerDataClientConfig,
    LiqServerLiveDataClientFactory,
    LiquidationActor,
    LiquidationActorConfig,
    LiquidationLevels,
    add_levels,
    export_levels,
    market_files,
    perpetual,
    read_market,
    replay_levels,
)
from liqserver.rpc.server import EmbeddedServer
from liqserver.simulate.archive import write_archive
from liqserver.simulate.config import SimulationConfig
from liqserver.store.database import Database
from liqserver.store.ingest import ingest

DAYS = 30
REPEATS = 5
GOAL = 1.2
# Events that live readers are measured with, and seconds from one to the next.
TICKS = 1_000
PACE = 0.02
INSTRUMENT = "BTCUSDT-PERP.BINANCE"


class Reader(Strategy):
    """Takes bars and levels and does next to nothing with them: what is left is the cost of delivery."""

    def __init__(self, instrument_id: InstrumentId, bar_type: BarType) -> None:
        super().__init__(StrategyConfig())
        self.instrument_id, self.bar_type = instrument_id, bar_type
        self.bars = self.levels = 0

    def on_start(self) -> None:
        """Subscribe."""
        self.subscribe_bars(self.bar_type)
        self.subscribe_data(DataType(LiquidationLevels), instrument_id=self.instrument_id)

    def on_bar(self, bar: Bar) -> None:
        """Count."""
        self.bars += 1

    def on_data(self, data: Data) -> None:
        """Count."""
        self.levels += 1

    def on_stop(self) -> None:
        """Nothing is open."""


def run() -> list[Row]:
    """Measure on a simulated market."""
    warnings.filterwarnings("ignore", message="Timestamp.utcnow is deprecated")
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        market, database = Path(folder, "market"), Path(folder, "bench.duckdb")
        write_archive(SimulationConfig(days=DAYS, seed=1, trades_per_day=20_000), market)
        with Database(database) as db:
            ingest(db, [market])
        files = [of for of in market_files(market, "BTCUSDT") if of.kind == "klines"]
        instrument = perpetual("BTCUSDT", "BINANCE", tick_size="0.1", step_size="0.001")
        # The book begins with the first row of open interest.
        bars = [bar for part in read_market(files, instrument) for bar in part][60:]
        with EmbeddedServer(database) as server, liqclient.Client(server.target, timeout=120) as client:
            return [
                *_exports(client, instrument, Path(folder)),
                *_backtests(client, server.target, instrument, bars, Path(folder)),
                *_live(Path(folder)),
            ]


class Listener(Strategy):
    """Notes when levels as of which moment came."""

    def __init__(self) -> None:
        super().__init__(StrategyConfig())
        self.seen: dict[int, int] = {}

    def on_start(self) -> None:
        """Subscribe."""
        self.subscribe_data(
            DataType(LiquidationLevels),
            client_id=ClientId(CLIENT_ID),
            instrument_id=InstrumentId.from_str(INSTRUMENT),
        )

    def on_data(self, data: Data) -> None:
        """Note the first of each moment; say when there is something to begin with."""
        if not self.seen:
            print("ready", flush=True)
        self.seen.setdefault(data.ts_event, time.time_ns())

    def on_stop(self) -> None:
        """Nothing is open."""


def _node(target: str) -> None:
    """Listen by a live node until the pipe closes, then print what was noted."""
    node = TradingNode(
        TradingNodeConfig(
            trader_id=TraderId("BENCH-001"),
            logging=LoggingConfig(log_level="ERROR"),
            exec_engine=LiveExecEngineConfig(reconciliation=False),
            data_clients={CLIENT_ID: LiqServerDataClientConfig(target=target, max_rate=None)},
            timeout_post_stop=0.1,
        )
    )
    node.add_data_client_factory(CLIENT_ID, LiqServerLiveDataClientFactory)
    listener = Listener()
    node.trader.add_strategy(listener)
    node.build()
    loop = node.get_event_loop()

    def wait() -> None:
        sys.stdin.read()
        loop.call_soon_threadsafe(lambda: loop.create_task(node.stop_async()))

    threading.Thread(target=wait, daemon=True).start()
    node.run()
    print(json.dumps(list(listener.seen.items())), flush=True)
    node.dispose()


async def _reader(target: str) -> None:
    """Listen by the bare stream of a client until the pipe closes, then print what was noted."""
    seen: dict[int, int] = {}
    closed = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    async with liqclient.AsyncClient(target) as client:

        async def listen() -> None:
            async for update in client.stream("BTCUSDT", price_range=0.2):
                if update.kind != "heartbeat":
                    if not seen:
                        print("ready", flush=True)
                    seen.setdefault(update.book.levels().provenance.as_of, time.time_ns())

        listening = asyncio.create_task(listen())
        await closed
        listening.cancel()
    print(json.dumps(list(seen.items())), flush=True)


async def _tick(target: str) -> dict[int, int]:
    """Publish one trade and one mark price again and again; return when each was sent by its moment."""
    market = Market(target)
    sent: dict[int, int] = {}
    async with liqclient.AsyncClient(target) as client:
        call: Any = client._linked().channel.stream_stream(PUBLISH)()
        drained = asyncio.create_task(_drain(call))
        for _ in range(TICKS + TICKS // 10):
            batch = market.batch(1, 1, TICK)
            sent[market.now] = time.time_ns()
            await call.write(batch)
            await asyncio.sleep(PACE)
        await call.done_writing()
        await drained
    return sent


def _live(folder: Path) -> list[Row]:
    """Measure a live strategy and a bare reader by the same events; servers and readers in processes of their own."""
    market, database = folder / "live", folder / "live.duckdb"
    write_archive(SimulationConfig(days=2, seed=1), market)
    with Database(database) as db:
        ingest(db, [market])
    with _serving(database) as (target, _):
        readers = {
            role: subprocess.Popen(
                [sys.executable, "-m", "benchmarks.bench_nt", role, target],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            for role in ("node", "reader")
        }
        for reader in readers.values():
            while (line := reader.stdout.readline()) != "ready\n":
                assert line, "a reader did not start"
        sent = asyncio.run(_tick(target))
        time.sleep(0.5)
        seen = {}
        for role, reader in readers.items():
            told, _ = reader.communicate("")
            lines = [line for line in told.splitlines() if line.startswith("[[")]
            seen[role] = dict(json.loads(lines[-1]))
    moments = [ts for ts in list(sent)[TICKS // 10 :] if ts in seen["node"] and ts in seen["reader"]]
    rows = []
    for percentile in (50, 99):
        value, floor = (
            float(np.percentile([(seen[role][ts] - sent[ts]) / 1e6 for ts in moments], percentile))
            for role in ("node", "reader")
        )
        name = f"nt live: a trade and a mark price in, levels at on_data, p{percentile}, floor: at a stream's reader"
        rows.append(row(name, "ms", value, floor, goal=None, n=len(moments)))
    return rows


def _exports(client: liqclient.Client, instrument: CryptoPerpetual, folder: Path) -> list[Row]:
    rows = []
    for every in ("1h", "1m"):
        query = LevelsQuery(instrument_id=str(instrument.id), every=every)
        began = time.perf_counter()
        bins = [len(of.prices) for of in replay_levels(client, query)]
        floor = len(bins) / (time.perf_counter() - began)
        catalog = ParquetDataCatalog(str(folder / every))
        began = time.perf_counter()
        written = export_levels(catalog, client, query)
        value = written / (time.perf_counter() - began)
        assert written == len(bins)
        name = f"nt export of levels every {every} of {np.mean(bins):.0f} bins, floor: reading them"
        rows.append(row(name, "levels/s", value, floor, goal=None, n=written, higher_is_better=True))
        began = time.perf_counter()
        assert len(catalog.query(LiquidationLevels)) == written
        value = written / (time.perf_counter() - began)
        name = f"nt catalogue read of levels every {every}, floor: exporting them"
        rows.append(row(name, "levels/s", value, rows[-1]["value"], goal=None, n=written, higher_is_better=True))
    return rows


def _backtests(
    client: liqclient.Client, target: str, instrument: CryptoPerpetual, bars: list[Bar], folder: Path
) -> list[Row]:
    ways: dict[str, Callable[[BacktestEngine], object]] = {"without": lambda engine: None}
    for every in ("1h", "1m"):
        query = LevelsQuery(instrument_id=str(instrument.id), every=every)
        levels = ParquetDataCatalog(str(folder / every)).query(LiquidationLevels)

        def loaded(engine: BacktestEngine, levels: list[Data] = levels) -> None:
            engine.add_data(levels, client_id=ClientId(CLIENT_ID))

        def replayed(engine: BacktestEngine, query: LevelsQuery = query) -> None:
            add_levels(engine, client, query)

        ways |= {
            f"levels every {every}, of a catalogue": loaded,
            f"levels every {every}, replayed by a server": replayed,
        }

    def asked(engine: BacktestEngine) -> None:
        config = LiquidationActorConfig(instrument_ids=(instrument.id,), target=target, every="1h")
        engine.add_actor(LiquidationActor(config))

    ways["levels every 1h, asked by an actor"] = asked
    took: dict[str, list[float]] = {name: [] for name in ways}
    seen: dict[str, int] = {}
    for repeat in range(REPEATS):
        for name, add in ways.items():
            # A server works for a minute on a month of minutes: once is enough there.
            if repeat and "1m, replayed" in name:
                continue
            seconds, seen[name] = _once(instrument, bars, add)
            took[name].append(seconds)
    # The fastest run is the one that was disturbed least.
    floor = min(took.pop("without"))
    return [
        row(
            f"nt backtest of {len(bars)} bars, {name}",
            "s",
            min(seconds),
            floor,
            goal=GOAL if "1h, of a catalogue" in name else None,
            n=seen[name],
        )
        for name, seconds in took.items()
    ]


def _once(instrument: CryptoPerpetual, bars: list[Bar], add: Callable[[BacktestEngine], object]) -> tuple[float, int]:
    """Return seconds that the engine ran, with all data in memory before, and the number of levels delivered."""
    engine = BacktestEngine(BacktestEngineConfig(logging=LoggingConfig(bypass_logging=True)))
    quote = Currency.from_str("USDT")
    engine.add_venue(
        venue=Venue("BINANCE"),
        oms_type=OmsType.NETTING,
        account_type=AccountType.MARGIN,
        starting_balances=[Money(1_000_000, quote)],
        base_currency=quote,
    )
    engine.add_instrument(instrument)
    engine.add_data(bars)
    add(engine)
    reader = Reader(instrument.id, bars[0].bar_type)
    engine.add_strategy(reader)
    gc.collect()
    began = time.perf_counter()
    engine.run()
    seconds = time.perf_counter() - began
    engine.dispose()
    assert reader.bars == len(bars)
    return seconds, reader.levels


if __name__ == "__main__":
    role, address = sys.argv[1:]
    if role == "node":
        _node(address)
    else:
        import uvloop

        uvloop.run(_reader(address))
