"""Watching: the messages that rules become, and the alerts that come of messages."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import time
from collections.abc import Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np
import pytest
from google.rpc import status_pb2
from grpc_status import rpc_status

import liqclient
from liqclient import AlertRule, ClusterChange, LiquidationBurst, NearCluster, StaleData
from liqserver.v1 import common_pb2, liquidation_pb2

from . import standin
from .conftest import Ask

MINUTE, HOUR = 60_000_000_000, 3_600_000_000_000
AS_OF = 1_760_131_200_000_000_000  # 2025-10-10T21:20:00Z


@dataclass
class Alerting(standin.Standin):
    """Says what it is told to, then nothing more, or ends with a failure."""

    events: list[liquidation_pb2.WatchAlertsResponse] = field(default_factory=list)
    # Called with the context after the last of them.
    end: Callable[[Any], Any] | None = None

    def end_with(self, failure: status_pb2.Status) -> None:
        self.end = lambda context: context.abort_with_status(rpc_status.to_status(failure))

    def WatchAlerts(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.requests.append(request)
        self.deadlines.append(context.time_remaining())
        context.add_callback(self.left.set)
        yield from self.events
        if self.end is not None:
            self.end(context)


@pytest.fixture
def alerting() -> Iterator[Alerting]:
    with standin.serve(Alerting()) as serving:  # type: ignore[abstract]
        assert isinstance(serving, Alerting)
        yield serving


def alert(sequence: int, kind: int, **fields: Any) -> liquidation_pb2.WatchAlertsResponse:
    given: dict[str, Any] = {
        "rule": "r",
        "kind": kind,
        "as_of": AS_OF,
        "current_price": 100.0,
        "message": "BTCUSDT: something",
    }
    return liquidation_pb2.WatchAlertsResponse(
        sequence=sequence, sent_at=AS_OF + sequence, alert=liquidation_pb2.Alert(**given | fields)
    )


HEARTBEAT = liquidation_pb2.WatchAlertsResponse(
    sequence=1, sent_at=AS_OF, heartbeat=liquidation_pb2.Heartbeat(as_of=AS_OF)
)
SWEPT = alert(
    1,
    liquidation_pb2.ALERT_KIND_CLUSTER_SWEPT,
    side=common_pb2.SIDE_LONG,
    cluster=liquidation_pb2.Cluster(low=98, high=99, peak=98.5, amount=5, distance=0.01, distance_volatility=0.5),
    amount=5.0,
)


# --- requests --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (
            AlertRule("a", NearCluster(distance=0.01)),
            {"near_cluster": liquidation_pb2.NearCluster(distance=0.01)},
        ),
        (
            AlertRule("a", NearCluster(distance_volatility=0.5, min_amount=1e6, side="short"), "90s"),
            {
                "near_cluster": liquidation_pb2.NearCluster(
                    distance_volatility=0.5, min_amount=1e6, side=common_pb2.SIDE_SHORT
                ),
                "cooldown": 90 * 10**9,
            },
        ),
        (
            AlertRule("a", ClusterChange(growth=0.2, min_amount=3, side="long"), dt.timedelta(hours=1)),
            {
                "cluster_change": liquidation_pb2.ClusterChange(growth=0.2, min_amount=3, side=common_pb2.SIDE_LONG),
                "cooldown": HOUR,
            },
        ),
        (AlertRule("a", ClusterChange()), {"cluster_change": liquidation_pb2.ClusterChange(growth=0.5)}),
        (
            AlertRule("a", LiquidationBurst(interval="5m", min_amount=1e6), np.timedelta64(2, "m")),
            {
                "liquidations": liquidation_pb2.LiquidationBurst(interval=5 * MINUTE, min_amount=1e6),
                "cooldown": 2 * MINUTE,
            },
        ),
        (AlertRule("a", StaleData(age=MINUTE)), {"stale": liquidation_pb2.StaleData(age=MINUTE)}),
    ],
)
def test_rule_is_sent_as_it_is(ask: Ask, alerting: Alerting, rule: AlertRule, expected: dict[str, Any]) -> None:
    ask(alerting.target, "watch", "BTCUSDT", [rule])
    [request] = alerting.requests
    assert request == liquidation_pb2.WatchAlertsRequest(
        query=liquidation_pb2.LevelsQuery(symbol="BTCUSDT", unit=common_pb2.UNIT_NOTIONAL),
        rules=[liquidation_pb2.AlertRule(name="a", **expected)],
    )


def test_query_heartbeat_and_deadline_are_sent(ask: Ask, alerting: Alerting) -> None:
    ask(
        alerting.target,
        "watch",
        "BTCUSDT",
        [AlertRule("a", StaleData(age="5m")), AlertRule("b", StaleData(age="6m"))],
        venue="BINANCE",
        model="position_book",
        bin_size=50,
        price_range=(0.1, 0.2),
        unit="qty",
        parameters=liqclient.Parameters(kappa=0.3),
        heartbeat="2s",
        timeout=30,
    )
    [request] = alerting.requests
    assert isinstance(request, liquidation_pb2.WatchAlertsRequest)
    assert request.query == liquidation_pb2.LevelsQuery(
        symbol="BTCUSDT",
        venue="BINANCE",
        model="position_book",
        bin_size=50,
        price_range=liquidation_pb2.PriceRange(down=0.1, up=0.2),
        unit=common_pb2.UNIT_QTY,
        parameters=common_pb2.ModelParameters(kappa=0.3),
    )
    assert [rule.name for rule in request.rules] == ["a", "b"]
    assert request.heartbeat == 2 * 10**9
    [deadline] = alerting.deadlines
    assert deadline is not None
    assert 20 < deadline < 31


def test_without_a_timeout_of_its_own_a_watch_has_none(ask: Ask, alerting: Alerting) -> None:
    ask(alerting.target, "watch", "BTCUSDT", [AlertRule("a", StaleData(age="5m"))], client={"timeout": 3})
    # None, or what grpc shows for never.
    assert alerting.deadlines[0] is None or alerting.deadlines[0] > 10**6


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({"rules": [NearCluster(distance=0.01)]}, TypeError, r"rules\[0\] must be an AlertRule"),
        ({"rules": [AlertRule("a", 5)]}, TypeError, r"rules\[0\].condition must be NearCluster"),  # type: ignore[arg-type]
        ({"rules": [AlertRule("a", NearCluster(distance=0.0))]}, ValueError, r"rules\[0\].distance must not be 0"),
        (
            {"rules": [AlertRule("a", NearCluster(distance_volatility=0))]},
            ValueError,
            r"rules\[0\].distance_volatility must not be 0",
        ),
        (
            {"rules": [AlertRule("a", StaleData(age="5m")), AlertRule("b", StaleData(age="5 min"))]},
            ValueError,
            r"rules\[1\].age must be a whole number",
        ),
        ({"rules": [AlertRule("a", StaleData(age="5m"), "x")]}, ValueError, r"rules\[0\].cooldown"),
        (
            {"rules": [AlertRule("a", NearCluster(distance=1, side="up"))]},  # type: ignore[arg-type]
            ValueError,
            r"rules\[0\].side must be one of both, long, short, was 'up'",
        ),
        ({"rules": [], "heartbeat": 0}, ValueError, "heartbeat must not be 0"),
        ({"rules": [], "timeout": 0}, ValueError, "timeout must be positive"),
        ({"rules": [], "bin_size": 0}, ValueError, "bin_size"),
    ],
)
def test_what_cannot_be_sent_is_refused_before_any_call(
    ask: Ask, alerting: Alerting, arguments: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        ask(alerting.target, "watch", "BTCUSDT", **arguments)
    assert alerting.requests == []


# --- answers ---------------------------------------------------------------------------------------------------


def test_alerts_come_as_they_were_sent_and_heartbeats_do_not(ask: Ask, alerting: Alerting) -> None:
    burst = alert(2, liquidation_pb2.ALERT_KIND_LIQUIDATIONS, side=common_pb2.SIDE_SHORT, amount=7.5)
    stale = alert(3, liquidation_pb2.ALERT_KIND_STALE, staleness=6 * MINUTE)
    fresh = alert(4, liquidation_pb2.ALERT_KIND_FRESH, staleness=0)
    alerting.events = [HEARTBEAT, SWEPT, HEARTBEAT, HEARTBEAT, burst, stale, HEARTBEAT, fresh]
    alerts = ask(alerting.target, "watch", "BTCUSDT", [AlertRule("r", ClusterChange())])
    assert alerts == [
        liqclient.Alert(
            sequence=1,
            sent_at=AS_OF + 1,
            rule="r",
            kind="cluster swept",
            as_of=AS_OF,
            side="long",
            cluster=liqclient.Cluster(
                low=98.0, high=99.0, peak=98.5, amount=5.0, distance=0.01, distance_volatility=0.5
            ),
            amount=5.0,
            current_price=100.0,
            staleness=None,
            message="BTCUSDT: something",
        ),
        liqclient.Alert(
            sequence=2,
            sent_at=AS_OF + 2,
            rule="r",
            kind="liquidations",
            as_of=AS_OF,
            side="short",
            cluster=None,
            amount=7.5,
            current_price=100.0,
            staleness=None,
            message="BTCUSDT: something",
        ),
        *(
            liqclient.Alert(
                sequence=sequence,
                sent_at=AS_OF + sequence,
                rule="r",
                kind=kind,  # type: ignore[arg-type]
                as_of=AS_OF,
                side=None,
                cluster=None,
                amount=None,
                current_price=100.0,
                staleness=staleness,
                message="BTCUSDT: something",
            )
            for sequence, kind, staleness in ((3, "stale", 6 * MINUTE), (4, "fresh", 0))
        ),
    ]
    assert alerts[0].as_of_datetime == dt.datetime(2025, 10, 10, 21, 20, tzinfo=dt.UTC)
    plain = json.loads(json.dumps(alerts[0].to_dict()))
    assert (plain["kind"], plain["cluster"]["high"], plain["staleness"]) == ("cluster swept", 99.0, None)


def test_every_kind_of_the_protocol_is_known(ask: Ask, alerting: Alerting) -> None:
    kinds = liquidation_pb2.AlertKind.values()[1:]
    alerting.events = [alert(i, kind) for i, kind in enumerate(kinds, start=1)]
    told = [of.kind for of in ask(alerting.target, "watch", "BTCUSDT", [])]
    assert told == [
        "near cluster",
        "cluster formed",
        "cluster grew",
        "cluster swept",
        "liquidations",
        "stale",
        "fresh",
    ]


@pytest.mark.parametrize(
    ("event", "said"),
    [
        (liquidation_pb2.WatchAlertsResponse(sequence=1), "neither an alert nor a heartbeat"),
        (alert(1, 0), "kind this client does not know: 0"),
        (alert(1, 99), "kind this client does not know: 99"),
    ],
)
def test_answer_that_breaks_the_protocol_is_an_error(
    ask: Ask, alerting: Alerting, event: liquidation_pb2.WatchAlertsResponse, said: str
) -> None:
    alerting.events = [event]
    with pytest.raises(liqclient.InvalidAnswer, match=said):
        ask(alerting.target, "watch", "BTCUSDT", [])


def test_failure_of_the_server_comes_after_the_alerts_before_it(alerting: Alerting) -> None:
    alerting.events = [SWEPT]
    alerting.end_with(
        standin.status(
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "1000 alerts wait",
            standin.error_info("READER_TOO_SLOW", waiting="1000"),
        )
    )
    with liqclient.Client(alerting.target) as client:
        alerts = client.watch("BTCUSDT", [])
        assert next(alerts).kind == "cluster swept"
        with pytest.raises(liqclient.ResourceExhausted, match="1000 alerts wait") as caught:
            next(alerts)
    assert (caught.value.reason, caught.value.metadata) == ("READER_TOO_SLOW", {"waiting": "1000"})


def endless(alerting: Alerting) -> None:
    alerting.events = [SWEPT]
    alerting.end = _hang


def _hang(context: Any) -> None:
    while context.is_active():
        time.sleep(0.01)


def test_leaving_the_loop_cancels_the_call(alerting: Alerting) -> None:
    endless(alerting)
    with liqclient.Client(alerting.target) as client:
        for _ in client.watch("BTCUSDT", []):
            break
        assert alerting.left.wait(5)


def test_leaving_the_loop_cancels_the_call_async(alerting: Alerting) -> None:
    endless(alerting)

    async def run() -> None:
        async with liqclient.AsyncClient(alerting.target) as client:
            async with aclosing(client.watch("BTCUSDT", [])) as alerts:
                async for _ in alerts:
                    break
            assert await asyncio.to_thread(alerting.left.wait, 5)

    asyncio.run(run())


def test_closing_the_client_ends_a_watch_that_waits(alerting: Alerting) -> None:
    endless(alerting)

    async def run() -> None:
        client = liqclient.AsyncClient(alerting.target)
        alerts = client.watch("BTCUSDT", [])
        await anext(alerts)
        waiting = asyncio.ensure_future(anext(alerts))
        await asyncio.sleep(0.1)
        await client.close()
        with pytest.raises(liqclient.Cancelled):
            await waiting

    asyncio.run(run())


def test_real_server_tells_the_same_to_both_flavours(market_server: str) -> None:
    rules = [
        AlertRule("near", NearCluster(distance=0.2), "1h"),
        AlertRule("stale", StaleData(age="1d")),
    ]
    with liqclient.Client(market_server) as client:
        watching = client.watch("BTCUSDT", rules, unit="qty")
        first = [next(watching) for _ in range(3)]
        watching.close()

    async def run() -> list[liqclient.Alert]:
        async with (
            liqclient.AsyncClient(market_server) as client,
            aclosing(client.watch("BTCUSDT", rules, unit="qty")) as alerts,
        ):
            return [await anext(alerts) for _ in range(3)]

    second = asyncio.run(run())
    assert [of.sequence for of in first] == [of.sequence for of in second] == [1, 2, 3]
    for one, other in zip(first, second, strict=True):
        assert (one.kind, one.cluster, one.amount) == (other.kind, other.cluster, other.amount)
    assert {of.kind for of in first} <= {"near cluster", "stale"}


def test_real_server_names_the_rule_that_is_not_allowed(ask: Ask, market_server: str) -> None:
    rules = [AlertRule("a", StaleData(age="5m")), AlertRule("b", ClusterChange(growth=0.01))]
    with pytest.raises(liqclient.InvalidArgument) as caught:
        ask(market_server, "watch", "BTCUSDT", rules)
    assert [violation.field for violation in caught.value.violations] == ["rules[1].cluster_change.growth"]
