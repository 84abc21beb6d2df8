"""A live node of version 2 in a process of its own, told what to do in JSON, telling in JSON what it sees.

``python -m tests.nt2.node CONFIG``; its log goes to the same output, in lines that are no JSON.
"""

from __future__ import annotations

import datetime as dt
import json
import queue
import sys
import threading
from typing import Any

from nautilus_trader.common import DataActor, Environment
from nautilus_trader.live import LiveExecutionEngineConfig, LiveNode, LiveNodeConfig
from nautilus_trader.model import ClientId, TraderId

from liqclient.nt.v2 import (
    CLIENT_ID,
    LiqServerDataClientConfig,
    LiqServerDataClientFactory,
    LiquidationLevels,
    alerts_of,
    levels_of,
)

INSTRUMENT = "BTCUSDT-PERP.BINANCE"
TYPES = {"levels": levels_of, "alerts": alerts_of}
ORDERS: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()


def tell(**facts: Any) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


class Spectator(DataActor):
    """Subscribes when told to, and tells what it is given."""

    def on_start(self) -> None:
        self.clock.set_timer_ns("orders", 20_000_000, None, None, self.on_orders)
        tell(what="started")

    def on_orders(self, event: object) -> None:
        while not ORDERS.empty():
            order = ORDERS.get()
            what, data_type = order["what"], TYPES[order.get("type", "levels")](INSTRUMENT)
            if what == "request":
                start, end = (dt.datetime.fromisoformat(order[name]) for name in ("start", "end"))
                self.request_data(data_type, ClientId(CLIENT_ID), start, end, params=order.get("params"))
            else:
                getattr(self, f"{what}_data")(data_type, ClientId(CLIENT_ID))
            tell(what=f"{what} done")

    def on_data(self, data: Any) -> None:
        self._tell("data", data)

    def on_historical_data(self, data: Any) -> None:
        for of in data if isinstance(data, list) else [data]:
            self._tell("historical", of)

    def _tell(self, what: str, data: Any) -> None:
        of = getattr(data, "data", data)
        facts: dict[str, Any] = {"type": type(of).__name__, "ts_event": of.ts_event, "ts_init": of.ts_init}
        if isinstance(of, LiquidationLevels):
            facts |= {"price": of.reference_price, "long": float(of.long.sum()), "of": str(of.instrument_id)}
        else:
            facts |= {"rule": of.rule, "message": of.message}
        tell(what=what, now=self.clock.timestamp_ns(), **facts)


def main() -> None:
    given = json.loads(sys.argv[1])
    node = LiveNode.build(
        "TESTER",
        LiveNodeConfig(
            environment=Environment.LIVE,
            trader_id=TraderId("TESTER-001"),
            exec_engine=LiveExecutionEngineConfig(reconciliation=False),
            data_clients={CLIENT_ID: LiqServerDataClientConfig(**given)},
            delay_post_stop_secs=0.2,
        ),
        data_factories={CLIENT_ID: LiqServerDataClientFactory},
    )
    node.add_actor(Spectator())
    handle = node.handle()

    def read() -> None:
        for line in sys.stdin:
            ORDERS.put(json.loads(line))
        handle.stop()

    threading.Thread(target=read, daemon=True).start()
    node.run()


if __name__ == "__main__":
    main()
