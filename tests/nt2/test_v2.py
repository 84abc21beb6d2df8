"""The experimental binding to version 2, with real nodes and real servers; `make test-nt2` has what it needs."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

if not version("nautilus_trader").startswith("2."):
    pytest.skip("needs Nautilus Trader 2: make test-nt2", allow_module_level=True)

import liqclient
from liqclient.nt.v2 import LiqServerDataClientConfig, LiquidationAlert, LiquidationLevels, levels_of
from tests.nt.processes import MINUTE, SECOND, Flow, Process, ServerProcess, flowing, price_at


class Node(Process):
    """A live node; see ``tests.nt2.node``."""

    def __init__(self, **config: Any) -> None:
        super().__init__("-m", "tests.nt2.node", json.dumps(config))
        self.until(lambda: [of for of in self.told if of["what"] == "started"], 60)

    def given(self, what: str = "data") -> list[dict[str, Any]]:
        """Return what the spectator was given so far."""
        return [of for of in self.told if of["what"] == what]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with flowing(tmp_path_factory.mktemp("live") / "live.duckdb") as running:
        yield running


def test_levels_come_until_they_are_left(server: ServerProcess) -> None:
    with Node(target=server.target) as node:
        node.say(what="subscribe")
        node.until(lambda: len(node.given()) > 10)
        for of in node.given():
            assert (of["type"], of["of"]) == ("LiquidationLevels", "BTCUSDT-PERP.BINANCE")
            assert of["ts_event"] < of["ts_init"] <= of["now"]
            assert of["price"] == price_at(of["ts_event"])
        node.say(what="unsubscribe")
        node.until(lambda: [of for of in node.told if of["what"] == "unsubscribe done"])
        time.sleep(0.5)
        left = len(node.given())
        time.sleep(1)
        assert len(node.given()) == left
        assert node.finish() == 0


def test_server_killed_and_started_again_goes_on_and_the_gap_is_told(tmp_path: Path) -> None:
    database, start = tmp_path / "live.duckdb", (time.time_ns() // MINUTE - 5) * MINUTE
    with ServerProcess(database) as first, Flow(first.target, start), Node(target=first.target) as node:
        node.say(what="subscribe")
        node.until(lambda: len(node.given()) > 5)
        first.kill()
        node.until(lambda: "do not come, trying again" in node.text)
        before = len(node.given())
        with ServerProcess(database, first.port):
            node.until(lambda: len(node.given()) > before + 10, 60)
            assert "come again after" in node.text
    times = [of["ts_event"] for of in node.given()]
    assert times == sorted(times)


def test_history_is_requested(server: ServerProcess) -> None:
    with liqclient.Client(server.target) as client:
        begin = client.levels("BTCUSDT").provenance.history_start
    assert begin is not None
    first = (begin // MINUTE + 2) * MINUTE
    start, end = (liqclient._times.to_datetime(ts).isoformat() for ts in (first, first + 3 * MINUTE))
    with Node(target=server.target) as node:
        node.say(what="request", start=start, end=end, params={"every": "1m"})
        node.until(lambda: len(node.given("historical")) == 3)
        assert [of["ts_event"] for of in node.given("historical")] == [first + n * MINUTE for n in range(3)]
        assert {of["ts_init"] - of["ts_event"] for of in node.given("historical")} == {1}


def test_alerts_come_by_rules(server: ServerProcess) -> None:
    rules = [{"name": "near", "near_cluster": {"distance": 0.19}}]
    with Node(target=server.target, alert_rules=rules) as node:
        node.say(what="subscribe", type="alerts")
        node.until(node.given)
        assert {(of["type"], of["rule"]) for of in node.given()} == {("LiquidationAlert", "near")}


def test_types_survive_json_and_arrow(server: ServerProcess) -> None:
    with liqclient.Client(server.target) as client:
        answer = client.levels("BTCUSDT", price_range=0.2)
    levels = LiquidationLevels.from_levels(
        answer, "BTCUSDT-PERP.BINANCE", price_range=(0.2, 0.2), ts_init=answer.provenance.as_of + SECOND
    )
    assert LiquidationLevels.from_json(json.loads(levels.to_json())) == levels
    batch = levels.encode_record_batch_py([levels, levels])
    assert LiquidationLevels.decode_record_batch_py({}, batch) == [levels, levels]
    assert LiquidationAlert.type_name_static() == "LiquidationAlert"
    assert levels_of(levels.instrument_id).metadata == {"instrument_id": "BTCUSDT-PERP.BINANCE"}


def test_configuration_names_what_to_ask_for() -> None:
    config = LiqServerDataClientConfig(symbols={"BTC-USD.HL": "BTC"}, every="5m")
    assert config.query("BTC-USD.HL").symbol == "BTC"
    with pytest.raises(ValueError, match="every must be at least 60 s"):
        LiqServerDataClientConfig(every="1s").query("A.B")
