"""A live node in a process of its own, told what to do by lines of JSON, telling by such lines what it sees.

``python -m tests.nt.node CONFIG``; its log goes to the same output, in lines that are no JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from typing import Any

import pandas as pd
from nautilus_trader.config import LiveDataEngineConfig, LiveExecEngineConfig, LoggingConfig, TradingNodeConfig
from nautilus_trader.core.data import Data
from nautilus_trader.live.node import TradingNode
from nautilus_trader.model.data import DataType
from nautilus_trader.model.identifiers import ClientId, InstrumentId, TraderId
from nautilus_trader.trading.config import StrategyConfig
from nautilus_trader.trading.strategy import Strategy

from liqclient.nt import (
    LiqServerDataClientConfig,
    LiqServerLiveDataClientFactory,
    LiquidationActor,
    LiquidationActorConfig,
    LiquidationAlert,
    LiquidationLevels,
)

TYPES = {"levels": LiquidationLevels, "alerts": LiquidationAlert}


def tell(**facts: Any) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


class Spectator(Strategy):
    """Subscribes when told to, and tells what it is given."""

    def __init__(self, name: str) -> None:
        super().__init__(StrategyConfig(strategy_id=f"{name}-000"))
        self.name = name

    def on_start(self) -> None:
        self.msgbus.subscribe("events.system.*", self.on_state)
        tell(who=self.name, what="started")

    def on_state(self, event: Any) -> None:
        if hasattr(event, "component_id"):
            tell(who=self.name, what="state", of=str(event.component_id), state=event.state.name)

    def on_data(self, data: Data) -> None:
        self._tell("data", data)

    def on_historical_data(self, data: Data) -> None:
        self._tell("historical", data)

    def on_stop(self) -> None:
        pass

    def do(self, what: str, type: str = "levels", of: str = "BTCUSDT-PERP.BINANCE", **more: Any) -> None:
        data_type = DataType(TYPES[type], metadata=more.pop("metadata", None))
        names: dict[str, Any] = {"client_id": ClientId(more.pop("client", "LIQSERVER"))}
        if of:
            names["instrument_id"] = InstrumentId.from_str(of)
        if what == "request":
            names |= {"start": pd.Timestamp(more.pop("start"), tz="UTC"), "callback": self.on_answer}
            if "end" in more:
                names["end"] = pd.Timestamp(more.pop("end"), tz="UTC")
        getattr(self, f"{what}_data")(data_type, **names, **more)
        tell(who=self.name, what=f"{what} done")

    def on_answer(self, request_id: object) -> None:
        tell(who=self.name, what="answered")

    def _tell(self, what: str, data: Data) -> None:
        facts = {"ts_event": data.ts_event, "ts_init": data.ts_init, "of": str(data.instrument_id)}
        if isinstance(data, LiquidationLevels):
            facts |= {
                "price": data.reference_price,
                "long": float(data.long.sum()),
                "short": float(data.short.sum()),
                "model": data.model,
                "bin_size": data.bin_size,
            }
        else:
            facts |= {"rule": data.rule, "kind": data.kind, "message": data.message}
        tell(who=self.name, what=what, type=type(data).__name__, now=self.clock.timestamp_ns(), **facts)


def main() -> None:
    config = json.loads(sys.argv[1])
    clients = {
        name: LiqServerDataClientConfig.parse(json.dumps(given)) for name, given in config.get("clients", {}).items()
    }
    external = [ClientId("LIQSERVER")] if config.get("external") else None
    node = TradingNode(
        TradingNodeConfig(
            trader_id=TraderId("TESTER-001"),
            logging=LoggingConfig(log_level="INFO", log_colors=False),
            data_clients=clients,
            data_engine=LiveDataEngineConfig(external_clients=external),
            exec_engine=LiveExecEngineConfig(reconciliation=False),
            timeout_connection=20,
            timeout_post_stop=0.5,
        )
    )
    for name in clients:
        node.add_data_client_factory(name, LiqServerLiveDataClientFactory)
    spectators = {name: Spectator(name) for name in config["spectators"]}
    for spectator in spectators.values():
        node.trader.add_strategy(spectator)
    if "actor" in config:
        node.trader.add_actor(LiquidationActor(LiquidationActorConfig.parse(json.dumps(config["actor"]))))
    node.build()
    loop = node.get_event_loop()
    assert loop is not None

    def follow(order: dict[str, Any] | None) -> None:
        if order is None:
            loop.create_task(node.stop_async())
        else:
            spectators[order.pop("who")].do(**order)

    def read() -> None:
        for line in sys.stdin:
            loop.call_soon_threadsafe(follow, json.loads(line))
        loop.call_soon_threadsafe(follow, None)

    async def run() -> None:
        threading.Thread(target=read, daemon=True).start()
        await node.run_async()

    try:
        loop.run_until_complete(run())
    finally:
        node.dispose()


if __name__ == "__main__":
    asyncio.set_event_loop(None)
    main()
