"""``LiquidationService.WatchAlerts``: one stream of alerts for each call, observations shared by all of them."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import asdict, dataclass, field

from liqserver.live.alerts import (
    CONDITIONS,
    Alert,
    AlertKind,
    ClusterChange,
    Condition,
    LiquidationBurst,
    NearCluster,
    Rule,
    StaleData,
    Watcher,
    check_rules,
    first_look,
)
from liqserver.live.answers import Sides
from liqserver.live.engine import LevelsEngine
from liqserver.live.errors import InvalidField, SlowReader, Stopping
from liqserver.live.observation import Look, Observation, observe
from liqserver.rpc import convert
from liqserver.v1 import common_pb2, liquidation_pb2

LEAST_HEARTBEAT = 100_000_000
MAX_WAITING = 1_000
_SECOND = 1_000_000_000
# Markets may change more often than anyone wants to hear of: an observation follows on another after so many seconds.
_LEAST_PAUSE = 0.1
_KEPT = 256
_UNUSED = ("side", "per_tier", "min_notional", "derived", "band")
_KINDS = {
    AlertKind.NEAR_CLUSTER: liquidation_pb2.ALERT_KIND_NEAR_CLUSTER,
    AlertKind.CLUSTER_FORMED: liquidation_pb2.ALERT_KIND_CLUSTER_FORMED,
    AlertKind.CLUSTER_GREW: liquidation_pb2.ALERT_KIND_CLUSTER_GREW,
    AlertKind.CLUSTER_SWEPT: liquidation_pb2.ALERT_KIND_CLUSTER_SWEPT,
    AlertKind.LIQUIDATIONS: liquidation_pb2.ALERT_KIND_LIQUIDATIONS,
    AlertKind.STALE: liquidation_pb2.ALERT_KIND_STALE,
    AlertKind.FRESH: liquidation_pb2.ALERT_KIND_FRESH,
}
_SIDES = {
    common_pb2.SIDE_UNSPECIFIED: Sides.BOTH,
    common_pb2.SIDE_LONG: Sides.LONG,
    common_pb2.SIDE_SHORT: Sides.SHORT,
}
_SIDE_VALUES = {sides: value for value, sides in _SIDES.items()}


type _Waiting = asyncio.Queue[Alert | Exception]


class AlertStreams:
    """Streams alerts.

    Parameters
    ----------
    engine : LevelsEngine
        Answers questions, and tells when there is news.
    executor : Executor
        Where observations are computed, off the event loop.
    clock : callable
        UNIX nanoseconds of now.
    max_waiting : int
        Alerts that may wait for a reader. When there are as many and more happens, its stream ends.
    patience : float
        Seconds that a reader may take to make room for the next where one observation alone gives more than that.
    """

    def __init__(
        self,
        engine: LevelsEngine,
        executor: Executor,
        clock: Callable[[], int],
        max_waiting: int = MAX_WAITING,
        patience: float = 5.0,
    ) -> None:
        self._engine = engine
        self._executor = executor
        self._clock = clock
        self._max_waiting = max_waiting
        self._patience = patience
        self._stopping = False
        self._streams: set[_Waiting] = set()
        self._observations: OrderedDict[tuple[Look, int], asyncio.Future[Observation]] = OrderedDict()

    @property
    def streams(self) -> int:
        """Number of streams that are open."""
        return len(self._streams)

    def stop(self) -> None:
        """End all streams, and those that begin from now on, with ``Stopping``, after what waits for their readers."""
        self._stopping = True
        for waiting in self._streams:
            waiting.put_nowait(Stopping())

    async def watch(
        self, request: liquidation_pb2.WatchAlertsRequest
    ) -> AsyncIterator[liquidation_pb2.WatchAlertsResponse]:
        """Yield alerts as they happen, and heartbeats in between.

        Raises
        ------
        AskError
            What is wrong with the request, at once; ``SlowReader`` and ``Stopping`` later.
        """
        query = convert.levels_query(request.query, unused=_UNUSED)
        rules = [_rule(i, rule) for i, rule in enumerate(request.rules)]
        check_rules(rules, query)
        heartbeat = request.heartbeat or _SECOND
        if heartbeat < LEAST_HEARTBEAT:
            raise InvalidField("heartbeat", heartbeat, f"must be 0, or at least {LEAST_HEARTBEAT} nanoseconds (100 ms)")
        loop, changed = asyncio.get_running_loop(), asyncio.Event()

        def tell(venue: str, symbol: str) -> None:
            if symbol == query.symbol and query.venue in ("", venue):
                loop.call_soon_threadsafe(changed.set)

        if self._stopping:
            raise Stopping
        waiting: _Waiting = asyncio.Queue()
        observing = None
        self._streams.add(waiting)
        ignore = self._engine.watch(tell)
        try:
            look = first_look(query, rules)
            stream = _Stream(Watcher(rules), look, await self._observed(look))
            observing = asyncio.create_task(self._observe(stream, changed, waiting))
            sequence = 0
            while True:
                try:
                    async with asyncio.timeout(heartbeat / _SECOND):
                        event = await waiting.get()
                except TimeoutError:
                    now = self._clock()
                    yield liquidation_pb2.WatchAlertsResponse(
                        sequence=sequence, sent_at=now, heartbeat=_heartbeat_message(stream.seen, now)
                    )
                    continue
                stream.room.set()
                if isinstance(event, Exception):
                    raise event
                sequence += 1
                yield liquidation_pb2.WatchAlertsResponse(
                    sequence=sequence, sent_at=self._clock(), alert=_alert_message(event)
                )
        finally:
            ignore()
            self._streams.discard(waiting)
            if observing is not None:
                observing.cancel()

    async def _observe(self, stream: _Stream, changed: asyncio.Event, waiting: _Waiting) -> None:
        """Put alerts into ``waiting`` until there are too many, or something is wrong, which is put there too."""
        try:
            await self._put(stream.watcher.observe(stream.seen, self._clock()), stream, waiting)
            while True:
                wake_at = stream.watcher.wake_at
                seconds = None if wake_at is None else max(wake_at - self._clock(), 0) / _SECOND
                with suppress(TimeoutError):
                    async with asyncio.timeout(seconds):
                        await changed.wait()
                if not changed.is_set():
                    await self._put(stream.watcher.tick(self._clock()), stream, waiting)
                    continue
                changed.clear()
                stream.look = stream.look.next(stream.seen)
                stream.seen = await self._observed(stream.look)
                await self._put(stream.watcher.observe(stream.seen, self._clock()), stream, waiting)
                await asyncio.sleep(_LEAST_PAUSE)
        except Exception as error:  # for the reader to be told
            waiting.put_nowait(error)

    async def _put(self, alerts: Sequence[Alert], stream: _Stream, waiting: _Waiting) -> None:
        for n, alert in enumerate(alerts):
            while waiting.qsize() >= self._max_waiting:
                stream.room.clear()
                try:
                    # Who has not yet had the time to read what came at once is not slow.
                    async with asyncio.timeout(self._patience if n else 0):
                        await stream.room.wait()
                except TimeoutError:
                    raise SlowReader(
                        f"{self._max_waiting} alerts wait for a reader that does not take them, and more came: read "
                        "faster, or ask for fewer by least amounts and cooldowns",
                        waiting=str(self._max_waiting),
                    ) from None
            waiting.put_nowait(alert)

    async def _observed(self, look: Look) -> Observation:
        """Return what ``look`` sees now; streams that look the same way share one computation."""
        key = (look, self._engine.version)
        coming = self._observations.get(key)
        if coming is None:
            coming = asyncio.get_running_loop().run_in_executor(self._executor, observe, self._engine, look)
            self._observations[key] = coming
            coming.add_done_callback(lambda done: self._forget_failed(key, done))
            while len(self._observations) > _KEPT:
                self._observations.popitem(last=False)
        # One stream that ends must not take the computation from the others.
        return await asyncio.shield(coming)

    def _forget_failed(self, key: tuple[Look, int], done: asyncio.Future[Observation]) -> None:
        if done.cancelled() or done.exception() is not None:
            self._observations.pop(key, None)


@dataclass(slots=True)
class _Stream:
    """What one stream watches with, how it looked last, what it saw, and when its reader has made room."""

    watcher: Watcher
    look: Look
    seen: Observation
    room: asyncio.Event = field(default_factory=asyncio.Event)


def _rule(i: int, message: liquidation_pb2.AlertRule) -> Rule:
    within = f"rules[{i}]"
    condition: Condition
    match message.WhichOneof("condition"):
        case "near_cluster":
            near = message.near_cluster
            condition = NearCluster(
                distance=near.distance,
                distance_volatility=near.distance_volatility,
                min_amount=near.min_amount,
                sides=_sides(f"{within}.near_cluster.side", near.side),
            )
        case "cluster_change":
            change = message.cluster_change
            condition = ClusterChange(
                growth=change.growth,
                min_amount=change.min_amount,
                sides=_sides(f"{within}.cluster_change.side", change.side),
            )
        case "liquidations":
            burst = message.liquidations
            condition = LiquidationBurst(
                interval=burst.interval,
                min_amount=burst.min_amount,
                sides=_sides(f"{within}.liquidations.side", burst.side),
            )
        case "stale":
            condition = StaleData(age=message.stale.age)
        case _:
            raise InvalidField(f"{within}.condition", "not given", f"must be one of {', '.join(CONDITIONS.values())}")
    return Rule(name=message.name, condition=condition, cooldown=message.cooldown)


def _sides(field: str, value: int) -> Sides:
    for known, sides in _SIDES.items():
        if known == value:
            return sides
    raise InvalidField(field, value, f"must be one of {', '.join(map(str, _SIDES))}")


def _alert_message(of: Alert) -> liquidation_pb2.Alert:
    return liquidation_pb2.Alert(
        rule=of.rule,
        kind=_KINDS[of.kind],
        as_of=of.as_of,
        side=common_pb2.SIDE_UNSPECIFIED if of.side is None else _SIDE_VALUES[of.side],
        cluster=None if of.cluster is None else liquidation_pb2.Cluster(**asdict(of.cluster)),
        amount=of.amount,
        current_price=of.current_price,
        staleness=of.staleness,
        message=of.message,
    )


def _heartbeat_message(seen: Observation, now: int) -> liquidation_pb2.Heartbeat:
    return liquidation_pb2.Heartbeat(
        as_of=seen.as_of,
        watermarks=[
            common_pb2.Watermark(kind=convert.DATA_KINDS[kind], ts_event=ts, ts_init=ts, staleness=now - ts)
            for kind, ts in seen.watermarks.items()
        ],
    )
