"""Streams of alerts: over gRPC from a server whose market changes, and against the engine with a reader in hand."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

import liqclient
from liqserver.live.alerts import (
    AlertKind,
    ClusterChange,
    LiquidationBurst,
    NearCluster,
    Rule,
    Watcher,
    first_look,
)
from liqserver.live.answers import LevelsAnswer, LevelsQuery
from liqserver.live.engine import LevelsEngine
from liqserver.live.errors import MissingInput, SlowReader, Stopping
from liqserver.live.observation import Observation, observe
from liqserver.models.parameters import Parameters, Tier
from liqserver.rpc.alerts import AlertStreams
from liqserver.rpc.errors import to_status
from liqserver.rpc.interceptor import AnswerInterceptor
from liqserver.rpc.server import Server
from liqserver.store.database import Database
from liqserver.store.ingest import ingest
from liqserver.store.markets import StoreMarkets
from liqserver.v1 import common_pb2, liquidation_pb2, liquidation_pb2_grpc
from tests.live.test_alerts import swinging
from tests.live.test_engine import Markets, market
from tests.rpc.owned import owned
from tests.rpc.test_admin import FIRST_DAY, SECOND_DAY, files

MS, SECOND, MINUTE, DAY = 10**6, 10**9, 60 * 10**9, 86_400 * 10**9
END_OF_FIRST_DAY = 1_756_771_200 * SECOND

RULES = [
    liqclient.AlertRule("near", liqclient.NearCluster(distance=0.004), "5m"),
    liqclient.AlertRule("change", liqclient.ClusterChange(growth=0.1, min_amount=50_000)),
    liqclient.AlertRule("burst", liqclient.LiquidationBurst(interval="1h", min_amount=100_000), "1h"),
]
SAME_RULES = [
    Rule("near", NearCluster(distance=0.004), 5 * MINUTE),
    Rule("change", ClusterChange(growth=0.1, min_amount=50_000)),
    Rule("burst", LiquidationBurst(interval=60 * MINUTE, min_amount=100_000), 60 * MINUTE),
]


@pytest.fixture
def first_day(market_archive: Path, tmp_path: Path) -> Path:
    """A database of the first of two simulated days."""
    path = tmp_path / "own.duckdb"
    with Database(path) as database:
        ingest(database, files(market_archive, FIRST_DAY))
    return path


def observed(path: Path, look: Any) -> Observation:
    with Database(path, read_only=True) as database:
        return observe(LevelsEngine(StoreMarkets(database)), look)


# --- over gRPC -------------------------------------------------------------------------------------------------


def test_alerts_of_a_server_that_takes_in_another_day_are_those_of_its_two_observations(
    first_day: Path, market_archive: Path, market_db: Path
) -> None:
    # One tier, so that clusters are where many entered, a hundredth away.
    query = LevelsQuery("BTCUSDT", down=0.05, up=0.05, bin_size=100.0, parameters=Parameters(tiers=(Tier(100.0, 1.0),)))
    look = first_look(query, SAME_RULES)
    watcher = Watcher(SAME_RULES)
    first = observed(first_day, look)
    second = observed(market_db, look.next(first))
    assert (first.as_of, second.as_of) == (END_OF_FIRST_DAY, END_OF_FIRST_DAY + DAY)
    expected = watcher.observe(first, 0) + watcher.observe(second, 0)
    # The second day sweeps what the first has built up.
    assert {of.kind for of in expected} >= {
        AlertKind.NEAR_CLUSTER,
        AlertKind.CLUSTER_FORMED,
        AlertKind.CLUSTER_SWEPT,
        AlertKind.LIQUIDATIONS,
    }
    at_once = Watcher(SAME_RULES).observe(first, 0)
    assert at_once

    with owned(first_day) as target, liqclient.Client(target) as client, liqclient.Client(target) as other:
        parameters = liqclient.Parameters(tiers=[liqclient.LeverageTier(100, 1)])
        watching = client.watch("BTCUSDT", RULES, price_range=0.05, bin_size=100, parameters=parameters)
        with closing(watching):
            at_first = [next(watching) for _ in at_once]
            list(other.ingest(files(market_archive, SECOND_DAY)))
            alerts = at_first + [next(watching) for _ in range(len(expected) - len(at_first))]
    assert [alert.sequence for alert in alerts] == list(range(1, len(expected) + 1))
    for alert, of in zip(alerts, expected, strict=True):
        assert (alert.rule, alert.kind, alert.as_of) == (of.rule, of.kind.value, of.as_of)
        assert alert.side == (of.side.value if of.side else None)
        assert (alert.amount, alert.current_price, alert.staleness) == (of.amount, of.current_price, None)
        assert alert.message == of.message
        assert (alert.cluster is None) == (of.cluster is None)
        if alert.cluster is not None and of.cluster is not None:
            for name in ("low", "high", "peak", "amount", "distance", "distance_volatility"):
                assert getattr(alert.cluster, name) == getattr(of.cluster, name)
        assert abs(alert.sent_at - time.time_ns()) < 60 * SECOND


def request(*rules: liquidation_pb2.AlertRule, heartbeat: int = 0, **query: Any) -> liquidation_pb2.WatchAlertsRequest:
    return liquidation_pb2.WatchAlertsRequest(
        query=liquidation_pb2.LevelsQuery(**{"symbol": "BTCUSDT"} | query), rules=rules, heartbeat=heartbeat
    )


def near(distance: float, **of: Any) -> liquidation_pb2.AlertRule:
    name, cooldown = of.pop("name", "near"), of.pop("cooldown", 0)
    condition = liquidation_pb2.NearCluster(distance=distance, **of)
    return liquidation_pb2.AlertRule(name=name, near_cluster=condition, cooldown=cooldown)


def stale(age: int) -> liquidation_pb2.AlertRule:
    return liquidation_pb2.AlertRule(name="stale", stale=liquidation_pb2.StaleData(age=age))


@pytest.fixture
def stub(market_server: str) -> Iterator[liquidation_pb2_grpc.LiquidationServiceStub]:
    with grpc.insecure_channel(market_server) as channel:
        yield liquidation_pb2_grpc.LiquidationServiceStub(channel)


def test_heartbeats_come_in_between_and_say_how_far_the_inputs_reach(
    stub: liquidation_pb2_grpc.LiquidationServiceStub,
) -> None:
    began = time.monotonic()
    call = stub.WatchAlerts(request(stale(DAY), heartbeat=200 * MS), timeout=20)
    alert, one, two = next(call), next(call), next(call)
    took = time.monotonic() - began
    call.cancel()
    assert (alert.WhichOneof("event"), alert.sequence, alert.alert.kind) == (
        "alert",
        1,
        liquidation_pb2.ALERT_KIND_STALE,
    )
    assert alert.alert.staleness > DAY
    assert [of.WhichOneof("event") for of in (one, two)] == ["heartbeat", "heartbeat"]
    assert (one.sequence, two.sequence) == (1, 1)
    assert 0.15 * SECOND < two.sent_at - one.sent_at < 5 * SECOND
    assert took >= 0.4
    assert one.heartbeat.as_of == END_OF_FIRST_DAY + DAY
    marks = {mark.kind: mark for mark in one.heartbeat.watermarks}
    assert marks[common_pb2.DATA_KIND_TRADES].ts_event == END_OF_FIRST_DAY + DAY
    # Against the server's clock, not against the data.
    assert marks[common_pb2.DATA_KIND_TRADES].staleness == one.sent_at - (END_OF_FIRST_DAY + DAY)


@pytest.mark.parametrize(
    ("asked", "field", "said"),
    [
        (request(), "rules", "1 to 32"),
        (request(near(0.01), near(0.01)), "rules[1].name", "too"),
        (request(liquidation_pb2.AlertRule(name="a")), "rules[0].condition", "must be one of near_cluster"),
        (request(stale(1), near(0.01, side=7)), "rules[1].near_cluster.side", "was 7"),
        (request(near(0.5)), "rules[0].near_cluster.distance", "query.price_range"),
        (request(stale(0)), "rules[0].stale.age", "at least 1"),
        (request(near(0.01, cooldown=-5)), "rules[0].cooldown", "at least 0"),
        (request(near(0.01), heartbeat=1), "heartbeat", "100 ms"),
        (request(near(0.01), heartbeat=-1), "heartbeat", "100 ms"),
        (request(near(0.01), side=common_pb2.SIDE_LONG), "query.side", "no use"),
        (request(near(0.01), min_notional=1.0), "query.min_notional", "no use"),
        (request(near(0.01), derived=True), "query.derived", "no use"),
        (request(near(0.01), bin_size=7.3), "query.bin_size", "multiple"),
        (request(near(0.01), unit=9), "query.unit", "was 9"),
    ],
)
def test_request_that_is_not_allowed_is_invalid_argument_naming_the_field(
    market_server: str, asked: liquidation_pb2.WatchAlertsRequest, field: str, said: str
) -> None:
    with grpc.insecure_channel(market_server) as channel, pytest.raises(grpc.RpcError) as caught:
        next(liquidation_pb2_grpc.LiquidationServiceStub(channel).WatchAlerts(asked, timeout=20))
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    details = caught.value.details()
    assert details is not None
    assert details.startswith(f"{field} was ")
    assert said in details


def test_unknown_symbol_is_not_found(market_server: str) -> None:
    with liqclient.Client(market_server) as client, pytest.raises(liqclient.NotFound, match="BTCUSDT"):
        next(client.watch("DOGEUSDT", RULES))


def test_stale_by_the_servers_clock_and_fresh_when_data_come(first_day: Path, market_archive: Path) -> None:
    # A clock that stands at the end of the first day when the server starts.
    began = time.time_ns()

    async def run() -> list[liqclient.Alert]:
        with Database(first_day) as database:
            server = Server(database, "127.0.0.1", 0, clock=lambda: END_OF_FIRST_DAY + time.time_ns() - began)
            await server.start()
            try:
                async with liqclient.AsyncClient(server.target) as client:
                    rules = [liqclient.AlertRule("late", liqclient.StaleData(age="30s"))]
                    now = END_OF_FIRST_DAY + time.time_ns() - began
                    soon = now - END_OF_FIRST_DAY + SECOND
                    rules.append(liqclient.AlertRule("soon", liqclient.StaleData(age=soon)))
                    async with aclosing(client.watch("BTCUSDT", rules)) as alerts:
                        first = await anext(alerts)
                        async for _ in client.ingest(files(market_archive, SECOND_DAY)):
                            pass
                        return [first, await anext(alerts)]
            finally:
                await server.stop()

    stale, fresh = asyncio.run(run())
    assert [(of.rule, of.kind) for of in (stale, fresh)] == [("soon", "stale"), ("soon", "fresh")]
    # Told by the clock, about when it happened, though nothing changed.
    assert stale.staleness is not None
    assert fresh.staleness is not None
    assert stale.as_of - END_OF_FIRST_DAY == stale.staleness
    assert SECOND < stale.staleness < 15 * SECOND
    assert fresh.staleness < 0


def test_server_that_stops_ends_streams_at_once_with_unavailable(first_day: Path) -> None:
    async def run() -> float:
        with Database(first_day, read_only=True) as database:
            server = Server(database, "127.0.0.1", 0)
            await server.start()
            async with liqclient.AsyncClient(server.target) as client:
                alerts = client.watch("BTCUSDT", [liqclient.AlertRule("late", liqclient.StaleData(age="1d"))])
                assert (await anext(alerts)).kind == "stale"
                stopping = asyncio.create_task(server.stop(grace=20))
                began = time.monotonic()
                with pytest.raises(liqclient.Unavailable, match="server stops") as caught:
                    await anext(alerts)
                assert caught.value.reason == "SERVER_STOPS"
                await stopping
                return time.monotonic() - began

    assert asyncio.run(run()) < 10


# --- with a reader in hand -------------------------------------------------------------------------------------


class Counting(LevelsEngine):
    """An engine that counts what it is asked."""

    asked = 0

    def levels(self, query: LevelsQuery, as_of: int | None = None) -> LevelsAnswer:
        self.asked += 1
        return super().levels(query, as_of)


async def to_end(reading: AsyncIterator[Any]) -> None:
    async for _ in reading:
        pass


class Moving:
    """A market that goes on by some minutes at a time, and the streams on it."""

    def __init__(self) -> None:
        self.markets = Markets(market(of=swinging(60)))
        self.engine = Counting(self.markets)
        self.minutes = 60

    async def on(self, minutes: int = 10) -> None:
        self.minutes += minutes
        self.markets.markets["BINANCE", "BTCUSDT"] = market(of=swinging(self.minutes))
        await asyncio.to_thread(self.engine.refresh, "BINANCE", "BTCUSDT")

    def now(self) -> int:
        return int(self.markets.markets["BINANCE", "BTCUSDT"].history.step_end[-1])


@asynccontextmanager
async def streams(moving: Moving, max_waiting: int = 1000, patience: float = 5.0) -> AsyncIterator[AlertStreams]:
    with ThreadPoolExecutor(2) as executor:
        yield AlertStreams(moving.engine, executor, moving.now, max_waiting, patience)


# Liquidations of at least next to nothing fall to half and rise again all the time, as the price swings.
BURST = liquidation_pb2.AlertRule(
    name="burst", liquidations=liquidation_pb2.LiquidationBurst(interval=MINUTE, min_amount=1e-3)
)
# High leverage, so that the swings liquidate.
TIERS: dict[str, Any] = {
    "parameters": common_pb2.ModelParameters(tiers=[common_pb2.LeverageTier(leverage=125, weight=1)])
}


async def test_slow_reader_gets_what_waits_and_then_an_error_that_says_why() -> None:
    moving = Moving()
    async with streams(moving, max_waiting=5, patience=0.0) as on:
        reading = on.watch(request(BURST, **TIERS))
        first = asyncio.ensure_future(anext(reading))
        while not first.done():
            await moving.on(40)
            await asyncio.sleep(0.15)
        assert (await first).sequence == 1
        # Nobody reads, and the market goes on.
        for _ in range(8):
            await moving.on(40)
            await asyncio.sleep(0.15)
        # In order and without a gap, those that waited.
        assert [(await anext(reading)).sequence for _ in range(5)] == [2, 3, 4, 5, 6]
        with pytest.raises(SlowReader, match="5 alerts wait") as caught:
            await anext(reading)
        assert on.streams == 0
    status = to_status(caught.value)
    assert status.code == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert to_status(Stopping()).code == grpc.StatusCode.UNAVAILABLE


async def test_reader_that_takes_what_comes_gets_all_of_one_observation_however_much_it_is() -> None:
    moving = Moving()
    async with streams(moving, max_waiting=2) as on:
        reading = on.watch(request(BURST, stale(DAY), heartbeat=60 * SECOND, **TIERS))
        coming = asyncio.ensure_future(anext(reading))
        await asyncio.sleep(0.5)
        await moving.on(600)
        # More than twenty swings, in one observation.
        told = [await coming, *[await anext(reading) for _ in range(20)]]
        assert [of.sequence for of in told] == list(range(1, 22))
        assert len({of.alert.as_of for of in told[1:]}) == 1
        # Who then reads no more is given some time for it, but not for what happens next.
        await moving.on(600)
        assert (await anext(reading)).sequence == 22
        await reading.aclose()  # type: ignore[attr-defined]


async def test_streams_of_the_same_query_share_one_computation_of_each_change() -> None:
    moving = Moving()
    async with streams(moving) as on:
        readers = [on.watch(request(BURST, near(0.01, cooldown=i * MINUTE), heartbeat=100 * MS)) for i in range(10)]
        await asyncio.gather(*(anext(reader) for reader in readers))
        assert moving.engine.asked == 1
        for changes in (1, 2, 3):
            await moving.on(5)
            until = moving.now()
            for reader in readers:
                while (response := await anext(reader)).heartbeat.as_of != until:
                    assert response.alert.as_of <= until
            assert moving.engine.asked == 1 + changes
        for reader in readers:
            await reader.aclose()  # type: ignore[attr-defined]


async def test_other_symbols_do_not_wake_a_stream() -> None:
    moving = Moving()
    moving.markets.markets["BINANCE", "ETHUSDT"] = market("ETHUSDT")
    async with streams(moving) as on, aclosing(on.watch(request(near(0.01), heartbeat=100 * MS))) as reading:  # type: ignore[type-var]
        await anext(reading)
        moving.engine.levels(LevelsQuery("ETHUSDT"))
        asked = moving.engine.asked
        await asyncio.to_thread(moving.engine.refresh, "BINANCE", "ETHUSDT")
        await anext(reading)
        await anext(reading)
        assert moving.engine.asked == asked


async def test_what_goes_wrong_later_ends_the_stream_with_its_error() -> None:
    moving = Moving()
    async with streams(moving) as on:
        reading = on.watch(request(near(0.01), heartbeat=100 * MS))
        await anext(reading)
        of = replace(swinging(70), open_interest=np.full(70, np.nan))
        moving.markets.markets["BINANCE", "BTCUSDT"] = market(of=of)
        await asyncio.to_thread(moving.engine.refresh, "BINANCE", "BTCUSDT")
        with pytest.raises(MissingInput, match="open interest"):
            await to_end(reading)
        assert on.streams == 0


class OnlyAlerts(liquidation_pb2_grpc.LiquidationServiceServicer):
    """A service of nothing but alerts."""

    def __init__(self, on: AlertStreams) -> None:
        self._on = on

    def WatchAlerts(self, request: Any, context: object) -> AsyncIterator[Any]:  # noqa: N802
        return self._on.watch(request)


async def test_client_that_leaves_leaves_nothing_behind() -> None:
    moving = Moving()
    async with streams(moving) as on:
        server = grpc.aio.server(interceptors=[AnswerInterceptor()])
        only = OnlyAlerts(on)  # type: ignore[abstract]
        liquidation_pb2_grpc.add_LiquidationServiceServicer_to_server(only, server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with liqclient.AsyncClient(f"127.0.0.1:{port}") as client:
            rules = [liqclient.AlertRule("near", liqclient.NearCluster(distance=0.2))]
            async with aclosing(client.watch("BTCUSDT", rules)) as alerts:
                assert (await anext(alerts)).kind == "near cluster"
                assert on.streams == 1
            for _ in range(100):
                if not on.streams:
                    break
                await asyncio.sleep(0.05)
            assert on.streams == 0
            asked = moving.engine.asked
            await moving.on()
            await asyncio.sleep(0.2)
            assert moving.engine.asked == asked
        await server.stop(0)
