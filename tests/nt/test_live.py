"""The data client in live nodes, with real nodes and real servers: every process dies and comes back as it would."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from nautilus_trader.test_kit.stubs.component import TestComponentStubs

import liqclient
from liqclient.nt import LiqServerDataClientConfig, LiqServerLiveDataClientFactory
from tests.client.proxy import proxied
from tests.nt.processes import MINUTE, SECOND, SYMBOL, Flow, Node, Process, ServerProcess, flowing, market, price_at

OTHER = "ETHUSDT"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server of two symbols of a market that happens now."""
    with flowing(tmp_path_factory.mktemp("live") / "live.duckdb", symbols=(SYMBOL, OTHER)) as running:
        yield running


def clients(target: str, **config: Any) -> dict[str, dict[str, Any]]:
    return {"LIQSERVER": {"target": target} | config}


def test_levels_come_as_the_market_moves_and_are_those_of_the_server(server: ServerProcess) -> None:
    asked: dict[int, liqclient.Levels] = {}
    with (
        Node(clients=clients(server.target, bin_size=100.0, price_range=(0.1, 0.05), max_rate=None)) as node,
        liqclient.Client(server.target) as client,
    ):
        node.say(who="one", what="subscribe")
        node.until(lambda: node.given())
        for _ in range(40):
            levels = client.levels(SYMBOL, bin_size=100.0, price_range=(0.1, 0.05))
            asked[levels.provenance.as_of] = levels
            time.sleep(0.05)
        node.until(lambda: node.given()[-1]["ts_event"] >= max(asked))
        given = node.given()
        assert node.finish() == 0
    for one, other in pairwise(given):
        assert one["ts_event"] <= other["ts_event"]
        assert one["ts_init"] < other["ts_init"]
    for of in given:
        assert of["ts_event"] < of["ts_init"] <= of["now"]
        assert of["price"] == price_at(of["ts_event"])
        # Batches come every tenth of a second.
        assert of["ts_init"] - of["ts_event"] < 5 * SECOND
    both = {of["ts_event"] for of in given} & asked.keys()
    assert len(both) > 3
    for of in given:
        if (answer := asked.get(of["ts_event"])) is not None:
            assert of["long"] == pytest.approx(answer.long.sum(), rel=1e-12)
            assert of["short"] == pytest.approx(answer.short.sum(), rel=1e-12)
    assert "config.bin_size=100.0" in node.text
    assert "ERROR" not in node.text


def test_rate_is_bounded(server: ServerProcess) -> None:
    with Node(clients=clients(server.target, max_rate=2.0)) as node:
        node.say(who="one", what="subscribe")
        node.until(lambda: len(node.given()) >= 5)
        first, *_, last = node.given()[:5]
    assert last["ts_init"] - first["ts_init"] > 1.8 * SECOND


def test_two_share_a_stream_and_one_goes_on_when_the_other_leaves(server: ServerProcess) -> None:
    with Node(clients=clients(server.target), spectators=["one", "two"]) as node:
        node.say(who="one", what="subscribe")
        node.say(who="two", what="subscribe")
        node.until(lambda: len(node.given("two")) > 3)
        node.say(who="one", what="unsubscribe")
        node.until(lambda: "goes on for other subscribers" in node.text)
        left, others = len(node.given("one")), len(node.given("two"))
        node.until(lambda: len(node.given("two")) > others + 10)
        assert len(node.given("one")) <= left + 1
        # The last one ends it, and it can begin again.
        node.say(who="two", what="unsubscribe")
        node.until(lambda: node.text.count("Unsubscribed LiquidationLevels") == 2)
        left = len(node.given("two"))
        time.sleep(1)
        assert len(node.given("two")) <= left + 1
        node.say(who="one", what="subscribe")
        before = len(node.given("one"))
        node.until(lambda: len(node.given("one")) > before + 3)
        given = {who: [of["ts_event"] for of in node.given(who)] for who in ("one", "two")}
        assert node.finish() == 0
    # Nobody was given anything twice by the other's subscription.
    for times in given.values():
        assert len(times) == len(set(times))


def test_instruments_are_told_apart_and_each_can_be_left(server: ServerProcess) -> None:
    with Node(clients=clients(server.target, symbols={"ETH-PERP.ELSEWHERE": OTHER}, venue="BINANCE")) as node:
        node.say(who="one", what="subscribe")
        node.say(who="one", what="subscribe", of="ETH-PERP.ELSEWHERE")
        names = {"BTCUSDT-PERP.BINANCE", "ETH-PERP.ELSEWHERE"}
        node.until(lambda: {of["of"] for of in node.given()} == names)
        node.say(who="one", what="unsubscribe")
        node.until(lambda: "Unsubscribed LiquidationLevels" in node.text)
        before = len(node.given())
        node.until(lambda: len(node.given()) > before + 10)
        assert {of["of"] for of in node.given()[before + 2 :]} == {"ETH-PERP.ELSEWHERE"}


def test_server_killed_and_started_again_goes_on_and_the_gap_is_told(tmp_path: Path) -> None:
    database, start = tmp_path / "live.duckdb", (time.time_ns() // MINUTE - 5) * MINUTE
    with ServerProcess(database) as first, Flow(first.target, start), Node(clients=clients(first.target)) as node:
        node.say(who="one", what="subscribe")
        node.until(lambda: len(node.given()) > 5)
        first.kill()
        node.until(lambda: "do not come, trying again" in node.text)
        before = len(node.given())
        time.sleep(1)
        with ServerProcess(database, first.port):
            node.until(lambda: len(node.given()) > before + 10, 60)
            assert "come again after" in node.text
            assert "the server began anew" in node.text or "the server is at an earlier moment" in node.text
            assert node.states()[-2:] == ["RESUMING", "RUNNING"]
            assert "DEGRADED" in node.states()
            assert node.finish() == 0
    given = node.given()
    times = [of["ts_event"] for of in given]
    assert times == sorted(times), "levels must not go back to what the server had stored before it was killed"
    assert max(b - a for a, b in pairwise(times)) > SECOND
    assert "Traceback" not in node.text


def test_connection_that_is_cut_misses_nothing(server: ServerProcess) -> None:
    with proxied(server.target) as proxy, Node(clients=clients(proxy.target)) as node:
        node.say(who="one", what="subscribe")
        node.until(lambda: len(node.given()) > 5)
        proxy.cut()
        node.until(lambda: "come again after" in node.text)
        before = len(node.given())
        node.until(lambda: len(node.given()) > before + 5)
        assert "nothing is missing" in node.text


def test_server_that_says_nothing_is_told_and_nothing_waits_for_it(server: ServerProcess) -> None:
    with proxied(server.target) as proxy, Node(clients=clients(proxy.target)) as node:
        node.say(who="one", what="subscribe")
        node.until(lambda: len(node.given()) > 5)
        proxy.stall()
        node.until(lambda: "nothing was heard of the server for 3 s" in node.text)
        # The node answers in between.
        asked = time.monotonic()
        node.say(who="one", what="subscribe", of="ETHUSDT-PERP.BINANCE")
        node.until(lambda: node.text.count('"subscribe done"') == 2)
        assert time.monotonic() - asked < 1
        proxy.flow()
        before = len(node.given())
        node.until(lambda: len(node.given()) > before + 5)


def test_node_runs_without_a_server_and_levels_come_when_there_is_one(tmp_path: Path, unused_port: int) -> None:
    with Node(clients=clients(f"127.0.0.1:{unused_port}")) as node:
        assert "no levels yet: no liqserver reached at" in node.text
        node.say(who="one", what="subscribe")
        node.until(lambda: "levels of BTCUSDT-PERP.BINANCE do not come, trying again" in node.text)
        with ServerProcess(tmp_path / "live.duckdb", unused_port) as server:
            # A symbol that is not known yet may be one day.
            node.until(lambda: "is not known" in node.text)
            with Flow(server.target, (time.time_ns() // MINUTE - 5) * MINUTE):
                node.until(lambda: node.given())
    assert "come again after" in node.text
    assert "they begin" in node.text


def test_old_data_are_told(market_server: str) -> None:
    with Node(clients=clients(market_server)) as node:
        node.say(who="one", what="subscribe")
        node.until(lambda: "are of old data: an input they need is" in node.text)
        node.until(lambda: node.states()[-1] == "DEGRADED")
        [levels] = node.given()
        # A node ends in order though its data are old.
        assert node.finish() == 0
        assert "ERROR" not in node.text
    assert levels["ts_event"] == 1_756_857_600_000_000_000


def test_history_is_requested(market_server: str, client: liqclient.Client) -> None:
    with Node(clients=clients(market_server)) as node:
        day = {"start": "2025-09-02T00:00", "end": "2025-09-02T12:00"}
        node.say(who="one", what="request", **day)
        node.until(lambda: node.given(what="answered"))
        hourly = node.given(what="historical")
        # Levels as of noon are available a nanosecond after it.
        hour = 60 * MINUTE
        assert [of["ts_event"] for of in hourly] == [1_756_771_200_000_000_000 + n * hour for n in range(12)]
        assert {of["ts_init"] - of["ts_event"] for of in hourly} == {1}
        for of in hourly[::5]:
            assert of["long"] == client.levels(SYMBOL, as_of=of["ts_event"], price_range=0.2).long.sum()
        node.say(who="one", what="request", limit=3, params={"every": "15m"}, **day)
        node.until(lambda: len(node.given(what="answered")) == 2)
        quarters = node.given(what="historical")[12:]
        assert [of["ts_event"] for of in quarters] == [hourly[-1]["ts_event"] + n * hour // 4 for n in (1, 2, 3)]
        node.say(who="one", what="request", start="2020-01-01T00:00", end="2020-01-02T00:00")
        node.until(lambda: "Cannot request LiquidationLevels of BTCUSDT-PERP.BINANCE: " in node.text)
        assert "2025-09-01" in node.text.rpartition("Cannot request")[2]
        node.say(who="one", what="request", params={"every": "soon"}, **day)
        node.until(lambda: "every must be a whole number and one of s, m, h, d, w" in node.text)
        assert not node.given()


def test_alerts_come_by_rules(server: ServerProcess) -> None:
    rules = [
        {"name": "near", "near_cluster": {"distance": 0.19}},
        {"name": "late", "stale_data": {"age": "1s"}, "cooldown": "1m"},
    ]
    with Node(clients=clients(server.target, alert_rules=rules)) as node:
        node.say(who="one", what="subscribe", type="alerts")
        node.until(lambda: {of["rule"] for of in node.given()} == {"near", "late"})
        for of in node.given():
            assert (of["type"], of["of"]) == ("LiquidationAlert", "BTCUSDT-PERP.BINANCE")
            assert of["ts_event"] < of["ts_init"]
        assert {of["kind"] for of in node.given() if of["rule"] == "late"} == {"stale"}


def test_alerts_go_on_after_a_break_and_say_what_is_not_told(server: ServerProcess) -> None:
    rules = [{"name": "near", "near_cluster": {"distance": 0.19}}]
    with proxied(server.target) as proxy, Node(clients=clients(proxy.target, alert_rules=rules)) as node:
        node.say(who="one", what="subscribe", type="alerts")
        before = len(node.until(lambda: node.given()))
        proxy.cut()
        node.until(lambda: "what happened in between is not told" in node.text)
        node.until(lambda: len(node.given()) > before)


def test_subscription_that_nothing_can_come_of_is_an_error(server: ServerProcess) -> None:
    with Node(clients=clients(server.target)) as node:
        for order, message in (
            ({"of": ""}, "`instrument_id` must name an instrument, was None"),
            ({"type": "alerts"}, "the client's configuration has no `alert_rules`"),
            ({"metadata": {"of": "mine"}}, "the data type must have no metadata"),
        ):
            node.say(who="one", what="subscribe", **order)
            node.until(lambda message=message: message in node.text)
        assert node.text.count("Cannot subscribe to Liquidation") == 3
        # What was refused can be subscribed to as it should be.
        node.say(who="one", what="subscribe")
        node.until(lambda: node.given())


def test_what_the_server_refuses_for_good_is_an_error_and_ends_it(server: ServerProcess) -> None:
    with Node(clients=clients(server.target, model="no_such_model", parameters={"kappa": 7.0})) as node:
        node.say(who="one", what="subscribe")
        node.until(lambda: "levels of BTCUSDT-PERP.BINANCE" in node.text)
        node.until(lambda: "no_such_model" in node.text.rpartition("levels of")[2])
    with Node(clients=clients(server.target, parameters={"kappa": 7.0})) as node:
        node.say(who="one", what="subscribe")
        node.until(lambda: "levels of BTCUSDT-PERP.BINANCE are refused" in node.text)
        assert "kappa" in node.text.rpartition("are refused")[2]
        assert node.states()[-1] == "DEGRADED"


def test_token_lets_a_node_in_and_stays_out_of_the_log(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("node read s3cret-of-the-node\nfeed read,publish s3cret-of-the-feed\n")
    tokens.chmod(0o600)
    with (
        ServerProcess(tmp_path / "live.duckdb", 0, "--tokens", str(tokens)) as server,
        Node(clients=clients(server.target, token="s3cret-of-the-node")) as node,
    ):
        node.say(who="one", what="subscribe")
        node.until(lambda: "is not known" in node.text)
        assert "token given" in node.text
        assert "s3cret" not in node.text
        # With another token the node does not connect, and says why.
        config = {"spectators": ["one"], "clients": clients(server.target, token="another-one-of-a-node")}
        with Process("-m", "tests.nt.node", json.dumps(config)) as refused:
            refused.until(lambda: "Unauthenticated" in refused.text)
            assert "Connected" not in refused.text


def test_encrypted_server_is_followed_by_who_knows_its_certificate(tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate with")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
    names = ("-subj", "/CN=server", "-addext", "subjectAltName=IP:127.0.0.1")
    command = ["openssl", "req", "-x509", *curve, *names, "-keyout", str(key), "-out", str(cert)]
    subprocess.run(command, check=True, capture_output=True)
    key.chmod(0o600)
    options = ("--tls-cert", str(cert), "--tls-key", str(key))
    with ServerProcess(tmp_path / "live.duckdb", 0, *options) as server:
        with liqclient.Client(server.target, tls=str(cert)) as client:
            now = time.time_ns()
            list(client.publish([market(now - 5 * MINUTE, now)]))
        with Node(clients=clients(server.target, tls=str(cert))) as node:
            node.say(who="one", what="subscribe")
            node.until(lambda: node.given())
        with Node(clients=clients(server.target)) as stranger:
            assert "no levels yet: no liqserver reached at" in stranger.text


def create(**config: Any) -> object:
    loop = asyncio.new_event_loop()
    try:
        return LiqServerLiveDataClientFactory.create(
            loop=loop,
            name="LIQSERVER",
            config=LiqServerDataClientConfig(**config),
            msgbus=TestComponentStubs.msgbus(),
            cache=TestComponentStubs.cache(),
            clock=TestComponentStubs.clock(),
        )
    finally:
        loop.close()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"max_rate": 0.0}, "max_rate must be above 0 and finite, or None, was 0.0"),
        ({"min_change": 1.5}, "min_change must be 0 to 1, was 1.5"),
        ({"heartbeat": "2h"}, "heartbeat must be 100 ms to 1 minute, was '2h'"),
        ({"heartbeat": "often"}, "heartbeat must be a whole number and one of s, m, h, d, w"),
        ({"stale_after": 0}, "stale_after must be above 0, was 0"),
        ({"every": "30s"}, "every must be at least 60 s, was 30 s"),
        ({"delay_ns": 0}, "delay must be at least a nanosecond, was 0"),
        ({"target": ""}, "target must be an address"),
        ({"target": "levels.lan:50051", "token": "abc"}, "token would go to levels.lan:50051 unencrypted"),
        ({"timeout": 0.0}, "timeout must be positive, was 0"),
        ({"alert_rules": ({"name": "x"},)}, r"alert_rules\[0\] must have a name and one of near_cluster, "),
        ({"alert_rules": ({"name": "x", "far": {}},)}, r"alert_rules\[0\] has 'far'"),
        ({"alert_rules": ({"name": "x", "near_cluster": {"size": 1}},)}, r"alert_rules\[0\].near_cluster was "),
        (
            {"alert_rules": ({"name": "x", "stale_data": {"age": "late"}},)},
            r"rules\[0\].age must be a whole number",
        ),
        ({"parameters": {"lookback": "long"}}, "lookback must be a whole number"),
    ],
)
def test_configuration_that_makes_no_sense_is_refused_before_the_node_runs(
    config: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        create(**config)


def test_configuration_with_unknown_parameters_or_without_its_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="gamma"):
        create(parameters={"gamma": 1.0})
    with pytest.raises(FileNotFoundError):
        create(tls=str(tmp_path / "none.pem"))


def test_configuration_survives_json() -> None:
    config = LiqServerDataClientConfig(
        target="levels.lan:443",
        tls=True,
        symbols={"BTC-USD.HL": "BTC"},
        parameters={"kappa": 0.25},
        price_range=(0.1, 0.05),
        max_rate=None,
        heartbeat=500_000_000,
        alert_rules=({"name": "near", "near_cluster": {"distance": 0.01}, "cooldown": "5m"},),
    )
    again = LiqServerDataClientConfig.parse(config.json())
    assert again == config
    assert again.query("BTC-USD.HL").symbol == "BTC"
    assert again.rules() == [liqclient.AlertRule("near", liqclient.NearCluster(distance=0.01), "5m")]
